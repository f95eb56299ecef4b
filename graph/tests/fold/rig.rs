//! One key, its log, and all that its events put out.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    advance::{Command, Need, Step, advance},
    envelope::{Envelope, GraphRef, Lane, Millis, Principal, RULES, RunBudget},
    event::{Event, Request, Timer, TimerKind},
    graph::{Graph, Graphs},
    graph_loop::{Found, GraphLoop, Recalled, Wanted},
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Call, CallId, Task, TaskError, TaskId, TaskResult, Usage, UsageSource},
    update::{Ended, Happened, RunStatus, TaskDone, Update},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Where tests begin to count.
pub const BEGIN: Millis = 1_763_721_600_000;
/// How long a run of the tests may take.
pub const DEADLINE_MS: Millis = 60_000;

/// The graphs at hand, by hash.
#[derive(Clone, Default)]
pub struct Catalog(pub BTreeMap<String, Arc<Graph>>);

impl Graphs for Catalog {
    fn graph(&self, hash: &str) -> Option<Arc<Graph>> {
        self.0.get(hash).cloned()
    }
}

/// A spec of nodes whose programs stand in the tests.
pub fn spec(channels: Value, nodes: &[&str], edges: Value) -> GraphSpec {
    let nodes: Vec<Value> = nodes.iter().map(|name| json!({"name": name, "kind": "rust", "type": "test"})).collect();
    let spec = json!({"name": "g", "channels": channels, "nodes": nodes, "edges": edges, "limits": {}});
    serde_json::from_value(spec).expect("a spec")
}

pub fn plain(from: &[&str], to: &str) -> Value {
    json!({"plain": {"from": from, "to": to}})
}

/// START -> a -> b, with a log that nodes append to.
pub fn chain() -> GraphSpec {
    spec(json!({"log": {"reducer": "append"}}), &["a", "b"], json!([plain(&["START"], "a"), plain(&["a"], "b")]))
}

/// START -> a and b -> c, which waits for both.
pub fn fork_and_join() -> GraphSpec {
    let edges = json!([plain(&["START"], "a"), plain(&["START"], "b"), plain(&["a", "b"], "c")]);
    spec(json!({"log": {"reducer": "append"}}), &["a", "b", "c"], edges)
}

pub struct Rig {
    pub graphs: Catalog,
    pub graph: Arc<Graph>,
    pub state: Option<KeyState>,
    pub at: Millis,
    pub log: Vec<(Arc<Envelope>, Millis, Event)>,
    pub updates: Vec<(Arc<Envelope>, Update)>,
    pub issued: Vec<(Arc<Envelope>, Task)>,
    pub cancelled: Vec<TaskId>,
    /// What left the state, at hand for every event.
    pub recalled: Recalled,
    archive: Vec<Arc<GraphLoop>>,
    /// What the last event asked for in vain.
    pub unknown: Vec<Wanted>,
    thread: Option<String>,
    runs: u64,
}

impl Rig {
    pub fn new(spec: GraphSpec) -> Self {
        Rig::keyed(spec, Some("t"))
    }

    /// A key of one run without a thread.
    pub fn threadless(spec: GraphSpec) -> Self {
        Rig::keyed(spec, None)
    }

    /// A graph with what its binary brings along.
    pub fn of(graph: Graph) -> Self {
        Rig::with(Arc::new(graph), Some("t"))
    }

    fn keyed(spec: GraphSpec, thread: Option<&str>) -> Self {
        Rig::with(Arc::new(Graph::new(spec).expect("a graph")), thread)
    }

    fn with(graph: Arc<Graph>, thread: Option<&str>) -> Self {
        let mut rig = Rig {
            graphs: Catalog(BTreeMap::from([(graph.hash().to_owned(), graph.clone())])),
            graph,
            state: None,
            at: BEGIN,
            log: Vec::new(),
            updates: Vec::new(),
            issued: Vec::new(),
            cancelled: Vec::new(),
            recalled: Recalled::new(),
            archive: Vec::new(),
            unknown: Vec::new(),
            thread: thread.map(str::to_owned),
            runs: 0,
        };
        let key = rig.envelope().key();
        rig.state = Some(KeyState::new(key));
        rig.runs = 0;
        rig
    }

    /// The envelope of a new run.
    pub fn envelope(&mut self) -> Arc<Envelope> {
        self.runs += 1;
        Arc::new(Envelope {
            tenant: "default".to_owned(),
            principal: Principal::default(),
            endpoint: "/threads/{thread_id}/runs".to_owned(),
            run_id: ids::run_id(BEGIN, self.runs, 0),
            thread_id: self.thread.clone(),
            graph: GraphRef { name: "g".to_owned(), hash: self.graph.hash().to_owned() },
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: self.at + DEADLINE_MS,
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
            budget: RunBudget::default(),
        })
    }

    /// Another graph at hand: one inside of the rig's own.
    pub fn add(&mut self, spec: GraphSpec) -> String {
        let graph = Arc::new(Graph::new(spec).expect("a graph"));
        let hash = graph.hash().to_owned();
        self.graphs.0.insert(hash.clone(), graph);
        hash
    }

    pub fn state(&self) -> &KeyState {
        self.state.as_ref().expect("a state")
    }

    /// Folds an event a millisecond after the last one.
    pub fn fold(&mut self, envelope: &Arc<Envelope>, event: Event) -> Vec<Command> {
        self.at += 1;
        let mut state = self.state.take().expect("a state");
        self.unknown.clear();
        let commands = loop {
            match advance(&self.graphs, &self.recalled, state, envelope, self.at, &event) {
                Step::Done { state, commands } => {
                    self.state = Some(state);
                    break commands;
                }
                Step::Need { state: same, need: Need::Checkpoint(wanted) } => {
                    state = same;
                    self.unknown.push(wanted.clone());
                    let all = self.archive.iter().filter(|checkpoint| checkpoint.answers(&wanted));
                    let found = all.max_by_key(|checkpoint| checkpoint.checkpoint_id()).cloned();
                    self.recalled.insert(wanted, found.map_or(Found::Nothing, Found::There));
                }
                Step::Need { need: Need::Spec(hash), .. } => panic!("the graph {hash} is missing"),
            }
        };
        self.unknown.iter().for_each(|wanted| {
            self.recalled.remove(wanted);
        });
        self.log.push((envelope.clone(), self.at, event));
        self.forget_pruned(&commands);
        for command in &commands {
            if let Command::Update { update, .. } = command
                && update.happened.iter().any(|happened| matches!(happened, Happened::Edited(edited) if edited.deleted))
            {
                self.archive.clear();
                self.recalled.clear();
            }
            match command.clone() {
                Command::Issue { envelope, task } => self.issued.push((envelope, *task)),
                Command::Update { envelope, update } => self.updates.push((envelope, update)),
                Command::Cancel { tasks, .. } => self.cancelled.extend(tasks),
                Command::Copy { .. } => {}
                Command::Archive { checkpoint, .. } => {
                    let checkpoint: Arc<GraphLoop> = Arc::from(checkpoint);
                    let wanted = Wanted::Checkpoint(checkpoint.checkpoint_id());
                    if checkpoint.ns().is_empty() {
                        self.recalled.insert(wanted, Found::There(checkpoint.clone()));
                    }
                    self.archive.push(checkpoint);
                }
            }
        }
        commands
    }

    /// What was put away before a pruning is gone.
    fn forget_pruned(&mut self, commands: &[Command]) {
        let prunes = |happened: &Happened| matches!(happened, Happened::Edited(edited) if edited.pruned.is_some());
        let told =
            |command: &Command| matches!(command, Command::Update { update, .. } if update.happened.iter().any(prunes));
        if commands.iter().any(told) {
            self.recalled.clear();
            self.archive.clear();
            self.state.iter_mut().for_each(|state| state.pruned_at(self.log.len() as u64));
        }
    }

    pub fn request(&mut self, request: Request) -> Arc<Envelope> {
        let envelope = self.envelope();
        self.fold(&envelope, Event::Requested(Box::new(request)));
        envelope
    }

    pub fn invoke(&mut self, input: Value) -> Arc<Envelope> {
        self.request(Request { input: Some(Arc::new(input)), ..Request::default() })
    }

    /// The last issue of a node's task.
    pub fn task(&self, node: &str) -> Task {
        let found = self.issued.iter().rev().find(|(_, task)| *task.node == *node);
        found.unwrap_or_else(|| panic!("{node} was not issued")).1.clone()
    }

    pub fn finish(&mut self, run: &Arc<Envelope>, result: TaskResult) -> Vec<Command> {
        self.fold(run, Event::TaskFinished(Box::new(result)))
    }

    /// Finishes a node's open task; it writes its own name to the log.
    pub fn finish_node(&mut self, run: &Arc<Envelope>, node: &str) -> Vec<Command> {
        let task = self.task(node);
        self.finish(run, named(&task))
    }

    pub fn fail_node(&mut self, run: &Arc<Envelope>, node: &str) -> Vec<Command> {
        let task = self.task(node);
        self.finish(run, failed(&task))
    }

    pub fn fire(&mut self, run: &Arc<Envelope>, timer: &Timer) -> Vec<Command> {
        self.fold(run, Event::TimerDue { timer: timer.clone() })
    }

    /// The ids of all checkpoints, in the order in which they were made.
    pub fn made(&self) -> Vec<Uuid> {
        let happened = self.updates.iter().flat_map(|(_, update)| &update.happened);
        let made = happened.filter_map(|happened| match happened {
            Happened::StepDone(done) if done.ns.is_empty() => Some(done.checkpoint_id),
            _ => None,
        });
        made.collect()
    }

    pub fn happened(&self, run: &Envelope) -> Vec<&Happened> {
        let own = self.updates.iter().filter(|(envelope, _)| envelope.run_id == run.run_id);
        own.flat_map(|(_, update)| &update.happened).collect()
    }

    pub fn ended(&self, run: &Envelope) -> Option<&Ended> {
        self.happened(run).into_iter().find_map(|happened| match happened {
            Happened::Ended(ended) => Some(&**ended),
            _ => None,
        })
    }

    pub fn done(&self, run: &Envelope) -> Vec<&TaskDone> {
        let done = self.happened(run).into_iter().filter_map(|happened| match happened {
            Happened::TaskDone(done) => Some(&**done),
            _ => None,
        });
        done.collect()
    }

    /// How a run ended: status, error code, log.
    #[track_caller]
    pub fn check_end(&self, run: &Envelope, status: RunStatus, code: Option<&str>, log: Value) {
        let ended = self.ended(run).expect("the run ended");
        let error = ended.error.as_ref().map(|error| error.code.as_str());
        let output = ended.output.as_ref().map_or(Value::Null, |output| Value::clone(&output["log"]));
        assert_eq!((ended.status, error, output), (status, code, log), "{ended:?}");
    }
}

/// The nodes whose workers hear that nobody waits for their tasks.
pub fn cancelled(commands: &[Command]) -> Vec<&str> {
    let cancels = commands.iter().filter_map(|command| match command {
        Command::Cancel { node, .. } => Some(node.as_str()),
        _ => None,
    });
    cancels.collect()
}

/// The timeouts that are armed, with when they are due.
pub fn timeouts(rig: &Rig) -> Vec<(Timer, i64)> {
    let timers = rig.state().timers().filter(|(timer, _)| matches!(timer.kind, TimerKind::Timeout(_)));
    timers.map(|(timer, due)| (timer.clone(), due)).collect()
}

pub fn result(task: &Task) -> TaskResult {
    TaskResult {
        task_id: task.id,
        issue: task.issue,
        execution: Uuid::from_u128(task.id.as_u128() ^ u128::from(task.issue)),
        attempt: task.attempt + 1,
        node: task.node.clone(),
        ..TaskResult::default()
    }
}

pub fn named(task: &Task) -> TaskResult {
    TaskResult { writes: Arc::new(vec![("log".into(), Arc::new(json!([task.node])))]), ..result(task) }
}

pub fn failed(task: &Task) -> TaskResult {
    let error = TaskError {
        class: "node_failed".to_owned(),
        message: "boom".to_owned(),
        kind: Some("Boom".to_owned()),
        retryable: false,
        ..TaskError::default()
    };
    TaskResult { error: Some(error), ..result(task) }
}

/// The n-th call of a result's execution.
pub fn call(result: &TaskResult, n: u32) -> Call {
    Call {
        id: CallId { task_id: result.task_id, issue: result.issue, execution: result.execution, n },
        provider: "scripted".to_owned(),
        model: "m".to_owned(),
        started_at: BEGIN,
        duration_ms: 1,
        outcome: "ok".to_owned(),
        usage: Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() },
        usage_source: UsageSource::Reported,
        prompt: None,
        answer: None,
    }
}
