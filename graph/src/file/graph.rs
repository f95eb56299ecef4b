//! The file's top level.

use std::collections::BTreeMap;

use super::{
    Code, Diagnostic, Place, channels, edges, nodes,
    places::Style,
    reader::{Fields, Reader},
    route, schema,
    tree::{Node, Yaml},
};
use crate::spec::{GraphSpec, Limits, ModelAlias, OnBudget, OnDisconnect, Schema, Serve, Speaks};

pub(super) const FIELDS: [&str; 18] = [
    "version",
    "name",
    "description",
    "state",
    "input",
    "output",
    "context",
    "models",
    "tools",
    "nodes",
    "edges",
    "serve",
    "interrupt_before",
    "interrupt_after",
    "limits",
    "on_disconnect",
    "on_end",
    "migrate",
];

/// The one version of the file's language.
const VERSION: i64 = 1;

/// What a graph that stands in a node may say: it is no file, and has no address.
pub(super) const INNER_FIELDS: [&str; 12] = [
    "version",
    "name",
    "description",
    "state",
    "input",
    "output",
    "context",
    "models",
    "nodes",
    "edges",
    "interrupt_before",
    "interrupt_after",
];

pub(super) fn read(reader: &mut Reader, root: &Node) -> Option<GraphSpec> {
    let fields = reader.fields(root, "a graph file", &FIELDS)?;
    version(reader, &fields);
    for field in ["tools", "on_end", "migrate"] {
        if fields.get(field).is_some() {
            reader.not_built_yet(fields.key_place(field), &format!("`{field}`"));
        }
    }
    reader.graph = name(reader, &fields);
    let serve = fields.get("serve").and_then(|node| serve(reader, node));
    let limits = fields.get("limits").map(|node| limits(reader, node)).unwrap_or_default();
    let words = [("continue", OnDisconnect::Continue), ("cancel", OnDisconnect::Cancel)];
    let on_disconnect = fields.get("on_disconnect").and_then(|node| reader.word(node, "`on_disconnect`", &words));
    let on_disconnect = on_disconnect.unwrap_or_default();
    Some(GraphSpec { serve, limits, on_disconnect, ..body(reader, &fields) })
}

/// The graph that a node is: its name and hash. It is named after the node, behind the graph that it stands in.
pub(super) fn inline(outer: &mut Reader, root: &Node, node: &str) -> Option<(String, String)> {
    let fields = outer.fields(root, "a graph in a node", &INNER_FIELDS)?;
    let mut reader = outer.inside();
    if fields.get("version").is_some() {
        version(&mut reader, &fields);
    }
    let own = fields.get("name").and_then(|node| reader.text(node, "`name`"));
    reader.graph = format!("{}.{}", outer.graph, own.as_deref().unwrap_or(node));
    let spec = body(&mut reader, &fields);
    let Reader { diagnostics, places, inner, .. } = reader;
    diagnostics.into_iter().for_each(|diagnostic| outer.report(diagnostic));
    outer.inner.extend(inner);
    let named = (spec.name.clone(), spec.hash());
    outer.inner.push((spec, places));
    Some(named)
}

/// What every graph says.
fn body(reader: &mut Reader, fields: &Fields<'_>) -> GraphSpec {
    for field in FIELDS {
        if let Some(node) = fields.get(field) {
            reader.mark(field, node);
        }
    }
    if let Some(node) = fields.get("models") {
        let models = models(reader, node);
        reader.models.extend(models);
    }
    GraphSpec {
        name: reader.graph.clone(),
        description: fields.get("description").and_then(|node| reader.text(node, "`description`")),
        channels: fields.get("state").map(|node| channels::read(reader, node)).unwrap_or_default(),
        input: names(reader, fields, "input"),
        output: names(reader, fields, "output"),
        context: fields.get("context").map(|node| context(reader, node)).unwrap_or_default(),
        models: reader.models.clone(),
        nodes: nodes(reader, fields),
        edges: edges(reader, fields),
        interrupt_before: names(reader, fields, "interrupt_before").unwrap_or_default(),
        interrupt_after: names(reader, fields, "interrupt_after").unwrap_or_default(),
        ..GraphSpec::default()
    }
}

fn version(reader: &mut Reader, fields: &Fields<'_>) {
    let Some(node) = fields.get("version") else {
        return reader.missing(fields.place, "the graph file", "version", "begin the file with `version: 1`");
    };
    if !matches!(&node.value, Yaml::Number(number) if number.as_i64() == Some(VERSION)) {
        let message = "the file's version must be 1";
        let hint = "write `version: 1`, or take a newer Millstream";
        reader.report(Diagnostic::error(Code::UnknownVersion, node.place, message).hint(hint));
    }
}

fn name(reader: &mut Reader, fields: &Fields<'_>) -> String {
    match fields.get("name") {
        Some(node) => reader.text(node, "`name`").unwrap_or_default(),
        None => {
            reader.missing(fields.place, "the graph file", "name", "give the graph a name: it is part of its address");
            String::new()
        }
    }
}

fn nodes(reader: &mut Reader, fields: &Fields<'_>) -> Vec<crate::spec::NodeSpec> {
    match fields.get("nodes") {
        Some(node) => nodes::read(reader, node),
        None => {
            reader.missing(fields.place, "the graph file", "nodes", "add at least one node");
            Vec::new()
        }
    }
}

fn edges(reader: &mut Reader, fields: &Fields<'_>) -> Vec<crate::spec::EdgeSpec> {
    match fields.get("edges") {
        Some(node) => edges::read(reader, node),
        None => {
            let hint = "say where the run begins: `edges: [START -> node, node -> END]`";
            reader.missing(fields.place, "the graph file", "edges", hint);
            Vec::new()
        }
    }
}

fn names(reader: &mut Reader, fields: &Fields<'_>, field: &str) -> Option<Vec<String>> {
    let node = fields.get(field)?;
    let what = format!("`{field}`");
    let mut names = reader.texts(node, &what)?;
    for (item, name) in reader.list(node, &what)?.iter().zip(&names) {
        reader.mark(format!("{field}/{name}"), item);
    }
    // Their order means nothing, and must not change the hash.
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn context(reader: &mut Reader, node: &Node) -> BTreeMap<String, Schema> {
    let mut context = BTreeMap::new();
    for (key, value) in reader.map(node, "`context`").unwrap_or_default() {
        if let Some(schema) = schema::one(reader, value, &format!("`{}` of `context`", key.name)) {
            reader.places.insert(format!("context/{}", key.name), value.place, Style::Plain);
            context.insert(key.name.clone(), schema);
        }
    }
    context
}

fn models(reader: &mut Reader, node: &Node) -> BTreeMap<String, ModelAlias> {
    let mut models = BTreeMap::new();
    for (key, value) in reader.map(node, "`models`").unwrap_or_default() {
        let what = format!("model `{}`", key.name);
        let path = format!("models/{}", key.name);
        reader.places.insert(path.clone(), key.place, Style::Plain);
        if let Some(model) = model(reader, value, &what, key.place, &path) {
            models.insert(key.name.clone(), model);
        }
    }
    models
}

fn model(reader: &mut Reader, node: &Node, what: &str, named_at: Place, path: &str) -> Option<ModelAlias> {
    let fields = reader.fields(node, what, &["use", "fallback", "route"])?;
    if let Some(steps) = fields.get("route") {
        if let Some(other) = ["use", "fallback"].into_iter().find(|field| fields.get(field).is_some()) {
            let message = format!("{what} has both `route` and `{other}`");
            let hint = "a route leads to other aliases: give the model one of its own, and lead to that";
            reader.report(Diagnostic::error(Code::BadRoute, fields.key_place(other), message).hint(hint));
        }
        return Some(ModelAlias { route: route::read(reader, steps, what, path), ..ModelAlias::default() });
    }
    let Some(target) = fields.get("use") else {
        reader.missing(named_at, what, "use", "write `{use: provider/model}`, or `{route: [...]}` to other aliases");
        return None;
    };
    reader.mark(format!("{path}/use"), target);
    let target = reader.text(target, &format!("`use` of {what}"))?;
    let mut fallback = Vec::new();
    if let Some(node) = fields.get("fallback") {
        for (index, item) in reader.list(node, &format!("`fallback` of {what}"))?.iter().enumerate() {
            reader.mark(format!("{path}/fallback/{index}"), item);
            fallback.extend(reader.text(item, &format!("each fallback of {what}")));
        }
    }
    Some(ModelAlias { target, fallback, route: Vec::new() })
}

fn serve(reader: &mut Reader, node: &Node) -> Option<Serve> {
    let fields = reader.fields(node, "`serve`", &["path", "as"])?;
    let Some(speaks) = fields.get("as") else {
        reader.missing(node.place, "`serve`", "as", "write `as: chat`");
        return None;
    };
    let words = [("chat", Speaks::Chat), ("query", Speaks::Query), ("job", Speaks::Job)];
    let spoken = reader.word(speaks, "`as` of `serve`", &words)?;
    if spoken != Speaks::Chat {
        let name = if spoken == Speaks::Query { "query" } else { "job" };
        reader.not_built_yet(speaks.place, &format!("serving as `{name}`"));
    }
    let Some(path) = fields.get("path") else {
        reader.missing(node.place, "`serve`", "path", "write `path: /name`");
        return None;
    };
    reader.mark("serve/path", path);
    Some(Serve { path: reader.text(path, "`path` of `serve`")?, speaks: spoken })
}

fn limits(reader: &mut Reader, node: &Node) -> Limits {
    let known = ["recursion_limit", "deadline", "cost_usd", "on_budget"];
    let Some(fields) = reader.fields(node, "`limits`", &known) else { return Limits::default() };
    let words = [("fail", OnBudget::Fail), ("pause", OnBudget::Pause)];
    Limits {
        recursion_limit: fields.get("recursion_limit").and_then(|node| reader.count(node, "`recursion_limit`")),
        deadline_ms: fields.get("deadline").and_then(|node| reader.duration(node, "`deadline`")),
        cost_usd: fields.get("cost_usd").and_then(|node| reader.number(node, "`cost_usd`", 0.0..=1_000_000.0)),
        on_budget: fields
            .get("on_budget")
            .and_then(|node| reader.word(node, "`on_budget`", &words))
            .unwrap_or_default(),
    }
}
