//! A Redis that is not the one that was: nothing may be spent unseen.

use std::sync::Arc;

use quota::{Account, Amount, Ask, Budgets, Limit, QuotaError, Reserved, Scope};
use redis::AsyncCommands;

use crate::server::{Known, Shared};

fn ask(id: &str) -> Ask {
    let limit = Limit { tokens: Some(100), nano_usd: None };
    let account = Account { scope: Scope::Key, name: "key".into(), limit, ends_at: None };
    Ask { id: id.into(), accounts: vec![account], amount: Amount { tokens: 60, nano_usd: 0 }, lease_ms: 60_000 }
}

fn told(answer: Result<Reserved, QuotaError>) -> String {
    answer.expect_err("it is not known what was spent").to_string()
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_refused() {
    let Some(shared) = Shared::find() else { return };
    let budgets = shared.budgets();
    assert_eq!(budgets.reserve(&ask("before")).await.expect("Redis"), Reserved::Held);
    let mut connection = shared.connection().await;
    let keys: Vec<String> = connection.keys(shared.key("*").replace(['{', '}'], "?")).await.expect("Redis");
    assert!(keys.len() >= 4, "{keys:?}");
    let () = connection.del(keys).await.expect("Redis");
    let reason = told(budgets.reserve(&ask("after")).await);
    assert!(reason.contains("Redis has lost its data") && reason.contains("millstream budgets restore"), "{reason}");
    assert!(budgets.settle(&ask("before"), Amount::default()).await.is_err(), "what is told now would be lost");
    let other = shared.budgets();
    assert_eq!(told(other.reserve(&ask("after")).await), reason, "also a process that starts only now");
    assert!(shared.redis().check().await.is_err());
}

#[tokio::test]
async fn a_redis_of_others_is_refused() {
    let Some(mut shared) = Shared::find() else { return };
    shared.budgets().reserve(&ask("theirs")).await.expect("Redis");
    shared.redis().check().await.expect("it is theirs");
    shared.epochs = Arc::new(Known(Some("ours".to_owned()).into()));
    let reason = told(shared.budgets().reserve(&ask("ours")).await);
    assert!(reason.contains("the budgets of another deployment"), "{reason}");
}

/// Whose store has not heard of Redis yet shares what is there.
#[tokio::test]
async fn the_first_start_gives_redis_its_name() {
    let Some(mut shared) = Shared::find() else { return };
    let first = shared.budgets();
    let (one, other) = (ask("one"), ask("other"));
    let (one, other) = tokio::join!(first.reserve(&one), first.reserve(&other));
    assert_eq!([one.unwrap(), other.unwrap()].iter().filter(|answer| **answer == Reserved::Held).count(), 1);
    let known = shared.epochs.0.lock().unwrap().clone();
    assert!(known.is_some());
    shared.epochs = Arc::default();
    assert!(matches!(shared.budgets().reserve(&ask("third")).await.unwrap(), Reserved::Refused(_)));
    assert_eq!(*shared.epochs.0.lock().unwrap(), known);
}
