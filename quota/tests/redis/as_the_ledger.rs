//! Redis and the pure ledger, asked the same: they must say the same, and hold the same, after each step.

use std::sync::Arc;

use graph::{envelope::Millis, world::Clock};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use quota::{
    Account, Amount, Ask, Budgets, Limit, RedisBudgets, Reserved, Scope,
    ledger::{Ledger, SETTLED_MS},
};

use crate::server::{At, Shared, fields};

const ACCOUNTS: usize = 4;
const CALLS: usize = 16;
const DAY_MS: Millis = 24 * 60 * 60 * 1000;

#[derive(Clone, Debug)]
enum Step {
    Reserve { call: usize, accounts: u8, amount: Amount },
    Renew { call: usize },
    Settle { call: usize, accounts: u8, spent: Amount },
    Pass { ms: Millis },
}

/// Whole numbers of every size, up to those where sums end.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0_u64..60,
        1 => 999_999_990_u64..1_000_000_010,
        1 => (1_u64 << 53) - 3..(1_u64 << 53) + 3,
        1 => any::<u64>(),
        1 => u64::MAX - 3..=u64::MAX,
    ]
}

fn amount() -> impl Strategy<Value = Amount> {
    (number(), number()).prop_map(|(tokens, nano_usd)| Amount { tokens, nano_usd })
}

fn limit() -> impl Strategy<Value = Limit> {
    let limit = || {
        prop_oneof![
            4 => (0_u64..200).prop_map(Some),
            1 => number().prop_map(Some),
            1 => Just(None),
        ]
    };
    (limit(), limit()).prop_map(|(tokens, nano_usd)| Limit { tokens, nano_usd })
}

/// To the moment that something ends, and on either side of it.
fn passed() -> impl Strategy<Value = Millis> {
    let about = |ms: Millis| prop_oneof![Just(ms), ms - 1_500..ms + 1_500];
    prop_oneof![Just(500), Just(1_000), 1_i64..1_500, about(SETTLED_MS), about(DAY_MS)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = || 0..CALLS;
    vec(
        prop_oneof![
            8 => (call(), 1_u8..16, amount()).prop_map(|(call, accounts, amount)| Step::Reserve { call, accounts, amount }),
            2 => call().prop_map(|call| Step::Renew { call }),
            6 => (call(), 1_u8..16, amount()).prop_map(|(call, accounts, spent)| Step::Settle { call, accounts, spent }),
            3 => passed().prop_map(|ms| Step::Pass { ms }),
        ],
        1..60,
    )
}

/// Some end with the first second, some with the day, some never.
fn account(n: usize, limit: Limit) -> Account {
    let ends_at = [None, Some(1_000), Some(DAY_MS), None][n];
    let scope = [Scope::Key, Scope::Run, Scope::GlobalDay, Scope::UserDay][n];
    Account { scope, name: format!(r#"account ["{n}"]"#), limit, ends_at }
}

fn ask(call: usize, accounts: u8, amount: Amount, limits: &[Limit]) -> Ask {
    let named = limits.iter().enumerate().filter(|(n, _)| accounts & (1 << n) != 0);
    let accounts = named.map(|(n, limit)| account(n, *limit)).collect();
    Ask { id: format!("call-{call}"), accounts, amount, lease_ms: 1_000 }
}

/// What was asked of each call last: who settles a call asks with what was set aside for it, mostly.
async fn play(shared: &Shared, limits: &[Limit], steps: &[Step]) -> Result<(), TestCaseError> {
    let clock = Arc::new(At::default());
    let redis = RedisBudgets::new(Arc::new(shared.redis().with_clock(Arc::clone(&clock) as _)));
    let mut ledger = Ledger::default();
    let mut asked: [Option<Ask>; CALLS] = Default::default();
    for step in steps {
        let now = clock.now();
        match step.clone() {
            Step::Reserve { call, accounts, amount } => {
                let ask = ask(call, accounts, amount, limits);
                let expect = ledger.reserve(&ask, now).map_or_else(Reserved::Refused, |()| Reserved::Held);
                prop_assert_eq!(redis.reserve(&ask).await.expect("Redis"), expect);
                asked[call].get_or_insert(ask);
            }
            Step::Renew { call } => {
                let Some(ask) = &asked[call] else { continue };
                ledger.renew(ask, now);
                redis.renew(ask).await.expect("Redis");
            }
            Step::Settle { call, accounts, spent } => {
                let ask = asked[call].clone().unwrap_or_else(|| ask(call, accounts, Amount::default(), limits));
                ledger.settle(&ask, spent, now);
                redis.settle(&ask, spent).await.expect("Redis");
            }
            Step::Pass { ms } => clock.pass(ms),
        }
        for (n, limit) in limits.iter().enumerate() {
            let account = account(n, *limit);
            let expect = ledger.balance(&account.name, clock.now());
            prop_assert_eq!(redis.balance(&account).await.expect("Redis"), expect, "{} after {:?}", account.name, step);
        }
    }
    Ok(())
}

#[test]
fn redis_says_what_the_ledger_says() {
    let Some(shared) = Shared::find() else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let played = runner.run(&(vec(limit(), ACCOUNTS), steps()), |(limits, steps)| {
        runtime.block_on(play(&shared.apart(), &limits, &steps))
    });
    played.unwrap_or_else(|error| panic!("{error}"));
}

/// For whoever looks into Redis: numbers are plain.
#[tokio::test]
async fn what_stands_in_redis_is_readable() {
    let Some(shared) = Shared::find() else { return };
    let budgets = shared.budgets();
    let limit = Limit { tokens: None, nano_usd: None };
    let ask = ask(0, 1, Amount { tokens: 7, nano_usd: 12_000_000_034 }, &[limit]);
    budgets.reserve(&ask).await.expect("Redis");
    budgets.settle(&ask, Amount { tokens: 5, nano_usd: u64::MAX }).await.expect("Redis");
    let found = fields(&shared, r#"account ["0"]"#).await;
    let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expect = [
        ("reserved_nano_usd", "0"),
        ("reserved_tokens", "0"),
        ("spent_nano_usd", "18446744073709551615"),
        ("spent_tokens", "5"),
    ];
    assert_eq!(found, expect);
}
