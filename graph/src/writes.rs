//! What a task wrote, held once by all who need it.

use std::{borrow::Cow, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Once(Map<String, Value>),
            Often(Vec<Map<String, Value>>),
        }
        let objects = match Written::deserialize(from)? {
            Written::Once(object) => vec![object],
            Written::Often(objects) => objects,
        };
        let writes = objects.into_iter().flatten().map(|(name, value)| (Arc::from(name), Arc::new(value)));
        Ok(NodeUpdate(Arc::new(writes.collect())))
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
