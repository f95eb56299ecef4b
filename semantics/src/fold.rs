//! The world around `advance` for one case: a log, a worker that runs the nodes' programs, a store, and what a sink sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::{
    advance::{Command, Need, Step, advance},
    envelope::{Envelope, Key},
    event::Event,
    graph::{Graph, Graphs},
    graph_loop::{Found, GraphLoop, Recalled, Wanted},
    state::KeyState,
    task::{Task, TaskId},
    update::Update,
};
use uuid::Uuid;

use crate::{
    case::{Call, Case, Compiled},
    client::{Client, GRAPH, Results},
    compare::{self, Called},
    random::Random,
    stream::Folded,
    worker::Worker,
};

const LARGE_BYTES: usize = 200_000;

/// Why the fold and the recording of a case differ, or nothing. All calls are made, for what must hold of any case: each
/// run ends, and no task is issued twice under one number.
pub fn check(case: &Case) -> Result<(), String> {
    let mut world = World::new(case);
    let mut differs = None;
    for (place, call, expected) in case.made() {
        let compared = compare::call(&world.call(call), expected);
        differs = differs.or(compared.err().map(|why| format!("{}: {why}", case.place(place))));
    }
    differs.map_or(Ok(()), Err)
}

/// What must hold of any case, with results that come in an order drawn from `seed`: panics where it doesn't.
pub fn play(case: &Case, seed: u64) {
    let mut world = World::new(case);
    world.order = Some(Random(seed));
    case.calls.iter().for_each(|call| {
        world.call(call);
    });
}

pub struct World<'a> {
    graphs: Catalog,
    hash: String,
    worker: Worker,
    issued: BTreeSet<(TaskId, u32)>,
    client: Client<'a>,
    /// Results come in an order drawn from this; else in the recorder's.
    order: Option<Random>,
    state: Option<KeyState>,
    /// What left the state, by namespace and id.
    archive: BTreeMap<(String, Uuid), Arc<GraphLoop>>,
    /// Every update so far that nobody has taken, with its envelope.
    told: Vec<(Arc<Envelope>, Update)>,
    /// Every event so far, where they are kept.
    folded: Option<Vec<Folded>>,
    /// The state has outgrown what is worth to be stored at each event: some cases double their lists for ever.
    large: bool,
}

/// Graphs by hash.
pub struct Catalog(BTreeMap<String, Arc<Graph>>);

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
            graphs: Catalog(compiled.collect()),
            worker: Worker::new(programs),
            issued: BTreeSet::new(),
            client: Client::new(case, hash.clone()),
            order: None,
            hash,
            state: Some(KeyState::new(Key::thread("default", &case.id))),
            archive: BTreeMap::new(),
            told: Vec::new(),
            folded: None,
            large: false,
        }
    }

    /// From here on every event is kept.
    pub fn keep_events(&mut self) {
        self.folded = Some(Vec::new());
    }

    /// The events that were kept, with the graphs that they need.
    pub fn into_events(self) -> (Catalog, Vec<Folded>) {
        (self.graphs, self.folded.unwrap_or_default())
    }

    /// Makes one call and runs it to its end.
    pub fn call(&mut self, call: &Call) -> Called {
        let (envelope, event) = self.client.begin(call);
        let mut results = Results::default();
        let mut tasks = self.fold(&envelope, event);
        loop {
            for task in tasks.drain(..) {
                let hash = task.graph.as_ref().map_or(&self.hash, |graph| &graph.hash);
                results.push(self.worker.execute(&self.graphs.0[hash], &task));
            }
            let next = match &mut self.order {
                None => results.take_next(),
                Some(random) => results.take_any(random),
            };
            let Some(result) = next else { break };
            tasks = self.fold(&envelope, Event::TaskFinished(Box::new(result)));
        }
        assert!(self.state.as_ref().is_some_and(KeyState::is_idle), "a run didn't end");
        self.client.called()
    }

    /// The updates of the calls since this was asked last: what a sink reads.
    pub fn take_told(&mut self) -> Vec<(Arc<Envelope>, Update)> {
        std::mem::take(&mut self.told)
    }

    /// Folds one event and gives the tasks that it issues.
    fn fold(&mut self, envelope: &Arc<Envelope>, event: Event) -> Vec<Task> {
        let at = self.client.tick();
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
            match advance(&self.graphs, &recalled, state, envelope, at, &event) {
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
        if let Some(folded) = &mut self.folded {
            folded.push(Folded { envelope: envelope.clone(), at, event, recalled });
        }
        let mut tasks = Vec::new();
        for command in commands {
            match command {
                Command::Issue { task, .. } => {
                    // A worker drops what it has seen.
                    assert!(
                        self.issued.insert((task.id, task.issue)),
                        "{} is issued twice as {}",
                        task.node,
                        task.issue
                    );
                    tasks.push(*task);
                }
                Command::Update { envelope, update } => {
                    self.told.push((envelope, update.clone()));
                    self.client.see(update);
                }
                Command::Cancel { .. } | Command::Copy { .. } => panic!("nothing is cancelled or copied here"),
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

    fn recall(&self, wanted: &Wanted) -> Found {
        let found = match wanted {
            Wanted::Checkpoint(id) => self.archive.get(&(String::new(), *id)),
            Wanted::Before { ns, id } => {
                let older = (ns.clone(), Uuid::nil())..(ns.clone(), *id);
                self.archive.range(older).next_back().map(|(_, found)| found)
            }
        };
        found.cloned().map_or(Found::Nothing, Found::There)
    }
}
