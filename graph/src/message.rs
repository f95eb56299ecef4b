//! Chat messages as LangChain's JSON, and LangGraph's `add_messages` over them.
//!
//! OpenAI's `{role, content}` is accepted wherever a message may stand and turned into `{type, content, …}`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::channel::{UpdateError, overwrite};

/// The id of a removal that empties the list.
pub const REMOVE_ALL: &str = "__remove_all__";

/// What a message says: its content, or the text blocks of it.
pub fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => blocks
            .iter()
            .filter_map(|block| block.as_str().or_else(|| block.get("text").and_then(Value::as_str)))
            .collect(),
        Some(_) | None => String::new(),
    }
}

/// One place of the list that an update leaves: a message that stood there before, or a new one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Slot {
    Left(usize),
    New(Value),
}

/// A write to a messages channel with every message in LangChain's form and with an id.
///
/// Ids are given once, where a write enters: `seed` (the task's or the run's id), channel and place make them, so
/// that a repeat gives the same. What is no message stays as it is, for the reducer to refuse.
pub fn with_ids(value: &Arc<Value>, seed: Uuid, channel: &str) -> Arc<Value> {
    if let Some(inner) = overwrite(value) {
        let inner = with_ids(&Arc::new(inner.clone()), seed, channel);
        return Arc::new(json!({"__overwrite__": *inner}));
    }
    let whole = |message: &Value| Face::of(message).is_some_and(|face| face.is_whole() && face.id.is_some());
    let done = match &**value {
        Value::Array(messages) => messages.iter().all(whole),
        Value::Object(_) => whole(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if done {
        return value.clone();
    }
    let Ok(mut messages) = coerce_all(value) else { return value.clone() };
    for (place, message) in messages.iter_mut().enumerate().filter(|(_, message)| id_of(message).is_none()) {
        let place = place.to_string();
        give_id(message, xxh3_128(&[seed.as_bytes(), channel.as_bytes(), place.as_bytes()].concat()));
    }
    Arc::new(Value::Array(messages))
}

/// `add_messages(left, right)` for each write in turn, as the places of the list that results.
pub(crate) fn add_messages(left: &Value, writes: &[&Arc<Value>]) -> Result<Vec<Slot>, UpdateError> {
    let mut list = Messages::new(left)?;
    for write in writes {
        list.add(coerce_all(write)?)?;
    }
    Ok(list.slots)
}

/// Lays out `slots` in place of the list that they were planned for.
pub(crate) fn fill(list: &mut Arc<Value>, slots: Vec<Slot>) {
    let Some(value) = Arc::get_mut(list) else {
        // Others hold the list that was: only what stays of it is copied.
        let before = list.as_array().map_or(std::slice::from_ref(&**list), Vec::as_slice);
        let after = slots.into_iter().map(|slot| match slot {
            Slot::Left(place) => before[place].clone(),
            Slot::New(message) => message,
        });
        *list = Arc::new(Value::Array(after.collect()));
        return;
    };
    let mut before = match value.take() {
        Value::Array(messages) => messages,
        single => vec![single],
    };
    let grown = slots.iter().take(before.len()).enumerate().all(|(place, slot)| *slot == Slot::Left(place));
    if grown && slots.len() >= before.len() {
        let kept = before.len();
        before.extend(slots.into_iter().skip(kept).filter_map(|slot| match slot {
            Slot::New(message) => Some(message),
            Slot::Left(_) => None,
        }));
        *value = Value::Array(before);
        return;
    }
    let after = slots.into_iter().map(|slot| match slot {
        Slot::Left(place) => before[place].take(),
        Slot::New(message) => message,
    });
    *value = Value::Array(after.collect());
}

/// How many messages are looked for one by one, before it is worth to know where each id stands.
const LOOKED_FOR: usize = 4;

/// The list being made: slots, and where each id stands.
#[derive(Default)]
struct Messages<'a> {
    slots: Vec<Slot>,
    ids: Vec<Cow<'a, str>>,
    /// How many were looked for.
    lookups: usize,
    /// The last place of each id, of the first so many.
    places: BTreeMap<Cow<'a, str>, usize>,
    placed: usize,
}

impl<'a> Messages<'a> {
    fn new(left: &'a Value) -> Result<Self, UpdateError> {
        let single = std::slice::from_ref(left);
        let messages = left.as_array().map_or(single, Vec::as_slice);
        let mut list = Messages::with_capacity(messages.len() + 1);
        for (place, message) in messages.iter().enumerate() {
            match Face::of(message).filter(Face::is_whole).and_then(|face| face.id) {
                Some(id) => list.push(Slot::Left(place), Cow::Borrowed(id)),
                None => {
                    let mut message = coerce(message)?;
                    let id = place_id(&mut message, place);
                    list.push(Slot::New(message), Cow::Owned(id));
                }
            }
        }
        Ok(list)
    }

    fn with_capacity(count: usize) -> Self {
        Messages { slots: Vec::with_capacity(count), ids: Vec::with_capacity(count), ..Messages::default() }
    }

    fn push(&mut self, slot: Slot, id: Cow<'a, str>) {
        self.slots.push(slot);
        self.ids.push(id);
    }

    /// The last place of an id.
    fn place(&mut self, id: &str) -> Option<usize> {
        self.lookups += 1;
        if self.lookups <= LOOKED_FOR {
            return self.ids.iter().rposition(|known| *known == id);
        }
        for place in self.placed..self.ids.len() {
            self.places.insert(self.ids[place].clone(), place);
        }
        self.placed = self.ids.len();
        self.places.get(id).copied()
    }

    fn add(&mut self, right: Vec<Value>) -> Result<(), UpdateError> {
        let known = self.slots.len();
        let mut right: Vec<Named> = (known..).zip(right).map(|(place, message)| Named::of(message, place)).collect();
        if let Some(marker) = right.iter().rposition(|named| named.removes && named.id == REMOVE_ALL) {
            *self = Messages::default();
            // What follows the marker stands as it is, a removal too.
            for named in right.drain(marker + 1..) {
                self.push(Slot::New(named.message), Cow::Owned(named.id));
            }
            return Ok(());
        }
        let mut removed = BTreeSet::new();
        for Named { id, removes, message } in right {
            match (self.place(&id), removes) {
                (Some(_), true) => {
                    removed.insert(id);
                }
                (Some(place), false) => {
                    removed.remove(&id);
                    self.slots[place] = Slot::New(message);
                }
                (None, true) => {
                    let message = format!("Attempting to delete a message with an ID that doesn't exist ('{id}')");
                    return Err(UpdateError::value(message));
                }
                (None, false) => self.push(Slot::New(message), Cow::Owned(id)),
            }
        }
        if !removed.is_empty() {
            self.remove(&removed);
        }
        Ok(())
    }

    fn remove(&mut self, removed: &BTreeSet<String>) {
        let Messages { slots, ids, .. } = std::mem::take(self);
        for (slot, id) in slots.into_iter().zip(ids) {
            if !removed.contains(&*id) {
                self.push(slot, id);
            }
        }
    }
}

/// One message, or a list of them.
fn coerce_all(value: &Value) -> Result<Vec<Value>, UpdateError> {
    match value {
        Value::Array(messages) => messages.iter().map(coerce).collect(),
        Value::Null => Err(UpdateError::value(
            "Must specify non-null arguments for both 'left' and 'right'. Only received: 'left'.",
        )),
        single => Ok(vec![coerce(single)?]),
    }
}

/// One message in LangChain's form.
pub fn coerce(message: &Value) -> Result<Value, UpdateError> {
    match message {
        message if is_whole(message) => Ok(message.clone()),
        Value::String(text) => Ok(json!({"type": "human", "content": text})),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(role), content] => {
                from_fields(role, Map::from_iter([("content".to_owned(), content.clone())]))
            }
            _ => Err(failure("a list that is no (role, content) pair")),
        },
        Value::Object(fields) => {
            let mut fields = fields.clone();
            let role = fields.remove("role").or_else(|| fields.remove("type"));
            match role {
                Some(Value::String(role)) => from_fields(&role, fields),
                _ => Err(failure("an object without 'role' or 'type'")),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Err(UpdateError { kind: "NotImplementedError", message: format!("Unsupported message type: {message}") })
        }
    }
}

fn from_fields(role: &str, mut fields: Map<String, Value>) -> Result<Value, UpdateError> {
    let Some(name) = type_of(role) else {
        return Err(failure(&format!("the role '{role}'; use one of human, ai, system, tool, function, remove")));
    };
    fields.insert("type".to_owned(), json!(name));
    match fields.get("content") {
        Some(Value::Null) => {
            fields.insert("content".to_owned(), json!(""));
        }
        None if name != "remove" => return Err(failure("an object without 'content'")),
        Some(_) | None => {}
    }
    if let Some(calls) = fields.get_mut("tool_calls") {
        from_openai_calls(calls);
    }
    Ok(Value::Object(fields))
}

/// OpenAI's `{id, type, function: {name, arguments}}` becomes `{id, name, args, type}`; arguments that are no JSON
/// stay beside it as text.
fn from_openai_calls(calls: &mut Value) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(function) = call.get_mut("function").map(Value::take) else { continue };
        let arguments = function.get("arguments").cloned().unwrap_or_default();
        let args = match &arguments {
            Value::String(text) if text.is_empty() => json!({}),
            Value::String(text) => serde_json::from_str(text).unwrap_or(arguments),
            _ => arguments,
        };
        let id = call.get("id").cloned().unwrap_or_default();
        *call = json!({"id": id, "name": function.get("name"), "args": args, "type": "tool_call"});
    }
}

fn type_of(role: &str) -> Option<&'static str> {
    Some(match role {
        "human" | "user" | "HumanMessageChunk" => "human",
        "ai" | "assistant" | "AIMessageChunk" => "ai",
        "system" | "developer" | "SystemMessageChunk" => "system",
        "tool" | "ToolMessageChunk" => "tool",
        "function" | "FunctionMessageChunk" => "function",
        "remove" => "remove",
        _ => return None,
    })
}

/// What tells a message apart, read in one pass.
#[derive(Default)]
struct Face<'a> {
    kind: Option<&'a str>,
    id: Option<&'a str>,
    has_role: bool,
    has_content: bool,
}

impl<'a> Face<'a> {
    fn of(message: &'a Value) -> Option<Self> {
        let mut face = Face::default();
        for (name, value) in message.as_object()? {
            match name.as_str() {
                "type" => face.kind = value.as_str(),
                "id" => face.id = value.as_str(),
                "role" => face.has_role = true,
                "content" => face.has_content = !value.is_null(),
                _ => {}
            }
        }
        Some(face)
    }

    /// In LangChain's form.
    fn is_whole(&self) -> bool {
        let known = match self.kind {
            Some("human" | "ai" | "system" | "tool" | "function") => self.has_content,
            Some(name) => name == "remove",
            None => false,
        };
        known && !self.has_role
    }
}

fn is_whole(message: &Value) -> bool {
    Face::of(message).is_some_and(|face| face.is_whole())
}

/// A message that comes in, with what it does to the list.
struct Named {
    id: String,
    /// It takes the message of its id away.
    removes: bool,
    message: Value,
}

impl Named {
    fn of(mut message: Value, place: usize) -> Self {
        let face = Face::of(&message).unwrap_or_default();
        let (removes, id) = (face.kind == Some("remove"), face.id.map(str::to_owned));
        Named { id: id.unwrap_or_else(|| place_id(&mut message, place)), removes, message }
    }
}

/// A message that came in without an id gets one from its words and its place.
fn place_id(message: &mut Value, place: usize) -> String {
    if let Some(id) = id_of(message) {
        return id.to_owned();
    }
    let words = message.to_string();
    give_id(message, xxh3_128(format!("{place} {words}").as_bytes()))
}

fn id_of(message: &Value) -> Option<&str> {
    Face::of(message)?.id
}

fn give_id(message: &mut Value, bits: u128) -> String {
    let id = uuid::Builder::from_custom_bytes(bits.to_be_bytes()).into_uuid().to_string();
    if let Value::Object(fields) = message {
        fields.insert("id".to_owned(), json!(id));
    }
    id
}

fn failure(what: &str) -> UpdateError {
    UpdateError::value(format!("can't make a message of {what} (MESSAGE_COERCION_FAILURE)"))
}

#[cfg(test)]
mod tests;
