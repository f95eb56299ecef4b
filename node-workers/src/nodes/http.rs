//! `http`: a user's service in any language. POST in, LangGraph's `Command`, questions or an error out
//! (docs/node-api.md).

pub mod ask;
pub mod reply;
pub mod service;

use async_trait::async_trait;
use graph::{
    ids,
    spec::{END, HttpCall, HttpNode},
    task::{Destination, Interrupt, TaskError, UsageSource},
};
use schemas::{
    node_api::{
        AskKind, CommandGraph, GoTo, NodeAnswer, NodeCall, NodeLine, NodeQuestion, NodeToken, NodeUpdate, TokenOf,
    },
    record::TokenKind,
};
use serde_json::Value;

use self::{
    ask::Ask,
    reply::{Piece, Pieces},
    service::{JSON, Post, Services},
};
use super::{Node, NodeContext, NodeInput, NodeOutput, Stop};

const STREAMED: &str = "application/x-ndjson, text/event-stream, application/json";

pub struct Http {
    call: HttpCall,
    stream: bool,
    services: Services,
}

impl Http {
    pub fn new(spec: &HttpNode, services: Services) -> Self {
        let HttpNode { url, headers, stream } = spec.clone();
        Http { call: HttpCall { url, headers }, stream, services }
    }
}

#[async_trait]
impl Node for Http {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let ask = Ask::new(AskKind::Task, input, context);
        let accept = if self.stream { STREAMED } else { JSON };
        let answer = ask_service(&self.services, &self.call, &ask, accept, context).await?;
        output(answer, context)
    }
}

/// Posts the ask, shows what comes before the answer, and gives the answer.
pub async fn ask_service<I: serde::Serialize>(
    services: &Services,
    call: &HttpCall,
    ask: &Ask<'_, I>,
    accept: &'static str,
    context: &NodeContext,
) -> Result<NodeAnswer, TaskError> {
    let post = Post { idempotency_key: &ask.idempotency_key, accept, trace: context.trace };
    let mut body = services.post(call, ask, post).await?;
    let mut pieces = Pieces::of(&body.media);
    while let Some(bytes) = body.next().await? {
        context.tokens().touch();
        for piece in pieces.push(&bytes)? {
            match piece {
                Piece::Line(line) => show(line, context),
                Piece::Answer(answer) => return Ok(*answer),
            }
        }
    }
    match pieces.finish()? {
        Piece::Answer(answer) => Ok(*answer),
        Piece::Line(_) => Err(reply::cut_off("it ended without an answer")),
    }
}

fn show(line: NodeLine, context: &NodeContext) {
    let TokenOf { text, message_id, kind } = match line {
        NodeLine::Custom(value) => return context.tokens().emit(TokenKind::Custom, "", &value.to_string()),
        NodeLine::Token(NodeToken::Text(text)) => TokenOf { text, message_id: None, kind: None },
        NodeLine::Token(NodeToken::Of(token)) => token,
    };
    let id = message_id.unwrap_or_else(|| context.message_id(0));
    context.tokens().emit(kind.unwrap_or(TokenKind::Text), &id, &text);
}

/// What a service's answer comes to.
pub fn output(answer: NodeAnswer, context: &NodeContext) -> Result<NodeOutput, Stop> {
    let NodeAnswer { update, goto, graph, extra, interrupts, error, answers_used, calls } = answer;
    count(&calls, context);
    context.answers.take(context.task(), answers_used);
    if let Some(error) = error {
        return Err(reply::error_from(error).into());
    }
    if !interrupts.is_empty() {
        return Err(Stop::Asked(questions(interrupts, context)));
    }
    Ok(NodeOutput {
        update: match update {
            None => Value::Null,
            Some(NodeUpdate::One(update)) => Value::Object(update),
            Some(NodeUpdate::Many(updates)) => updates.into_iter().map(Value::Object).collect(),
        },
        answer: None,
        goto: destinations(goto),
        to_parent: graph == Some(CommandGraph::Parent),
        extra,
    })
}

/// `END` leads nowhere.
fn destinations(goto: Vec<GoTo>) -> Vec<Destination> {
    let to = |to| match to {
        GoTo::Node(name) => (name != END).then_some(Destination::Node(name)),
        GoTo::Send(send) => Some(Destination::Send { node: send.node, argument: send.input.into() }),
    };
    goto.into_iter().filter_map(to).collect()
}

fn questions(asked: Vec<NodeQuestion>, context: &NodeContext) -> Vec<Interrupt> {
    let first = context.answers.taken() as usize;
    let question = |(index, NodeQuestion { value, id, response_schema }): (usize, NodeQuestion)| Interrupt {
        id: id.unwrap_or_else(|| ids::interrupt_id(&context.task().checkpoint_ns, first + index)),
        value: value.into(),
        response_schema: response_schema.map(Into::into),
    };
    asked.into_iter().enumerate().map(question).collect()
}

/// Calls that the service made itself are spent by the run.
fn count(calls: &[NodeCall], context: &NodeContext) {
    for NodeCall { provider, model, usage } in calls {
        let mut call = context.calls().begin(provider, model, || Value::Null);
        call.used(*usage, UsageSource::Reported);
        call.end("ok", || Value::Null);
    }
}
