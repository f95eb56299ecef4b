//! `values`: the whole state, at the beginning of a run that goes on, after each step that wrote, and with a question.

use graph::{task::Interrupt, update::Happened};
use serde_json::{Value, json};

use super::{Event, happened, known::Known, outer, updates::questions};
use crate::facts::Fact;

pub fn events(fact: &Fact, known: &Known) -> Vec<Event> {
    let held = |ns: &str| json!(known.values(ns));
    match happened(fact) {
        Some(Happened::Continued(at)) => return vec![Event::new("values", &at.ns, held(&at.ns))],
        Some(Happened::StepDone(at)) if at.wrote => return vec![Event::new("values", &at.ns, held(&at.ns))],
        Some(Happened::Paused(paused)) => {
            return paused.values.iter().map(|values| Event::new("values", "", json!(values))).collect();
        }
        Some(_) | None => {}
    }
    let Fact::NodeFinished(of) = fact else { return Vec::new() };
    let Some(done) = of.get().filter(|done| !done.interrupts.is_empty()) else { return Vec::new() };
    let ns = outer(&done.ns);
    vec![Event::new("values", ns, with_questions(held(ns), &done.interrupts))]
}

fn with_questions(mut values: Value, interrupts: &[Interrupt]) -> Value {
    if values.is_null() {
        values = json!({});
    }
    values["__interrupt__"] = questions(interrupts);
    values
}
