//! The start of a superstep: which tasks its checkpoint asks for.

use std::{borrow::Cow, sync::Arc};

use crate::{
    channel::Content,
    checkpoint::Checkpoint,
    graph::{Graph, Node},
    ids,
    step_task::{StepTask, StepTasks},
    task::TaskPath,
};

/// The trigger that a pushed task shows.
const PUSH: &str = "__pregel_push";

/// The tasks of the step after `checkpoint`: one for each Send, and one for each node with a trigger that is newer
/// than what the node has seen. `ns` is the graph's own namespace.
pub(crate) fn prepare(graph: &Graph, checkpoint: &Checkpoint, ns: &str) -> StepTasks {
    let step = checkpoint.step + 1;
    let mut tasks = StepTasks::new();
    let mut add = |id, node: &Arc<str>, path, triggers| {
        tasks.insert(id, StepTask::new(id, node.clone(), path, triggers));
    };
    let sends = graph.places.sends;
    let sends = checkpoint.channels.near(sends, graph.channels.nth(sends).0);
    if let Some(Content::Sends(sends)) = sends.map(|channel| &channel.content) {
        let triggers: Arc<[Arc<str>]> = Arc::from([Arc::from(PUSH)]);
        for (index, sent) in (0u32..).zip(sends).filter(|(_, sent)| graph.has_node(&sent.node)) {
            let id = ids::push_task_id(checkpoint.id, &joined(ns, &sent.node), step, &sent.node, index);
            add(id, &sent.node, TaskPath::Push { index, argument: sent.argument.clone() }, triggers.clone());
        }
    }
    for (name, node) in &graph.nodes {
        if is_triggered(graph, checkpoint, node) {
            let id = ids::pull_task_id(checkpoint.id, &joined(ns, name), step, name, &node.triggers);
            add(id, name, TaskPath::Pull, node.triggers.clone());
        }
    }
    tasks
}

/// A node behind the namespace of its graph.
pub(crate) fn joined<'a>(ns: &str, node: &'a str) -> Cow<'a, str> {
    if ns.is_empty() { Cow::Borrowed(node) } else { Cow::Owned([ns, "|", node].concat()) }
}

fn is_triggered(graph: &Graph, checkpoint: &Checkpoint, node: &Node) -> bool {
    node.triggers.iter().zip(&node.trigger_places).any(|(trigger, &place)| {
        let (_, def) = graph.channels.nth(place);
        let Some(channel) = checkpoint.channels.near(place, trigger) else { return false };
        let seen = || checkpoint.seen.get(&node.name)?.get(trigger).copied();
        channel.version > 0 && channel.available(&def.kind) && channel.version > seen().unwrap_or_default()
    })
}

/// The tasks in the order of snapshots: Sends by index, then nodes as the graph lists them.
pub(crate) fn in_snapshot_order<'a>(graph: &Graph, tasks: impl IntoIterator<Item = &'a StepTask>) -> Vec<&'a StepTask> {
    let mut tasks: Vec<&StepTask> = tasks.into_iter().collect();
    tasks.sort_by_key(|task| match task.path {
        TaskPath::Push { index, .. } => (0, index as usize),
        TaskPath::Pull => (1, graph.nodes.get(&task.node).map_or(usize::MAX, |node| node.order)),
    });
    tasks
}
