//! A record of `runs` from its bytes, and what to do with bytes that are none.

use std::sync::Arc;

use event_log::Fetched;
use graph::envelope::RULES;
use schemas::{
    record::RunsRecord,
    reference::{FillError, Referring},
};

pub enum Decoded {
    Record(Arc<RunsRecord>),
    /// No version can read it: it goes to `dead-letters`, and the partition goes on.
    Garbage(String),
    /// A newer version can: going on without it would fork its run, so the partition stops.
    Unknown(String),
}

pub fn decode(fetched: &Fetched) -> Decoded {
    match fetched.json::<RunsRecord>() {
        Ok(record) if record.envelope.rules > RULES => Decoded::Unknown(format!(
            "its run follows rules {}, this binary knows up to {RULES}",
            record.envelope.rules
        )),
        Ok(record) => match record.check_references() {
            Ok(()) => Decoded::Record(record),
            Err(newer @ FillError::Newer { .. }) => Decoded::Unknown(newer.to_string()),
            Err(other) => Decoded::Garbage(other.to_string()),
        },
        Err(error) => match newer_type(&fetched.record.payload) {
            Some(kind) => Decoded::Unknown(format!("unknown event type {kind:?}")),
            None => Decoded::Garbage(format!("not a record of runs: {error}")),
        },
    }
}

/// Of an unknown type's name, what is told.
const KIND_CHARS_MAX: usize = 100;

/// The event's type, where the payload looks like a record of ours whose type this version doesn't know.
fn newer_type(payload: &[u8]) -> Option<String> {
    const KNOWN: [&str; 13] = [
        "requested",
        "task_finished",
        "task_kept",
        "task_given_back",
        "state_edited",
        "thread_deleted",
        "thread_pruned",
        "thread_copied",
        "copy_begun",
        "thread_timed",
        "cancelled",
        "timer_due",
        "run_failed",
    ];
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.get("envelope")?.get("run_id")?;
    let kind = value.get("event")?.get("type")?.as_str()?;
    (!KNOWN.contains(&kind)).then(|| kind.chars().take(KIND_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use event_log::Record;

    use super::*;

    fn check(payload: &str, expect: &str) {
        let fetched = Fetched {
            topic: "runs".into(),
            partition: 0,
            offset: 0,
            timestamp: 0,
            record: Record::new("k", payload.to_owned()),
        };
        let got = match decode(&fetched) {
            Decoded::Record(_) => "record".to_owned(),
            Decoded::Garbage(_) => "garbage".to_owned(),
            Decoded::Unknown(reason) => reason,
        };
        assert_eq!(got, expect, "{payload}");
    }

    fn record(rules: u32, event: &str) -> String {
        format!(
            r#"{{"envelope":{{"tenant":"default","principal":{{}},"endpoint":"/x","run_id":"0198c0de-0000-7000-8000-000000000000",
            "graph":{{"name":"g","hash":"h"}},"rules":{rules},"deadline":1}},"at":1,"event":{event}}}"#
        )
    }

    #[test]
    fn bytes_are_told_apart() {
        check("\u{0}garbage", "garbage");
        check("{}", "garbage");
        check(r#"{"event":{"type":"requested"}}"#, "garbage");
        check(&record(1, r#"{"type":"cancelled","data":{"reason":"x"}}"#), "record");
        check(&record(1, r#"{"type":"cancelled","data":{}}"#), "garbage");
        check(&record(1, r#"{"type":"state_edited","data":{"supersteps":3}}"#), "garbage");
        check(&record(1, r#"{"type":"forked","data":{}}"#), "unknown event type \"forked\"");
        check(
            &record(999, r#"{"type":"cancelled","data":{"reason":"x"}}"#),
            "its run follows rules 999, this binary knows up to 1",
        );
    }
}
