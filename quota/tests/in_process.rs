//! Budgets in process: what only they promise, beside the suite that all keepers pass.

mod in_process_harness;

use std::{path::Path, sync::Arc};

use in_process_harness::{At, InProcessHarness};
use quota::{Account, Amount, Ask, Balance, Budgets, InProcess, Limit, Reserved, Scope, conformance};

#[tokio::test]
async fn they_keep_the_contract() {
    let failed = conformance::run_all(&InProcessHarness::new()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

fn tokens(tokens: u64) -> Amount {
    Amount { tokens, nano_usd: 0 }
}

fn account() -> Account {
    Account {
        scope: Scope::Key,
        name: "key web".into(),
        limit: Limit { tokens: Some(100), nano_usd: None },
        ends_at: None,
    }
}

fn ask(id: &str, amount: u64) -> Ask {
    Ask { id: id.into(), accounts: vec![account()], amount: tokens(amount), lease_ms: 1_000 }
}

fn open(file: &Path, clock: &Arc<At>) -> InProcess {
    InProcess::open(file, Arc::clone(clock) as _).expect("a journal")
}

/// What is written is never closed here: a killed process closes nothing either.
#[tokio::test]
async fn what_was_spent_and_set_aside_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (file, clock) = (dir.path().join("budgets").join("journal"), Arc::new(At::default()));
    for (again, expect) in [(0, (10, 50)), (1, (20, 50)), (2, (30, 50))] {
        let budgets = open(&file, &clock);
        assert_eq!(budgets.reserve(&ask("under-way", 50)).await.unwrap(), Reserved::Held);
        budgets.settle(&ask(&format!("ended-{again}"), 30), tokens(10)).await.unwrap();
        let Balance { spent, reserved } = budgets.balance(&account()).await.unwrap();
        assert_eq!((spent.tokens, reserved.tokens), expect, "after {again} starts");
    }
    clock.pass(2_000);
    let budgets = open(&file, &clock);
    let balance = Balance { spent: tokens(80), reserved: tokens(0) };
    assert_eq!(budgets.balance(&account()).await.unwrap(), balance, "nothing was heard of the call under way");
    assert!(matches!(budgets.reserve(&ask("next", 21)).await.unwrap(), Reserved::Refused(_)));
}

#[tokio::test]
async fn half_a_line_at_the_end_is_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (file, clock) = (dir.path().join("journal"), Arc::new(At::default()));
    let budgets = open(&file, &clock);
    budgets.reserve(&ask("whole", 50)).await.unwrap();
    budgets.reserve(&ask("cut", 20)).await.unwrap();
    let written = std::fs::read(&file).unwrap();
    std::fs::write(&file, &written[..written.len() - 9]).unwrap();
    let balance = open(&file, &clock).balance(&account()).await.unwrap();
    assert_eq!(balance.reserved, tokens(50));

    let garbage = [b"nonsense\n", &written[..]].concat();
    std::fs::write(&file, garbage).unwrap();
    let error = InProcess::open(&file, clock).err().expect("a journal that is damaged").to_string();
    assert!(error.contains("journal can't be used"), "{error}");
}

/// The file doesn't grow with what happened, but with what is to be known.
#[tokio::test]
async fn a_long_journal_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (file, clock) = (dir.path().join("journal"), Arc::new(At::default()));
    let budgets = open(&file, &clock);
    let wide =
        Ask { accounts: vec![Account { limit: Limit::default(), ..account() }; 1], ..ask(&"x".repeat(400_000), 1) };
    for _ in 0..100 {
        budgets.renew(&wide).await.unwrap();
    }
    budgets.settle(&ask("ended", 30), tokens(10)).await.unwrap();
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes < 20_000_000, "{bytes} bytes of more than 40 million");
    assert_eq!(open(&file, &clock).balance(&account()).await.unwrap().spent, tokens(10));
}
