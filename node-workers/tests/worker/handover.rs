//! A move repeats no call; what must end is given back; what is cancelled is aborted.

use std::{sync::Arc, time::Duration};

use event_log::{EventLog, Record};
use graph::{envelope::Lane, event::Event};
use node_workers::{Serve, tracker::Tracker};
use schemas::{
    record::{RunsRecord, SignalRecord, TaskRecord, Wire},
    topic::{RUNS, SIGNALS},
};
use serde_json::json;

use crate::{
    bench::{Bench, WallClock},
    consumer::{FILE, Gate},
};
use graph::world::Clock;

fn held(bench: &Bench, count: usize) -> Vec<TaskRecord> {
    (0..count).map(|n| bench.task("work", json!({"n": n, "hold": true}))).collect()
}

fn kept(events: &[RunsRecord]) -> usize {
    events.iter().filter(|record| matches!(record.event, Event::TaskKept { .. })).count()
}

fn finished(events: &[RunsRecord]) -> usize {
    events.iter().filter(|record| matches!(record.event, Event::TaskFinished(_))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_moves_keeps_its_calls() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let first = bench.start(gate.registry());
    let tasks = held(&bench, 12);
    bench.issue_all(&tasks).await;
    gate.wait_begun(&tasks, 1).await;

    let second = bench.start(gate.registry());
    let records = bench.read::<RunsRecord>(RUNS, |records| kept(records) > 0).await;
    for record in &records {
        if let Event::TaskKept { until, .. } = record.event {
            assert!(until > WallClock.now() + 60_000, "the call has time to end");
        }
    }
    // New tasks find both workers; the kept calls end outside of the group.
    let more = held(&bench, 12);
    bench.issue_all(&more).await;
    gate.wait_begun(&more, 1).await;
    gate.open();
    let records = bench.read::<RunsRecord>(RUNS, |records| finished(records) >= 24).await;
    assert_eq!(finished(&records), 24);
    assert!(tasks.iter().chain(&more).all(|task| gate.begun(task) == 1), "no call was repeated");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_shutdown_calls_are_kept_and_what_outlasts_the_drain_is_given_back() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let worker = bench.start_with(gate.registry(), |config| {
        config.permits_per_node = 2;
        config.drain = Duration::from_millis(300);
    });
    let tasks = held(&bench, 4);
    for task in &tasks {
        bench.issue_to(0, task).await;
    }
    gate.wait_begun(&tasks[..2], 1).await;
    worker.stop().await;
    let (offset, map) = bench.committed("work", 0, |_, _| true).await;
    let tracker = Tracker::restore(offset, &map).unwrap();
    assert_eq!(
        (0..4).map(|n| tracker.is_finished(n)).collect::<Vec<_>>(),
        [true, true, false, false],
        "calls under way are not repeated, what had not begun is"
    );
    let events = bench.events(4).await;
    let of = |task: &TaskRecord| -> Vec<&'static str> {
        events
            .iter()
            .filter_map(|event| match event {
                Event::TaskKept { task_id, .. } if *task_id == task.task.id => Some("kept"),
                Event::TaskGivenBack { task_id, attempt: 0, .. } if *task_id == task.task.id => Some("given back"),
                _ => None,
            })
            .collect()
    };
    assert_eq!(of(&tasks[0]), ["kept", "given back"]);
    assert_eq!(of(&tasks[1]), ["kept", "given back"]);
    assert_eq!(of(&tasks[2]), Vec::<&str>::new());

    let next = bench.start(gate.registry());
    gate.wait_begun(&tasks[2..], 1).await;
    gate.open();
    bench.results(2).await;
    assert_eq!(gate.begun(&tasks[0]), 1);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_within_the_drain_reports() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let worker = bench.start_with(gate.registry(), |config| config.drain = Duration::from_secs(20));
    let tasks = held(&bench, 1);
    bench.issue_all(&tasks).await;
    gate.wait_begun(&tasks, 1).await;
    worker.ask_to_stop();
    bench.read::<RunsRecord>(RUNS, |records| kept(records) == 1).await;
    gate.open();
    assert_eq!(bench.results(1).await[0].task_id, tasks[0].task.id);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_is_aborted_and_given_back() {
    let bench = Bench::new(FILE).await;
    let gate = Gate::new();
    let worker = bench.start(gate.registry());
    let tasks = held(&bench, 2);
    bench.issue_all(&tasks).await;
    gate.wait_begun(&tasks, 1).await;
    let signal = SignalRecord {
        envelope: Arc::clone(&tasks[0].envelope),
        at: WallClock.now(),
        cancelled: vec![tasks[0].task.id],
        node: "work".to_owned(),
        graph: None,
    };
    let record = Record::json(signal.key(), signal.headers("test", None), Arc::new(signal));
    bench.log.append(&bench.names.of(SIGNALS), 0, record).await.unwrap();
    let events = bench.events(1).await;
    assert!(matches!(events[0], Event::TaskGivenBack { task_id, .. } if task_id == tasks[0].task.id), "{events:?}");
    gate.open();
    bench.results(1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_can_be_served_alone() {
    let file = FILE.replace(
        "work: {kind: rust, name: gate}",
        "work: {kind: rust, name: gate}\n  other: {kind: transform, update: {n: '1'}}",
    );
    let file = file.replace("work -> END", "work -> other, other -> END");
    let bench = Bench::new(&file).await;
    let gate = Gate::new();
    gate.open();
    let serve = |node: &str| Serve::Node { graph: "g".to_owned(), node: node.to_owned() };
    let worker = bench.start_with(gate.registry(), |config| config.serve = serve("work"));
    let (mine, others) = (bench.task("work", json!({"n": 1})), bench.task("other", json!({"n": 1})));
    bench.issue(&others).await;
    bench.result_of(&mine).await;
    worker.stop().await;
    let group = bench.names.node_group("g", "other");
    let topic = bench.names.node("g", "other", Lane::Interactive);
    for partition in 0..2 {
        assert_eq!(bench.log.committed(&group, &topic, partition).await.unwrap(), None);
    }
}
