//! ChannelValues by reference: of tasks that are read, of results that are written.

use graph::by_name::ChannelValues;
use std::time::Duration;

use graph::{event::Event, task::TaskResult};
use node_workers::NodeRegistry;
use run_store::values::{MISSING_AFTER, find_values};
use schemas::{
    record::{RunsRecord, TaskRecord},
    reference::{RECORD_BYTES_INLINE, Referring},
    topic::RUNS,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bench::{Bench, within};

const FILE: &str = "
version: 1
name: g
state:
  text: string
  size: integer
  items: {type: array, reducer: append}
nodes:
  measure: {kind: transform, update: {size: size(state.text)}}
  write: {kind: rust, name: write}
edges:
  - START -> measure
  - measure -> write
  - write -> END
";

fn nodes() -> NodeRegistry {
    NodeRegistry::new().with_function("write", |_| Ok(json!({"text": "ü".repeat(150_000), "items": ["small"]})))
}

/// The record as it stands in the log, and its bytes there.
async fn record_of(bench: &Bench, task: &TaskRecord) -> (RunsRecord, Vec<u8>) {
    let of_task = |value: &Value| value["event"]["data"]["task_id"] == task.task.id.to_string();
    let found = bench.read::<Value>(RUNS, |values| values.iter().any(of_task)).await;
    let text = serde_json::to_vec(found.iter().find(|value| of_task(value)).unwrap()).unwrap();
    (serde_json::from_slice(&text).unwrap(), text)
}

fn result(record: RunsRecord) -> TaskResult {
    match record.event {
        Event::TaskFinished(result) => *result,
        other => panic!("no result: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_values_are_read_before_it_runs() {
    let bench = Bench::new(FILE).await;
    let worker = bench.start(nodes());
    let task = bench.task("measure", json!({"text": "é".repeat(2_000_000)}));
    bench.issue_by_reference(&task, true).await;
    let result = result(record_of(&bench, &task).await.0);
    assert_eq!(serde_json::to_value(&result.writes).unwrap(), json!([["size", 2_000_000]]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_results_large_values_stand_in_the_store() {
    let bench = Bench::new(FILE).await;
    let worker = bench.start(nodes());
    let task = bench.task("write", json!({"text": "a"}));
    bench.issue(&task).await;
    let (record, text) = record_of(&bench, &task).await;
    assert!(text.len() < 2_000, "the record has {} bytes", text.len());
    let references = record.references.clone().expect("a value is by reference");
    assert_eq!(references.owner, task.envelope.key());
    let values = find_values(&*bench.store, &references.owner, references.wanted()).await.unwrap();
    let whole = result(RunsRecord::filled(&text, &references, &values).unwrap());
    let writes: ChannelValues = whole.writes.iter().cloned().collect();
    assert_eq!(*writes["text"], json!("ü".repeat(150_000)));
    assert_eq!(*writes["items"], json!(["small"]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_value_is_gone_fails_and_holds_nobody_up() {
    let bench = Bench::new(FILE).await;
    let worker = bench.start(nodes());
    let gone = bench.task("measure", json!({"text": "x".repeat(50_000)}));
    let began = Instant::now();
    bench.issue_by_reference(&gone, false).await;
    let next = bench.task("measure", json!({"text": "abc"}));
    bench.issue(&next).await;
    let result = result(record_of(&bench, &next).await.0);
    assert_eq!(serde_json::to_value(&result.writes).unwrap(), json!([["size", 3]]));
    assert!(began.elapsed() < Duration::from_secs(5), "it waited {:?}", began.elapsed());

    let failed = self::result(within(record_of(&bench, &gone)).await.0);
    assert!(began.elapsed() >= MISSING_AFTER, "it failed after {:?}", began.elapsed());
    let error = failed.error.unwrap();
    assert_eq!(error.class, "value_missing");
    assert!(error.message.starts_with("a value of the task is gone: the store has no value "), "{}", error.message);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_over_the_limit_fails_its_task() {
    let bench = Bench::new(FILE).await;
    let worker = bench.start_with(nodes(), |config| config.result_bytes_max = RECORD_BYTES_INLINE);
    let task = bench.task("write", json!({}));
    let error = bench.result_of(&task).await.error.unwrap();
    assert_eq!(error.kind.as_deref(), Some("value_too_large"));
    assert!(error.message.contains("over the limit of 262144"), "{}", error.message);
    worker.stop().await;
}
