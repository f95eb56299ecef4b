//! How long threads live: LangGraph's `ttl`, in minutes after their last use, and how it is shown.

use std::collections::BTreeMap;

use graph::{
    envelope::{GraphRef, Millis},
    event::{Event, TimeToLive, TtlStrategy},
};
use schemas::error::Code;
use serde_json::{Value, json};

use super::{
    made::{Made, Timed},
    threads::unprocessable,
};
use crate::{
    extract::{millis, rfc3339},
    ingest::Ingest,
    layers::Asked,
    refusal::Refusal,
};

/// `ttl` of a body: minutes, or an object that says them.
pub(super) fn of_body(given: Option<&Value>) -> Result<Option<TimeToLive>, Refusal> {
    let (minutes, strategy) = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(object)) => (object.get("ttl"), object.get("strategy").filter(|given| !given.is_null())),
        Some(minutes) => (Some(minutes), None),
    };
    let strategy = match strategy.map(Value::as_str) {
        None | Some(Some("delete")) => TtlStrategy::Delete,
        Some(Some("keep_latest")) => TtlStrategy::KeepLatest,
        Some(_) => return Err(invalid("ttl.strategy: `delete` or `keep_latest`")),
    };
    let minutes = minutes.and_then(Value::as_f64);
    let minutes = minutes.ok_or_else(|| {
        invalid(r#"ttl: give the minutes that the thread lives after its last use, or {"ttl": minutes, "strategy": "delete"}"#)
    })?;
    let says = "ttl: a thread lives for more than 0 minutes, and at most for 52596000, which are 100 years";
    TimeToLive::of_minutes(minutes, strategy).map(Some).ok_or_else(|| invalid(says))
}

fn invalid(says: &'static str) -> Refusal {
    unprocessable(Refusal::new(Code::InvalidValue, says).param("ttl"))
}

/// Shows how long a thread lives: as it was said of it, or else as its sink was told when its last run began.
pub(super) fn show(thread: &mut Value, own: Option<Timed>) {
    let used_at = thread["updated_at"].as_str().and_then(|at| millis(at, "updated_at").ok()).unwrap_or_default();
    let Some(fields) = thread.as_object_mut() else { return };
    let told = fields.remove("ttl").and_then(|told| serde_json::from_value::<TimeToLive>(told).ok());
    let ttl = match own {
        Some(Timed { ttl, at }) => Some(shown(ttl, at.max(used_at))),
        None => told.map(|ttl| shown(ttl, used_at)),
    };
    fields.extend(ttl.map(|ttl| ("ttl".to_owned(), ttl)));
}

/// As LangGraph shows it, with the time at which the thread ends if nothing is done on it until then.
fn shown(ttl: TimeToLive, used_at: Millis) -> Value {
    let expires_at = rfc3339(used_at.saturating_add(ttl.ms));
    json!({"strategy": ttl.strategy, "ttl_minutes": ttl.minutes(), "expires_at": expires_at})
}

impl Ingest {
    /// What a thread begins with that nobody says more of.
    pub(super) fn timed_by_default(&self) -> Option<Timed> {
        self.config.thread_ttl.map(|ttl| self.timed(ttl))
    }

    pub(super) fn timed(&self, ttl: TimeToLive) -> Timed {
        Timed { ttl, at: self.deps.clock.now() }
    }

    /// Keeps how long a thread lives, for whoever looks at it.
    pub(super) async fn keep_ttl(&self, asked: &Asked, thread: &str, timed: Timed) -> Result<(), Refusal> {
        let made = self.made(asked, thread).await?;
        let made =
            made.unwrap_or_else(|| Made { created_at: timed.at, metadata: BTreeMap::new(), made_by: None, ttl: None });
        self.keep(asked, thread, &Made { ttl: Some(timed), ..made }).await
    }

    /// Tells the log how long a thread lives: from the answer on it holds. Nobody else is told.
    pub(super) async fn time_thread(&self, asked: &Asked, thread: &str, ttl: TimeToLive) -> Result<(), Refusal> {
        // No version is needed to forget.
        let graph = GraphRef { name: String::new(), hash: String::new() };
        self.say_of_thread(asked, thread, graph, Event::ThreadTimed(ttl)).await.map_err(|refusal| {
            match refusal.code() {
                Code::LogUnavailable => {
                    let says =
                        "the log did not take how long the thread lives; say it again with PATCH /threads/{thread_id}";
                    Refusal::new(Code::LogUnavailable, says)
                }
                _ => refusal,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_read_as_clients_write_them() {
        let ms = |given: Value| of_body(Some(&given)).map(|ttl| ttl.map(|ttl| ttl.ms));
        for (given, expected) in [
            (json!(null), None),
            (json!(43_200), Some(2_592_000_000)),
            (json!(0.02), Some(1_200)),
            (json!(0.000_001), Some(1)),
            (json!({"ttl": 1}), Some(60_000)),
            (json!({"ttl": 1, "strategy": null}), Some(60_000)),
            (json!({"ttl": 2.5, "strategy": "delete"}), Some(150_000)),
        ] {
            assert_eq!(ms(given).expect("it is read"), expected);
        }
        for given in [
            json!(0),
            json!(-1),
            json!(1e12),
            json!("60"),
            json!(true),
            json!([]),
            json!({}),
            json!({"strategy": "delete"}),
            json!({"ttl": 1, "strategy": "forget"}),
            json!({"ttl": 1, "strategy": 7}),
        ] {
            assert_eq!(ms(given.clone()).expect_err("it is refused").code(), Code::InvalidValue, "{given}");
        }
        let kept = of_body(Some(&json!({"ttl": 1, "strategy": "keep_latest"}))).expect("it is read");
        assert_eq!(kept.map(|ttl| ttl.strategy), Some(TtlStrategy::KeepLatest));
    }
}
