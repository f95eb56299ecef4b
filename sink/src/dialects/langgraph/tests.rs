//! A run of two nodes, a question and a subgraph, as LangGraph Server 0.16.7 tells of them; ids and what it adds of its
//! own deployment aside.

use std::{collections::BTreeSet, sync::Arc};

use graph::{
    task::{Interrupt, TaskError},
    update::{Checkpointed, Continued, Ended, Happened, IssuedTask, Paused, RunError, RunStatus, TaskDone},
};
use schemas::record::{TokenKind, UpdateRecord};
use serde_json::{Value, json};

use super::*;
use crate::{sample::Run, sequence::Sequencer};

fn run() -> Run {
    Run::of("default", Some("t1"), 1, 0)
}

/// What a stream in these modes says of the updates, as `event data` lines.
fn told(modes: &[StreamMode], subgraphs: bool, updates: Vec<UpdateRecord>) -> Vec<(String, Value)> {
    let mut sequencer = Sequencer::default();
    updates.into_iter().for_each(|update| sequencer.update(Arc::new(update)));
    while sequencer.waiting().is_some() {
        sequencer.expire();
    }
    events(modes, subgraphs, sequencer.shown())
}

fn events(modes: &[StreamMode], subgraphs: bool, shown: &[Arc<Shown>]) -> Vec<(String, Value)> {
    let modes: BTreeSet<StreamMode> = modes.iter().copied().collect();
    let mut stream = Stream::new(LangGraph { modes, subgraphs, ids: false });
    let mut out = Vec::new();
    for shown in shown {
        stream.see(shown);
        stream.render(shown, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let event = |frame: &str| {
        let (name, data) = frame.strip_prefix("event: ").unwrap().split_once("\r\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    };
    text.split("\r\n\r\n").filter(|frame| !frame.is_empty()).map(event).collect()
}

fn check(modes: &[StreamMode], updates: Vec<UpdateRecord>, expect: &[(&str, Value)]) {
    let expect: Vec<(String, Value)> = expect.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
    assert_eq!(told(modes, false, updates), expect);
}

fn question() -> Interrupt {
    Interrupt { id: "q1".to_owned(), value: Arc::new(json!("ok?")), response_schema: None }
}

fn shown_question() -> Value {
    json!([{"value": "ok?", "id": "q1", "response_schema": null}])
}

fn finished(done: TaskDone) -> Happened {
    Happened::TaskDone(Box::new(done))
}

/// `prepare` wrote, `answer` asks and the run ends.
fn asked(run: &Run) -> UpdateRecord {
    let done = TaskDone { update: None, interrupts: vec![question()], ..run.done(2, "answer", json!(null)) };
    let paused = Happened::Paused(Box::new(Paused { breakpoint: false, values: None }));
    run.update(3, 2, RunStatus::Interrupted, Vec::new(), vec![finished(done), paused])
}

#[test]
fn values_and_updates() {
    let run = run();
    let modes = [StreamMode::Values, StreamMode::Updates];
    let all = vec![run.started(0), run.prepared(1), run.ended(2)];
    let state = json!({"question": "?", "prompt": "p", "messages": [run.message()]});
    check(
        &modes,
        all,
        &[
            ("values", json!({"question": "?"})),
            ("updates", json!({"prepare": {"prompt": "p"}})),
            ("values", json!({"question": "?", "prompt": "p"})),
            ("updates", json!({"answer": {"messages": [run.message()]}})),
            ("values", state),
        ],
    );
}

#[test]
fn a_question_is_an_update_then_the_values_then_the_tasks_end() {
    let run = run();
    let modes = [StreamMode::Values, StreamMode::Updates, StreamMode::Tasks];
    let told = told(&modes, false, vec![run.started(0), run.prepared(1), asked(&run)]);
    let last: Vec<(&str, &Value)> = told[told.len() - 3..].iter().map(|(name, data)| (name.as_str(), data)).collect();
    let values = json!({"question": "?", "prompt": "p", "__interrupt__": shown_question()});
    let end = json!({
        "id": run.task(2), "name": "answer", "error": null, "result": {}, "interrupts": shown_question(),
    });
    let update = json!({"__interrupt__": shown_question()});
    assert_eq!(last, [("updates", &update), ("values", &values), ("tasks", &end)]);
}

#[test]
fn a_breakpoint_is_an_empty_question() {
    let run = run();
    let paused = Happened::Paused(Box::new(Paused { breakpoint: true, values: None }));
    let stop = run.update(2, 1, RunStatus::Interrupted, Vec::new(), vec![paused]);
    let modes = [StreamMode::Values, StreamMode::Updates];
    let expect = [("values", json!({"question": "?"})), ("updates", json!({"__interrupt__": []}))];
    check(&modes, vec![run.started(0), stop], &expect);
}

/// Goes on at a checkpoint where `prepare` has finished before and `answer` asked.
#[test]
fn a_breakpoint_stands_behind_the_values_of_its_step() {
    let run = run();
    let values = [("log", Arc::new(json!(["a"])))].into_iter().collect();
    let paused = Happened::Paused(Box::new(Paused { breakpoint: true, values: Some(values) }));
    let stop = run.update(2, 1, RunStatus::Interrupted, Vec::new(), vec![paused]);
    let told = told(&[StreamMode::Updates, StreamMode::Values], false, vec![run.started(0), stop]);
    let expect = [("values".to_owned(), json!({"log": ["a"]})), ("updates".to_owned(), json!({"__interrupt__": []}))];
    assert_eq!(told[told.len() - 2..], expect);
}

fn resumed(run: &Run) -> UpdateRecord {
    let next = vec![run.issued(2, "answer"), run.issued(1, "prepare")];
    let continued = Happened::Continued(Box::new(Continued {
        ns: String::new(),
        checkpoint_id: run.task(9),
        values: [("question", Arc::new(json!("?")))].into_iter().collect(),
        untracked: Default::default(),
        commanded: false,
        parent_id: None,
        step: 1,
        source: "loop".to_owned(),
        next,
        parents: Vec::new(),
    }));
    let restored = TaskDone { restored: true, ..run.done(1, "prepare", json!({"prompt": "p"})) };
    run.update(1, 0, RunStatus::Running, vec![run.issued(2, "answer")], vec![continued, finished(restored)])
}

#[test]
fn a_run_that_goes_on_begins_with_where_it_stands() {
    let run = run();
    let modes = [StreamMode::Values, StreamMode::Updates, StreamMode::Tasks, StreamMode::Checkpoints];
    let told = told(&modes, false, vec![resumed(&run)]);
    let names: Vec<(&str, &Value)> = told.iter().map(|(name, data)| (name.as_str(), &data["name"])).collect();
    let (answer, prepare) = (json!("answer"), json!("prepare"));
    let expect = [
        ("values", &Value::Null),
        ("checkpoints", &Value::Null),
        ("tasks", &answer),
        ("tasks", &prepare),
        ("updates", &Value::Null),
    ];
    assert_eq!(names, expect, "{told:?}");
    assert_eq!(told[1].1["next"], json!(["answer", "prepare"]));
    assert_eq!(told[1].1["metadata"], json!({"source": "loop", "step": 1, "parents": {}}));
    assert_eq!(told[2].1["input"], json!({"question": "?"}));
    assert_eq!(told[4].1, json!({"prepare": {"prompt": "p"}, "__metadata__": {"cached": true}}));
}

#[test]
fn checkpoints_and_tasks_in_the_order_of_steps() {
    let run = run();
    let modes = [StreamMode::Tasks, StreamMode::Checkpoints, StreamMode::Values];
    let told = told(&modes, false, vec![run.started(0), run.prepared(1)]);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["values", "checkpoints", "tasks", "tasks", "values", "checkpoints", "tasks"]);
    let id = |step| graph::ids::checkpoint_id(crate::sample::NOW + step, run.id, step);
    let at = |id| json!({"checkpoint_ns": "", "thread_id": "t1", "checkpoint_id": id});
    assert_eq!(told[1].1["config"], json!({"configurable": at(id(-1))}));
    assert_eq!(told[1].1["parent_config"], Value::Null);
    assert_eq!(told[5].1["parent_config"], json!({"configurable": at(id(-1))}));
    assert_eq!(told[5].1["values"], json!({"question": "?", "prompt": "p"}));
    let task = json!({"id": run.task(2), "name": "answer", "interrupts": [], "state": null});
    assert_eq!((&told[5].1["next"], &told[5].1["tasks"]), (&json!(["answer"]), &json!([task])));
    assert_eq!(told[3].1["result"], json!({"prompt": "p"}));
    let alone = Run::new(1, 0);
    assert!(super::tests::told(&[StreamMode::Checkpoints], false, vec![alone.started(0)]).is_empty());
}

#[test]
fn debug_wraps_both_with_their_step() {
    let run = run();
    let told = told(&[StreamMode::Debug], false, vec![run.started(0), run.prepared(1)]);
    let kinds: Vec<(&Value, &Value)> = told.iter().map(|(_, data)| (&data["type"], &data["step"])).collect();
    let kind = |kind: &str, step: i64| (json!(kind), json!(step));
    let expect =
        [kind("checkpoint", -1), kind("task", 0), kind("task_result", 0), kind("checkpoint", 0), kind("task", 1)];
    assert_eq!(kinds, expect.iter().map(|(kind, step)| (kind, step)).collect::<Vec<_>>());
    assert!(told.iter().all(|(name, data)| name == "debug" && data["timestamp"].is_string()));
}

#[test]
fn a_failure_has_its_type() {
    let run = run();
    let error = TaskError {
        class: "node_failed".to_owned(),
        message: "boom in b".to_owned(),
        kind: Some("ValueError".to_owned()),
        retryable: false,
        ..TaskError::default()
    };
    let failed = TaskDone { update: None, error: Some(error), ..run.done(1, "prepare", json!(null)) };
    let ended = Ended {
        status: RunStatus::Error,
        output: None,
        error: Some(RunError {
            code: "node_failed".to_owned(),
            message: "boom in b".to_owned(),
            node: Some("prepare".to_owned()),
            kind: Some("ValueError".to_owned()),
            ..RunError::default()
        }),
        interrupts: Vec::new(),
        next: vec!["prepare".to_owned()],
        values: None,
        inner: Default::default(),
        usage: Default::default(),
        rolled_back: false,
    };
    let end = vec![finished(failed), Happened::Ended(Box::new(ended))];
    let modes = [StreamMode::Updates, StreamMode::Tasks];
    let told = told(&modes, false, vec![run.started(0), run.update(2, 1, RunStatus::Error, Vec::new(), end)]);
    let raised = json!({"error": "ValueError", "message": "boom in b"});
    assert_eq!((told[1].1["error"].clone(), told[1].1["result"].clone()), (raised.clone(), json!({})));
    assert_eq!(told[2], ("error".to_owned(), raised));
    assert_eq!(told.len(), 3);
}

#[test]
fn tokens_come_with_their_nodes_metadata_and_whole_messages_once() {
    let run = run();
    let mut sequencer = Sequencer::default();
    for update in [run.started(0), run.prepared(1)] {
        sequencer.update(Arc::new(update));
    }
    let words = 0..run.words.len();
    words.for_each(|n| sequencer.token(n as u64, Arc::new(run.token(n))));
    sequencer.update(Arc::new(run.ended(2)));
    let tuples = events(&[StreamMode::MessagesTuple], false, sequencer.shown());
    let text: String = tuples.iter().map(|(_, data)| data[0]["content"].as_str().unwrap_or_default()).collect();
    assert_eq!(text, run.text());
    assert!(tuples.iter().all(|(name, data)| name == "messages" && data[0]["type"] == "AIMessageChunk"));
    assert!(tuples.iter().all(|(_, data)| data[0]["id"] == "m1"));
    let about = &tuples[0].1[1];
    assert_eq!((&about["langgraph_node"], &about["langgraph_step"]), (&json!("answer"), &json!(1)));
    assert_eq!((&about["thread_id"], &about["team"]), (&json!("t1"), &json!("red")));
    let last = &tuples.last().unwrap().1[0];
    assert_eq!((&last["chunk_position"], &last["usage_metadata"]["total_tokens"]), (&json!("last"), &json!(7)));

    let messages = events(&[StreamMode::Messages], false, sequencer.shown());
    let names: Vec<&str> = messages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["messages/metadata", "messages/partial"]);
    assert_eq!(messages.last().unwrap().1[0]["content"], json!(run.text()), "nothing is told twice");
    assert_eq!(messages.len(), 1 + run.words.len());
}

#[test]
fn a_message_that_was_not_streamed_comes_whole() {
    let run = run();
    let message = json!({"type": "tool", "id": "m2", "content": "4", "tool_call_id": "c"});
    let done = finished(run.done(1, "prepare", json!({"messages": [message]})));
    let update = run.update(2, 1, RunStatus::Running, Vec::new(), vec![done]);
    let told = told(&[StreamMode::MessagesTuple], false, vec![run.started(0), update]);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].1[0]["type"], &told[0].1[0]["content"]), (&json!("tool"), &json!("4")));
    assert_eq!(told[0].1[0]["additional_kwargs"], json!({}));
}

#[test]
fn custom_events_are_what_a_node_wrote() {
    let run = run();
    let mut token = run.token(0);
    token.token.kind = TokenKind::Custom;
    token.token.delta = r#"{"progress": 1}"#.to_owned();
    let mut sequencer = Sequencer::default();
    [run.started(0), run.prepared(1)].into_iter().for_each(|update| sequencer.update(Arc::new(update)));
    sequencer.token(0, Arc::new(token));
    let told = events(&[StreamMode::Custom], false, sequencer.shown());
    assert_eq!(told, [("custom".to_owned(), json!({"progress": 1}))]);
}

#[test]
fn a_subgraphs_events_have_its_namespace_and_only_when_asked_for() {
    let run = run();
    let task = run.task(2);
    let ns = format!("answer:{task}");
    let inner = IssuedTask { ns: format!("{ns}|i1:{}", run.task(3)).into(), ..run.issued(3, "i1") };
    let outer = IssuedTask { inner: Some(ns.clone()), ns: ns.as_str().into(), ..run.issued(2, "answer") };
    let Happened::StepDone(step) = run.step(0, json!({"a": 1}), vec![inner.clone()]) else { unreachable!() };
    let step = Happened::StepDone(Box::new(Checkpointed { ns: ns.clone(), ..*step }));
    let begun = run.update(2, 1, RunStatus::Running, vec![outer, inner.clone()], vec![step]);
    let done = finished(TaskDone { ns: inner.ns, ..run.done(3, "i1", json!({"a": 2})) });
    let ended = run.update(3, 2, RunStatus::Running, Vec::new(), vec![done]);
    let modes = [StreamMode::Values, StreamMode::Updates, StreamMode::Tasks];
    let all = || vec![run.started(0), begun.clone(), ended.clone()];
    let names: Vec<String> = told(&modes, true, all()).into_iter().map(|(name, _)| name).collect();
    let inside = |name: &str| format!("{name}|{ns}");
    let expect = [
        "values".to_owned(),
        "tasks".to_owned(),
        inside("values"),
        inside("tasks"),
        "tasks".to_owned(),
        inside("updates"),
        inside("tasks"),
    ];
    assert_eq!(names, expect);
    let names: Vec<String> = told(&modes, false, all()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["values", "tasks", "tasks"]);
}

#[test]
fn only_a_resumable_stream_has_ids_and_the_last_event_of_a_fact_has_it() {
    let run = run();
    let mut sequencer = Sequencer::default();
    sequencer.update(Arc::new(run.started(0)));
    let modes = [StreamMode::Values, StreamMode::Checkpoints].into();
    let mut stream = Stream::new(LangGraph { modes, subgraphs: false, ids: true });
    let mut out = Vec::new();
    for shown in sequencer.shown() {
        stream.see(shown);
        stream.render(shown, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let frames: Vec<&str> = text.split("\r\n\r\n").filter(|frame| !frame.is_empty()).collect();
    assert!(!frames[0].contains("\r\nid: "), "{text}");
    assert!(frames[1].contains("\r\nid: 1.0"), "{text}");
}
