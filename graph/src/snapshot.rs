//! What a thread looks like between checkpoints: the last one, with the writes of tasks that finished since.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    apply::{Purpose, Writer, apply, apply_reduced},
    by_name::ChannelValues,
    channel::UpdateError,
    checkpoint::Checkpoint,
    graph::Graph,
    graph_loop::GraphLoop,
    prepare::in_snapshot_order,
    task::Interrupt,
};

/// The stored checkpoint with what commands and finished tasks wrote since; None where nothing did.
pub(crate) fn with_pending(graph: &Graph, at: &GraphLoop) -> Result<Option<Checkpoint>, UpdateError> {
    let listed = at.is_listed(graph);
    let writers = Writer::of_tasks(graph, at.tasks.values().filter(|task| task.is_finished() && listed(task)));
    if writers.is_empty() && at.command.is_none() {
        return Ok(None);
    }
    let mut view = at.stored.as_deref().unwrap_or(&at.head).clone();
    if let Some(command) = &at.command {
        apply(graph, &mut view, &[Writer::of_command(command)], Purpose::View)?;
    }
    if !writers.is_empty() {
        apply_reduced(graph, &mut view, &writers, Purpose::View, &at.reduced)?;
    }
    Ok(Some(view))
}

/// What the unfinished subgraphs inside hold beyond their checkpoints, by namespace.
pub(crate) fn pending_inside(
    graph_of: &dyn Fn(&str) -> Option<Arc<Graph>>,
    memories: &BTreeMap<String, GraphLoop>,
    at: &GraphLoop,
    found: &mut BTreeMap<String, ChannelValues>,
) {
    let Some(outer) = graph_of(&at.head.graph.hash) else { return };
    for task in at.tasks.values().filter(|task| !task.is_finished()) {
        let Some(subgraph) = outer.nodes.get(&task.node).and_then(|node| node.subgraph.as_ref()) else { continue };
        let remembered = || memories.get(&task.inner_ns(&at.ns, subgraph.memory));
        let Some(mut inner) = task.inner.as_deref().or_else(remembered).cloned() else { continue };
        let Some(graph) = graph_of(&inner.head.graph.hash) else { continue };
        inner.bind(&graph);
        if let Ok(Some(pending)) = with_pending(&graph, &inner) {
            let values = pending.tracked(&graph);
            if values != inner.head.tracked(&graph) {
                found.insert(inner.ns.clone(), values);
            }
        }
        pending_inside(graph_of, memories, &inner, found);
    }
}

/// The nodes that have yet to finish their task of the step.
pub(crate) fn next(graph: &Graph, at: &GraphLoop) -> Vec<String> {
    let listed = at.is_listed(graph);
    let unfinished = at.tasks.values().filter(|task| !task.is_finished() && listed(task));
    in_snapshot_order(graph, unfinished).into_iter().map(|task| task.name().to_string()).collect()
}

/// The questions that wait for an answer.
pub(crate) fn interrupts(graph: &Graph, at: &GraphLoop) -> Vec<Interrupt> {
    let asked = at.tasks.values().filter(|task| task.has_asked());
    in_snapshot_order(graph, asked).into_iter().flat_map(|task| task.interrupts.iter().cloned()).collect()
}
