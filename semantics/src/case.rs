//! The form of a case file, and a case's graph as a spec.

use std::{collections::BTreeMap, io::Read, path::Path};

use graph::spec::{
    Case as SpecCase, ChannelSpec, EdgeSpec, GraphSpec, Memory, NodeKind, NodeSpec, Reducer, RetryPolicy, RustNode,
    SendSpec, SubgraphNode, Target,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    program::{self, Step},
    worker::CASE_ERROR,
};

/// The type of the nodes that run a program.
pub const NODE_TYPE: &str = "case-program";

#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    pub id: String,
    pub flags: Vec<String>,
    pub graph: CaseGraph,
    pub calls: Vec<Call>,
    pub expect: Vec<Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CaseGraph {
    pub channels: BTreeMap<String, String>,
    pub input: Option<Vec<String>>,
    pub output: Option<Vec<String>>,
    #[serde(default)]
    pub interrupt_before: Vec<String>,
    #[serde(default)]
    pub interrupt_after: Vec<String>,
    /// In the order of registration.
    pub nodes: Map<String, Value>,
    pub edges: Vec<(Value, String)>,
    pub branches: Vec<CaseBranch>,
}

#[derive(Debug, Default, Deserialize)]
pub struct CaseNode {
    #[serde(rename = "do", default)]
    pub steps: Vec<Step>,
    #[serde(default)]
    pub defer: bool,
    #[serde(default = "once")]
    pub retries: u32,
    pub on_error: Option<Handler>,
    pub graph: Option<Box<CaseGraph>>,
    #[serde(default)]
    pub memory: Memory,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Handler {
    #[serde(rename = "do")]
    pub steps: Vec<Step>,
}

fn once() -> u32 {
    1
}

#[derive(Clone, Debug, Deserialize)]
pub struct CaseBranch {
    pub from: String,
    pub on: Value,
    pub cases: Vec<Vec<Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Call {
    pub call: String,
    pub input: Option<Value>,
    pub recursion_limit: Option<u32>,
    /// From the N-th checkpoint, oldest first, modulo their number.
    pub at: Option<usize>,
    /// Of a resume.
    pub value: Option<Value>,
    pub by_id: Option<Vec<Value>>,
    pub update: Option<Value>,
    pub goto: Option<Value>,
    /// `exit`: the run keeps only its last checkpoint.
    pub durability: Option<String>,
    /// Of an edit.
    pub values: Option<Value>,
    pub as_node: Option<String>,
}

impl Case {
    /// The calls with what is expected of each. The recorder reads the ids of questions from the state: where that raised,
    /// the call was never made.
    pub fn made(&self) -> impl Iterator<Item = (usize, &Call, &Value)> {
        let mut unreadable: Option<&str> = None;
        let calls = self.calls.iter().zip(&self.expect).enumerate();
        calls.filter_map(move |(place, (call, expected))| {
            let kind = unreadable.and_then(|error| error.split(':').next());
            unreadable = expected.get("state_error").and_then(|error| error.as_str());
            let never = call.by_id.is_some() && kind.is_some() && expected["error"]["type"].as_str() == kind;
            (!never).then_some((place, call, expected))
        })
    }

    /// Where and what a call is, for people.
    pub fn place(&self, place: usize) -> String {
        format!("{} call {place} {:?} [{}]", self.id, self.calls[place].call, self.flags.join(" "))
    }
}

/// All cases of a file, gzipped or plain.
pub fn read(path: &Path) -> Vec<Case> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("a case file is gzipped text");
    } else {
        text = String::from_utf8(bytes).expect("a case file is text");
    }
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A node's program, by the hash of the graph that declares it and the node's name.
pub type Programs = BTreeMap<(String, String), Program>;

#[derive(Clone, Debug)]
pub struct Program {
    pub steps: Vec<Step>,
    pub attempts: u32,
}

/// A case's graph as the specs that Millstream runs.
#[derive(Debug, Default)]
pub struct Compiled {
    /// Of the outermost graph.
    pub hash: String,
    /// All graphs, a graph behind those inside of it.
    pub specs: Vec<GraphSpec>,
    pub programs: Programs,
}

impl CaseGraph {
    /// The graph as `name`; a graph inside of it is `<name>.<node>`.
    pub fn compile(&self, name: &str) -> Compiled {
        let mut compiled = Compiled::default();
        compiled.hash = self.add_to(&mut compiled, name);
        compiled
    }

    fn node(&self, name: &str) -> CaseNode {
        serde_json::from_value(self.nodes[name].clone()).expect("a node of a case")
    }

    fn add_to(&self, compiled: &mut Compiled, graph: &str) -> String {
        let channel = |(name, reducer): (&String, &String)| {
            let reducer: Reducer = serde_json::from_value(Value::String(reducer.clone())).expect("a reducer");
            (name.clone(), ChannelSpec { reducer, ..ChannelSpec::default() })
        };
        let mut nodes = Vec::new();
        let mut handlers = Vec::new();
        let mut own = Vec::new();
        for name in self.nodes.keys() {
            let node = self.node(name);
            let inner = format!("{graph}.{name}");
            let kind = match &node.graph {
                Some(graph) => NodeKind::Subgraph(SubgraphNode {
                    hash: graph.add_to(compiled, &inner),
                    graph: inner,
                    memory: node.memory,
                }),
                None => program(&self.nodes[name]),
            };
            own.push((name.clone(), Program { steps: node.steps, attempts: node.retries }));
            let mut spec = NodeSpec { defer: node.defer, retry: retry(node.retries), ..node_spec(name, kind) };
            if let Some(handler) = node.on_error {
                let handles = format!("{name} failed");
                handlers.push(node_spec(&handles, program(&self.nodes[name]["on_error"])));
                own.push((handles.clone(), Program { steps: handler.steps, attempts: 1 }));
                spec.on_error = Some(handles);
            }
            nodes.push(spec);
        }
        nodes.extend(handlers);
        let spec = GraphSpec {
            name: graph.to_owned(),
            channels: self.channels.iter().map(channel).collect(),
            input: self.input.clone(),
            output: self.output.clone(),
            nodes,
            edges: self.edges.iter().map(plain).chain(self.branches.iter().map(branch)).collect(),
            interrupt_before: self.interrupt_before.clone(),
            interrupt_after: self.interrupt_after.clone(),
            ..GraphSpec::default()
        };
        let hash = spec.hash();
        compiled.programs.extend(own.into_iter().map(|(name, program)| ((hash.clone(), name), program)));
        compiled.specs.push(spec);
        hash
    }
}

/// A node that runs a program; the program is part of the graph's hash.
fn program(settings: &Value) -> NodeKind {
    NodeKind::Rust(RustNode { type_name: NODE_TYPE.to_owned(), settings: settings.clone() })
}

/// A policy that retries what programs fail with.
fn retry(attempts: u32) -> Option<RetryPolicy> {
    let policy = || RetryPolicy {
        max_attempts: attempts,
        initial_interval_ms: 1,
        max_interval_ms: 2,
        jitter: false,
        retry_on: vec![CASE_ERROR.to_owned()],
        ..RetryPolicy::default()
    };
    (attempts > 1).then(policy)
}

fn node_spec(name: &str, kind: NodeKind) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
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
        metadata: BTreeMap::new(),
        concurrency: None,
    }
}

fn plain((from, to): &(Value, String)) -> EdgeSpec {
    let from = match from {
        Value::Array(names) => names.iter().map(|name| text(name).to_owned()).collect(),
        name => vec![text(name).to_owned()],
    };
    EdgeSpec::Plain { from, to: to.clone() }
}

/// `cases[on % len(cases)]`, as the cases of a conditional edge.
fn branch(branch: &CaseBranch) -> EdgeSpec {
    let on = program::to_cel(&branch.on);
    let count = branch.cases.len();
    let case = |(place, targets): (usize, &Vec<Value>)| SpecCase {
        condition: Some(format!("((({on}) % {count}) + {count}) % {count} == {place}")),
        to: targets.iter().map(target).collect(),
    };
    EdgeSpec::When { from: branch.from.clone(), cases: branch.cases.iter().enumerate().map(case).collect() }
}

fn target(target: &Value) -> Target {
    let Value::Object(send) = target else { return Target::Node(text(target).to_owned()) };
    let fields = send["arg"][1].as_object().expect("the argument of a conditional edge's Send is an object");
    Target::Send(SendSpec {
        to: text(&send["send"]).to_owned(),
        each: send.get("each").map(program::to_cel),
        binding: None,
        with: fields.iter().map(|(name, value)| (name.clone(), program::to_cel(value))).collect(),
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} should be a name"))
}
