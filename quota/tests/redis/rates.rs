//! Rates that processes share.

use std::sync::Arc;

use futures_util::future::join_all;
use graph::{
    envelope::{Millis, Principal},
    world::Clock,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use quota::{
    RateLimit, RateLimits, Rates, RedisRates, Rules,
    rates::{LIMIT_MAX, Meter},
};

use crate::server::{At, Shared};

fn principal(key: Option<&str>, user: Option<&str>) -> Principal {
    Principal { key: key.map(str::to_owned), user: user.map(str::to_owned) }
}

/// Half by one client, half by the other, all at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_as_may_are_let_in() {
    const LIMIT: u64 = 100;
    let Some(shared) = Shared::find() else { return };
    let a_minute = RateLimit { requests: Some(LIMIT), tokens: None };
    let limits = RateLimits { key: a_minute, user: RateLimit::default() };
    // Time stands still, else what comes meanwhile is let in too.
    let clock = Arc::new(At::default());
    let clients = [(); 2].map(|()| {
        let redis = shared.redis().with_clock(Arc::clone(&clock) as _);
        Arc::new(RedisRates::new(Arc::new(redis), limits))
    });
    let web = principal(Some("web"), None);
    let asked = (0..10 * LIMIT as usize).map(|n| {
        let (client, web) = (Arc::clone(&clients[n % 2]), web.clone());
        async move { client.admit("acme", &web).await.expect("Redis").is_ok() }
    });
    let let_in = join_all(asked).await.into_iter().filter(|let_in| *let_in).count();
    assert_eq!(let_in, LIMIT as usize);
    assert!(clients[0].admit("globex", &web).await.expect("Redis").is_ok(), "others have a minute of their own");
}

/// By Redis' own time.
#[tokio::test]
async fn a_bucket_fills_as_time_goes_by() {
    let Some(shared) = Shared::find() else { return };
    let a_minute = RateLimit { requests: Some(120), tokens: Some(60_000) };
    let rates = shared.rates(RateLimits { key: RateLimit::default(), user: a_minute });
    let ada = principal(None, Some("ada"));
    rates.spent("acme", &ada, 61_000).await.expect("Redis");
    let refused = rates.admit("acme", &ada).await.expect("Redis").expect_err("more is taken than there was");
    assert_eq!((refused.kind, refused.of, refused.limit), ("user", "tokens", 60_000));
    assert!((500..=1_001).contains(&refused.retry_after_ms), "{refused:?}");
    assert_eq!(refused.standings.requests.map(|standing| standing.remaining), Some(120));
    tokio::time::sleep(std::time::Duration::from_millis(refused.retry_after_ms + 5)).await;
    let standings = rates.admit("acme", &ada).await.expect("Redis").expect("there are some again");
    assert_eq!(standings.requests.map(|standing| (standing.limit, standing.remaining)), Some((120, 119)));
}

#[derive(Clone, Debug)]
enum Step {
    Admit { key: u8, user: u8 },
    Spent { key: u8, user: u8, tokens: u64 },
    Pass { ms: Millis },
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        1 => Just(None),
        4 => (1_u64..8).prop_map(Some),
        2 => (1_u64..100_000).prop_map(Some),
        1 => (LIMIT_MAX - 3..=LIMIT_MAX).prop_map(Some),
    ]
}

fn rate_limit() -> impl Strategy<Value = RateLimit> {
    (limit(), limit()).prop_map(|(requests, tokens)| RateLimit { requests, tokens })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || (0_u8..3, 0_u8..3);
    let tokens = prop_oneof![4 => 0_u64..20, 1 => 0_u64..1_000_000, 1 => any::<u64>()];
    let ms = prop_oneof![2 => 0_i64..2_000, 4 => Just(20_000), 1 => 0_i64..100_000, 1 => 0_i64..i64::MAX / 1_000_000];
    vec(
        prop_oneof![
            6 => who().prop_map(|(key, user)| Step::Admit { key, user }),
            2 => (who(), tokens).prop_map(|((key, user), tokens)| Step::Spent { key, user, tokens }),
            2 => ms.prop_map(|ms| Step::Pass { ms }),
        ],
        1..60,
    )
}

fn who(key: u8, user: u8) -> Principal {
    let name = |n: u8| (n > 0).then(|| format!("n {n}"));
    Principal { key: name(key), user: name(user) }
}

async fn play(shared: &Shared, limits: RateLimits, steps: &[Step]) -> Result<(), TestCaseError> {
    let clock = Arc::new(At::default());
    let rates = RedisRates::new(Arc::new(shared.redis().with_clock(Arc::clone(&clock) as _)), limits);
    let mut meter = Meter::default();
    for step in steps {
        let now = clock.now();
        match *step {
            Step::Admit { key, user } => {
                let who = who(key, user);
                let expect = meter.admit(&Rules::from(limits).subjects("acme", &who), now);
                prop_assert_eq!(rates.admit("acme", &who).await.expect("Redis"), expect);
            }
            Step::Spent { key, user, tokens } => {
                let who = who(key, user);
                meter.spent(&Rules::from(limits).subjects("acme", &who), tokens, now);
                rates.spent("acme", &who, tokens).await.expect("Redis");
            }
            Step::Pass { ms } => clock.pass(ms),
        }
    }
    Ok(())
}

#[test]
fn redis_says_what_the_meter_says() {
    let Some(shared) = Shared::find() else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let asked = (rate_limit(), rate_limit(), steps());
    let played = TestRunner::new(config)
        .run(&asked, |(key, user, steps)| runtime.block_on(play(&shared.apart(), RateLimits { key, user }, &steps)));
    played.unwrap_or_else(|error| panic!("{error}"));
}
