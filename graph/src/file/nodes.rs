//! `nodes`: what each may say, whatever its kind.

mod kinds;
mod policies;

use super::{
    Place,
    places::{Style, UNREADABLE_NODES},
    reader::{self, Fields, Reader},
    tree::Node,
};
use crate::spec::{NodeKind, NodeSpec};

/// Fields of every node.
pub(super) const COMMON: [&str; 13] = [
    "kind",
    "input",
    "update",
    "retry",
    "timeout",
    "cache",
    "defer",
    "on_error",
    "goto",
    "destinations",
    "metadata",
    "concurrency",
    "lane",
];

/// Fields that a node which is a graph can't have: it runs no task of its own.
pub(super) const NOT_OF_GRAPHS: [&str; 5] = ["update", "cache", "goto", "destinations", "concurrency"];

/// Kinds and their own fields. Those after the first seven are not built yet.
pub(super) const KINDS: [(&str, &[&str]); 9] = [
    (
        "model",
        &[
            "model",
            "system",
            "prompt",
            "messages",
            "tools",
            "answer",
            "temperature",
            "top_p",
            "max_tokens",
            "stop",
            "seed",
        ],
    ),
    ("transform", &[]),
    ("http", &["url", "headers", "stream"]),
    ("rust", &["name", "settings"]),
    ("human", &["question", "answer"]),
    ("subgraph", &["graph", "output", "memory"]),
    ("classify", &["text", "rules", "classifier", "min_score", "else"]),
    ("tools", &["tools", "handle_errors"]),
    ("retrieve", &["collection", "query", "top_k", "filters"]),
];
const BUILT: usize = 7;

pub(super) fn read(reader: &mut Reader, node: &Node) -> Vec<NodeSpec> {
    let mut nodes = Vec::new();
    let Some(fields) = reader.map(node, "`nodes`") else {
        reader.mark(UNREADABLE_NODES, node);
        return nodes;
    };
    for (key, value) in fields {
        let path = format!("nodes/{}", key.name);
        reader.places.insert(path.clone(), key.place, Style::Plain);
        nodes.extend(one(reader, value, &key.name, key.place, &path));
    }
    nodes
}

fn one(reader: &mut Reader, node: &Node, name: &str, named_at: Place, path: &str) -> Option<NodeSpec> {
    let what = format!("node `{name}`");
    let fields = reader.map(node, &what)?;
    let Some((_, kind_node)) = fields.iter().find(|(key, _)| key.name == "kind") else {
        reader.missing(
            named_at,
            &what,
            "kind",
            "add `kind: model`, `classify`, `transform`, `http`, `rust`, `human` or `subgraph`",
        );
        return None;
    };
    let kinds: Vec<(&str, usize)> = KINDS.iter().enumerate().map(|(index, (kind, _))| (*kind, index)).collect();
    let index = reader.word(kind_node, &format!("the kind of {what}"), &kinds)?;
    let (kind, own) = KINDS[index];
    let every = COMMON.iter().filter(|field| kind != "subgraph" || !NOT_OF_GRAPHS.contains(field));
    let known: Vec<&str> = own.iter().chain(every).copied().collect();
    let article = format!("{what} of kind {kind}");
    let fields = reader.fields(node, &article, &known)?;
    if index >= BUILT {
        reader.not_built_yet(kind_node.place, &format!("the kind `{kind}`"));
        return None;
    }
    if fields.get("lane").is_some() {
        reader.not_built_yet(fields.key_place("lane"), "`lane`");
    }
    for name in own.iter().chain(&COMMON) {
        if let Some(value) = fields.get(name) {
            reader.mark(format!("{path}/{name}"), value);
        }
    }
    let kind = match kind {
        "model" => NodeKind::Model(kinds::model(reader, &fields, &what, named_at)),
        "classify" => NodeKind::Classify(kinds::classify(reader, &fields, &what, named_at, path)),
        "http" => NodeKind::Http(kinds::http(reader, &fields, &what, named_at, path)?),
        "rust" => NodeKind::Rust(kinds::rust(reader, &fields, &what, named_at)?),
        "human" => NodeKind::Human(kinds::human(reader, &fields, &what, named_at)?),
        "subgraph" => NodeKind::Subgraph(kinds::subgraph(reader, &fields, &what, name, named_at)?),
        _ => NodeKind::Transform,
    };
    Some(common(reader, &fields, &what, path, NodeSpec { name: name.to_owned(), ..empty(kind) }, named_at))
}

fn empty(kind: NodeKind) -> NodeSpec {
    NodeSpec {
        name: String::new(),
        kind,
        input: None,
        update: None,
        retry: None,
        timeout_ms: None,
        idle_timeout_ms: None,
        cache: None,
        defer: false,
        on_error: None,
        goto: None,
        destinations: Vec::new(),
        metadata: Default::default(),
        concurrency: None,
    }
}

fn common(
    reader: &mut Reader,
    fields: &Fields<'_>,
    what: &str,
    path: &str,
    mut node: NodeSpec,
    named_at: Place,
) -> NodeSpec {
    let of = |field: &str| format!("`{field}` of {what}");
    node.input = fields.get("input").and_then(|input| reader.cel_map(input, &of("input"), &format!("{path}/input")));
    // What comes out of a graph is its output; a node's own doing is an update.
    let update = if matches!(node.kind, NodeKind::Subgraph(_)) { "output" } else { "update" };
    node.update =
        fields.get(update).and_then(|written| reader.cel_map(written, &of(update), &format!("{path}/update")));
    node.goto = fields.get("goto").and_then(|goto| reader.cel(goto, &of("goto")));
    match node.kind {
        NodeKind::Transform if node.update.is_none() && fields.get("update").is_none() => {
            reader.missing(named_at, what, "update", "say what it writes: `update: {channel: CEL}`");
        }
        NodeKind::Classify(_) if fields.get("update").is_none() && fields.get("goto").is_none() => {
            reader.missing(
                named_at,
                what,
                "update",
                "say what becomes of the label: `update: {channel: answer.label}`",
            );
        }
        NodeKind::Human(_) if fields.get("update").is_none() && fields.get("goto").is_none() => {
            reader.missing(named_at, what, "update", "say what becomes of the answer: `update: {channel: answer}`");
        }
        _ => {}
    }
    node.retry = fields.get("retry").and_then(|retry| policies::retry(reader, retry, &of("retry")));
    if let Some(timeout) = fields.get("timeout") {
        let is_graph = matches!(node.kind, NodeKind::Subgraph(_));
        (node.timeout_ms, node.idle_timeout_ms) = policies::timeout(reader, timeout, &of("timeout"), is_graph);
    }
    node.cache =
        fields.get("cache").and_then(|cache| policies::cache(reader, cache, &of("cache"), &format!("{path}/cache")));
    node.on_error = fields.get("on_error").and_then(|name| reader.text(name, &of("on_error")));
    node.destinations = destinations(reader, fields, &of("destinations"), path);
    node.defer = fields.get("defer").and_then(|defer| reader.boolean(defer, &of("defer"))).unwrap_or_default();
    node.concurrency = fields.get("concurrency").and_then(|concurrency| reader.count(concurrency, &of("concurrency")));
    if let Some(metadata) = fields.get("metadata") {
        let entries = reader.map(metadata, &of("metadata")).unwrap_or_default();
        node.metadata = entries.iter().map(|(key, value)| (key.name.clone(), reader::json(value))).collect();
    }
    node
}

fn destinations(reader: &mut Reader, fields: &Fields<'_>, what: &str, path: &str) -> Vec<String> {
    let Some(node) = fields.get("destinations") else { return Vec::new() };
    let names = reader.texts(node, what).unwrap_or_default();
    for (item, name) in reader.list(node, what).unwrap_or_default().iter().zip(&names) {
        reader.mark(format!("{path}/destinations/{name}"), item);
    }
    names
}
