//! A graph alone in this process: the fold and its nodes, without log, store or server. For `millstream graph test`.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    advance::{Command, Need, Step, advance},
    envelope::{Envelope, GraphRef, Key, Lane, Millis, Principal, RULES, RunBudget},
    event::{CommandInput, Event, Request},
    graph::{Graph, Graphs},
    graph_loop::Recalled,
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Interrupt, Task},
    update::{Ended, Happened, RunError, RunStatus},
    world::Clock,
};
use node_workers::{Alone, AloneDeps};
use schemas::record::TaskRecord;
use serde_json::Value;

const TENANT: &str = "default";
const THREAD: &str = "trial";
/// Time of one run: what waits for longer is no test.
const DEADLINE_MS: Millis = 10 * 60 * 1_000;

/// One thread of one graph.
pub struct Trial {
    graphs: Catalog,
    graph: GraphRef,
    nodes: Alone,
    clock: Arc<dyn Clock>,
    state: Option<KeyState>,
    runs: u64,
}

/// What was seen of a run.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// None where it never ended: no task is left and the run waits for something that never comes.
    pub status: Option<RunStatus>,
    /// The whole state, whatever `output` says.
    pub state: BTreeMap<String, Value>,
    pub questions: Vec<Interrupt>,
    pub error: Option<RunError>,
}

impl Seen {
    fn see(&mut self, happened: Happened) {
        match happened {
            Happened::StepDone(step) if step.ns.is_empty() => self.holds(step.values.into_iter().chain(step.untracked)),
            Happened::Paused(paused) => self.holds(paused.values.into_iter().flatten()),
            Happened::Ended(ended) => {
                let Ended { status, error, interrupts, values, .. } = *ended;
                self.holds(values.into_iter().flatten());
                (self.status, self.error, self.questions) = (Some(status), error, interrupts);
            }
            Happened::Queued(_)
            | Happened::Started(_)
            | Happened::Continued(_)
            | Happened::TaskDone(_)
            | Happened::StepDone(_)
            | Happened::Kept(_)
            | Happened::Spent { .. }
            | Happened::Edited(_) => {}
        }
    }

    /// Takes a whole state in place of the one before, where it says anything.
    fn holds(&mut self, values: impl Iterator<Item = (Arc<str>, Arc<Value>)>) {
        let values: BTreeMap<String, Value> =
            values.map(|(name, value)| (str::to_owned(&name), Value::clone(&value))).collect();
        if !values.is_empty() {
            self.state = values;
        }
    }
}

struct Catalog(BTreeMap<String, Arc<Graph>>);

impl Graphs for Catalog {
    fn graph(&self, hash: &str) -> Option<Arc<Graph>> {
        self.0.get(hash).cloned()
    }
}

impl Trial {
    pub fn new(spec: &GraphSpec, deps: AloneDeps) -> anyhow::Result<Self> {
        let mut graphs = BTreeMap::new();
        for spec in &deps.graphs {
            graphs.insert(spec.hash(), Arc::new(Graph::with_reducers(spec.clone(), deps.nodes.reducers())?));
        }
        let graph = GraphRef { name: spec.name.clone(), hash: spec.hash() };
        let clock = Arc::clone(&deps.clock);
        let state = Some(KeyState::new(Key::thread(TENANT, THREAD)));
        Ok(Trial { graphs: Catalog(graphs), graph, nodes: Alone::new(deps), clock, state, runs: 0 })
    }

    /// New input, or an answer to what the run before asked.
    pub async fn run(&mut self, asked: Asked, context: Value) -> anyhow::Result<Seen> {
        let (input, command) = match asked {
            Asked::Input(input) => (Some(Arc::new(input)), None),
            Asked::Answer(answer) => {
                (None, Some(CommandInput { resume: Some(Arc::new(answer)), ..CommandInput::default() }))
            }
            Asked::GoOn => (None, None),
        };
        let request = Request { input, command, context: Arc::new(context), ..Request::default() };
        self.runs += 1;
        let envelope = Arc::new(self.envelope());
        let mut seen = Seen::default();
        let mut tasks = self.fold(&envelope, Event::Requested(Box::new(request)), &mut seen)?;
        while !tasks.is_empty() {
            let mut results = Vec::with_capacity(tasks.len());
            for task in tasks.drain(..) {
                let at = self.clock.now();
                let record = TaskRecord { envelope: Arc::clone(&envelope), at, task, references: None };
                results.push(self.nodes.execute(record).await);
            }
            for event in results {
                tasks.extend(self.fold(&envelope, event, &mut seen)?);
            }
        }
        Ok(seen)
    }

    /// Folds one event and gives the tasks that it issues.
    fn fold(&mut self, envelope: &Arc<Envelope>, event: Event, seen: &mut Seen) -> anyhow::Result<Vec<Task>> {
        let state = self.state.take().unwrap_or_else(|| KeyState::new(Key::thread(TENANT, THREAD)));
        let commands = match advance(&self.graphs, &Recalled::new(), state, envelope, self.clock.now(), &event) {
            Step::Done { state, commands } => {
                self.state = Some(state);
                commands
            }
            Step::Need { need: Need::Spec(hash), .. } => anyhow::bail!(
                "the graph with the version {hash} isn't in the file: `graph test` knows only graphs that stand in it"
            ),
            Step::Need { need: Need::Checkpoint(_), .. } => anyhow::bail!("a trial has no past to go back to"),
        };
        let mut tasks = Vec::new();
        for command in commands {
            match command {
                Command::Issue { task, .. } => tasks.push(*task),
                Command::Update { update, .. } => update.happened.into_iter().for_each(|happened| seen.see(happened)),
                Command::Cancel { .. } | Command::Archive { .. } | Command::Copy { .. } => {}
            }
        }
        Ok(tasks)
    }

    fn envelope(&self) -> Envelope {
        let now = self.clock.now();
        Envelope {
            tenant: TENANT.to_owned(),
            principal: Principal::default(),
            endpoint: "graph test".to_owned(),
            run_id: ids::run_id(now, self.runs, 0),
            thread_id: Some(THREAD.to_owned()),
            graph: self.graph.clone(),
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: now + DEADLINE_MS,
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
            budget: RunBudget::default(),
        }
    }
}

/// What a run begins with.
pub enum Asked {
    Input(Value),
    Answer(Value),
    /// Nothing: it goes on from a breakpoint.
    GoOn,
}
