//! Paths that graphs bind (`serve: {path: /chat, as: chat}`). No path is known here: the published graphs say which.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use graph::{event::Request, spec::Speaks};
use http::Method;
use schemas::{client::ChatRequest, error::Code, stream::Rendering};
use serde_json::{Map, Value};

use crate::{
    auth::{Scope, check_user},
    body, command,
    ingest::Ingest,
    input::{self, Unknown},
    layers::{self, Asked, Template},
    messages,
    options::{self, Options},
    published::Graph,
    refusal::{Answer, Family, Refusal},
    start::{Reply, Shape},
    submit::{ClaimedKey, NewRun, Thread},
};

/// Everything that no route knows comes here.
pub(crate) async fn serve(State(ingest): State<Ingest>, request: http::Request<Body>) -> Response {
    let path: Arc<str> = request.uri().path().into();
    let Some((speaks, graph)) = ingest.published.at_path(&path) else {
        return nothing_here(&path).into_response();
    };
    let mut response = answer(&ingest, speaks, graph, Arc::clone(&path), request).await.into_response();
    response.extensions_mut().insert(Template(path));
    response
}

fn nothing_here(path: &str) -> Refusal {
    match Family::of(path) {
        Family::Ours => Refusal::new(Code::NotFound, "there is nothing at this path; /docs lists what there is"),
        Family::LangGraph => Refusal::new(Code::NotFound, "Not Found"),
    }
}

async fn answer(
    ingest: &Ingest,
    speaks: Speaks,
    graph: Arc<Graph>,
    path: Arc<str>,
    request: http::Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let asked = layers::prove(ingest, &parts.extensions, &parts.headers, Scope::Run, path).await?;
    if parts.method != Method::POST {
        return Err(Refusal::new(Code::MethodNotAllowed, "this path takes POST"));
    }
    let _permit = ingest.admit()?;
    let bytes = body::read_json(&ingest.config, &parts.headers, body).await?;
    let claim = ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?;
    let answered = match speaks {
        Speaks::Chat => chat(ingest, &asked, graph, body::parse(&bytes)?, claim).await,
        Speaks::Query => plain(ingest, &asked, graph, body::parse(&bytes)?, claim, Reply::Wait(Shape::Run)).await,
        Speaks::Job => plain(ingest, &asked, graph, body::parse(&bytes)?, claim, Reply::Background).await,
    };
    Ok(Asked::told(&asked.standings, answered.into_response()))
}

async fn chat(
    ingest: &Ingest,
    asked: &Asked,
    graph: Arc<Graph>,
    body: ChatRequest,
    claim: Option<ClaimedKey>,
) -> Answer {
    let ChatRequest { message, thread_id, stream, dialect, user, context, config, multitask, answer, answers } = body;
    if let Some(thread) = &thread_id {
        options::check_thread_id(thread)?;
    }
    if let Some(user) = &user {
        check_user(user)?;
    }
    let channel = graph.chat.clone().ok_or_else(|| {
        Refusal::new(Code::GraphInvalid, "the graph has no channel of messages in its input, so it can't chat")
    })?;
    let command = command::answers(answer, answers)?;
    let input = match (message, &command) {
        (Some(_), Some(_)) => {
            let says = "give `message`, or an answer to what was asked; not both";
            return Err(Refusal::new(Code::InvalidValue, says).param("message"));
        }
        (Some(said), None) => {
            let input = Map::from_iter([(channel, said_by_a_person(said)?)]);
            Some(Arc::new(input::checked(&graph, input, Unknown::Refuse)?))
        }
        (None, Some(_)) if thread_id.is_some() => None,
        (None, Some(_)) => {
            let says = "an answer needs the `thread_id` of the conversation that asked";
            return Err(Refusal::new(Code::InvalidValue, says).param("thread_id"));
        }
        (None, None) => return Err(Refusal::new(Code::InvalidValue, "give `message`").param("message")),
    };
    let request = Request {
        input,
        command,
        context: Arc::new(input::context(&graph, context, Unknown::Refuse)?),
        multitask,
        ..Request::default()
    };
    let thread = thread_id.map_or(Thread::New, Thread::Named);
    let new = NewRun { thread, request, options: Options::of(config)?, user, claim, graph };
    let reply = if stream { Reply::Stream(Rendering::Ours(dialect)) } else { Reply::Wait(Shape::Chat) };
    ingest.start(asked, new, reply).await
}

/// Text, content blocks, or a whole message.
fn said_by_a_person(said: Value) -> Result<Value, Refusal> {
    match said {
        Value::String(_) | Value::Array(_) => Ok(Value::Array(vec![messages::human(said)])),
        Value::Object(_) => Ok(Value::Array(vec![said])),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Err(Refusal::new(Code::InvalidValue, "a message is text, a list of content blocks, or an object")
                .param("message"))
        }
    }
}

/// The body is the input itself: one field a channel.
async fn plain(
    ingest: &Ingest,
    asked: &Asked,
    graph: Arc<Graph>,
    body: Map<String, Value>,
    claim: Option<ClaimedKey>,
    reply: Reply,
) -> Answer {
    let request = Request {
        input: Some(Arc::new(input::checked(&graph, body, Unknown::Refuse)?)),
        context: Arc::new(input::context(&graph, None, Unknown::Refuse)?),
        ..Request::default()
    };
    let thread = if graph.can_ask { Thread::New } else { Thread::None };
    let new = NewRun { thread, request, options: Options::default(), user: None, claim, graph };
    ingest.start(asked, new, reply).await
}
