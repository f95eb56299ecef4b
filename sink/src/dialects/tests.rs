//! Facts in, exact bytes out.

use std::sync::Arc;

use graph::{
    task::{Interrupt, TaskError, Usage},
    update::{Ended, Happened, RunError, RunStatus, TaskDone},
};
use schemas::{
    record::{TokenKind, TokenRecord, UpdateRecord},
    stream::{Dialect, Rendering},
};
use serde_json::json;

use super::Stream;
use crate::{
    facts::{Fact, Of, Resumed, Shown, StateSoFar, WholeText},
    position::{Origin, Position},
    sample::Run,
};

fn check(fact: Fact, events: &str, text: &str) {
    let position = Position { update: 5, tokens: 120, ..Position::default() };
    let shown = Shown { position, origin: Origin::Stream, fact };
    for (dialect, expect) in [(Dialect::Events, events), (Dialect::Text, text)] {
        let mut out = Vec::new();
        Stream::new(Rendering::Ours(dialect)).render(&shown, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expect, "{dialect:?}");
    }
}

fn run() -> Run {
    Run::of("default", Some("t1"), 1, 0)
}

const RUN: &str = "019aa5ff-dc00-7000-8000-000000010000";
const TASK: &str = "019aa5fd-dc00-7000-8000-000000010000";

fn token(kind: TokenKind, delta: &str) -> Fact {
    let mut run = run();
    run.words = vec![delta.to_owned()];
    let mut record: TokenRecord = run.token(0);
    record.token.kind = kind;
    record.token.task_id = TASK.parse().unwrap();
    Fact::Token(Arc::new(record))
}

fn update(happened: Happened) -> Arc<UpdateRecord> {
    Arc::new(run().update(5, 9, RunStatus::Running, Vec::new(), vec![happened]))
}

fn done(change: impl FnOnce(&mut TaskDone)) -> Fact {
    let mut done = run().done(2, "answer", json!({"topic": "x"}));
    done.task_id = TASK.parse().unwrap();
    change(&mut done);
    Fact::NodeFinished(Of::done(&update(Happened::TaskDone(Box::new(done))), 0))
}

fn ended(change: impl FnOnce(&mut Ended)) -> Arc<UpdateRecord> {
    let mut ended = Ended {
        status: RunStatus::Success,
        output: None,
        error: None,
        interrupts: Vec::new(),
        next: Vec::new(),
        values: None,
        inner: Default::default(),
        usage: Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() },
        rolled_back: false,
    };
    change(&mut ended);
    update(Happened::Ended(Box::new(ended)))
}

#[test]
fn metadata() {
    let envelope = run().envelope;
    let of = format!(r#"{{"run_id":"{RUN}","thread_id":"t1","graph":"support","hash":"h1""#);
    check(
        Fact::Metadata { envelope: Arc::clone(&envelope), resumed: None },
        &format!("id: 5.120\nevent: metadata\ndata: {of}}}\n\n"),
        "",
    );
    check(
        Fact::Metadata { envelope: Arc::clone(&envelope), resumed: Some(Resumed::Recovered) },
        &format!("id: 5.120\nevent: metadata\ndata: {of},\"recovered\":true}}\n\n"),
        "",
    );
    let state = StateSoFar {
        status: RunStatus::Running,
        values: [("a", Arc::new(json!(1)))].into_iter().collect(),
        open: Vec::new(),
    };
    check(
        Fact::Metadata { envelope, resumed: Some(Resumed::Lost(Box::new(state))) },
        &format!(
            "id: 5.120\nevent: metadata\ndata: {of},\"recovered\":false,\
             \"state\":{{\"status\":\"running\",\"values\":{{\"a\":1}},\"open\":[]}}}}\n\n"
        ),
        "",
    );
}

#[test]
fn tokens() {
    let of = format!(r#"{{"task_id":"{TASK}","node":"answer","ns":"""#);
    check(
        token(TokenKind::Text, "a\r\nb\rc"),
        &format!("id: 5.120\nevent: token\ndata: {of},\"message_id\":\"m1\",\"text\":\"a\\r\\nb\\rc\"}}\n\n"),
        "id: 5.120\ndata: a\ndata: b\ndata: c\n\n",
    );
    check(
        token(TokenKind::Text, "[DONE]"),
        &format!("id: 5.120\nevent: token\ndata: {of},\"message_id\":\"m1\",\"text\":\"[DONE]\"}}\n\n"),
        "data: [\n\nid: 5.120\ndata: DONE]\n\n",
    );
    check(
        token(TokenKind::Reasoning, "hm"),
        &format!("id: 5.120\nevent: reasoning\ndata: {of},\"message_id\":\"m1\",\"text\":\"hm\"}}\n\n"),
        "",
    );
    check(
        token(TokenKind::ToolCall, "{\"a"),
        &format!("id: 5.120\nevent: tool_call\ndata: {of},\"message_id\":\"m1\",\"delta\":\"{{\\\"a\"}}\n\n"),
        "",
    );
    check(
        token(TokenKind::Custom, r#"{"sources": [1]}"#),
        &format!("id: 5.120\nevent: sources\ndata: {of},\"sources\":[1]}}\n\n"),
        "",
    );
    check(
        token(TokenKind::Custom, "{\"at\": \n7}"),
        &format!("id: 5.120\nevent: custom\ndata: {of},\"data\":{{\"at\":7}}}}\n\n"),
        "",
    );
    check(token(TokenKind::Custom, "{broken"), "", "");
    let whole = WholeText {
        task_id: TASK.parse().unwrap(),
        node: "answer".into(),
        ns: "".into(),
        message_id: "m1".to_owned(),
        text: "all".to_owned(),
    };
    check(
        Fact::WholeText(Box::new(whole)),
        &format!("id: 5.120\nevent: token\ndata: {of},\"message_id\":\"m1\",\"text\":\"all\"}}\n\n"),
        "id: 5.120\ndata: all\n\n",
    );
}

#[test]
fn nodes() {
    let mut issued = run().issued(2, "answer");
    issued.task_id = TASK.parse().unwrap();
    let record = Arc::new(run().update(5, 9, RunStatus::Running, vec![issued], Vec::new()));
    let of = format!(r#"{{"task_id":"{TASK}","node":"answer""#);
    check(
        Fact::NodeStarted(Of::issued(&record, 0)),
        &format!("id: 5.120\nevent: node_started\ndata: {of},\"ns\":\"\"}}\n\n"),
        "",
    );
    check(
        done(|_| {}),
        &format!("id: 5.120\nevent: node_finished\ndata: {of},\"ns\":\"\",\"update\":{{\"topic\":\"x\"}}}}\n\n"),
        "",
    );
    let failed = |done: &mut TaskDone| {
        done.update = None;
        done.error = Some(TaskError {
            class: "node_failed".to_owned(),
            message: "no".to_owned(),
            kind: None,
            retryable: true,
            retry_after_ms: None,
        });
    };
    check(
        done(failed),
        &format!(
            "id: 5.120\nevent: node_finished\ndata: {of},\"ns\":\"\",\
             \"error\":{{\"code\":\"node_failed\",\"message\":\"no\",\"retryable\":true}}}}\n\n"
        ),
        "",
    );
    check(
        Fact::AttemptReset { task_id: TASK.parse().unwrap(), node: "answer".into() },
        &format!("id: 5.120\nevent: attempt_reset\ndata: {of}}}\n\n"),
        "id: 5.120\nevent: attempt_reset\ndata: {}\n\n",
    );
}

#[test]
fn ends() {
    const USAGE: &str = r#""usage":{"input_tokens":1,"output_tokens":2,"cached_tokens":0,"reasoning_tokens":0}"#;
    let output = json!({"messages": [{"content": "?", "type": "human"}, {"content": "!", "type": "ai"}], "n": 1});
    let record = ended(|ended| ended.output = Some(serde_json::from_value(output).unwrap()));
    check(
        Fact::Final(Of::ended(&record, 0)),
        &format!(
            "id: 5.120\nevent: final\ndata: {{\"status\":\"success\",\"message\":{{\"content\":\"!\",\"type\":\"ai\"}},\
             \"output\":{{\"messages\":[{{\"content\":\"?\",\"type\":\"human\"}},{{\"content\":\"!\",\"type\":\"ai\"}}],\
             \"n\":1}},{USAGE}}}\n\ndata: [DONE]\n\n"
        ),
        "id: 5.120\ndata: [DONE]\n\n",
    );
    let asks = |ended: &mut Ended| {
        let value = Arc::new(json!("sure?"));
        ended.interrupts = vec![Interrupt { id: "i1".to_owned(), value, response_schema: None }];
        ended.status = RunStatus::Interrupted;
    };
    check(
        Fact::Interrupt(Of::ended(&ended(asks), 0)),
        "id: 5.120\nevent: interrupt\ndata: \
         {\"interrupts\":[{\"id\":\"i1\",\"value\":\"sure?\",\"response_schema\":null}]}\n\n",
        "",
    );
    let fails = |ended: &mut Ended| {
        ended.status = RunStatus::Error;
        ended.error = Some(RunError {
            code: "recursion_limit".to_owned(),
            message: "too many steps".to_owned(),
            node: Some("answer".to_owned()),
            kind: None,
            retryable: false,
        });
    };
    let body = format!(
        "{{\"error\":{{\"message\":\"node answer failed: too many steps\",\"type\":\"run_error\",\
         \"code\":\"recursion_limit\",\"param\":\"answer\",\"retryable\":false,\"run_id\":\"{RUN}\",\
         \"request_id\":null}}}}"
    );
    let frame = format!("id: 5.120\nevent: error\ndata: {body}\n\n");
    check(Fact::Error(Of::ended(&ended(fails), 0)), &frame, &frame);
}
