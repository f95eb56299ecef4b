//! `nodes`: what each kind may say.

use super::{
    Place,
    places::{Style, UNREADABLE_NODES},
    reader::{self, Fields, Reader},
    schema,
    tree::Node,
};
use crate::spec::{HttpNode, ModelNode, NodeKind, NodeSpec, RetryPolicy, RustNode};

/// Fields of every node.
pub(super) const COMMON: [&str; 12] = [
    "kind",
    "input",
    "update",
    "retry",
    "timeout",
    "cache",
    "defer",
    "on_error",
    "goto",
    "metadata",
    "concurrency",
    "lane",
];

/// Kinds and their own fields. Those after the first four are not built yet.
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
    ("tools", &["tools", "handle_errors"]),
    ("retrieve", &["collection", "query", "top_k", "filters"]),
    ("human", &["question", "answer"]),
    ("subgraph", &["graph", "output", "memory"]),
    ("classify", &["rules", "classifier"]),
];
const BUILT: usize = 4;

/// Fields of every node that this version doesn't execute.
const NOT_BUILT: [&str; 4] = ["cache", "on_error", "goto", "lane"];

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
        reader.missing(named_at, &what, "kind", "add `kind: model`, `transform`, `http` or `rust`");
        return None;
    };
    let kinds: Vec<(&str, usize)> = KINDS.iter().enumerate().map(|(index, (kind, _))| (*kind, index)).collect();
    let index = reader.word(kind_node, &format!("the kind of {what}"), &kinds)?;
    let (kind, own) = KINDS[index];
    let known: Vec<&str> = own.iter().chain(&COMMON).copied().collect();
    let article = format!("{what} of kind {kind}");
    let fields = reader.fields(node, &article, &known)?;
    if index >= BUILT {
        reader.not_built_yet(kind_node.place, &format!("the kind `{kind}`"));
        return None;
    }
    for name in NOT_BUILT {
        if fields.get(name).is_some() {
            reader.not_built_yet(fields.key_place(name), &format!("`{name}`"));
        }
    }
    for name in own.iter().chain(&COMMON) {
        if let Some(value) = fields.get(name) {
            reader.mark(format!("{path}/{name}"), value);
        }
    }
    let kind = match kind {
        "model" => NodeKind::Model(model(reader, &fields, &what, named_at)),
        "http" => NodeKind::Http(http(reader, &fields, &what, named_at, path)?),
        "rust" => NodeKind::Rust(rust(reader, &fields, &what, named_at)?),
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
    node.update =
        fields.get("update").and_then(|update| reader.cel_map(update, &of("update"), &format!("{path}/update")));
    if matches!(node.kind, NodeKind::Transform) && fields.get("update").is_none() {
        reader.missing(named_at, what, "update", "say what it writes: `update: {channel: CEL}`");
    }
    node.retry = fields.get("retry").and_then(|retry| self::retry(reader, retry, &of("retry")));
    node.timeout_ms = fields.get("timeout").and_then(|timeout| reader.duration(timeout, &of("timeout")));
    node.defer = fields.get("defer").and_then(|defer| reader.boolean(defer, &of("defer"))).unwrap_or_default();
    node.concurrency = fields.get("concurrency").and_then(|concurrency| reader.count(concurrency, &of("concurrency")));
    if let Some(metadata) = fields.get("metadata") {
        let entries = reader.map(metadata, &of("metadata")).unwrap_or_default();
        node.metadata = entries.iter().map(|(key, value)| (key.name.clone(), reader::json(value))).collect();
    }
    node
}

fn model(reader: &mut Reader, fields: &Fields<'_>, what: &str, named_at: Place) -> ModelNode {
    let of = |field: &str| format!("`{field}` of {what}");
    let mut text = |field: &str| fields.get(field).and_then(|node| reader.text(node, &of(field)));
    let (model, system, prompt) = (text("model"), text("system"), text("prompt"));
    if fields.get("model").is_none() {
        reader.missing(named_at, what, "model", "name an alias of `models`, or of the configuration");
    }
    if let Some(tools) = fields.get("tools") {
        reader.texts(tools, &of("tools"));
        reader.not_built_yet(fields.key_place("tools"), "`tools` of a model");
    }
    ModelNode {
        model: model.unwrap_or_default(),
        system,
        prompt,
        messages: fields.get("messages").and_then(|node| reader.cel(node, &of("messages"))),
        tools: Vec::new(),
        answer: fields.get("answer").and_then(|node| schema::object(reader, node, &of("answer"))),
        temperature: fields.get("temperature").and_then(|node| reader.number(node, &of("temperature"), 0.0..=2.0)),
        top_p: fields.get("top_p").and_then(|node| reader.number(node, &of("top_p"), 0.0..=1.0)),
        max_tokens: fields.get("max_tokens").and_then(|node| reader.count(node, &of("max_tokens"))),
        stop: fields.get("stop").and_then(|node| reader.texts(node, &of("stop"))),
        seed: fields.get("seed").and_then(|node| reader.integer(node, &of("seed"), i64::MIN..=i64::MAX)),
    }
}

fn http(reader: &mut Reader, fields: &Fields<'_>, what: &str, named_at: Place, path: &str) -> Option<HttpNode> {
    let of = |field: &str| format!("`{field}` of {what}");
    let Some(url) = fields.get("url") else {
        reader.missing(named_at, what, "url", "give the address that takes the task: `url: http://host/path`");
        return None;
    };
    let url = reader.text(url, &of("url"))?;
    let mut headers = std::collections::BTreeMap::new();
    if let Some(node) = fields.get("headers") {
        for (key, value) in reader.map(node, &of("headers")).unwrap_or_default() {
            if let Some(text) = reader.text(value, &format!("the header `{}` of {what}", key.name)) {
                reader.mark(format!("{path}/headers/{}", key.name), value);
                headers.insert(key.name.clone(), text);
            }
        }
    }
    let stream = fields.get("stream").and_then(|node| reader.boolean(node, &of("stream"))).unwrap_or_default();
    Some(HttpNode { url, headers, stream })
}

fn rust(reader: &mut Reader, fields: &Fields<'_>, what: &str, named_at: Place) -> Option<RustNode> {
    let Some(name) = fields.get("name") else {
        reader.missing(named_at, what, "name", "name the type that is registered in the binary");
        return None;
    };
    let type_name = reader.text(name, &format!("`name` of {what}"))?;
    Some(RustNode { type_name, settings: fields.get("settings").map(reader::json).unwrap_or_default() })
}

fn retry(reader: &mut Reader, node: &Node, what: &str) -> Option<RetryPolicy> {
    let known = ["max_attempts", "initial_interval", "backoff_factor", "max_interval", "jitter", "retry_on"];
    let fields = reader.fields(node, what, &known)?;
    let defaults = RetryPolicy::default();
    let of = |field: &str| format!("`{field}` of {what}");
    let mut duration = |field: &str| fields.get(field).and_then(|node| reader.duration(node, &of(field)));
    let (initial, longest) = (duration("initial_interval"), duration("max_interval"));
    Some(RetryPolicy {
        max_attempts: fields
            .get("max_attempts")
            .and_then(|node| reader.integer(node, &of("max_attempts"), 1..=ATTEMPTS_MAX))
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(defaults.max_attempts),
        initial_interval_ms: initial.unwrap_or(defaults.initial_interval_ms),
        backoff_factor: fields
            .get("backoff_factor")
            .and_then(|node| reader.number(node, &of("backoff_factor"), 1.0..=100.0))
            .unwrap_or(defaults.backoff_factor),
        max_interval_ms: longest.unwrap_or(defaults.max_interval_ms),
        jitter: fields.get("jitter").and_then(|node| reader.boolean(node, &of("jitter"))).unwrap_or(defaults.jitter),
        retry_on: fields.get("retry_on").and_then(|node| reader.texts(node, &of("retry_on"))).unwrap_or_default(),
    })
}

/// Attempts of one task: what fails this often needs a person.
const ATTEMPTS_MAX: i64 = 100;
