//! What a thread looks like between checkpoints: the last one, with the writes of tasks that finished since.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    apply::{Purpose, Writer, apply},
    channel::UpdateError,
    checkpoint::Checkpoint,
    graph::Graph,
    prepare::in_snapshot_order,
    step_task::StepTasks,
};

/// The checkpoint with the writes of its finished tasks; None where none has finished.
pub(crate) fn with_pending(
    graph: &Graph,
    checkpoint: &Checkpoint,
    tasks: &StepTasks,
) -> Result<Option<Checkpoint>, UpdateError> {
    let writers = Writer::of_tasks(tasks.values().filter(|task| task.finished().is_some()));
    if writers.is_empty() {
        return Ok(None);
    }
    let mut view = checkpoint.clone();
    apply(graph, &mut view, &writers, Purpose::View)?;
    Ok(Some(view))
}

/// The nodes that have yet to finish their task of the step.
pub(crate) fn next(graph: &Graph, tasks: &StepTasks) -> Vec<String> {
    let unfinished = in_snapshot_order(graph, tasks).into_iter().filter(|task| task.finished().is_none());
    unfinished.map(|task| task.node.to_string()).collect()
}

/// A task's writes to the state as LangGraph's `updates` show them: an object, or a list of objects where a channel
/// was written twice. None where the state was not written.
pub(crate) fn update_of(graph: &Graph, writes: &[(String, Arc<Value>)]) -> Option<Value> {
    let state = |name: &str| graph.channels.get(name).is_some_and(|def| def.state);
    let written: Vec<_> = writes.iter().filter(|(name, _)| state(name)).collect();
    let by_name: BTreeMap<&str, &Value> = written.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    match written.len() {
        0 => None,
        all if all > by_name.len() => {
            let one = |(name, value): &&(String, Arc<Value>)| object([(name.as_str(), &**value)]);
            Some(Value::Array(written.iter().map(one).collect()))
        }
        _ => Some(object(written.iter().map(|(name, value)| (name.as_str(), &**value)))),
    }
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect())
}
