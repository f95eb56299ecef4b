//! What `graph check` says of a spec that could be read: one rule, one code, one function.

mod channels;
mod edges;
mod expressions;
mod given;
pub(crate) mod jumps;
mod models;
mod names;
mod paths;
mod references;
mod routes;
mod secrets;
mod subgraphs;
mod supersteps;
mod templates;
mod types;
mod writers;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    file::{Diagnostic, Places, Severity, UNREADABLE_CHANNELS, UNREADABLE_NODES},
    spec::{EdgeSpec, GraphSpec, NodeKind, NodeSpec, Reducer, Target},
};

/// What the rules look at.
pub(crate) struct Subject<'s> {
    pub spec: &'s GraphSpec,
    pub text: &'s str,
    pub places: &'s Places,
    /// Aliases that the configuration knows; None where it isn't known.
    pub models: Option<&'s [String]>,
    /// The graphs that stand in its nodes, by hash.
    pub subgraphs: &'s BTreeMap<String, &'s GraphSpec>,
}

type Found = Vec<Diagnostic>;
type Rule = fn(&Subject<'_>, &mut Found);

/// Rules that look at one thing: they hold whatever else is wrong.
const LOCAL: [Rule; 26] = [
    names::bad_name,
    names::reserved_name,
    references::unknown_node,
    references::unknown_channel,
    references::unknown_model,
    references::bad_model_target,
    routes::routes,
    references::bad_url,
    references::bad_environment_name,
    references::bad_path,
    references::serve_needs_messages,
    edges::edge_direction,
    edges::duplicate_edge,
    edges::else_not_last,
    edges::missing_else,
    jumps::bad_handler,
    channels::reducer_type,
    channels::default_type,
    expressions::node_expressions,
    expressions::edge_expressions,
    expressions::reducers,
    expressions::routes,
    templates::prompts,
    models::prompt_and_messages,
    models::nothing_to_ask,
    secrets::secret_in_file,
];

/// Rules about the graph as a whole: on half a graph they would only echo what is wrong elsewhere.
const WHOLE: [Rule; 7] = [
    edges::no_start,
    paths::unreachable_node,
    paths::no_way_to_end,
    writers::two_writers,
    writers::many_writers,
    channels::unused_channel,
    subgraphs::subgraph_apart,
];

pub(crate) fn all(subject: &Subject<'_>, found: &mut Found) {
    for rule in LOCAL {
        rule(subject, found);
    }
    if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error && concerns_the_graph(diagnostic)) {
        return;
    }
    for rule in WHOLE {
        rule(subject, found);
    }
}

/// Whether a mistake leaves nodes or edges out, or their names wrong.
fn concerns_the_graph(diagnostic: &Diagnostic) -> bool {
    use crate::file::Code::{
        CelSyntax, CelType, CelUnknownFunction, CelUnknownName, JinjaSyntax, PromptNamesNothing, PromptUnknownName,
        SecretInFile, UnknownChannel, UnknownModel,
    };
    let within_a_text = [
        CelSyntax,
        CelType,
        CelUnknownFunction,
        CelUnknownName,
        JinjaSyntax,
        PromptNamesNothing,
        PromptUnknownName,
        SecretInFile,
        UnknownChannel,
        UnknownModel,
    ];
    !within_a_text.contains(&diagnostic.code)
}

impl<'s> Subject<'s> {
    /// Whether the file declares a node, also one that couldn't be read.
    fn declares_node(&self, name: &str) -> bool {
        self.places.knows(&format!("nodes/{name}")) || self.places.knows(UNREADABLE_NODES)
    }

    fn declares_channel(&self, name: &str) -> bool {
        self.places.knows(&format!("channels/{name}")) || self.places.knows(UNREADABLE_CHANNELS)
    }

    /// The channels that a node writes, as far as the file says.
    fn writes(&self, node: &'s NodeSpec) -> BTreeSet<&'s str> {
        match (&node.update, &node.kind) {
            (Some(update), _) => update.keys().map(String::as_str).collect(),
            (None, NodeKind::Model(_)) => self.messages_channel().into_iter().collect(),
            (None, NodeKind::Subgraph(_)) => {
                let written = self.inner(node).map(GraphSpec::output_channels).unwrap_or_default();
                written.into_iter().filter(|name| self.spec.channels.contains_key(*name)).collect()
            }
            (
                None,
                NodeKind::Transform
                | NodeKind::Classify(_)
                | NodeKind::Http(_)
                | NodeKind::Rust(_)
                | NodeKind::Human(_),
            ) => BTreeSet::new(),
        }
    }

    /// The channel `messages`, where it has the reducer of that name.
    fn messages_channel(&self) -> Option<&'s str> {
        let (name, channel) = self.spec.channels.get_key_value("messages")?;
        (channel.reducer == Reducer::Messages).then_some(name)
    }
}

/// The sources of an edge.
fn sources(edge: &EdgeSpec) -> Vec<&str> {
    match edge {
        EdgeSpec::Plain { from, .. } => from.iter().map(String::as_str).collect(),
        EdgeSpec::When { from, .. }
        | EdgeSpec::Every { from, .. }
        | EdgeSpec::Send { from, .. }
        | EdgeSpec::Decide { from, .. } => vec![from],
    }
}

/// Where an edge may lead, each with its path in the file.
fn targets<'e>(edge: &'e EdgeSpec, path: &str) -> Vec<(&'e str, String)> {
    match edge {
        EdgeSpec::Plain { to, .. } => vec![(to, path.to_owned())],
        EdgeSpec::When { cases, .. } | EdgeSpec::Every { cases, .. } => {
            let mut found = Vec::new();
            for (index, case) in cases.iter().enumerate() {
                for (position, target) in case.to.iter().enumerate() {
                    found.push((target_name(target), format!("{path}/cases/{index}/to/{position}")));
                }
            }
            found
        }
        EdgeSpec::Send { send, .. } => vec![(&send.to, format!("{path}/send/to"))],
        EdgeSpec::Decide { to, .. } => {
            let names = to.iter().flatten().enumerate();
            names.map(|(index, name)| (name.as_str(), format!("{path}/to/{index}"))).collect()
        }
    }
}

fn target_name(target: &Target) -> &str {
    match target {
        Target::Node(name) => name,
        Target::Send(send) => &send.to,
    }
}
