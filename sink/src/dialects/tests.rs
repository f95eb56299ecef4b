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
            ..TaskError::default()
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
            ..RunError::default()
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

/// The frames of chat completions for facts in a row, their common head cut off.
fn completions(usage: bool, facts: Vec<Fact>) -> Vec<String> {
    let mut stream = Stream::new(Rendering::Completions { usage });
    let mut out = Vec::new();
    for fact in facts {
        stream.render(&Shown { position: Position::default(), origin: Origin::Stream, fact }, &mut out);
    }
    let id = RUN.replace('-', "");
    let head =
        format!(r#"{{"id":"chatcmpl-{id}","object":"chat.completion.chunk","created":1763721600,"model":"support","#);
    let said = String::from_utf8(out).unwrap();
    let frames = said.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").expect("data alone"));
    frames.map(|frame| frame.strip_prefix(&head).unwrap_or(frame).replace(",\"thread_id\":\"t1\"}", "}")).collect()
}

fn began() -> Fact {
    Fact::Metadata { envelope: run().envelope, resumed: None }
}

fn choice(delta: &str, reason: &str) -> String {
    format!(r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]}}"#)
}

const ROLE: &str = r#"{"role":"assistant","content":""}"#;

#[test]
fn completions_are_told_in_chunks() {
    let output = json!({"messages": [{"content": "ab", "type": "ai"}]});
    let record = ended(|ended| ended.output = Some(serde_json::from_value(output).unwrap()));
    let facts = vec![
        began(),
        token(TokenKind::Reasoning, "hm"),
        token(TokenKind::Text, "a\n\nb"),
        token(TokenKind::ToolCall, "{"),
        token(TokenKind::Custom, "1"),
        Fact::Final(Of::ended(&record, 0)),
    ];
    let expect = [
        choice(ROLE, "null"),
        choice(r#"{"reasoning_content":"hm"}"#, "null"),
        choice(r#"{"content":"a\n\nb"}"#, "null"),
        choice("{}", r#""stop""#),
        "[DONE]".to_owned(),
    ];
    assert_eq!(completions(false, facts.clone()), expect);
    let with_usage = completions(true, facts);
    assert!(with_usage[..4].iter().all(|frame| frame.ends_with(r#"}],"usage":null}"#)), "{with_usage:?}");
    assert_eq!(
        with_usage[4],
        r#""choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#
    );
}

#[test]
fn a_completion_that_calls_tools_says_so() {
    let call = json!({"id": "c", "name": "f", "args": {"n": 1}});
    let output = json!({"messages": [{"content": "", "type": "ai", "tool_calls": [call]}]});
    let record = ended(|ended| ended.output = Some(serde_json::from_value(output).unwrap()));
    let called =
        r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{\"n\":1}"}}]}"#;
    assert_eq!(
        completions(false, vec![began(), Fact::Final(Of::ended(&record, 0))])[1..],
        [choice(called, "null"), choice("{}", r#""tool_calls""#), "[DONE]".to_owned()]
    );
}

/// Its readers know no end without a word, no gap and no second attempt: an error in the place of all that follows.
#[test]
fn a_completion_that_is_not_whole_ends_in_an_error() {
    let check = |facts: Vec<Fact>, before: usize, code: &str| {
        let frames = completions(false, [facts, vec![Fact::Final(Of::ended(&ended(|_| {}), 0))]].concat());
        assert_eq!(frames.len(), before + 1, "{frames:?}");
        let error: serde_json::Value = serde_json::from_str(&frames[before]).unwrap();
        assert_eq!((error["error"]["code"].as_str(), error["error"]["run_id"].as_str()), (Some(code), Some(RUN)));
    };
    let reset = || Fact::AttemptReset { task_id: TASK.parse().unwrap(), node: "answer".into() };
    check(vec![began(), token(TokenKind::Text, "a"), reset(), token(TokenKind::Text, "a")], 2, "stream_cut");
    let state = StateSoFar { status: RunStatus::Running, values: Default::default(), open: Vec::new() };
    let lost = Some(Resumed::Lost(Box::new(state)));
    check(vec![Fact::Metadata { envelope: run().envelope, resumed: lost }], 0, "stream_cut");
    let fails = |ended: &mut Ended| ended.status = RunStatus::Error;
    check(vec![began(), Fact::Error(Of::ended(&ended(fails), 0))], 1, "internal");
    let nothing_sent = completions(false, vec![began(), reset(), token(TokenKind::Text, "a")]);
    assert_eq!(nothing_sent[1..], [choice(r#"{"content":"a"}"#, "null")]);
    let cancelled = ended(|ended| ended.status = RunStatus::Cancelled);
    assert!(completions(false, vec![began(), Fact::Final(Of::ended(&cancelled, 0))])[1].contains("run_cancelled"));
}

#[test]
fn a_completion_that_comes_back_or_is_silent_begins_no_second_time() {
    let recovered = Fact::Metadata { envelope: run().envelope, resumed: Some(Resumed::Recovered) };
    assert_eq!(
        completions(false, vec![recovered, token(TokenKind::Text, "b")]),
        [choice(r#"{"content":"b"}"#, "null")]
    );
    let mut stream = Stream::new(Rendering::Completions { usage: false });
    assert_eq!(*stream.heartbeat(), *b": keep-alive\n\n", "nothing is known of the run yet");
    stream.render(&Shown { position: Position::default(), origin: Origin::Stream, fact: began() }, &mut Vec::new());
    let silent = String::from_utf8(stream.heartbeat().into_owned()).unwrap();
    assert!(silent.contains(r#""delta":{}"#), "a chunk, since comments are no sign of life to its clients: {silent}");
}
