//! Values that stand in the store: shown as they were written, put away again in rows, and missed aloud where they are gone.

mod stage;

use std::time::Duration;

use bytes::Bytes;
use event_log::partition_for;
use graph::{envelope::Key, update::Happened};
use run_store::{
    Blobs, Results,
    rows::{PageRequest, RunFilter},
};
use schemas::{
    record::UpdateRecord,
    reference::{RECORD_BYTES_INLINE, References, references_of_row},
    stream::Waited,
};
use serde_json::{Value, json};
use stage::{PARTITIONS, Run, Running, Stage, frames, whole};

const THREAD: &str = "large";

fn thread_run(number: u64) -> Run {
    let partition = partition_for(Key::thread("default", THREAD).as_str().as_bytes(), PARTITIONS);
    Run::of("default", Some(THREAD), number, partition)
}

fn large(name: &str) -> Value {
    json!(format!("{name} \"\u{fc}\"\n").repeat(10_000))
}

/// `prepare` writes 130 KB.
fn prepared(run: &Run, offset: u64) -> UpdateRecord {
    let mut record = run.prepared(offset);
    let done = run.done(1, "prepare", json!({"prompt": large("prompt")}));
    let step = run.step(0, json!({"question": "?", "prompt": large("prompt")}), vec![run.issued(2, "answer")]);
    record.update.happened = vec![Happened::TaskDone(Box::new(done)), step];
    record
}

/// The run's output and its thread's last checkpoint are large.
fn ended(run: &Run, offset: u64) -> UpdateRecord {
    let mut record = run.ended(offset);
    for happened in &mut record.update.happened {
        match happened {
            Happened::StepDone(step) => {
                step.values.insert("prompt".to_owned(), large("prompt").into());
                step.values.insert("more".to_owned(), large("more").into());
            }
            Happened::Ended(ended) => {
                let output = [("prompt", large("prompt").into()), ("more", large("more").into())];
                ended.output = Some(output.into_iter().collect());
            }
            _ => {}
        }
    }
    record
}

/// A whole run of which two updates have references; gives their tables.
async fn play(stage: &Stage, run: &Run, stored: bool) -> [References; 2] {
    stage.put(run, run.started(stage.next())).await;
    let first = stage.put_by_reference(run, prepared(run, stage.next()), true).await;
    let second = stage.put_by_reference(run, ended(run, stage.next()), stored).await;
    [first, second]
}

async fn lose(stage: &Stage, references: &References) {
    for value in &references.values {
        stage.store.put_blob(&references.owner, &value.hash, Bytes::from_static(b"damaged")).await.unwrap();
    }
}

/// Everything that is asked of a run and its thread, but for lists.
fn paths(run: &Run) -> [String; 5] {
    let thread = |rest: &str| format!("/internal/threads/{THREAD}{rest}");
    [run.path(""), run.path("/updates"), thread(""), thread("/state"), thread("/history?limit=10")]
}

const LISTS: [&str; 2] = ["/internal/runs", "/internal/threads"];

async fn read(sink: &Running, run: &Run) -> Vec<Vec<u8>> {
    let mut read = Vec::new();
    for path in paths(run).iter().map(String::as_str).chain(LISTS) {
        let response = sink.ask(path).await;
        assert_eq!(response.status(), 200, "{path}");
        read.push(whole(response).await);
    }
    read
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn values_are_shown_as_they_were_written() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1);
    let wait = sink.ask(&run.path("/wait?register=true")).await;
    play(&stage, &run, true).await;
    let Waited::Ended(told) = serde_json::from_slice(&whole(wait).await).unwrap() else { panic!("not ended") };
    let output = json!({"prompt": large("prompt"), "more": large("more")});
    assert_eq!(told.output.as_ref(), Some(&output));
    sink.json_when("/internal/runs?status=success", |answer| answer["data"].as_array().unwrap().len() == 1).await;
    let live = read(&sink, &run).await;
    sink.stop().await;
    // From the store, too.
    let sink = stage.sink().await;
    let stored = read(&sink, &run).await;
    for (found, what) in [(&live, "live"), (&stored, "stored")] {
        assert_eq!(parse(&found[0])["output"], output, "{what}");
        let lines: Vec<UpdateRecord> =
            found[1].split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(lines, [run.started(1), prepared(&run, 2), ended(&run, 3)], "{what}");
        assert_eq!(parse(&found[2])["values"]["more"], large("more"), "{what}");
        assert_eq!(parse(&found[3])["values"]["prompt"], large("prompt"), "{what}");
        let history = parse(&found[4]);
        assert_eq!(history[0]["values"]["more"], large("more"), "{what}");
        assert_eq!(history[1]["values"]["prompt"], large("prompt"), "{what}");
        assert!(history[1]["values"].get("more").is_none(), "{what}");
        assert_eq!(parse(&found[5])["data"][0]["output"], output, "{what}");
        assert_eq!(parse(&found[6])["data"][0]["values"]["prompt"], large("prompt"), "{what}");
    }
    let stream = frames(&whole(sink.ask(&run.path("/stream")).await).await);
    assert_eq!(parse(stream.iter().rfind(|frame| frame.event == "final").unwrap().data.as_bytes())["output"], output);
    sink.stop().await;
}

#[tokio::test]
async fn rows_are_small_and_name_their_values() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1);
    play(&stage, &run, true).await;
    sink.json_when("/internal/runs?status=success", |answer| answer["data"].as_array().unwrap().len() == 1).await;
    let page = PageRequest { limit: 10, cursor: None };
    let view = stage.store.run("default", run.id).await.unwrap().unwrap().view;
    let updates = stage.store.updates("default", run.id, 0, 10).await.unwrap();
    let owner = Key::thread("default", THREAD);
    let checkpoints = stage.store.checkpoints(&owner, "", None, 10).await.unwrap();
    let listed = stage.store.runs("default", &RunFilter::default(), &page).await.unwrap().rows.remove(0).view;
    let rows = [view, listed, updates[2].update.clone(), checkpoints[0].checkpoint.clone()];
    for row in &rows {
        assert!(row.len() < RECORD_BYTES_INLINE, "{} bytes", row.len());
        let references = references_of_row(row).expect("a table");
        assert_eq!(references.owner, owner);
        for value in &references.values {
            assert!(stage.store.blob(&owner, &value.hash).await.unwrap().is_some(), "nobody wrote {}", value.at);
        }
    }
    sink.stop().await;
}

/// An object in the value's place, which no node wrote.
fn is_missed(value: &Value) -> bool {
    let text = value["value_missing"].as_str();
    text.is_some_and(|text| text.starts_with("the store has no value ") && text.ends_with(" bytes"))
}

#[tokio::test]
async fn a_value_that_is_gone_later_is_an_error_and_in_lists_says_so() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1);
    let [first, second] = play(&stage, &run, true).await;
    sink.json_when("/internal/runs?status=success", |answer| answer["data"].as_array().unwrap().len() == 1).await;
    sink.stop().await;
    lose(&stage, &first).await;
    lose(&stage, &second).await;
    let sink = stage.sink().await;
    let [view, updates, thread, state, history] = paths(&run);
    for path in [view, thread, state, history] {
        let response = sink.ask(&path).await;
        assert_eq!(response.status(), 500, "{path}");
        let error = parse(&whole(response).await);
        assert_eq!(error["error"]["code"], "value_missing", "{path}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("it can't be shown whole: the store has no value "), "{path}: {message}");
    }
    let runs = sink.json(LISTS[0]).await;
    let output = &runs["data"][0]["output"];
    assert!(is_missed(output) || is_missed(&output["prompt"]), "{output:.300}");
    let threads = sink.json(LISTS[1]).await;
    assert!(is_missed(&threads["data"][0]["values"]["prompt"]), "{threads:.600}");
    let lines = whole(sink.ask(&updates).await).await;
    let last: UpdateRecord =
        serde_json::from_slice(lines.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert!(last.update.happened.iter().any(|happened| match happened {
        Happened::StepDone(step) => is_missed(&step.values["more"]) && is_missed(&step.values["prompt"]),
        _ => false,
    }));
    sink.stop().await;
}

#[tokio::test]
async fn a_value_that_never_came_is_missed_aloud_and_holds_up_no_other_key() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1);
    let other = Run::new(2, run.partition);
    let wait = sink.ask(&run.path("/wait?register=true")).await;
    let began = tokio::time::Instant::now();
    play(&stage, &run, false).await;
    let told = sink.ask(&other.path("/wait?register=true")).await;
    stage.play(&other).await;
    whole(told).await;
    assert!(began.elapsed() < Duration::from_secs(6), "another key waited {:?}", began.elapsed());
    let Waited::Ended(told) = serde_json::from_slice(&whole(wait).await).unwrap() else { panic!("not ended") };
    let output = told.output.unwrap();
    assert!(is_missed(&output["more"]), "{:.300}", output["more"]);
    assert_eq!(output["prompt"], large("prompt"), "what an earlier update stored is there");
    sink.json_when("/internal/runs?status=success", |answer| answer["data"].as_array().unwrap().len() == 2).await;
    sink.stop().await;
    // It stays missed, whoever asks.
    let sink = stage.sink().await;
    let view = sink.json(&run.path("")).await;
    assert!(is_missed(&view["output"]["more"]), "{:.300}", view["output"]["more"]);
    let state = sink.json(&format!("/internal/threads/{THREAD}/state")).await;
    assert!(is_missed(&state["values"]["more"]), "{:.300}", state["values"]["more"]);
    sink.stop().await;
}
