//! The world around `advance` for one case: a log, a worker that runs the nodes' programs, a store, and what a sink sees.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    advance::{Command, Need, Step, advance},
    envelope::{Envelope, GraphRef, Key, Lane, Principal, RULES},
    event::{CommandInput, Edit, Event, Request, RunConfig, StateUpdate},
    graph::{Graph, Graphs},
    graph_loop::{GraphLoop, Recalled, Wanted},
    ids,
    state::KeyState,
    task::{Destination, Task, TaskResult},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    case::{Call, Case, Compiled},
    compare::{self, Called},
    worker::Worker,
};

mod view;

use view::View;

const GRAPH: &str = "case";
/// What LangGraph's cases were run with where a call says nothing.
const RECURSION_LIMIT: u32 = 12;
const LARGE_BYTES: usize = 200_000;

/// Why the fold and the recording of a case differ, or nothing.
pub fn check(case: &Case) -> Result<(), String> {
    let mut world = World::new(case);
    for (place, call, expected) in case.made() {
        compare::call(&world.call(call), expected).map_err(|why| format!("{}: {why}", case.place(place)))?;
    }
    Ok(())
}

pub struct World<'a> {
    case: &'a Case,
    graphs: Catalog,
    hash: String,
    worker: Worker,
    state: Option<KeyState>,
    /// What left the state, by namespace and id.
    archive: BTreeMap<(String, Uuid), Arc<GraphLoop>>,
    /// The state has outgrown what is worth to be stored at each event: some cases double their lists for ever.
    large: bool,
    view: View,
    clock: i64,
    runs: u64,
}

struct Catalog(BTreeMap<String, Arc<Graph>>);

impl Graphs for Catalog {
    fn graph(&self, hash: &str) -> Option<Arc<Graph>> {
        self.0.get(hash).cloned()
    }
}

impl<'a> World<'a> {
    pub fn new(case: &'a Case) -> Self {
        let Compiled { hash, specs, programs } = case.graph.compile(GRAPH);
        let compiled = specs.into_iter().map(|spec| {
            let graph = Graph::new(spec).unwrap_or_else(|error| panic!("{}: {error}", case.id));
            (graph.hash().to_owned(), Arc::new(graph))
        });
        World {
            case,
            graphs: Catalog(compiled.collect()),
            hash,
            worker: Worker::new(programs),
            state: Some(KeyState::new(Key::thread("default", &case.id))),
            archive: BTreeMap::new(),
            large: false,
            view: View::default(),
            clock: 1_763_721_600_000,
            runs: 0,
        }
    }

    /// Makes one call and runs it to its end.
    pub fn call(&mut self, call: &Call) -> Called {
        self.runs += 1;
        let envelope = Arc::new(self.envelope());
        let checkpoint_id = call.at.and_then(|place| self.view.checkpoint(place));
        let event = self.event(call, checkpoint_id);
        self.view.begin();
        // Tasks that fail end after all others, failures of programs last: as the recorder had it.
        let mut results: Vec<(u8, TaskResult)> = Vec::new();
        let mut tasks = self.fold(&envelope, event);
        loop {
            for task in tasks.drain(..) {
                let hash = task.graph.as_ref().map_or(&self.hash, |graph| &graph.hash);
                let result = self.worker.execute(&self.graphs.0[hash], &task);
                let rank = match (&result.error, &result.branch_error) {
                    (Some(_), _) => 2,
                    (None, Some(_)) => 1,
                    (None, None) => 0,
                };
                results.push((rank, result));
            }
            let Some(next) = (0..results.len()).min_by_key(|place| (results[*place].0, *place)) else { break };
            let (_, result) = results.remove(next);
            tasks = self.fold(&envelope, Event::TaskFinished(Box::new(result)));
        }
        self.view.called()
    }

    fn event(&self, call: &Call, checkpoint_id: Option<Uuid>) -> Event {
        let shared = |value: &Value| Arc::new(value.clone());
        if call.call == "update_state" {
            let update = StateUpdate { values: call.values.as_ref().map(shared), as_node: call.as_node.clone() };
            return Event::StateEdited(Box::new(Edit { checkpoint_id, supersteps: vec![vec![update]] }));
        }
        let goto = match &call.goto {
            None => Vec::new(),
            Some(Value::Array(names)) => names.iter().map(to_node).collect(),
            Some(name) => vec![to_node(name)],
        };
        let update = call.update.as_ref().map(shared);
        let (input, command) = match call.call.as_str() {
            "invoke" => (call.input.as_ref().map(shared), None),
            "continue" => (None, None),
            "command" => (None, Some(CommandInput { update, goto, ..CommandInput::default() })),
            "resume" => {
                let answers = call.by_id.as_ref().map(|answers| {
                    let ids = self.view.questions(checkpoint_id).into_iter();
                    ids.zip(answers.iter().map(shared)).collect::<BTreeMap<_, _>>()
                });
                let resume = call.value.as_ref().filter(|_| answers.is_none()).map(shared);
                (None, Some(CommandInput { resume, answers, update, goto }))
            }
            other => panic!("the call {other} is not known"),
        };
        let config = RunConfig {
            recursion_limit: Some(call.recursion_limit.unwrap_or(RECURSION_LIMIT)),
            ..RunConfig::default()
        };
        Event::Requested(Box::new(Request { input, command, checkpoint_id, config, ..Request::default() }))
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            tenant: "default".to_owned(),
            principal: Principal::default(),
            endpoint: "/threads/{thread_id}/runs".to_owned(),
            run_id: ids::run_id(self.clock, self.runs, 0),
            thread_id: Some(self.case.id.clone()),
            graph: GraphRef { name: GRAPH.to_owned(), hash: self.hash.clone() },
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: self.clock + 86_400_000,
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
        }
    }

    /// Folds one event and gives the tasks that it issues.
    fn fold(&mut self, envelope: &Arc<Envelope>, event: Event) -> Vec<Task> {
        self.clock += 1;
        let state = self.state.take().expect("a state");
        let mut state = match self.large {
            true => state,
            // What is stored must be enough to go on with.
            false => {
                let bytes = state.encode();
                self.large = bytes.len() > LARGE_BYTES;
                KeyState::decode(&bytes).expect("a state that was encoded can be decoded")
            }
        };
        let mut recalled = Recalled::new();
        let commands = loop {
            match advance(&self.graphs, &recalled, state, envelope, self.clock, &event) {
                Step::Done { state, commands } => {
                    self.state = Some(state);
                    break commands;
                }
                Step::Need { state: same, need: Need::Checkpoint(wanted) } => {
                    state = same;
                    let found = self.recall(&wanted);
                    recalled.insert(wanted, found);
                }
                Step::Need { need: Need::Spec(hash), .. } => panic!("the graph {hash} is missing"),
            }
        };
        let mut tasks = Vec::new();
        for command in commands {
            match command {
                Command::Issue { task, .. } => tasks.push(task),
                Command::Update { update, .. } => self.view.see(update),
                Command::Cancel { .. } => panic!("nothing is cancelled here"),
                // Nothing asks for what a single call of a subgraph left behind.
                Command::Archive { checkpoint, .. } if checkpoint.ns().contains(':') => {}
                Command::Archive { checkpoint, .. } => {
                    let key = (checkpoint.ns().to_owned(), checkpoint.checkpoint_id());
                    let checkpoint = match self.large {
                        true => *checkpoint,
                        false => {
                            GraphLoop::decode(&checkpoint.encode()).expect("an archived checkpoint can be decoded")
                        }
                    };
                    self.archive.insert(key, Arc::new(checkpoint));
                }
            }
        }
        tasks
    }

    fn recall(&self, wanted: &Wanted) -> Option<Arc<GraphLoop>> {
        let found = match wanted {
            Wanted::Checkpoint(id) => self.archive.get(&(String::new(), *id)),
            Wanted::Before { ns, id } => {
                let older = (ns.clone(), Uuid::nil())..(ns.clone(), *id);
                self.archive.range(older).next_back().map(|(_, found)| found)
            }
        };
        found.cloned()
    }
}

fn to_node(name: &Value) -> Destination {
    Destination::Node(name.as_str().expect("a node's name").to_owned())
}
