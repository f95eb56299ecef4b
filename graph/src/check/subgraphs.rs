//! Nodes that are graphs, against the graph that they stand in.

use super::{Found, Subject};
use crate::{
    file::{Code, Diagnostic},
    spec::{GraphSpec, NodeKind, NodeSpec},
};

impl<'s> Subject<'s> {
    /// The graph that a node is, where it stands in the file.
    pub(super) fn inner(&self, node: &NodeSpec) -> Option<&'s GraphSpec> {
        let NodeKind::Subgraph(subgraph) = &node.kind else { return None };
        self.subgraphs.get(&subgraph.hash).copied()
    }
}

/// Without mappings the two share the channels whose names they have in common.
pub(super) fn subgraph_apart(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let Some(inner) = subject.inner(node) else { continue };
        let shared = |name: &&str| subject.declares_channel(name);
        let takes = node.input.is_some() || inner.input_channels().iter().any(shared);
        let gives = node.update.is_some() || inner.output_channels().iter().any(shared);
        if !takes && !gives {
            let place = subject.places.of(&format!("nodes/{}", node.name));
            let message = format!("the graph of node `{}` shares no channel with this one", node.name);
            let hint = "name a channel alike in both, or map them: `input: {inner: CEL}`, `output: {outer: out.inner}`";
            found.push(Diagnostic::warning(Code::SubgraphApart, place, message).hint(hint));
        }
    }
}
