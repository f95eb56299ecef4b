//! A spec made ready to run: edges become channels, so that one rule (a newer trigger) is the whole scheduler.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    branch::Branch,
    by_name::ByName,
    channel::{Fold, Kind, Own},
    envelope::GraphRef,
    expression::Expression,
    mapping::Mapping,
    reads::{Reads, channels_read},
    reducers::Reducers,
    spec::{ChannelSpec, END, EdgeSpec, GraphSpec, Limits, Memory, NodeKind, Reducer, START, SubgraphNode},
};

/// The channel that new input is written to, and the hidden node that it triggers.
pub const START_NODE: &str = "__start__";
/// The channel that queues Sends for the next superstep; also the trigger of a pushed task.
pub const SENDS: &str = "__pregel_tasks";

/// Supersteps that a run may take where neither request nor graph says.
pub const DEFAULT_RECURSION_LIMIT: u32 = 10_007;

/// Where compiled graphs are found by the hash of their spec.
pub trait Graphs {
    fn graph(&self, hash: &str) -> Option<Arc<Graph>>;
}

/// One version of a graph, compiled.
#[derive(Debug)]
pub struct Graph {
    spec: GraphSpec,
    hash: String,
    pub(crate) channels: ByName<ChannelDef>,
    /// By name: the order in which pulled tasks are prepared and applied.
    pub(crate) nodes: BTreeMap<Arc<str>, Node>,
    subgraphs: Vec<Arc<GraphRef>>,
    pub(crate) places: Places,
    asks_reducers: bool,
}

/// Where channels of a kind stand among the graph's, in their order.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Declared by the spec.
    pub state: Vec<usize>,
    /// Those that are stored.
    pub tracked: Vec<usize>,
    pub untracked: Vec<usize>,
    pub output: Vec<usize>,
    pub messages: Vec<usize>,
    pub living_one_step: Vec<usize>,
    pub waiting_for_the_rest: Vec<usize>,
    pub sends: usize,
}

/// A node with all that it reads and writes beside its own settings.
#[derive(Debug)]
pub(crate) struct Node {
    pub name: Arc<str>,
    /// Place in the spec: the order of snapshots. The hidden start node comes first.
    pub order: usize,
    /// The channel whose write makes it run, and its place.
    pub branch: Arc<str>,
    pub branch_place: usize,
    /// Sorted: its branch channel and its joins.
    pub triggers: Arc<[Arc<str>]>,
    /// Where each of them stands among the graph's channels.
    pub trigger_places: Vec<usize>,
    /// Control channels that its plain edges write, and their places.
    pub edges: Vec<Arc<str>>,
    pub edge_places: Vec<usize>,
    /// Its conditional edges, in the order of the spec.
    pub branches: Vec<Branch>,
    /// What its tasks carry.
    pub reads: Reads,
    /// Where the channels of the state stand that it reads.
    pub read_places: Vec<usize>,
    /// The graph that the node is.
    pub subgraph: Option<Subgraph>,
    /// The node that handles its failures.
    pub on_error: Option<Arc<str>>,
}

/// A node that is a graph.
#[derive(Debug)]
pub(crate) struct Subgraph {
    pub graph: Arc<GraphRef>,
    pub memory: Memory,
    /// What it is given; the channels that both have where None.
    pub input: Option<Mapping>,
    /// What its node writes when it ends, over `out`; the channels that both have where None.
    pub output: Option<Mapping>,
}

/// What a channel is; its content lives in the checkpoint.
#[derive(Debug)]
pub(crate) struct ChannelDef {
    pub kind: Kind,
    /// The content before any write.
    pub start: Option<Arc<Value>>,
    /// Declared by the spec, and not made for an edge.
    pub state: bool,
    pub input: bool,
    pub output: bool,
    pub trigger: bool,
}

/// Why a spec can't be run.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GraphError {
    #[error("edge from {from:?} to {to:?} names a node that the graph doesn't have")]
    UnknownNode { from: String, to: String },
    #[error("channel {channel:?}: {message}")]
    OwnReducer { channel: String, message: String },
    #[error("node {node:?}: {message}")]
    Mapping { node: String, message: String },
    #[error("edge from {from:?}: {message}")]
    Condition { from: String, message: String },
}

impl Graph {
    /// Without reducers of a binary's own.
    pub fn new(spec: GraphSpec) -> Result<Self, GraphError> {
        Graph::with_reducers(spec, &Reducers::default())
    }

    pub fn with_reducers(spec: GraphSpec, reducers: &Reducers) -> Result<Self, GraphError> {
        let hash = spec.hash();
        let mut graph = Graph {
            hash,
            channels: state_channels(&spec, reducers)?,
            nodes: BTreeMap::new(),
            subgraphs: Vec::new(),
            places: Places::default(),
            asks_reducers: false,
            spec: GraphSpec::default(),
        };
        graph.add_nodes(&spec);
        for edge in &spec.edges {
            graph.add_edge(edge)?;
        }
        for node in &spec.nodes {
            if let Some(compiled) = graph.nodes.get_mut(node.name.as_str()) {
                compiled.reads = channels_read(&spec, node);
                compiled.on_error = node.on_error.as_deref().map(Arc::from);
                if let NodeKind::Subgraph(SubgraphNode { hash, graph, memory }) = &node.kind {
                    let graph = Arc::new(GraphRef { name: graph.clone(), hash: hash.clone() });
                    let mapping = |mapping: &Option<BTreeMap<String, String>>| {
                        let mapping = mapping.as_ref().map(Mapping::compile).transpose();
                        mapping.map_err(|message| GraphError::Mapping { node: node.name.clone(), message })
                    };
                    let (input, output) = (mapping(&node.input)?, mapping(&node.update)?);
                    compiled.subgraph = Some(Subgraph { graph, memory: *memory, input, output });
                }
            }
        }
        graph.look_up();
        graph.spec = spec;
        Ok(graph)
    }

    pub fn spec(&self) -> &GraphSpec {
        &self.spec
    }

    /// The hash of the spec, computed once.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn limits(&self) -> &Limits {
        &self.spec.limits
    }

    /// Whether the graph has a node of this name that a task can be issued for.
    pub fn has_node(&self, name: &str) -> bool {
        name != START_NODE && self.nodes.contains_key(name)
    }

    /// The graphs that its nodes are.
    pub fn subgraphs(&self) -> impl Iterator<Item = &GraphRef> {
        self.subgraphs.iter().map(|graph| &**graph)
    }

    /// Finds out once what every event asks.
    fn look_up(&mut self) {
        let inner = |node: &Node| node.subgraph.as_ref().map(|subgraph| subgraph.graph.clone());
        self.subgraphs = self.nodes.values().filter_map(inner).collect();
        self.asks_reducers = self.channels.values().any(|def| def.kind == Kind::Own(Own::Http));
        let places = |wanted: &dyn Fn(&str, &ChannelDef) -> bool| {
            let places = self.channels.iter().enumerate().filter(|(_, (name, def))| wanted(name, def));
            places.map(|(place, _)| place).collect()
        };
        self.places = Places {
            state: places(&|_, def| def.state),
            tracked: places(&|_, def| def.state && def.kind != Kind::Untracked),
            untracked: places(&|_, def| def.state && def.kind == Kind::Untracked),
            output: places(&|_, def| def.state && def.output),
            messages: places(&|_, def| def.state && def.kind.holds_messages()),
            living_one_step: places(&|_, def| def.kind.lives_one_step()),
            waiting_for_the_rest: places(&|_, def| def.kind.waits_for_the_rest()),
            sends: self.channels.place(SENDS).unwrap_or_default(),
        };
        for node in self.nodes.values_mut() {
            let place = |channel: &Arc<str>| self.channels.place(channel).unwrap_or_default();
            node.trigger_places = node.triggers.iter().map(place).collect();
            node.edge_places = node.edges.iter().map(place).collect();
            node.branch_place = self.channels.place(&node.branch).unwrap_or_default();
            node.read_places = places(&|name, def| def.state && node.reads.contains(name));
        }
    }

    /// Whether a program joins the writes of some channel.
    pub(crate) fn asks_reducers(&self) -> bool {
        self.asks_reducers
    }

    pub(crate) fn has_untracked(&self) -> bool {
        !self.places.untracked.is_empty()
    }

    /// Whether the channel of that name holds chat messages.
    pub(crate) fn holds_messages(&self, name: &str) -> bool {
        self.places.messages.iter().any(|&place| **self.channels.nth(place).0 == *name)
    }

    fn add_nodes(&mut self, spec: &GraphSpec) {
        let start = Arc::from(START_NODE);
        self.control(&start, Kind::Ephemeral { guard: true });
        self.control(&Arc::from(SENDS), Kind::Sends);
        self.add_node(start.clone(), 0, start);
        for (order, node) in spec.nodes.iter().enumerate() {
            let trigger = branch_channel(&node.name);
            let kind = if node.defer { Kind::AfterFinish } else { Kind::Ephemeral { guard: false } };
            self.control(&trigger, kind);
            self.add_node(Arc::from(node.name.as_str()), order + 1, trigger);
        }
    }

    fn add_node(&mut self, name: Arc<str>, order: usize, trigger: Arc<str>) {
        self.mark_trigger(&trigger);
        let node = Node {
            name: name.clone(),
            order,
            triggers: Arc::from([trigger.clone()]),
            trigger_places: Vec::new(),
            branch: trigger,
            branch_place: 0,
            edges: Vec::new(),
            edge_places: Vec::new(),
            branches: Vec::new(),
            reads: Reads::All,
            read_places: Vec::new(),
            subgraph: None,
            on_error: None,
        };
        self.nodes.insert(name, node);
    }

    fn control(&mut self, name: &Arc<str>, kind: Kind) {
        let def = ChannelDef { kind, start: None, state: false, input: false, output: false, trigger: false };
        self.channels.insert(name.clone(), def);
    }

    fn mark_trigger(&mut self, channel: &str) {
        if let Some(def) = self.channels.get_mut(channel) {
            def.trigger = true;
        }
    }

    fn add_edge(&mut self, edge: &EdgeSpec) -> Result<(), GraphError> {
        match edge {
            EdgeSpec::Plain { from, to } => self.add_plain(from, to),
            EdgeSpec::When { from, cases } => {
                let branch = Branch::when(cases).map_err(|message| condition(from, message))?;
                self.add_branch(from, branch)
            }
            EdgeSpec::Every { from, cases } => {
                let branch = Branch::every(cases).map_err(|message| condition(from, message))?;
                self.add_branch(from, branch)
            }
            EdgeSpec::Send { from, send } => {
                let branch = Branch::send(send).map_err(|message| condition(from, message))?;
                self.add_branch(from, branch)
            }
            EdgeSpec::Decide { from, decide, to } => self.add_branch(from, Branch::asking(decide, to.as_ref())),
        }
    }

    fn add_plain(&mut self, from: &[String], to: &str) -> Result<(), GraphError> {
        if to == END {
            return Ok(());
        }
        let unknown = || GraphError::UnknownNode { from: from.join(" & "), to: to.to_owned() };
        let Some(target) = self.nodes.get(to) else { return Err(unknown()) };
        let channel = match from {
            [_] => branch_channel(to),
            _ => {
                let channel: Arc<str> = Arc::from(format!("join:{}:{to}", from.join("+")));
                let names: BTreeSet<Arc<str>> = from.iter().map(|name| Arc::from(inner_name(name))).collect();
                let deferred = self.channels.get(&target.branch).is_some_and(|def| def.kind == Kind::AfterFinish);
                let kind = if deferred { Kind::BarrierAfterFinish(names) } else { Kind::Barrier(names) };
                self.control(&channel, kind);
                self.mark_trigger(&channel);
                let target = self.nodes.get_mut(to).ok_or_else(unknown)?;
                let mut triggers: Vec<Arc<str>> = target.triggers.iter().cloned().chain([channel.clone()]).collect();
                triggers.sort_unstable();
                target.triggers = triggers.into();
                channel
            }
        };
        for name in from {
            self.source(name, to)?.edges.push(channel.clone());
        }
        Ok(())
    }

    fn add_branch(&mut self, from: &str, branch: Branch) -> Result<(), GraphError> {
        let missing = branch.targets().find(|to| *to != END && !self.nodes.contains_key(*to)).map(str::to_owned);
        if let Some(to) = missing {
            return Err(GraphError::UnknownNode { from: from.to_owned(), to });
        }
        self.source(from, "")?.branches.push(branch);
        Ok(())
    }

    fn source(&mut self, from: &str, to: &str) -> Result<&mut Node, GraphError> {
        let name = inner_name(from);
        self.nodes.get_mut(name).ok_or_else(|| GraphError::UnknownNode { from: from.to_owned(), to: to.to_owned() })
    }
}

/// The channel whose write makes `node` run.
pub(crate) fn branch_channel(node: &str) -> Arc<str> {
    Arc::from(format!("branch:to:{node}"))
}

/// The name that a node of the spec has in here.
pub(crate) fn inner_name(node: &str) -> &str {
    if node == START { START_NODE } else { node }
}

fn condition(from: &str, message: String) -> GraphError {
    GraphError::Condition { from: from.to_owned(), message }
}

fn state_channels(spec: &GraphSpec, reducers: &Reducers) -> Result<ByName<ChannelDef>, GraphError> {
    let mut channels = ByName::default();
    for (name, channel) in &spec.channels {
        let listed = |names: &Option<Vec<String>>| names.as_ref().is_none_or(|names| names.contains(name));
        let def = ChannelDef {
            kind: kind_of(name, &channel.reducer, reducers)?,
            start: start_of(channel),
            state: true,
            input: listed(&spec.input),
            output: listed(&spec.output),
            trigger: false,
        };
        channels.insert(Arc::from(name.as_str()), def);
    }
    Ok(channels)
}

fn kind_of(channel: &str, reducer: &Reducer, reducers: &Reducers) -> Result<Kind, GraphError> {
    Ok(match reducer {
        Reducer::Last => Kind::Last,
        Reducer::Any => Kind::Any,
        Reducer::Ephemeral => Kind::Ephemeral { guard: true },
        Reducer::Untracked => Kind::Untracked,
        Reducer::Topic => Kind::Topic,
        Reducer::Append => Kind::Fold(Fold::Append),
        Reducer::Sum => Kind::Fold(Fold::Sum),
        Reducer::Max => Kind::Fold(Fold::Max),
        Reducer::Min => Kind::Fold(Fold::Min),
        Reducer::Merge => Kind::Fold(Fold::Merge),
        Reducer::Messages => Kind::Fold(Fold::Messages),
        Reducer::Cel(text) => match Expression::compile(text) {
            Ok(expression) => Kind::Own(Own::Cel(Arc::new(expression))),
            Err(error) => {
                return Err(GraphError::OwnReducer { channel: channel.to_owned(), message: error.to_string() });
            }
        },
        Reducer::Http(_) => Kind::Own(Own::Http),
        Reducer::Rust(name) => Kind::Own(Own::Rust(reducers.named(name))),
    })
}

/// A reducer starts at its type's empty value; a type that has none (such as integer or null) starts unset.
fn start_of(channel: &ChannelSpec) -> Option<Arc<Value>> {
    if let Some(default) = &channel.default {
        return Some(Arc::new(default.clone()));
    }
    let fold = match &channel.reducer {
        // Its type alone says where it starts.
        Reducer::Cel(_) | Reducer::Rust(_) if channel.schema.is_some() => Fold::Sum,
        Reducer::Cel(_) | Reducer::Rust(_) | Reducer::Http(_) => return None,
        reducer => match kind_of("", reducer, &Reducers::default()).ok()? {
            Kind::Fold(fold) => fold,
            _ => return None,
        },
    };
    let declared = channel.schema.as_ref().and_then(|schema| schema.get("type"));
    let empty = match (declared, fold) {
        (_, Fold::Messages | Fold::Append) => json!([]),
        (_, Fold::Merge) => json!({}),
        (None, Fold::Sum | Fold::Max | Fold::Min) => json!(0),
        (Some(Value::String(name)), _) => match name.as_str() {
            "integer" => json!(0),
            "number" => json!(0.0),
            "string" => json!(""),
            "array" => json!([]),
            "object" => json!({}),
            "boolean" => json!(false),
            _ => return None,
        },
        (Some(_), _) => return None,
    };
    Some(Arc::new(empty))
}
