//! The graphs that new runs may name, ready to check a request against. Read on every request, so without a lock.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use graph::{
    envelope::Millis,
    spec::{GraphSpec, NodeKind, OnBudget, Reducer, Speaks},
};
use jsonschema::Validator;
use run_store::rows::SpecRow;
use schemas::http::assistant_id;
use serde_json::Value;
use uuid::Uuid;

/// The channel that a chat speaks through, where a graph has several of messages.
const MESSAGES: &str = "messages";

/// The current version of a graph.
pub(crate) struct Graph {
    pub name: String,
    pub hash: String,
    pub spec: GraphSpec,
    pub created_at: Millis,
    /// Channels that a request may write.
    pub inputs: BTreeMap<String, Channel>,
    pub context: BTreeMap<String, Property>,
    /// The channel that `as: chat` appends to.
    pub chat: Option<String>,
    /// A run of it may end by asking, so that it needs a thread to go on in.
    pub can_ask: bool,
    /// The id of the assistant that LangGraph's clients see in the graph's place.
    pub assistant_id: Uuid,
}

pub(crate) struct Channel {
    pub property: Property,
    pub holds_messages: bool,
}

/// A value with its schema, compiled.
pub(crate) struct Property {
    pub validator: Option<Validator>,
    pub default: Option<Value>,
}

impl Property {
    /// A schema that doesn't compile checks nothing: the graph was accepted with it.
    fn new(schema: Option<&Value>) -> Self {
        let validator = schema.and_then(|schema| jsonschema::validator_for(schema).ok());
        Property { validator, default: schema.and_then(|schema| schema.get("default")).cloned() }
    }
}

impl Graph {
    /// None where the bytes are of a version that this binary can't read.
    pub fn read(row: &SpecRow) -> Option<Self> {
        match serde_json::from_slice::<GraphSpec>(&row.spec) {
            Ok(spec) => Some(Graph::new(spec, row.hash.clone(), row.created_at)),
            Err(error) => {
                tracing::error!(graph = row.name, hash = row.hash, %error, "a stored graph can't be read and is left out");
                None
            }
        }
    }

    pub fn new(spec: GraphSpec, hash: String, created_at: Millis) -> Self {
        let channel = |name: &str| {
            let channel = spec.channels.get(name)?;
            let holds_messages = channel.reducer == Reducer::Messages;
            Some((name.to_owned(), Channel { property: Property::new(channel.schema.as_ref()), holds_messages }))
        };
        let inputs: BTreeMap<String, Channel> = spec.input_channels().into_iter().filter_map(channel).collect();
        let mut chats = inputs.iter().filter(|(_, channel)| channel.holds_messages).map(|(name, _)| name.as_str());
        let chat = if inputs.get(MESSAGES).is_some_and(|channel| channel.holds_messages) {
            Some(MESSAGES)
        } else {
            chats.next()
        };
        Graph {
            chat: chat.map(str::to_owned),
            context: spec.context.iter().map(|(name, schema)| (name.clone(), Property::new(Some(schema)))).collect(),
            // A service or a node of the user's own may ask, and so may what a subgraph holds.
            can_ask: spec.nodes.iter().any(|node| {
                matches!(node.kind, NodeKind::Human(_) | NodeKind::Http(_) | NodeKind::Rust(_) | NodeKind::Subgraph(_))
            }) || spec.limits.on_budget == OnBudget::Pause
                || !spec.interrupt_before.is_empty()
                || !spec.interrupt_after.is_empty(),
            assistant_id: assistant_id(&spec.name),
            name: spec.name.clone(),
            inputs,
            hash,
            spec,
            created_at,
        }
    }
}

/// All current versions, swapped whole when one changes.
#[derive(Default)]
pub(crate) struct Published(ArcSwap<Table>);

#[derive(Clone, Default)]
struct Table {
    /// The store was read: what is not here doesn't exist.
    loaded: bool,
    by_name: BTreeMap<String, Arc<Graph>>,
    by_path: BTreeMap<String, (Speaks, Arc<Graph>)>,
    by_assistant: BTreeMap<Uuid, Arc<Graph>>,
}

impl Published {
    pub fn get(&self, name: &str) -> Option<Arc<Graph>> {
        self.0.load().by_name.get(name).cloned()
    }

    /// The graph that binds the path, and how it speaks there.
    pub fn at_path(&self, path: &str) -> Option<(Speaks, Arc<Graph>)> {
        self.0.load().by_path.get(path).cloned()
    }

    /// By the graph's name or the assistant's id.
    pub fn assistant(&self, id: &str) -> Option<Arc<Graph>> {
        let table = self.0.load();
        table.by_name.get(id).or_else(|| table.by_assistant.get(&Uuid::parse_str(id).ok()?)).cloned()
    }

    /// By name.
    pub fn all(&self) -> Vec<Arc<Graph>> {
        self.0.load().by_name.values().cloned().collect()
    }

    pub fn is_loaded(&self) -> bool {
        self.0.load().loaded
    }

    /// Takes a version in place of the graph's former one.
    pub fn put(&self, graph: Arc<Graph>) {
        self.0.rcu(|table| {
            let mut table = Table::clone(table);
            table.put(Arc::clone(&graph));
            table
        });
    }

    /// Takes what the store holds. A version that is known already keeps its compiled schemas.
    pub fn load(&self, rows: &[SpecRow]) {
        let known = self.0.load_full();
        let mut table = Table { loaded: true, ..Table::default() };
        for row in rows {
            let same = known.by_name.get(&row.name).filter(|graph| graph.hash == row.hash).cloned();
            if let Some(graph) = same.or_else(|| Graph::read(row).map(Arc::new)) {
                table.put(graph);
            }
        }
        self.0.store(Arc::new(table));
    }
}

impl Table {
    fn put(&mut self, graph: Arc<Graph>) {
        self.by_path.retain(|_, (_, bound)| bound.name != graph.name);
        if let Some(serve) = &graph.spec.serve {
            // Two graphs on one path are refused when published; after a race the first by name keeps it.
            self.by_path.entry(serve.path.clone()).or_insert((serve.speaks, Arc::clone(&graph)));
        }
        self.by_assistant.insert(graph.assistant_id, Arc::clone(&graph));
        self.by_name.insert(graph.name.clone(), graph);
    }
}
