//! What came of one task, as snapshots show it: added up over all runs that worked on it. Pure.

use std::collections::BTreeMap;

use graph::{
    task::{Interrupt, TaskError, TaskId},
    update::{Checkpointed, Happened, TaskDone, Update},
    writes::NodeUpdate,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The hidden node that writes the input.
const START_NODE: &str = "__start__";

pub type Outcomes = BTreeMap<TaskId, TaskOutcome>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// What it wrote of the state, once it has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<NodeUpdate>,
    /// It need not run again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finished: bool,
    /// The last failure, which stays known when the task runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// What it asked last, answered or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Interrupt>,
}

impl TaskOutcome {
    pub fn add(&mut self, done: &TaskDone) {
        // It is issued again with its answer, or its graph was left: neither is an outcome.
        if done.answered || done.to_parent {
            return;
        }
        if done.error.is_some() {
            self.error.clone_from(&done.error);
        }
        if !done.interrupts.is_empty() {
            self.interrupts.clone_from(&done.interrupts);
            (self.finished, self.result) = (false, None);
        } else if done.error.is_none() || done.update.is_some() {
            // A condition that fails leaves what its node wrote.
            (self.finished, self.result) = (true, done.update.clone());
        }
    }

    /// What it wrote, by channel; LangGraph's `result`.
    pub fn result(&self) -> Option<Value> {
        self.finished.then(|| written(self.result.as_ref()))
    }

    /// LangGraph's `error`: the exception as Python prints it.
    pub fn error_text(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!("{}({})", error_kind(error), python_text(&error.message)))
    }
}

/// Adds what the updates of one run say of tasks.
pub fn add_run<'a>(outcomes: &mut Outcomes, updates: impl Iterator<Item = &'a Update>) {
    let all: Vec<&Happened> = updates.flat_map(|update| &update.happened).collect();
    add(outcomes, all.iter().skip(shown_from(&all)).copied());
}

/// Of a run that keeps only its last checkpoint nothing shows before its end, nor what it did at checkpoints before that one.
fn shown_from(all: &[&Happened]) -> usize {
    let keeps_last = |happened: &&Happened| matches!(happened, Happened::Started(run) if run.keeps_last);
    let has_ended = |happened: &&Happened| matches!(happened, Happened::Ended(_));
    match all.iter().any(keeps_last) {
        true if !all.iter().any(has_ended) => all.len(),
        true => {
            let passed = |happened: &&Happened| matches!(happened, Happened::StepDone(step) if is_passing(step));
            all.iter().rposition(passed).map_or(0, |last| last + 1)
        }
        false => 0,
    }
}

/// Whether a checkpoint of a thread's own graph is one that its run doesn't keep.
pub fn is_passing(step: &Checkpointed) -> bool {
    step.ns.is_empty() && step.passing
}

fn add<'a>(outcomes: &mut Outcomes, all: impl Iterator<Item = &'a Happened>) {
    let mut input = None;
    for happened in all {
        match happened {
            Happened::TaskDone(done) => outcomes.entry(done.task_id).or_default().add(done),
            Happened::Started(started) => input.clone_from(&started.input),
            // No worker runs the start: what it writes is the input.
            Happened::StepDone(step) if step.source == "input" => {
                for start in step.next.iter().filter(|task| *task.node == *START_NODE) {
                    let result = input.take().map(|input| NodeUpdate::from(&*input));
                    outcomes.insert(start.task_id, TaskOutcome { result, finished: true, ..TaskOutcome::default() });
                }
            }
            Happened::StepDone(_)
            | Happened::Queued(_)
            | Happened::Continued(_)
            | Happened::Spent { .. }
            | Happened::Paused(_)
            | Happened::Kept(_)
            | Happened::Ended(_)
            | Happened::Edited(_) => {}
        }
    }
}

/// The type of an error: the program's own, or `Exception`.
pub fn error_kind(error: &TaskError) -> &str {
    error.kind.as_deref().unwrap_or("Exception")
}

/// An update as one object: a channel that was written twice holds all of it under `$writes`.
pub fn written(update: Option<&NodeUpdate>) -> Value {
    let mut all: Map<String, Value> = Map::new();
    let mut times: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (channel, value) in update.into_iter().flat_map(NodeUpdate::iter) {
        times.entry(channel).or_default().push(value);
    }
    for (channel, values) in times {
        let value = match values.as_slice() {
            [only] => Value::clone(only),
            all => json!({"$writes": all}),
        };
        all.insert(channel.to_owned(), value);
    }
    Value::Object(all)
}

/// A text as Python's `repr` has it.
fn python_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => shown.extend(['\\', c]),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sample::Run;

    fn done(change: impl FnOnce(&mut TaskDone)) -> TaskDone {
        let mut done = Run::new(1, 0).done(2, "ask", json!({"topic": "x"}));
        change(&mut done);
        done
    }

    fn asked(id: &str) -> TaskDone {
        let question = Interrupt { id: id.to_owned(), value: Arc::new(json!("ok?")), response_schema: None };
        done(|done| (done.update, done.interrupts) = (None, vec![question]))
    }

    fn failed() -> TaskDone {
        let error = TaskError {
            class: "node_failed".to_owned(),
            message: "can't\n".to_owned(),
            kind: Some("ValueError".to_owned()),
            retryable: false,
            ..TaskError::default()
        };
        done(|done| (done.update, done.error) = (None, Some(error)))
    }

    #[test]
    fn what_a_task_asked_and_how_it_failed_stays_known() {
        let mut outcome = TaskOutcome::default();
        outcome.add(&asked("q1"));
        assert_eq!((outcome.finished, outcome.interrupts.len(), outcome.result()), (false, 1, None));
        outcome.add(&failed());
        assert_eq!(outcome.error_text().as_deref(), Some(r#"ValueError("can't\n")"#));
        outcome.add(&done(|done| done.answered = true));
        assert!(!outcome.finished, "it runs again with its answer");
        outcome.add(&done(|_| {}));
        assert_eq!(outcome.result(), Some(json!({"topic": "x"})));
        assert_eq!((outcome.interrupts[0].id.as_str(), outcome.error.is_some()), ("q1", true));
    }

    #[test]
    fn a_channel_that_was_written_twice_holds_all_of_it() {
        let check = |update: Option<Value>, expect: Value| {
            assert_eq!(written(update.map(|update| serde_json::from_value(update).unwrap()).as_ref()), expect)
        };
        check(None, json!({}));
        check(Some(json!({"a": 1})), json!({"a": 1}));
        check(Some(json!([{"a": 1}, {"b": 2}, {"a": 3}])), json!({"a": {"$writes": [1, 3]}, "b": 2}));
    }
}
