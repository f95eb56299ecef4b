//! Streams and waits over a real log and store.

mod stage;

use std::time::Duration;

use schemas::stream::{Waited, moved_after};
use serde_json::Value;
use stage::{Run, Stage, frames, frames_until, names_of, text_of, whole};

const WHOLE: [&str; 11] = [
    "metadata",
    "node_started",
    "node_finished",
    "node_started",
    "token",
    "token",
    "token",
    "token",
    "node_finished",
    "final",
    "",
];

#[tokio::test]
async fn a_run_is_streamed_from_before_it_begins() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 1);
    let response = sink.ask(&run.path("/stream?register=true")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    stage.play(&run).await;
    let frames = frames(&whole(response).await);
    assert_eq!(names_of(&frames), WHOLE);
    assert_eq!(text_of(&frames), run.text());
    assert_eq!(frames.last().unwrap().data, "[DONE]");
    let last: Value = serde_json::from_str(&frames[9].data).unwrap();
    assert_eq!(last["message"], run.message());
    assert_eq!(last["usage"]["output_tokens"], 4);
    sink.stop().await;
}

#[tokio::test]
async fn the_text_dialect_is_the_answer_alone() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let mut run = Run::new(1, 1);
    run.words = ["a\r\nb", "[DONE]", "c"].map(str::to_owned).to_vec();
    let response = sink.ask(&run.path("/stream?register=true&dialect=text")).await;
    stage.play(&run).await;
    let body = String::from_utf8(whole(response).await).unwrap();
    let without_ids: Vec<&str> = body.lines().filter(|line| !line.starts_with("id: ")).collect();
    assert_eq!(without_ids.join("\n"), "data: a\ndata: b\n\ndata: [\n\ndata: DONE]\n\ndata: c\n\ndata: [DONE]\n");
    sink.stop().await;
}

#[tokio::test]
async fn a_wait_hears_of_the_end_and_of_what_has_ended() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 2);
    let early = sink.ask(&run.path("/wait?register=true")).await;
    let impatient = sink.ask(&run.path("/wait?register=true&timeout_ms=1")).await;
    assert_eq!(waited(impatient).await, Waited::StillRunning);
    stage.play(&run).await;
    let late = sink.ask(&run.path("/wait")).await;
    for response in [early, late] {
        let Waited::Ended(view) = waited(response).await else { panic!("not ended") };
        assert_eq!(view.run_id, run.id.to_string());
        assert_eq!(view.number, 3);
        assert_eq!(view.output.unwrap()["messages"][0], run.message());
    }
    assert_eq!(sink.ask(&Run::new(9, 2).path("/wait")).await.status(), 404);
    sink.stop().await;
}

#[tokio::test]
async fn a_stream_cut_anywhere_goes_on_where_it_was() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 1);
    let response = sink.ask(&run.path("/stream?register=true")).await;
    stage.play(&run).await;
    let all = frames(&whole(response).await);
    for (index, frame) in all.iter().enumerate().take(all.len() - 2) {
        let resumed = sink.ask(&run.path(&format!("/stream?after={}", frame.id))).await;
        let resumed = frames(&whole(resumed).await);
        assert!(resumed[0].data.contains(r#""recovered":true"#), "{:?}", resumed[0]);
        let rest = &all[index + 1..];
        assert_eq!(&resumed[1..], rest, "after {}", frame.id);
    }
    let last = &all[all.len() - 2];
    assert_eq!(last.event, "final");
    assert_eq!(sink.ask(&run.path(&format!("/stream?after={}", last.id))).await.status(), 204);
    assert_eq!(sink.ask(&run.path("/stream?after=x")).await.status(), 400);
    sink.stop().await;
}

#[tokio::test]
async fn a_new_process_goes_on_with_what_the_last_one_stored() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 1);
    let response = sink.ask(&run.path("/stream?register=true")).await;
    stage.put(&run, run.started(stage.next())).await;
    stage.put(&run, run.prepared(stage.next())).await;
    stage.say(&run, 0..2).await;
    let seen = frames_until(response, |frame| frame.data.contains(" wor")).await;
    let last = seen.last().unwrap().clone();
    sink.stop().await;

    let sink = stage.sink().await;
    let response = sink.ask(&run.path(&format!("/stream?after={}", last.id))).await;
    assert_eq!(response.status(), 200);
    let wait = sink.ask(&run.path("/wait")).await;
    stage.say(&run, 2..4).await;
    stage.put(&run, run.ended(stage.next())).await;
    let rest = frames(&whole(response).await);
    assert!(rest[0].data.contains(r#""recovered":true"#), "{:?}", rest[0]);
    assert_eq!(names_of(&rest[1..]), ["token", "token", "node_finished", "final", ""]);
    assert_eq!(text_of(&seen) + &text_of(&rest), run.text());
    assert!(matches!(waited(wait).await, Waited::Ended(_)));
    sink.stop().await;

    // Long over, and its tokens with it: the answer comes whole.
    let sink = stage.sink().await;
    let from_store = frames(&whole(sink.ask(&run.path("/stream")).await).await);
    assert_eq!(text_of(&from_store), run.text());
    sink.stop().await;
}

#[tokio::test]
async fn lost_tokens_are_said_and_the_answer_repeated() {
    let stage = Stage::open().await;
    let run = Run::new(1, 1);
    stage.put(&run, run.started(stage.next())).await;
    stage.put(&run, run.prepared(stage.next())).await;
    stage.say(&run, 0..3).await;
    // Reads no token back: as if they were past their minutes.
    let config = sink::Config { token_lookback_records: 0, ..Stage::config() };
    let sink = stage.sink_of(config, stage.deps()).await;
    sink.ask(&run.path("/wait?register=true&timeout_ms=1")).await;
    sink.json_when(&run.path(""), |view| view["number"] == 2).await;
    let response = sink.ask(&run.path("/stream?after=2.1")).await;
    stage.say(&run, 3..4).await;
    stage.put(&run, run.ended(stage.next())).await;
    let rest = frames(&whole(response).await);
    let metadata: Value = serde_json::from_str(&rest[0].data).unwrap();
    assert_eq!(metadata["recovered"], false);
    assert_eq!(metadata["state"]["open"][0]["node"], "answer");
    assert_eq!(metadata["state"]["values"]["prompt"], "p");
    assert_eq!(
        names_of(&rest),
        ["metadata", "attempt_reset", "token", "attempt_reset", "token", "node_finished", "final", ""]
    );
    assert!(rest[4].data.contains(&run.text()));
    sink.stop().await;
}

#[tokio::test]
async fn two_sinks_share_partitions_and_streams_move() {
    let stage = Stage::open().await;
    let first = stage.sink().await;
    let runs: Vec<Run> =
        (0..stage::PARTITIONS).map(|partition| Run::new(u64::from(partition) + 1, partition)).collect();
    let mut responses = Vec::new();
    for run in &runs {
        responses.push(first.ask(&run.path("/stream?register=true")).await);
        stage.put(run, run.started(stage.next())).await;
        stage.put(run, run.prepared(stage.next())).await;
        stage.say(run, 0..2).await;
    }
    let second = stage.sink().await;
    let (second_sink, stage_, first_) = (&second, &stage, &first);
    let tell = async |(run, response): (&Run, _)| {
        let moves = frames_until(response, |frame| frame.comment.starts_with(": moved"));
        // One that stays is told nothing.
        let Ok(said) = tokio::time::timeout(Duration::from_secs(3), moves).await else { return false };
        let comment = said.last().unwrap().comment.clone() + "\n\n";
        let id = moved_after(comment.as_bytes()).unwrap();
        assert_eq!(first_.ask_once("default", &run.path("")).await.status(), 421);
        let response = second_sink.ask(&run.path(&format!("/stream?after={id}"))).await;
        assert_eq!(response.status(), 200);
        stage_.say(run, 2..4).await;
        stage_.put(run, run.ended(stage_.next())).await;
        let rest = frames(&whole(response).await);
        assert!(rest[0].data.contains(r#""recovered":true"#), "{:?}", rest[0]);
        assert_eq!(text_of(&rest), "ld!");
        true
    };
    let told = futures_util::future::join_all(runs.iter().zip(responses).map(tell)).await;
    let moved = told.into_iter().filter(|moved| *moved).count();
    assert_eq!(moved, 2, "half of the partitions move");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_slow_client_is_cut_and_told_why() {
    let stage = Stage::open().await;
    let config = sink::Config { client_buffer_events_max: 8, ..Stage::config() };
    let sink = stage.sink_of(config, stage.deps()).await;
    let mut run = Run::new(1, 1);
    run.words = (0..50).map(|n| format!("{n} ")).collect();
    let response = sink.ask(&run.path("/stream?register=true")).await;
    let wait = sink.ask(&run.path("/wait?register=true")).await;
    stage.play(&run).await;
    assert!(matches!(waited(wait).await, Waited::Ended(_)));
    // Nothing was read so far; what was buffered is told, then why it ends.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let frames = frames(&whole(response).await);
    assert!(frames.len() <= 9, "{}", frames.len());
    let [.., shown, cut] = &frames[..] else { panic!("nothing was told") };
    assert!(cut.comment.starts_with(": cut: this client reads too slowly"), "{cut:?}");
    assert!(cut.comment.ends_with(&shown.id), "{cut:?} after {shown:?}");
    sink.stop().await;
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let stage = Stage::open().await;
    let config = sink::Config { keep_alive: Duration::from_millis(20), ..Stage::config() };
    let sink = stage.sink_of(config, stage.deps()).await;
    let run = Run::new(1, 1);
    let response = sink.ask(&run.path("/stream?register=true")).await;
    let frames = frames_until(response, |frame| frame.comment == ": keep-alive").await;
    assert_eq!(frames.len(), 1);
    sink.stop().await;
}

async fn waited(response: http::Response<axum::body::Body>) -> Waited {
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&whole(response).await).unwrap()
}
