//! What LangGraph did with random graphs, held against what clients read and see here: streams in the modes values and
//! updates with subgraphs, the newest state, and every state of the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use event_log::to_json;
use graph::{
    envelope::Envelope,
    update::{Happened, Update},
};
use run_store::{Position, rows::CheckpointRow, values::Values};
use schemas::{
    record::{RunsPosition, UpdateRecord},
    reference,
    stream::{LangGraph, Rendering, StreamMode},
};
use semantics::{
    case::Case,
    compare::{self, Called},
    fold::World,
    tally,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    dialects::Stream,
    materialize::{Continuation, Rows, continued_ns},
    outcome::{self, Outcomes},
    run::RunState,
    sequence::Sequencer,
    snapshot::{Saved, Sight},
    thread::ThreadState,
};

/// What a sink has made of a thread's updates.
#[derive(Default)]
struct Played {
    thread: Option<ThreadState>,
    runs: BTreeMap<Uuid, RunState>,
    updates: BTreeMap<Uuid, Vec<Arc<UpdateRecord>>>,
    checkpoints: BTreeMap<(String, Uuid), CheckpointRow>,
    values: Values,
    offset: u64,
}

impl Played {
    fn take(&mut self, envelope: Arc<Envelope>, update: Update) {
        let place = RunsPosition { generation: 0, partition: 0, offset: self.offset };
        let position = Position::new(0, self.offset).expect("a position");
        self.offset += 1;
        let record = Arc::new(UpdateRecord { envelope, position: place, update, references: None });
        let run_id = record.envelope.run_id;
        let run = self.runs.entry(run_id).or_insert_with(|| RunState::new(&record));
        run.fold(&record);
        let thread_id = record.envelope.thread_id.clone().expect("cases have threads");
        self.thread.get_or_insert_with(|| ThreadState::new(&thread_id, run)).fold(&record, run, position);
        let mut rows = Rows::default();
        rows.add_update(&record, &to_json(&*record), position);
        let (writes, values) = rows.into_parts();
        self.values.extend(values.into_values().flatten());
        for row in writes.into_iter().flat_map(|write| write.checkpoints) {
            self.checkpoints.insert((row.ns.clone(), row.checkpoint_id), row);
        }
        self.updates.entry(run_id).or_default().push(record);
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, row: &CheckpointRow) -> T {
        let whole = match reference::references_of_row(&row.checkpoint) {
            Some(table) => reference::fill(&row.checkpoint, &table, &self.values).expect("values have their places"),
            None => row.checkpoint.to_vec(),
        };
        serde_json::from_slice(&whole).expect("a row is read as it was written")
    }

    /// As the newest state, in the recordings' form.
    fn state(&self) -> Value {
        let thread = self.thread.as_ref().expect("a call was made");
        let Some((checkpoint, run_id)) = thread.checkpoint() else {
            return json!({"values": {}, "next": [], "tasks": [], "interrupts": [], "source": null, "step": null});
        };
        let saved = Saved { checkpoint: checkpoint.clone(), run_id: Some(run_id), origin: None };
        plain(&self.sight(thread, &thread.view.tasks).latest(thread, &saved))
    }

    /// Oldest first, by the rows that are read for it.
    fn history(&self) -> Vec<Value> {
        let thread = self.thread.as_ref().expect("a call was made");
        let own = self.checkpoints.iter().filter(|((ns, _), _)| ns.is_empty());
        own.map(|(_, row)| self.entry(thread, row)).collect()
    }

    fn entry(&self, thread: &ThreadState, row: &CheckpointRow) -> Value {
        let mut saved = Saved { checkpoint: self.parsed(row), run_id: Some(row.run_id), origin: None };
        let ns = continued_ns(row.checkpoint_id);
        let went_on: Vec<&CheckpointRow> =
            self.checkpoints.iter().filter(|((of, _), _)| *of == ns).map(|(_, row)| row).collect();
        for continuation in &went_on {
            if let Some(values) = self.parsed::<Continuation>(continuation).values {
                saved.checkpoint.values = values;
            }
        }
        let runs: BTreeSet<Uuid> = went_on.iter().map(|row| row.run_id).chain([row.run_id]).collect();
        let mut outcomes = Outcomes::new();
        for updates in runs.iter().filter_map(|run| self.updates.get(run)) {
            outcome::add_run(&mut outcomes, updates.iter().map(|record| &record.update));
        }
        plain(&self.sight(thread, &outcomes).historic(&saved))
    }

    fn sight<'a>(&'a self, thread: &'a ThreadState, outcomes: &'a Outcomes) -> Sight<'a> {
        Sight { thread_id: &thread.thread_id, graph: &thread.graph, outcomes, inner: None, pending: &thread.view.inner }
    }

    /// What a client saw of a run: updates up to each `values` of the outermost graph.
    fn steps(&self, run_id: Uuid) -> Vec<Value> {
        let modes = [StreamMode::Values, StreamMode::Updates].into();
        let mut stream = Stream::new(Rendering::LangGraph(LangGraph { modes, subgraphs: true, ids: false }));
        let mut sequencer = Sequencer::default();
        self.updates[&run_id].iter().for_each(|record| sequencer.update(Arc::clone(record)));
        let mut out = Vec::new();
        for shown in sequencer.shown() {
            stream.see(shown);
            stream.render(shown, &mut out);
        }
        let text = String::from_utf8(out).expect("JSON");
        let (mut steps, mut updates, mut failed) = (Vec::new(), Vec::new(), false);
        for frame in text.split("\r\n\r\n").filter(|frame| !frame.is_empty()) {
            let (name, data) = frame.strip_prefix("event: ").expect("a name").split_once("\r\ndata: ").expect("data");
            let mut data: Value = serde_json::from_str(data).expect("JSON");
            let (name, ns) = name.split_once('|').unwrap_or((name, ""));
            match (name, ns) {
                ("updates", ns) => updates.push(chunk(data, ns)),
                ("values", "") => {
                    data.as_object_mut().expect("values are an object").remove("__interrupt__");
                    steps.push(json!({"updates": std::mem::take(&mut updates), "values": data}));
                }
                ("values", _) => {}
                ("error", _) => failed = true,
                (other, _) => panic!("nobody asked for {other}"),
            }
        }
        if !failed && !updates.is_empty() {
            steps.push(json!({"updates": updates, "values": null}));
        }
        steps
    }

    /// The type of what ended the call, a run or an edit.
    fn error(&self, run_id: Uuid) -> Option<String> {
        let happened = self.updates[&run_id].iter().flat_map(|record| &record.update.happened);
        let mut error = happened.filter_map(|happened| match happened {
            Happened::Ended(ended) => ended.error.clone(),
            Happened::Edited(edited) => edited.error.clone(),
            _ => None,
        });
        error.next_back().map(|error| error.kind.unwrap_or(error.code))
    }
}

/// A state as the recordings have it.
fn plain(state: &Value) -> Value {
    let values = |interrupts: &Value| {
        let questions = interrupts.as_array().into_iter().flatten();
        let mut values: Vec<Value> = questions.map(|question| question["value"].clone()).collect();
        values.sort_by_key(Value::to_string);
        values
    };
    let task = |task: &Value| json!({"name": task["name"], "error": !task["error"].is_null(), "interrupts": values(&task["interrupts"])});
    let tasks: Vec<Value> = state["tasks"].as_array().into_iter().flatten().map(task).collect();
    json!({
        "values": state["values"], "next": state["next"], "tasks": tasks, "interrupts": values(&state["interrupts"]),
        "source": state["metadata"]["source"], "step": state["metadata"]["step"],
    })
}

/// An update as the recordings have it: with the path of subgraphs, and overwrites in their own form.
fn chunk(mut data: Value, ns: &str) -> Value {
    let path: Vec<&str> =
        ns.split('|').filter(|part| !part.is_empty()).map(|part| part.split(':').next().unwrap_or(part)).collect();
    if let Some(questions) = data.get("__interrupt__").and_then(Value::as_array) {
        let values: Vec<Value> = questions.iter().map(|question| json!({"interrupt": question["value"]})).collect();
        return json!({"__interrupt__": values, "in": path});
    }
    for (_, update) in data.as_object_mut().expect("an update is an object") {
        *update = plain_overwrites(update.take());
    }
    data["in"] = json!(path);
    data
}

fn plain_overwrites(update: Value) -> Value {
    match update {
        Value::Array(updates) => updates.into_iter().map(plain_overwrites).collect(),
        Value::Object(fields) => {
            let plain = |(name, value): (String, Value)| match value.get("__overwrite__") {
                Some(value) => (name, json!({"overwrite": value})),
                None => (name, value),
            };
            Value::Object(fields.into_iter().map(plain).collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn check(case: &Case) -> Result<(), String> {
    let mut world = World::new(case);
    let mut played = Played::default();
    for (place, call, expected) in case.made() {
        world.call(call);
        let told = world.take_told();
        let run_id = told.last().expect("a call says something").0.run_id;
        told.into_iter().for_each(|(envelope, update)| played.take(envelope, update));
        let called = Called {
            error: played.error(run_id),
            steps: played.steps(run_id),
            state: played.state(),
            history: played.history(),
        };
        compare::call(&called, expected).map_err(|why| format!("{}: {why}", case.place(place)))?;
    }
    Ok(())
}

/// Every `step`-th case of a file; all with `SEMANTICS=all`.
fn hold(file: &str, step: usize) {
    let step = if std::env::var("SEMANTICS").is_ok_and(|which| which == "all") { 1 } else { step };
    let (cases, _) = tally::load(&tally::recorded(file));
    let cases: Vec<Case> = cases.into_iter().step_by(step).collect();
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    let shortest = failures.iter().min_by_key(|why| why.len());
    assert!(failures.is_empty(), "{} of {} cases fail, the shortest: {shortest:#?}", failures.len(), cases.len());
}

#[test]
fn clients_read_and_see_what_langgraph_did_with_plain_graphs() {
    hold("cases.jsonl.gz", 5);
}

#[test]
fn clients_read_and_see_what_langgraph_did_with_rich_graphs() {
    hold("rich.jsonl.gz", 3);
}

#[test]
fn clients_read_and_see_what_langgraph_did_with_runs_that_keep_only_their_last_checkpoint() {
    hold("exit.jsonl.gz", 3);
}
