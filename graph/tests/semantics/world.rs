//! The world around `advance` for one case: a log, workers that run the nodes' programs, and what a sink sees.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use graph::{
    advance::{Command, Step, advance},
    branch::decide,
    envelope::{Envelope, GraphRef, Key, Lane, Principal, RULES},
    event::{Event, Request, RunConfig},
    graph::{Graph, Graphs},
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Destination, Task, TaskError, TaskId, TaskPath, TaskResult},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    case::{Call, Case},
    program,
    view::{Called, View},
};

/// What LangGraph's cases were run with where a call says nothing.
const RECURSION_LIMIT: u32 = 12;

pub struct World<'a> {
    case: &'a Case,
    graph: Arc<Graph>,
    state: Option<KeyState>,
    executions: BTreeMap<TaskId, u32>,
    view: View,
    clock: i64,
    runs: u64,
}

struct Only(Arc<Graph>);

impl Graphs for Only {
    fn graph(&self, hash: &str) -> Option<Arc<Graph>> {
        (hash == self.0.hash()).then(|| self.0.clone())
    }
}

impl<'a> World<'a> {
    pub fn new(case: &'a Case) -> Self {
        let spec: GraphSpec = case.graph.spec();
        let graph = Arc::new(Graph::new(spec).unwrap_or_else(|error| panic!("{}: {error}", case.id)));
        let key = Key::thread("default", &case.id);
        World {
            case,
            graph,
            state: Some(KeyState::new(key)),
            executions: BTreeMap::new(),
            view: View::default(),
            clock: 1_763_721_600_000,
            runs: 0,
        }
    }

    /// Makes one call and runs it to its end.
    pub fn call(&mut self, call: &Call) -> Called {
        self.runs += 1;
        let envelope = Arc::new(self.envelope());
        let input = match call.call.as_str() {
            "invoke" => Some(Arc::new(call.input.clone().expect("an input"))),
            "continue" => None,
            other => panic!("the call {other} is not built yet"),
        };
        let config = RunConfig {
            recursion_limit: Some(call.recursion_limit.unwrap_or(RECURSION_LIMIT)),
            ..RunConfig::default()
        };
        self.view.begin();
        let mut tasks =
            self.fold(&envelope, Event::Requested(Box::new(Request { input, config, ..Request::default() })));
        while !tasks.is_empty() {
            let results = self.work(std::mem::take(&mut tasks));
            for result in results {
                tasks.extend(self.fold(&envelope, Event::TaskFinished(Box::new(result))));
            }
        }
        self.view.called()
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            tenant: "default".to_owned(),
            principal: Principal::default(),
            endpoint: "/threads/{thread_id}/runs".to_owned(),
            run_id: ids::run_id(self.clock, self.runs, 0),
            thread_id: Some(self.case.id.clone()),
            graph: GraphRef { name: "case".to_owned(), hash: self.graph.hash().to_owned() },
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
        // What is stored must be enough to go on with.
        let state = KeyState::decode(&state.encode()).expect("a state that was encoded can be decoded");
        let Step::Done { state, commands } = advance(&Only(self.graph.clone()), state, envelope, self.clock, &event)
        else {
            panic!("the graph is at hand")
        };
        self.state = Some(state);
        let mut tasks = Vec::new();
        for command in commands {
            match command {
                Command::Issue { task, .. } => tasks.push(task),
                Command::Update { update, .. } => self.view.see(update),
                Command::Cancel { .. } => panic!("nothing is cancelled here"),
            }
        }
        tasks
    }

    /// Runs tasks as the recorder did: those that fail end after all others, failures of programs last.
    fn work(&mut self, tasks: Vec<Task>) -> Vec<TaskResult> {
        let mut results: VecDeque<(u8, TaskResult)> = VecDeque::new();
        for task in tasks {
            let result = self.execute(&task);
            let rank = match (&result.error, &result.branch_error) {
                (Some(_), _) => 2,
                (None, Some(_)) => 1,
                (None, None) => 0,
            };
            results.push_back((rank, result));
        }
        let mut results: Vec<_> = results.into();
        results.sort_by_key(|(rank, _)| *rank);
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn execute(&mut self, task: &Task) -> TaskResult {
        let node = self.case.graph.node(&task.node);
        let input = match &task.path {
            TaskPath::Push { argument, .. } => Value::clone(argument),
            TaskPath::Pull => {
                json!(task.channels.iter().map(|(name, value)| (name.clone(), &**value)).collect::<BTreeMap<_, _>>())
            }
        };
        let mut result = TaskResult {
            task_id: task.id,
            issue: task.issue,
            execution: Uuid::from_u128(task.id.as_u128() ^ u128::from(task.issue)),
            node: task.node.clone(),
            ..TaskResult::default()
        };
        loop {
            result.attempt += 1;
            let execution = self.executions.entry(task.id).or_default();
            *execution += 1;
            match program::run(&node.steps, &input, *execution) {
                Ok(outcome) => {
                    self.finish(task, outcome, &mut result);
                    return result;
                }
                Err(_) if result.attempt < node.retries => {}
                Err(message) => {
                    result.error = Some(TaskError {
                        class: "node_failed".to_owned(),
                        message,
                        kind: Some("CaseError".to_owned()),
                        retryable: false,
                        retry_after_ms: None,
                    });
                    return result;
                }
            }
        }
    }

    fn finish(&self, task: &Task, outcome: program::Outcome, result: &mut TaskResult) {
        result.writes = outcome.update.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
        let to = |(node, argument): (String, Option<Value>)| match argument {
            Some(argument) => Destination::Send { node, argument: Arc::new(argument) },
            None => Destination::Node(node),
        };
        result.goto = outcome.goto.into_iter().map(to).collect();
        match decide(&self.graph, &task.node, &task.channels, &result.writes, &task.context) {
            Ok(branches) => result.branches = branches,
            Err(error) => result.branch_error = Some(error),
        }
    }
}
