//! One case on a thread of its own: its client, a worker for its nodes, and a sink that drops what it has seen.

use std::{collections::BTreeMap, sync::Arc};

use event_log::{EventLog, Record};
use graph::{
    envelope::{Envelope, Key, RunId},
    event::Event,
    graph::Graph,
    task::{Task, TaskId},
    update::Update,
};
use run_store::values::{find_values, put_values};
use schemas::{
    record::{RunsRecord, TaskRecord, UpdateRecord, Wire},
    reference::{self, Referring},
    topic::RUNS,
};
use semantics::{
    case::{Case, Compiled},
    client::{Client, GRAPH, Results},
    compare,
    worker::Worker,
};
use serde::Deserialize;

use crate::{
    faulty_log::Output,
    stage::{PATIENCE, Stage},
};

pub struct Player<'a> {
    stage: &'a Stage,
    case: &'a Case,
    client: Client<'a>,
    worker: Worker,
    graphs: BTreeMap<String, Arc<Graph>>,
    hash: String,
    /// Of the run that is being made.
    updates: BTreeMap<u64, Update>,
    tasks: BTreeMap<(TaskId, u32), Task>,
}

impl<'a> Player<'a> {
    /// Why what the owner did and the recording differ, or nothing.
    pub async fn play(stage: &'a Stage, case: &'a Case) -> Result<(), String> {
        let mut player = Player::new(stage, case).await;
        for (place, call, expected) in case.made() {
            let called = player.call(call).await.map_err(|why| format!("{}: {why}", case.place(place)))?;
            compare::call(&called, expected).map_err(|why| format!("{}: {why}", case.place(place)))?;
        }
        Ok(())
    }

    pub async fn new(stage: &'a Stage, case: &'a Case) -> Self {
        let Compiled { hash, specs, programs } = case.graph.compile(GRAPH);
        stage.put_specs(&specs).await;
        let compiled = specs.into_iter().map(|spec| {
            let graph = Graph::new(spec).unwrap_or_else(|error| panic!("{}: {error}", case.id));
            (graph.hash().to_owned(), Arc::new(graph))
        });
        Player {
            stage,
            case,
            client: Client::new(case, hash.clone()),
            worker: Worker::new(programs),
            graphs: compiled.collect(),
            hash,
            updates: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// Makes one call and plays its run to the end.
    pub async fn call(&mut self, call: &semantics::case::Call) -> Result<compare::Called, String> {
        let (envelope, event) = self.client.begin(call);
        self.updates.clear();
        self.tasks.clear();
        let mut results = Results::default();
        let mut tasks = self.tell(&envelope, event).await?;
        loop {
            for task in tasks.drain(..) {
                let hash = task.graph.as_ref().map_or(&self.hash, |graph| &graph.hash);
                results.push(self.worker.execute(&self.graphs[hash], &task));
            }
            let Some(result) = results.take_next() else { break };
            tasks = self.tell(&envelope, Event::TaskFinished(Box::new(result))).await?;
        }
        if !self.updates.values().last().is_some_and(|last| last.status.is_terminal()) {
            return Err("the run never ended".to_owned());
        }
        Ok(self.client.called())
    }

    /// Adds a record to the log, and gives the new tasks among what it caused.
    async fn tell(&mut self, envelope: &Arc<Envelope>, event: Event) -> Result<Vec<Task>, String> {
        let at = self.client.tick();
        let record = RunsRecord { envelope: Arc::clone(envelope), at, event, references: None };
        let mut wire = Record::json(record.key(), record.headers("test", None), Arc::new(record.clone()));
        if let Some(put) = reference::put_away(&wire.payload, &record.owner(), &RunsRecord::LAYOUT) {
            put_values(&*self.stage.store.inner, &put.references.owner, &put.values).await.expect("the store lives");
            wire.replace_payload(put.json);
        }
        let topic = self.stage.names.of(RUNS);
        let offset = self.stage.log.inner.append(&topic, 0, wire).await.expect("the log lives").offset;
        tokio::time::timeout(PATIENCE, self.stage.log.issued(offset))
            .await
            .map_err(|_| format!("what record {offset} caused never came"))?;
        let mut tasks = Vec::new();
        for Output { is_update, record } in self.stage.log.take(&envelope.key(), envelope.run_id) {
            match is_update {
                true => self.see(self.whole::<UpdateRecord>(&record).await.update)?,
                false => tasks.extend(self.take_up(self.whole::<TaskRecord>(&record).await.task)?),
            }
        }
        Ok(tasks)
    }

    /// As a sink does: numbers that it has seen are dropped. They say the same.
    fn see(&mut self, update: Update) -> Result<(), String> {
        let number = update.number.ok_or("calls were spent in vain")?;
        match self.updates.get(&number) {
            Some(known) if *known == update => self.stage.log.note_repeat(),
            Some(known) => return Err(format!("update {number} came again as something else: {known:?}, {update:?}")),
            None => {
                self.updates.insert(number, update.clone());
                self.client.see(update);
            }
        }
        Ok(())
    }

    /// As a worker does: an issue that it has seen is not done again.
    fn take_up(&mut self, task: Task) -> Result<Option<Task>, String> {
        let task = Task { repeat: false, ..task };
        match self.tasks.get(&(task.id, task.issue)) {
            Some(known) if *known == task => {
                self.stage.log.note_repeat();
                Ok(None)
            }
            Some(known) => Err(format!("a task came again as something else: {known:?}, {task:?}")),
            None => {
                self.tasks.insert((task.id, task.issue), task.clone());
                Ok(Some(task))
            }
        }
    }

    async fn whole<T: Referring>(&self, record: &Record) -> T {
        let read: T = serde_json::from_slice(&record.payload).expect("a record of its topic");
        let Some(references) = read.references().cloned() else { return read };
        let values = find_values(&*self.stage.store.inner, &references.owner, references.wanted()).await;
        let values = values.unwrap_or_else(|error| panic!("{}: a value was not written before: {error}", self.case.id));
        T::filled(&record.payload, &references, &values).expect("a record can be filled")
    }
}

/// Whose output it is.
pub fn addressed(record: &Record) -> (Key, RunId) {
    #[derive(Deserialize)]
    struct Addressed {
        envelope: Envelope,
    }
    let Addressed { envelope } = serde_json::from_slice(&record.payload).expect("an output has an envelope");
    (envelope.key(), envelope.run_id)
}
