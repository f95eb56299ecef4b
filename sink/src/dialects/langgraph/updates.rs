//! `updates`: what each task wrote as it finished, and what was asked.

use graph::{task::Interrupt, update::Happened};
use serde_json::{Value, json};

use super::{Event, happened, known::Known, outer};
use crate::facts::Fact;

pub fn events(fact: &Fact, _: &Known) -> Vec<Event> {
    let Fact::NodeFinished(of) = fact else { return Vec::new() };
    let Some(done) = of.get() else { return Vec::new() };
    let ns = outer(&done.ns);
    if !done.interrupts.is_empty() {
        return vec![Event::new("updates", ns, json!({"__interrupt__": questions(&done.interrupts)}))];
    }
    if done.to_parent || done.answered || (done.error.is_some() && done.update.is_none()) {
        return Vec::new();
    }
    let mut data = json!({&*done.node: done.update});
    if done.restored {
        data["__metadata__"] = json!({"cached": true});
    }
    vec![Event::new("updates", ns, data)]
}

/// A breakpoint asks nothing, and stands behind the values of the step that it ends.
pub fn breakpoint(fact: &Fact) -> Option<Event> {
    match happened(fact) {
        Some(Happened::Paused(paused)) if paused.breakpoint => {
            Some(Event::new("updates", "", json!({"__interrupt__": []})))
        }
        Some(_) | None => None,
    }
}

/// Questions as streams show them.
pub fn questions(interrupts: &[Interrupt]) -> Value {
    let question = |Interrupt { id, value, response_schema }: &Interrupt| json!({"value": value, "id": id, "response_schema": response_schema});
    interrupts.iter().map(question).collect()
}
