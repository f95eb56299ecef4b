//! The ledger under any order of calls: never over a budget, nothing lost, and what is wanted is spent.

use std::collections::BTreeMap;

use graph::envelope::Millis;
use proptest::{collection::vec, prelude::*};
use quota::{
    Account, Amount, Ask, Limit, Scope,
    ledger::{Ledger, SETTLED_MS},
};

const ACCOUNTS: usize = 4;
const CALLS: usize = 24;

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        call: usize,
        accounts: u8,
        amount: u64,
    },
    Renew {
        call: usize,
    },
    /// A share of what was set aside, in percent.
    Settle {
        call: usize,
        percent: u64,
    },
    Pass {
        ms: Millis,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = || 0..CALLS;
    vec(
        prop_oneof![
            4 => (call(), 1_u8..16, 1_u64..40).prop_map(|(call, accounts, amount)| Step::Reserve { call, accounts, amount }),
            1 => call().prop_map(|call| Step::Renew { call }),
            4 => (call(), 0_u64..=100).prop_map(|(call, percent)| Step::Settle { call, percent }),
            1 => (1_i64..3_000).prop_map(|ms| Step::Pass { ms }),
        ],
        1..120,
    )
}

fn ask(call: usize, accounts: u8, amount: u64, limits: &[u64]) -> Ask {
    let accounts = limits.iter().enumerate().filter(|(n, _)| accounts & (1 << n) != 0);
    let account = |(n, limit): (usize, &u64)| Account {
        scope: Scope::Key,
        name: format!("account-{n}"),
        limit: Limit { tokens: Some(*limit), nano_usd: Some(limit * 10) },
        ends_at: None,
    };
    let amount = Amount { tokens: amount, nano_usd: amount * 10 };
    Ask { id: format!("call-{call}"), accounts: accounts.map(account).collect(), amount, lease_ms: 1_000 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// What a plain sum over the calls says, the ledger says too: whatever was let in counts, as settled or else whole.
    #[test]
    fn it_is_never_over_a_budget_and_loses_nothing(
        limits in vec(1_u64..200, ACCOUNTS), steps in steps(),
    ) {
        let mut ledger = Ledger::default();
        let mut now: Millis = 0;
        let mut let_in: BTreeMap<usize, (Ask, Option<u64>)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Reserve { call, accounts, amount } => {
                    let ask = ask(call, accounts, amount, &limits);
                    if ledger.reserve(&ask, now).is_ok() {
                        let_in.entry(call).or_insert((ask, None));
                    }
                }
                Step::Renew { call } => {
                    if let Some((ask, _)) = let_in.get(&call) {
                        ledger.renew(ask, now);
                    }
                }
                Step::Settle { call, percent } => {
                    if let Some((ask, settled)) = let_in.get_mut(&call) {
                        let tokens = ask.amount.tokens * percent / 100;
                        ledger.settle(ask, Amount { tokens, nano_usd: tokens * 10 }, now);
                        settled.get_or_insert(tokens);
                    }
                }
                Step::Pass { ms } => now += ms,
            }
            for (n, limit) in limits.iter().enumerate() {
                let name = format!("account-{n}");
                let charged = let_in.values().filter(|(ask, _)| ask.accounts.iter().any(|account| account.name == name));
                let expect: u64 = charged.map(|(ask, settled)| settled.unwrap_or(ask.amount.tokens)).sum();
                let balance = ledger.balance(&name, now);
                let all = balance.spent.plus(balance.reserved);
                prop_assert_eq!(all, Amount { tokens: expect, nano_usd: expect * 10 }, "{}", name);
                prop_assert!(all.tokens <= *limit, "{} of {} in {}", all.tokens, limit, name);
            }
        }
        // In the end nothing is set aside any more.
        now += 10_000;
        for n in 0..ACCOUNTS {
            prop_assert_eq!(ledger.balance(&format!("account-{n}"), now).reserved, Amount::default());
        }
    }

    /// More is wanted than there is, by calls that take less than they may: what is left at the end is less than one call.
    #[test]
    fn what_is_wanted_is_spent(percents in vec(10_u64..=100, 400), at_once in 1_usize..20) {
        const BUDGET: u64 = 10_000_000;
        const MOST: u64 = 500_000;
        let mut ledger = Ledger::default();
        let budget = Account {
            scope: Scope::GlobalDay,
            name: "cent".into(),
            limit: Limit { tokens: None, nano_usd: Some(BUDGET) },
            ends_at: None,
        };
        let call = |n: usize| Ask {
            id: n.to_string(),
            accounts: vec![budget.clone()],
            amount: Amount { tokens: 0, nano_usd: MOST },
            lease_ms: 1_000,
        };
        let mut under_way: Vec<usize> = Vec::new();
        let mut wanted = (0..percents.len()).peekable();
        while let Some(next) = wanted.peek().copied() {
            match ledger.reserve(&call(next), 0) {
                Ok(()) if under_way.len() < at_once => under_way.extend(wanted.next()),
                Ok(()) => under_way.extend(wanted.next()),
                Err(refusal) if refusal.may_clear() => {}
                Err(_) => break,
            }
            if under_way.len() >= at_once || ledger.check(&call(next), 0).is_err() {
                let done = under_way.remove(0);
                let nano_usd = MOST * percents[done] / 100;
                ledger.settle(&call(done), Amount { tokens: 0, nano_usd }, 0);
            }
        }
        for done in under_way {
            ledger.settle(&call(done), Amount { tokens: 0, nano_usd: MOST * percents[done] / 100 }, 0);
        }
        let spent = ledger.balance("cent", 0).spent.nano_usd;
        prop_assert!(spent <= BUDGET);
        prop_assert!(spent >= BUDGET / 10 * 9, "only {} of {}", spent, BUDGET);
    }
}

#[test]
fn what_has_ended_is_forgotten() {
    const DAY_MS: Millis = 24 * 60 * 60 * 1000;
    let mut ledger = Ledger::default();
    let account = Account {
        scope: Scope::TenantDay,
        name: "today".into(),
        limit: Limit { tokens: Some(10), nano_usd: None },
        ends_at: Some(DAY_MS),
    };
    let ask =
        Ask { id: "call".into(), accounts: vec![account], amount: Amount { tokens: 4, nano_usd: 0 }, lease_ms: 1_000 };
    ledger.reserve(&ask, 0).expect("room");
    ledger.settle(&ask, Amount { tokens: 3, nano_usd: 0 }, 10);
    assert_eq!(ledger.balance("today", 2 * DAY_MS - 1).spent.tokens, 3);
    assert_eq!(ledger.balance("today", 2 * DAY_MS).spent.tokens, 0);
    assert_eq!(ledger, Ledger::default(), "nothing is kept of it");
}

#[test]
fn a_call_that_is_settled_is_remembered_for_an_hour_and_as_little_else() {
    let limit = Limit { tokens: None, nano_usd: Some(100) };
    let account = Account { scope: Scope::Key, name: "key web".into(), limit, ends_at: None };
    let mut ledger = Ledger::default();
    let ask =
        Ask { id: "call".into(), accounts: vec![account], amount: Amount { tokens: 0, nano_usd: 4 }, lease_ms: 1_000 };
    let spent = Amount { tokens: 0, nano_usd: 3 };
    ledger.reserve(&ask, 0).expect("room");
    let named = |ledger: &Ledger| serde_json::to_string(ledger).expect("JSON").matches("\"key web\"").count();
    assert_eq!(named(&ledger), 2, "by itself, and by the call under way");
    ledger.settle(&ask, spent, 10);
    assert_eq!(named(&ledger), 1);
    for (now, expect) in [(SETTLED_MS + 9, 3), (SETTLED_MS + 10, 6)] {
        ledger.settle(&ask, spent, now);
        assert_eq!(ledger.balance("key web", now).spent.nano_usd, expect, "at {now}");
    }
}

#[test]
fn a_refusal_says_when_the_budget_begins_anew() {
    let account =
        |scope, ends_at| Account { scope, name: "a".into(), limit: Limit { tokens: Some(1), nano_usd: None }, ends_at };
    for (account, expect) in [
        (account(Scope::UserDay, Some(99)), Some(99)),
        (account(Scope::Key, None), None),
        // A run's budget ends with it: there is no next one.
        (account(Scope::Run, Some(99)), None),
    ] {
        let ask =
            Ask { id: "c".into(), accounts: vec![account], amount: Amount { tokens: 2, nano_usd: 0 }, lease_ms: 1 };
        let refusal = Ledger::default().reserve(&ask, 0).expect_err("there is no room");
        assert_eq!(refusal.resets_at, expect);
        assert!(refusal.to_string().contains("of 1 tokens is used up: 0 tokens spent"), "{refusal}");
    }
}
