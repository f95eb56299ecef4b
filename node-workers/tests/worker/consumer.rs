//! Order, crashes, copies and garbage.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use event_log::{EventLog, Record};
use graph::task::TaskId;
use node_workers::{Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop, tracker::Tracker};
use schemas::record::TaskRecord;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bench::{Bench, within};

pub const FILE: &str = "
version: 1
name: g
state: {n: integer, hold: boolean, done: {type: array, reducer: append}}
nodes:
  work: {kind: rust, name: gate}
edges: [START -> work, work -> END]
";

/// A node that holds tasks back until the test lets them go, and counts how often each was begun and how many were at once.
#[derive(Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
    begun: Arc<Mutex<BTreeMap<TaskId, u32>>>,
    at_once: Arc<Mutex<AtOnce>>,
}

#[derive(Default)]
struct AtOnce {
    now: u32,
    most: u32,
}

impl Gate {
    pub fn new() -> Self {
        Gate { open: watch::channel(false).0, begun: Arc::default(), at_once: Arc::default() }
    }

    pub fn registry(&self) -> NodeRegistry {
        NodeRegistry::new().with_node("gate", self.clone())
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub fn begun(&self, task: &TaskRecord) -> u32 {
        self.begun.lock().unwrap().get(&task.task.id).copied().unwrap_or(0)
    }

    pub async fn wait_begun(&self, tasks: &[TaskRecord], times: u32) {
        within(async {
            while tasks.iter().any(|task| self.begun(task) < times) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

#[async_trait]
impl Node for Gate {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        *self.begun.lock().unwrap().entry(context.task().id).or_default() += 1;
        {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.now += 1;
            at_once.most = at_once.most.max(at_once.now);
        }
        if input.get("hold") == Some(&Value::Bool(true)) {
            let mut opened = self.open.subscribe();
            opened.wait_for(|open| *open).await.unwrap();
        }
        tokio::task::yield_now().await;
        self.at_once.lock().unwrap().now -= 1;
        Ok(NodeOutput::update(json!({"done": [input.get("n")]})))
    }
}

/// Tasks on partition 0: `hold` says which of them wait for the gate.
fn tasks(bench: &Bench, hold: impl IntoIterator<Item = bool>) -> Vec<TaskRecord> {
    hold.into_iter().enumerate().map(|(n, hold)| bench.task("work", json!({"n": n, "hold": hold}))).collect()
}

async fn issue(bench: &Bench, tasks: &[TaskRecord]) {
    for task in tasks {
        bench.issue_to(0, task).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_task_holds_up_nothing_behind_it() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let worker = bench.start(gate.registry());
    let tasks = tasks(&bench, (0..40).map(|n| n == 0 || n == 20));
    issue(&bench, &tasks).await;
    bench.results(38).await;
    let (offset, map) = bench.committed("work", 0, |offset, map| offset == 0 && !map.is_empty()).await;
    let all_but_two = |map: &str| {
        let tracker = Tracker::restore(offset, map).unwrap();
        (0..40).all(|n| tracker.is_finished(n) == (n != 0 && n != 20))
    };
    bench.committed("work", 0, |_, map| all_but_two(map)).await;
    assert!(!map.is_empty());
    gate.open();
    let results = bench.results(40).await;
    assert_eq!(results.len(), 40);
    bench.committed("work", 0, |offset, map| offset == 40 && map.is_empty()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_only_what_was_unfinished_is_done_again() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let tasks = tasks(&bench, (0..60).map(|n| n % 20 == 3));
    let worker = bench.start(gate.registry());
    issue(&bench, &tasks).await;
    bench.results(57).await;
    // Tasks end in any order: the last one's end says nothing of the others.
    let finished = |map: &str, offset| {
        let tracker = Tracker::restore(offset, map).expect("a map");
        (0..60).all(|n| tracker.is_finished(n) == (n % 20 != 3))
    };
    bench.committed("work", 0, |offset, map| offset == 3 && finished(map, offset)).await;
    worker.kill();

    let worker = bench.start(gate.registry());
    let (held, others): (Vec<_>, Vec<_>) =
        tasks.iter().cloned().partition(|task| *task.task.channels["hold"] == Value::Bool(true));
    gate.wait_begun(&held, 2).await;
    gate.open();
    let results = bench.results(60).await;
    bench.committed("work", 0, |offset, _| offset == 60).await;
    assert!(others.iter().all(|task| gate.begun(task) == 1), "what was finished is not begun again");
    assert!(held.iter().all(|task| gate.begun(task) == 2));
    assert_eq!(results.len(), 60, "each task has one result");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_set_aside_and_nothing_stalls() {
    let bench = Bench::new(FILE).await;
    let garbage: [&[u8]; 3] = [b"\xff\xfe no text", b"{\"envelope\":{}}", b""];
    for payload in garbage {
        let record = Record::new(b"key".as_slice(), payload);
        bench.log.append(&bench.topic("work"), 0, record).await.unwrap();
    }
    let gate = Gate::new();
    let worker = bench.start(gate.registry());
    let tasks = tasks(&bench, [false]);
    issue(&bench, &tasks).await;
    bench.results(1).await;
    let mut letters = bench.dead_letters(3).await;
    letters.sort_by_key(|letter| letter.offset);
    for (n, (letter, payload)) in letters.iter().zip(garbage).enumerate() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        assert_eq!((letter.topic.as_str(), letter.partition, letter.offset), ("t-node.g.work", 0, n as u64));
        assert_eq!(STANDARD.decode(&letter.payload).unwrap(), payload, "the bytes are kept whole");
        assert_eq!(letter.consumer, "t-node.g.work");
    }
    bench.committed("work", 0, |offset, map| offset == 4 && map.is_empty()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_task_is_dropped_also_by_the_next_worker() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let worker = bench.start(gate.registry());
    let tasks = tasks(&bench, [false]);
    let mut copy = tasks[0].clone();
    copy.task.repeat = true;
    issue(&bench, &tasks).await;
    issue(&bench, std::slice::from_ref(&copy)).await;
    bench.committed("work", 0, |offset, _| offset == 2).await;
    worker.stop().await;

    let worker = bench.start(gate.registry());
    issue(&bench, std::slice::from_ref(&copy)).await;
    bench.committed("work", 0, |offset, _| offset == 3).await;
    assert_eq!(gate.begun(&copy), 1);
    let mut again = copy.clone();
    again.task.issue = 2;
    issue(&bench, std::slice::from_ref(&again)).await;
    bench.results(2).await;
    assert_eq!(gate.begun(&copy), 2, "another issue is another task");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tasks_than_permits_all_get_done() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let worker = bench.start_with(gate.registry(), |config| {
        config.permits_per_node = 3;
        config.waiting_max = 8;
        config.in_flight_bytes_max = 10_000;
    });
    let tasks = tasks(&bench, (0..200).map(|n| n < 2));
    bench.issue_all(&tasks).await;
    bench.results(198).await;
    gate.open();
    assert_eq!(bench.results(200).await.len(), 200);
    let most = gate.at_once.lock().unwrap().most;
    assert!((2..=3).contains(&most), "{most} at once");
    worker.stop().await;
}
