//! `tasks`: each task as it starts and as it finishes, with the step that it belongs to.

use graph::{
    task::TaskPath,
    update::{Happened, IssuedTask, Update},
};
use serde_json::{Value, json};

use super::{Event, happened, known::Known, outer, updates::questions};
use crate::{facts::Fact, outcome};

pub fn events(fact: &Fact, known: &Known) -> Vec<(Event, i64)> {
    match fact {
        Fact::Happened(of) => {
            let (next, step) = match happened(fact) {
                Some(Happened::StepDone(at)) => (&at.next, at.step),
                Some(Happened::Continued(at)) => (&at.next, at.step),
                Some(_) | None => return Vec::new(),
            };
            let mut begun: Vec<&IssuedTask> = next.iter().filter(|task| begins(&of.record.update, task)).collect();
            begun.sort_by_key(|task| match task.path {
                TaskPath::Push { index, .. } => (index, ""),
                TaskPath::Pull => (u32::MAX, &*task.node),
            });
            begun.into_iter().map(|task| (start(task, known), step + 1)).collect()
        }
        // Who handles a failure is no task of the checkpoint.
        Fact::NodeStarted(of) => {
            let Some(issued) = of.get().filter(|issued| !is_told(&of.record.update, issued)) else { return Vec::new() };
            vec![(start(issued, known), known.task(issued.task_id).map_or(0, |task| task.step))]
        }
        Fact::NodeFinished(of) => {
            let Some(done) = of.get().filter(|done| !done.restored && !done.answered) else { return Vec::new() };
            let error = done.error.as_ref();
            let data = json!({
                "id": done.task_id,
                "name": done.node,
                "error": error.map(|error| json!({"error": outcome::error_kind(error), "message": error.message})),
                "result": outcome::written(done.update.as_ref()),
                "interrupts": questions(&done.interrupts),
            });
            let step = known.task(done.task_id).map_or(0, |task| task.step);
            vec![(Event::new("tasks", outer(&done.ns), data), step)]
        }
        Fact::Metadata { .. }
        | Fact::Token(_)
        | Fact::WholeText(_)
        | Fact::AttemptReset { .. }
        | Fact::Interrupt(_)
        | Fact::Error(_)
        | Fact::Final(_) => Vec::new(),
    }
}

/// Whether the run works on the task that a checkpoint asks for: a breakpoint or the end may stand between.
fn begins(update: &Update, task: &IssuedTask) -> bool {
    let restored = |happened: &Happened| matches!(happened, Happened::TaskDone(done) if done.restored && done.task_id == task.task_id);
    update.issued.iter().any(|issued| issued.task_id == task.task_id) || update.happened.iter().any(restored)
}

/// Whether a checkpoint of the same update has told of it.
fn is_told(update: &Update, issued: &IssuedTask) -> bool {
    let told = |next: &[IssuedTask]| next.iter().any(|task| task.task_id == issued.task_id);
    update.happened.iter().any(|happened| match happened {
        Happened::StepDone(at) => told(&at.next),
        Happened::Continued(at) => told(&at.next),
        _ => false,
    })
}

fn start(issued: &IssuedTask, known: &Known) -> Event {
    let data = json!({
        "id": issued.task_id,
        "name": issued.node,
        "input": known.input(issued),
        "triggers": issued.triggers,
        "metadata": Value::Object(known.run()),
    });
    Event::new("tasks", outer(&issued.ns), data)
}
