//! `state`: channels, each a type and a reducer.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Code, Diagnostic, Place,
    diagnostic::nearest,
    places::UNREADABLE_CHANNELS,
    reader::{self, Reader},
    schema::{self, TYPES},
    tree::{Node, Yaml},
};
use crate::spec::{ChannelSpec, Reducer};

pub(super) const REDUCERS: [&str; 11] =
    ["last", "any", "ephemeral", "untracked", "append", "sum", "max", "min", "merge", "messages", "topic"];

/// The type of a list of chat messages, and the reducer that goes with it.
const MESSAGES: &str = "messages";

pub(super) fn read(reader: &mut Reader, node: &Node) -> BTreeMap<String, ChannelSpec> {
    let mut channels = BTreeMap::new();
    let Some(fields) = reader.map(node, "`state`") else {
        reader.mark(UNREADABLE_CHANNELS, node);
        return channels;
    };
    for (key, value) in fields {
        let path = format!("channels/{}", key.name);
        reader.places.insert(path.clone(), key.place, super::places::Style::Plain);
        if let Some(channel) = channel(reader, value, &key.name, &path) {
            channels.insert(key.name.clone(), channel);
        }
    }
    channels
}

fn channel(reader: &mut Reader, node: &Node, name: &str, path: &str) -> Option<ChannelSpec> {
    let what = format!("channel `{name}`");
    match &node.value {
        Yaml::Text(text) if text == MESSAGES => Some(messages(None)),
        Yaml::Text(text) if !TYPES.contains(&text.as_str()) && nearest_is_messages(text) => {
            let message = format!("`{text}` is no type, in {what}");
            let hint = "did you mean `messages`?";
            reader.report(Diagnostic::error(Code::BadSchema, node.place, message).hint(hint));
            None
        }
        Yaml::Map(_) => mapping(reader, node, &what, path),
        // A type is not needed: such a channel takes anything.
        Yaml::Null => Some(ChannelSpec::default()),
        _ => schema::one(reader, node, &what)
            .map(|schema| ChannelSpec { schema: Some(schema), ..ChannelSpec::default() }),
    }
}

fn mapping(reader: &mut Reader, node: &Node, what: &str, path: &str) -> Option<ChannelSpec> {
    let Yaml::Map(fields) = &node.value else { return None };
    let get = |name: &str| fields.iter().find(|(key, _)| key.name == name).map(|(_, value)| value);
    let default = get("default").map(reader::json);
    for part in ["default", "reducer", "type"] {
        if let Some(value) = get(part) {
            reader.mark(format!("{path}/{part}"), value);
        }
    }
    let reducer = match get("reducer") {
        Some(node) => Some(reducer(reader, node, what, path)?),
        None => None,
    };
    if let Some(Yaml::Text(text)) = get("type").map(|node| &node.value)
        && text == MESSAGES
    {
        let place = |name: &str| get(name).map_or(Place::START, |node| node.place);
        if reducer.as_ref().is_some_and(|reducer| *reducer != Reducer::Messages) {
            let message = format!("{what} is of type messages, which takes the reducer `messages`");
            let hint = "leave `reducer` out, or write `type: array`";
            reader.report(Diagnostic::error(Code::ReducerType, place("reducer"), message).hint(hint));
        }
        reader.fields(node, &format!("{what} of type messages"), &["type", "reducer", "default", "description"])?;
        return Some(messages(default));
    }
    let mut schema = schema::rest(reader, node, what, &["default", "reducer"])?;
    schema.remove("description");
    let schema = match schema.is_empty() {
        true => None,
        false => Some(schema::valid(reader, node, what, Value::Object(schema))?),
    };
    Some(ChannelSpec { schema, reducer: reducer.unwrap_or_default(), default })
}

fn messages(default: Option<Value>) -> ChannelSpec {
    ChannelSpec { schema: Some(json!({"type": "array"})), reducer: Reducer::Messages, default }
}

fn reducer(reader: &mut Reader, node: &Node, what: &str, path: &str) -> Option<Reducer> {
    let what = format!("the reducer of {what}");
    if let Yaml::Map(_) = &node.value {
        return own_reducer(reader, node, &what, path);
    }
    let name = reader.text(node, &what)?;
    match name.as_str() {
        "last" => Some(Reducer::Last),
        "any" => Some(Reducer::Any),
        "ephemeral" => Some(Reducer::Ephemeral),
        "untracked" => Some(Reducer::Untracked),
        "append" => Some(Reducer::Append),
        "sum" => Some(Reducer::Sum),
        "max" => Some(Reducer::Max),
        "min" => Some(Reducer::Min),
        "merge" => Some(Reducer::Merge),
        "messages" => Some(Reducer::Messages),
        "topic" => Some(Reducer::Topic),
        _ => {
            reader.unknown_value(node.place, &what, &name, &REDUCERS);
            None
        }
    }
}

/// `{cel: ...}` over `left` and `right`, `{rust: name}`, or `{http: {url, headers}}`.
fn own_reducer(reader: &mut Reader, node: &Node, what: &str, path: &str) -> Option<Reducer> {
    let fields = reader.fields(node, what, &["cel", "rust", "http"])?;
    let forms: Vec<&str> = fields.names().map(|key| key.name.as_str()).collect();
    match forms[..] {
        ["cel"] => {
            let text = fields.get("cel")?;
            reader.mark(format!("{path}/reducer/cel"), text);
            reader.cel(text, &format!("`cel` of {what}")).map(Reducer::Cel)
        }
        ["http"] => {
            let http = fields.get("http")?;
            let known = reader.fields(http, &format!("`http` of {what}"), &["url", "headers"])?;
            reader.call(&known, what, http.place, &format!("{path}/reducer")).map(Reducer::Http)
        }
        ["rust"] => reader.text(fields.get("rust")?, &format!("`rust` of {what}")).map(Reducer::Rust),
        _ => {
            let hint = "write `{cel: \"left + right\"}`, `{rust: name}` or `{http: {url: ...}}`";
            reader.missing(node.place, what, "cel", hint);
            None
        }
    }
}

fn nearest_is_messages(text: &str) -> bool {
    nearest(text, TYPES.into_iter().chain([MESSAGES])) == Some(MESSAGES)
}
