//! The `events` dialect: everything that happened, named, as JSON.

use graph::{
    by_name::ChannelValues,
    envelope::Envelope,
    task::{Interrupt, TaskError, TaskId, Usage},
    update::{Ended, IssuedTask, RunStatus},
    writes::NodeUpdate,
};
use schemas::{
    error::ErrorBody,
    record::{Token, TokenKind},
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{DONE, frame};
use crate::{
    answer,
    facts::{Fact, Resumed, Shown, StateSoFar},
    run_error,
};

pub fn render(shown: &Shown, out: &mut Vec<u8>) {
    let mut event = |name: &str, data: &dyn Data| {
        frame(Some(shown.position), Some(name), &data.json(), out);
    };
    match &shown.fact {
        Fact::Metadata { envelope, resumed } => event("metadata", &Metadata::of(envelope, resumed.as_ref())),
        Fact::Happened(_) => {}
        Fact::NodeStarted(of) => {
            if let Some(IssuedTask { task_id, node, ns, .. }) = of.get() {
                event("node_started", &NodeStarted { task_id, node, ns });
            }
        }
        Fact::Token(record) => token(&record.token, &mut event),
        Fact::WholeText(whole) => {
            let (task_id, node, ns) = (&whole.task_id, &*whole.node, &*whole.ns);
            event("token", &Text { task_id, node, ns, message_id: &whole.message_id, text: &whole.text });
        }
        Fact::NodeFinished(of) => {
            if let Some(done) = of.get() {
                let (task_id, node, ns) = (&done.task_id, &*done.node, &*done.ns);
                let (update, error) = (done.update.as_ref(), done.error.as_ref().map(NodeError::of));
                event("node_finished", &NodeFinished { task_id, node, ns, update, error });
            }
        }
        Fact::AttemptReset { task_id, node } => event("attempt_reset", &Reset { task_id, node }),
        Fact::Interrupt(of) => {
            if let Some(ended) = of.get() {
                event("interrupt", &Interrupts { interrupts: ended.interrupts.iter().map(Question::of).collect() });
            }
        }
        Fact::Error(of) => {
            if let Some(ended) = of.get() {
                let error = run_error::of(ended, of.record.envelope.run_id);
                event("error", &error.map(|error| ErrorBody { error }));
            }
        }
        Fact::Final(of) => {
            if let Some(ended) = of.get() {
                event("final", &Final::of(ended));
                frame(None, None, DONE, out);
            }
        }
    }
}

fn token(token: &Token, event: &mut dyn FnMut(&str, &dyn Data)) {
    let (task_id, node, ns) = (&token.task_id, &*token.node, &*token.checkpoint_ns);
    let (message_id, text) = (token.message_id.as_str(), token.delta.as_str());
    match token.kind {
        TokenKind::Text => event("token", &Text { task_id, node, ns, message_id, text }),
        TokenKind::Reasoning => event("reasoning", &Text { task_id, node, ns, message_id, text }),
        TokenKind::ToolCall => event("tool_call", &ToolCall { task_id, node, ns, message_id, delta: text }),
        TokenKind::Custom => custom(token, event),
    }
}

/// A delta that is no JSON is the worker's mistake, and not passed on. One that is may hold line breaks: it is written
/// anew.
fn custom(token: &Token, event: &mut dyn FnMut(&str, &dyn Data)) {
    let (task_id, node, ns) = (&token.task_id, &*token.node, &*token.checkpoint_ns);
    if let Ok(Sources { sources }) = serde_json::from_str(&token.delta) {
        event("sources", &SourcesFound { task_id, node, ns, sources });
    } else if let Ok(data) = serde_json::from_str(&token.delta) {
        event("custom", &Custom { task_id, node, ns, data });
    }
}

/// Anything that has a JSON form.
trait Data {
    fn json(&self) -> Vec<u8>;
}

impl<T: Serialize> Data for T {
    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| b"null".to_vec())
    }
}

#[derive(Serialize)]
struct Metadata<'a> {
    run_id: Uuid,
    thread_id: Option<&'a str>,
    graph: &'a str,
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State<'a>>,
}

#[derive(Serialize)]
struct State<'a> {
    status: RunStatus,
    values: &'a ChannelValues,
    open: Vec<NodeStarted<'a>>,
}

impl<'a> Metadata<'a> {
    fn of(envelope: &'a Envelope, resumed: Option<&'a Resumed>) -> Self {
        let (recovered, state) = match resumed {
            None => (None, None),
            Some(Resumed::Recovered) => (Some(true), None),
            Some(Resumed::Lost(state)) => (Some(false), Some(State::of(state))),
        };
        Metadata {
            run_id: envelope.run_id,
            thread_id: envelope.thread_id.as_deref(),
            graph: &envelope.graph.name,
            hash: &envelope.graph.hash,
            recovered,
            state,
        }
    }
}

impl<'a> State<'a> {
    fn of(StateSoFar { status, values, open }: &'a StateSoFar) -> Self {
        let open = open.iter().map(|task| NodeStarted { task_id: &task.task_id, node: &task.node, ns: &task.ns });
        State { status: *status, values, open: open.collect() }
    }
}

#[derive(Serialize)]
struct NodeStarted<'a> {
    task_id: &'a TaskId,
    node: &'a str,
    ns: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    task_id: &'a TaskId,
    node: &'a str,
    ns: &'a str,
    message_id: &'a str,
    text: &'a str,
}

/// A piece of a tool call as the model streamed it.
#[derive(Serialize)]
struct ToolCall<'a> {
    task_id: &'a TaskId,
    node: &'a str,
    ns: &'a str,
    message_id: &'a str,
    delta: &'a str,
}

/// A custom delta that is `{"sources": …}` alone.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    sources: Value,
}

#[derive(Serialize)]
struct SourcesFound<'a> {
    task_id: &'a TaskId,
    node: &'a str,
    ns: &'a str,
    sources: Value,
}

#[derive(Serialize)]
struct Custom<'a> {
    task_id: &'a TaskId,
    node: &'a str,
    ns: &'a str,
    data: Value,
}

#[derive(Serialize)]
struct NodeFinished<'a> {
    task_id: &'a TaskId,
    node: &'a str,
    ns: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<&'a NodeUpdate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<NodeError<'a>>,
}

#[derive(Serialize)]
struct NodeError<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
}

impl<'a> NodeError<'a> {
    fn of(error: &'a TaskError) -> Self {
        NodeError { code: &error.class, message: &error.message, retryable: error.retryable }
    }
}

#[derive(Serialize)]
struct Reset<'a> {
    task_id: &'a TaskId,
    node: &'a str,
}

#[derive(Serialize)]
struct Interrupts<'a> {
    interrupts: Vec<Question<'a>>,
}

#[derive(Serialize)]
struct Question<'a> {
    id: &'a str,
    value: &'a Value,
    response_schema: Option<&'a Value>,
}

impl<'a> Question<'a> {
    fn of(interrupt: &'a Interrupt) -> Self {
        let Interrupt { id, value, response_schema } = interrupt;
        Question { id, value, response_schema: response_schema.as_deref() }
    }
}

#[derive(Serialize)]
struct Final<'a> {
    status: RunStatus,
    message: Option<&'a Value>,
    output: Option<&'a ChannelValues>,
    usage: Usage,
}

impl<'a> Final<'a> {
    fn of(ended: &'a Ended) -> Self {
        let output = ended.output.as_ref();
        Final { status: ended.status, message: output.and_then(answer::final_message), output, usage: ended.usage }
    }
}
