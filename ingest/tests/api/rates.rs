//! Keys and users that may begin so many runs a minute.

use std::sync::Arc;

use graph::envelope::Principal;
use http::StatusCode;
use quota::{QuotaError, RateLimit, RateLimits, Rates, Standings, TooFast};
use serde_json::json;

use crate::stage::{Reply, Stage};

fn a_minute(requests: u64) -> RateLimit {
    RateLimit { requests: Some(requests), tokens: None }
}

async fn begin(stage: &Stage, user: &str) -> Reply {
    stage.post("/graphs/support/runs", json!({"input": {"messages": "hi"}, "user": user})).await
}

#[tokio::test]
async fn who_asks_too_fast_is_told_when_to_come_again() {
    let limits = RateLimits { key: a_minute(3), user: a_minute(2) };
    let stage = Stage::limited(limits, |_| {}).await;
    for left in ["1", "0"] {
        let reply = begin(&stage, "ada").await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
        let shown = ["limit", "remaining", "reset"]
            .map(|what| reply.header(&format!("x-ratelimit-{what}-requests")).to_owned());
        let reset = if left == "1" { "30s" } else { "1m0s" };
        assert_eq!(shown, ["2", left, reset].map(str::to_owned), "the tighter limit is shown");
        assert_eq!(reply.header("x-ratelimit-limit-tokens"), "");
    }
    let reply = begin(&stage, "ada").await;
    assert_eq!((reply.status, reply.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"));
    assert!(reply.text.contains("this user may have 2 requests a minute; try again in 30s"), "{}", reply.text);
    assert_eq!((reply.header("retry-after"), reply.header("retry-after-ms")), ("30", "30000"));
    assert_eq!((reply.header("x-should-retry"), reply.header("x-ratelimit-remaining-requests")), ("", "0"));

    assert_eq!(begin(&stage, "bob").await.status, StatusCode::ACCEPTED, "he has a minute of his own");
    let reply = begin(&stage, "cleo").await;
    assert!(reply.text.contains("this key may have 3 requests a minute"), "{}", reply.text);
    assert_eq!(stage.get("/graphs").await.status, StatusCode::OK, "looking is free");
    assert_eq!(stage.fetched().await.len(), 3, "nothing of a refused request is in the log");
}

#[tokio::test]
async fn bound_paths_and_langgraphs_are_limited_too() {
    let stage = Stage::limited(RateLimits { key: a_minute(1), user: RateLimit::default() }, |_| {}).await;
    let first = stage.post("/graphs/support/runs", json!({"input": {"messages": "hi"}})).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    let bound = stage.post("/sum", json!({"left": 2, "right": 3})).await;
    assert_eq!((bound.status, bound.header("x-ratelimit-limit-requests")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    let theirs = stage.post("/runs", json!({"assistant_id": "support", "input": {"messages": []}})).await;
    assert_eq!((theirs.status, theirs.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "60"));
}

#[tokio::test]
async fn nobody_is_let_in_where_rates_are_away() {
    struct Away;
    #[async_trait::async_trait]
    impl Rates for Away {
        async fn admit(&self, _: &str, _: &Principal) -> Result<Result<Standings, TooFast>, QuotaError> {
            Err(QuotaError::Unavailable { reason: "redis://:hidden@somewhere".to_owned() })
        }
        async fn spent(&self, _: &str, _: &Principal, _: u64) -> Result<(), QuotaError> {
            unreachable!("no call is made")
        }
    }
    let stage = Stage::paced(Some(Arc::new(Away)), |_| {}).await;
    let reply = begin(&stage, "ada").await;
    assert_eq!((reply.status, reply.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "budget_store_unavailable"));
    assert_eq!((reply.json()["error"]["retryable"].as_bool(), reply.text.contains("hidden")), (Some(true), false));
    assert!(stage.fetched().await.is_empty(), "nothing of it is in the log");
}
