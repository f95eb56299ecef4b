//! What each kind of node may say.

use super::super::{
    Code, Diagnostic, Place, graph,
    reader::{self, Fields, Reader},
    schema,
    tree::{Node, Yaml},
};
use crate::spec::{ClassifyNode, HttpCall, HttpNode, HumanNode, LabelRule, Memory, ModelNode, RustNode, SubgraphNode};

pub(super) fn model(reader: &mut Reader, fields: &Fields<'_>, what: &str, named_at: Place) -> ModelNode {
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

pub(super) fn classify(
    reader: &mut Reader,
    fields: &Fields<'_>,
    what: &str,
    named_at: Place,
    path: &str,
) -> ClassifyNode {
    let of = |field: &str| format!("`{field}` of {what}");
    let has = |field: &str| fields.get(field).is_some();
    let mut rules = Vec::new();
    if let Some(node) = fields.get("rules") {
        for item in reader.list(node, &of("rules")).unwrap_or_default() {
            rules.extend(rule(reader, item, &format!("{path}/rules/{}", rules.len())));
        }
    }
    match (has("rules"), has("classifier")) {
        (false, false) => {
            let hint = "write `rules: [{if: CEL, label: name}]`, or name a `classifier` of the configuration";
            reader.missing(named_at, what, "rules", hint);
        }
        (true, false) if !has("else") => {
            reader.missing(named_at, what, "else", "say what it is where no rule holds: `else: label`");
        }
        (_, true) if has("else") && !has("min_score") => {
            let hint = "a classifier always has a label: say how sure it must be, `min_score: 0.8`, or take `else` out";
            reader.missing(fields.key_place("else"), what, "min_score", hint);
        }
        _ => {}
    }
    if has("min_score") && !(has("classifier") && has("else")) {
        let field = if has("classifier") { "else" } else { "classifier" };
        let hint = "`min_score` is how sure a `classifier` must be; where it is not, the label is `else`";
        reader.missing(fields.key_place("min_score"), what, field, hint);
    }
    let mut text = |field: &str| fields.get(field).and_then(|node| reader.text(node, &of(field)));
    let (classifier, otherwise) = (text("classifier"), text("else"));
    ClassifyNode {
        text: fields.get("text").and_then(|node| reader.cel(node, &of("text"))),
        rules,
        classifier,
        min_score: fields.get("min_score").and_then(|node| reader.number(node, &of("min_score"), 0.0..=1.0)),
        otherwise,
    }
}

fn rule(reader: &mut Reader, node: &Node, path: &str) -> Option<LabelRule> {
    let fields = reader.fields(node, "a rule", &["if", "label"])?;
    for field in ["if", "label"] {
        if fields.get(field).is_none() {
            reader.missing(node.place, "a rule", field, "write `{if: CEL, label: name}`");
        }
    }
    let (condition, label) = (fields.get("if")?, fields.get("label")?);
    reader.mark(format!("{path}/if"), condition);
    Some(LabelRule { condition: reader.cel(condition, "`if`")?, label: reader.text(label, "`label` of a rule")? })
}

pub(super) fn http(
    reader: &mut Reader,
    fields: &Fields<'_>,
    what: &str,
    named_at: Place,
    path: &str,
) -> Option<HttpNode> {
    let HttpCall { url, headers } = reader.call(fields, what, named_at, path)?;
    let of = |field: &str| format!("`{field}` of {what}");
    let stream = fields.get("stream").and_then(|node| reader.boolean(node, &of("stream"))).unwrap_or_default();
    Some(HttpNode { url, headers, stream })
}

pub(super) fn rust(reader: &mut Reader, fields: &Fields<'_>, what: &str, named_at: Place) -> Option<RustNode> {
    let Some(name) = fields.get("name") else {
        reader.missing(named_at, what, "name", "name the type that is registered in the binary");
        return None;
    };
    let type_name = reader.text(name, &format!("`name` of {what}"))?;
    Some(RustNode { type_name, settings: fields.get("settings").map(reader::json).unwrap_or_default() })
}

pub(super) fn human(reader: &mut Reader, fields: &Fields<'_>, what: &str, named_at: Place) -> Option<HumanNode> {
    let of = |field: &str| format!("`{field}` of {what}");
    let Some(question) = fields.get("question") else {
        reader.missing(named_at, what, "question", "say what is asked: `question: \"Refund {{ amount }}?\"`");
        return None;
    };
    let answer = fields.get("answer").and_then(|node| match &node.value {
        // A person may answer with a plain value.
        Yaml::Text(_) => schema::one(reader, node, &of("answer")),
        _ => schema::object(reader, node, &of("answer")),
    });
    Some(HumanNode { question: reader.text(question, &of("question"))?, answer })
}

pub(super) fn subgraph(
    reader: &mut Reader,
    fields: &Fields<'_>,
    what: &str,
    name: &str,
    named_at: Place,
) -> Option<SubgraphNode> {
    let words = [("none", Memory::None), ("call", Memory::Call), ("thread", Memory::Thread)];
    let memory = fields.get("memory").and_then(|node| reader.word(node, &format!("`memory` of {what}"), &words));
    let Some(node) = fields.get("graph") else {
        reader.missing(named_at, what, "graph", "write the graph here, or name one: `graph: name@version`");
        return None;
    };
    let (graph, hash) = match &node.value {
        Yaml::Text(reference) => named(reader, node, reference)?,
        _ => graph::inline(reader, node, name)?,
    };
    Some(SubgraphNode { hash, graph, memory: memory.unwrap_or_default() })
}

/// `name@version`, where the version is a graph's hash.
fn named(reader: &mut Reader, node: &Node, reference: &str) -> Option<(String, String)> {
    let version = |hash: &str| hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    match reference.split_once('@') {
        Some((name, hash)) if !name.is_empty() && version(hash) => Some((name.to_owned(), hash.to_ascii_lowercase())),
        _ => {
            let message = format!("`{reference}` names no version of a graph");
            let hint = "write name@version with the version's 32 hex digits (`graph check` shows a file's), or \
                        put the graph itself here";
            reader.report(Diagnostic::error(Code::BadGraphReference, node.place, message).hint(hint));
            None
        }
    }
}

/// Of a graph's hash.
const HASH_DIGITS: usize = 32;
