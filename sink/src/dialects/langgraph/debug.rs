//! `debug`: checkpoints and tasks, each with its step and time.

use graph::envelope::Millis;
use serde_json::json;

use super::Event;
use crate::time;

pub fn checkpoint(event: Event, step: i64, at: Millis) -> Event {
    wrapped(event, "checkpoint", step, at)
}

pub fn task(event: Event, step: i64, at: Millis) -> Event {
    let kind = if event.data.get("triggers").is_some() { "task" } else { "task_result" };
    wrapped(event, kind, step, at)
}

fn wrapped(event: Event, kind: &str, step: i64, at: Millis) -> Event {
    let Event { name: _, ns, data } = event;
    let data = json!({"step": step, "timestamp": time::rfc3339(at), "type": kind, "payload": data});
    Event { name: "debug", ns, data }
}
