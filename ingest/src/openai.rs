//! `/v1`: graphs that chat as models of OpenAI's API.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use graph::event::Request;
use http::Method;
use schemas::{
    client::{ModelConfig, RequestConfig},
    error::Code,
    openai::{CompletionRequest, Model, Models},
    stream::Rendering,
};
use serde_json::{Map, Value};

use crate::{
    auth::{Scope, check_user},
    body,
    extract::At,
    ingest::Ingest,
    input::{self, Unknown},
    layers::Asked,
    options::{self, Options},
    published::Graph,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
    start::{Reply, Shape},
    submit::{ClaimedKey, NewRun, Thread},
};

const TAG: &str = "openai";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::POST, "/v1/chat/completions", complete)
            .says(TAG, "Runs a graph on a conversation: its answer, whole or in chunks.")
            .takes(Media::Json("CompletionRequest"))
            .header("idempotency-key", "A repeat with the same key and body finds the first request's run; 24 hours.")
            .header("x-user-id", "The end user that the request acts for.")
            .answers(200, "The answer.", Media::Json("Completion"))
            .answers(200, "`stream: true`: chunks, and `[DONE]`.", Media::Events),
        route(Scope::Read, Method::GET, "/v1/models", list).says(TAG, "Lists the graphs that chat.").answers(
            200,
            "All of them, by name.",
            Media::Json("Models"),
        ),
        route(Scope::Read, Method::GET, "/v1/models/{model}", get).says(TAG, "A graph that chats.").answers(
            200,
            "The graph.",
            Media::Json("Model"),
        ),
    ]
}

async fn list(State(ingest): State<Ingest>) -> Answer {
    let chats = ingest.published.all().into_iter().filter(|graph| graph.chat.is_some());
    Ok(json_of(&Models { object: "list".to_owned(), data: chats.map(|graph| model(&graph)).collect() }))
}

async fn get(State(ingest): State<Ingest>, At(name): At<String>) -> Answer {
    Ok(json_of(&model(&ingest.model(&name).await?.0)))
}

fn model(graph: &Graph) -> Model {
    Model {
        id: graph.name.clone(),
        object: "model".to_owned(),
        created: u64::try_from(graph.created_at).unwrap_or_default() / 1_000,
        owned_by: "millstream".to_owned(),
    }
}

async fn complete(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let bytes = body::read_json(&ingest.config, &parts.headers, body).await?;
    let body = body::parse::<CompletionRequest>(&bytes)?;
    let claim = ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?;
    let (graph, channel) = ingest.model(&body.model).await?;
    let reply = match body.stream {
        false => Reply::Wait(Shape::Completion),
        true => {
            let usage = body.stream_options.as_ref().is_some_and(|options| options.include_usage);
            Reply::Stream(Rendering::Completions { usage })
        }
    };
    ingest.start(&asked, new_run(graph, channel, body, claim)?, reply).await
}

impl Ingest {
    /// The graph of that name and the channel that it chats through.
    async fn model(&self, name: &str) -> Result<(Arc<Graph>, String), Refusal> {
        let no_model = |says: String| Refusal::new(Code::ModelNotFound, says).param("model");
        let graph = self.graph(name).await.map_err(|refusal| match refusal.code() {
            Code::GraphNotFound => {
                no_model(format!("there is no model `{name}`: models are graphs, and `GET /v1/models` lists them"))
            }
            _ => refusal,
        })?;
        match graph.chat.clone() {
            Some(channel) => Ok((graph, channel)),
            None => Err(no_model(format!(
                "the graph `{name}` has no channel of messages in its input, so it can't chat; run it by `POST /graphs/{name}/runs`"
            ))),
        }
    }
}

fn new_run(
    graph: Arc<Graph>,
    channel: String,
    body: CompletionRequest,
    claim: Option<ClaimedKey>,
) -> Result<NewRun, Refusal> {
    refuse_what_graphs_decide(&body)?;
    let CompletionRequest {
        messages,
        temperature,
        top_p,
        max_completion_tokens,
        max_tokens,
        metadata,
        user,
        safety_identifier,
        thread_id,
        context,
        ..
    } = body;
    if messages.is_empty() {
        return Err(Refusal::new(Code::InvalidValue, "give `messages`, at least one").param("messages"));
    }
    let user = user.or(safety_identifier);
    if let Some(user) = &user {
        check_user(user)?;
    }
    if let Some(thread) = &thread_id {
        options::check_thread_id(thread)?;
    }
    let messages = messages.into_iter().map(with_content).collect();
    let checked = input::checked(&graph, Map::from_iter([(channel, Value::Array(messages))]), Unknown::Refuse);
    let thread = match thread_id {
        Some(thread) => Thread::Named(thread),
        None if graph.can_ask => Thread::New,
        None => Thread::None,
    };
    let model = ModelConfig { temperature, top_p, max_tokens: max_completion_tokens.or(max_tokens) };
    let config = RequestConfig {
        metadata: metadata.unwrap_or_default(),
        model: (model != ModelConfig::default()).then_some(model),
        ..RequestConfig::default()
    };
    let request = Request {
        input: Some(Arc::new(checked?)),
        context: Arc::new(input::context(&graph, context, Unknown::Refuse)?),
        ..Request::default()
    };
    Ok(NewRun { thread, request, options: Options::of(Some(config))?, user, claim, graph })
}

/// What a client asks of a model and a graph decides by itself: ignored, it would be missed later.
fn refuse_what_graphs_decide(body: &CompletionRequest) -> Result<(), Refusal> {
    let given = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let format = body.response_format.as_ref().and_then(|format| format.get("type")?.as_str());
    let refused = [
        (given(&body.tools), "tools", "a graph has tools of its own; declare them in its file"),
        (given(&body.functions), "functions", "a graph has tools of its own; declare them in its file"),
        (
            format.is_some_and(|kind| kind != "text"),
            "response_format",
            "a graph decides what it answers; set the format at its model node",
        ),
        (body.n.is_some_and(|n| n > 1), "n", "a graph gives one answer; ask again for another"),
        (body.logprobs == Some(true), "logprobs", "a graph has no log probabilities to give"),
    ];
    match refused.into_iter().find(|(given, ..)| *given) {
        Some((_, param, says)) => Err(Refusal::new(Code::InvalidValue, format!("`{param}`: {says}")).param(param)),
        None => Ok(()),
    }
}

/// A message that only calls tools may have no content.
fn with_content(mut message: Value) -> Value {
    if let Some(fields) = message.as_object_mut().filter(|fields| fields.contains_key("tool_calls")) {
        fields.entry("content").or_insert(Value::Null);
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: Value) -> Option<String> {
        let body: CompletionRequest = serde_json::from_value(body).expect("a request");
        refuse_what_graphs_decide(&body).err().map(|refusal| refusal.message().to_owned())
    }

    #[test]
    fn what_a_graph_decides_is_refused_by_name() {
        for (param, value) in [
            ("tools", json!([{"type": "function"}])),
            ("functions", json!([{}])),
            ("response_format", json!({"type": "json_schema"})),
            ("n", json!(2)),
            ("logprobs", json!(true)),
        ] {
            let says = refused(json!({param: value})).expect(param);
            assert!(says.starts_with(&format!("`{param}`: ")), "{says}");
        }
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        let same = json!({"tools": [], "response_format": {"type": "text"}, "n": 1, "logprobs": false, "store": true,
            "service_tier": "auto", "parallel_tool_calls": true, "stream_options": {"include_obfuscation": false}});
        assert_eq!(refused(same), None);
    }
}
