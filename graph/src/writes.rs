//! What a task wrote, held once by all who need it.

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::graph::Graph;

/// Channel and value in the order written; `{"__overwrite__": v}` bypasses the reducer.
pub type Writes = Vec<(Arc<str>, Arc<Value>)>;

pub(crate) fn nothing(writes: &Arc<Writes>) -> bool {
    writes.is_empty()
}

/// A task's writes to the state as LangGraph's `updates` show them: an object, or a list of objects where a channel was
/// written twice.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeUpdate(Arc<Writes>);

impl NodeUpdate {
    /// None where the state was not written. A subgraph shows its output channels only.
    pub(crate) fn of(graph: &Graph, is_root: bool, writes: &Arc<Writes>) -> Option<Self> {
        let shown =
            |name: &str| graph.channels.get(name).is_some_and(|def| if is_root { def.state } else { def.output });
        if writes.iter().all(|(name, _)| shown(name)) {
            return (!writes.is_empty()).then(|| NodeUpdate(writes.clone()));
        }
        let written: Writes = writes.iter().filter(|(name, _)| shown(name)).cloned().collect();
        (!written.is_empty()).then(|| NodeUpdate(Arc::new(written)))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Arc<Value>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    fn repeats(&self) -> bool {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// The fields of an object; what is none has none.
impl From<&Value> for NodeUpdate {
    fn from(object: &Value) -> Self {
        let fields = object.as_object().into_iter().flatten();
        NodeUpdate(Arc::new(fields.map(|(name, value)| (Arc::from(name.as_str()), Arc::new(value.clone()))).collect()))
    }
}

impl From<&NodeUpdate> for Value {
    fn from(update: &NodeUpdate) -> Self {
        let object = |(name, value): (&str, &Arc<Value>)| (name.to_owned(), Value::clone(value));
        match update.repeats() {
            true => update.iter().map(|write| Value::Object(Map::from_iter([object(write)]))).collect(),
            false => Value::Object(update.iter().map(object).collect()),
        }
    }
}

impl Serialize for NodeUpdate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.repeats() {
            true => to.collect_seq(self.iter().map(|(name, value)| One(name, value))),
            false => to.collect_map(self.iter()),
        }
    }
}

struct One<'a>(&'a str, &'a Value);

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map([(self.0, self.1)])
    }
}

impl<'de> Deserialize<'de> for NodeUpdate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(NodeUpdate(Arc::new(from.deserialize_any(Shown)?)))
    }
}

/// An object, or a list of objects.
struct Shown;

impl<'de> Visitor<'de> for Shown {
    type Value = Writes;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object of channels and values, or a list of such objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Writes, A::Error> {
        let mut writes = Writes::new();
        while let Some(write) = fields.next_entry()? {
            writes.push(write);
        }
        Ok(writes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<Writes, A::Error> {
        let mut writes = Writes::new();
        while let Some(NodeUpdate(object)) = objects.next_element()? {
            writes.extend(Arc::unwrap_or_clone(object));
        }
        Ok(writes)
    }
}

impl JsonSchema for NodeUpdate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Value::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Value::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_channel_that_was_written_twice_makes_a_list() {
        for shown in [json!({}), json!({"b": 1, "a": null}), json!([{"a": 1}, {"b": [2]}, {"a": 3}])] {
            let update: NodeUpdate = serde_json::from_value(shown.clone()).unwrap();
            assert_eq!((json!(update), Value::from(&update)), (shown.clone(), shown));
        }
        assert_eq!(json!(NodeUpdate::from(&json!({"a": 1}))), json!({"a": 1}));
    }
}
