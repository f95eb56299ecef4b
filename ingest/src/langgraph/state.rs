//! A thread's state: as it is now, at a checkpoint, and edited.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use graph::{
    envelope::GraphRef,
    event::{Edit, Event, StateUpdate},
    spec::Reducer,
};
use http::{Method, StatusCode};
use schemas::error::Code;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    TAG,
    bodies::{StateAsked, StateEdit, Superstep, SuperstepUpdate},
    threads::{thread_not_found, unprocessable},
};
use crate::{
    auth::Scope,
    body, command,
    extract::{At, Params, flag},
    ingest::Ingest,
    layers::Asked,
    messages,
    options::{check_thread_id, refuse_if},
    published::Graph,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::{json as json_bytes, json_of},
    sinks::{segment, whole},
    submit::ClaimedKey,
    waiting::View,
};

pub(crate) fn routes() -> Vec<Route> {
    let subgraphs = [("subgraphs", "`true`: with the states of subgraphs inside.")];
    vec![
        route(Scope::Read, Method::GET, "/threads/{thread_id}/state", state)
            .says(TAG, "A thread's newest state.")
            .query(&subgraphs)
            .answers(200, "The state.", Media::Json("Document")),
        route(Scope::Run, Method::POST, "/threads/{thread_id}/state", edit)
            .says(TAG, "Edits a thread's state, as if a node had written it.")
            .takes(Media::Json("StateEdit"))
            .header(
                "idempotency-key",
                "A repeat with the same key and body edits nothing and answers as the first; 24 hours.",
            )
            .answers(200, "The checkpoint that the edit made.", Media::Json("Document")),
        route(Scope::Read, Method::GET, "/threads/{thread_id}/state/{checkpoint_id}", state_at)
            .says(TAG, "A thread's state at a checkpoint.")
            .query(&subgraphs)
            .answers(200, "The state.", Media::Json("Document")),
        route(Scope::Read, Method::POST, "/threads/{thread_id}/state/checkpoint", state_asked)
            .says(TAG, "A thread's state at a checkpoint, or a subgraph's.")
            .takes(Media::Json("StateAsked"))
            .answers(200, "The state.", Media::Json("Document")),
    ]
}

#[derive(Deserialize)]
struct StateParams {
    #[serde(default, deserialize_with = "flag")]
    subgraphs: bool,
}

async fn state(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    Params(StateParams { subgraphs }): Params<StateParams>,
    asked: Asked,
) -> Answer {
    read(&ingest, &asked, &thread, None, "", subgraphs).await
}

async fn state_at(
    State(ingest): State<Ingest>,
    At((thread, id)): At<(String, String)>,
    Params(StateParams { subgraphs }): Params<StateParams>,
    asked: Asked,
) -> Answer {
    let id = command::checkpoint_id(&id).map_err(unprocessable)?;
    read(&ingest, &asked, &thread, Some(id), "", subgraphs).await
}

async fn state_asked(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let StateAsked { checkpoint, subgraphs } = body::compatible::<StateAsked>(&ingest.config, request).await?;
    let (id, ns) = named(checkpoint.as_ref())?;
    read(&ingest, &asked, &thread, id, &ns, subgraphs).await
}

/// The id and the namespace of LangGraph's checkpoint object.
pub(super) fn named(checkpoint: Option<&Value>) -> Result<(Option<Uuid>, String), Refusal> {
    let text = |name: &str| checkpoint.and_then(|checkpoint| checkpoint.get(name)).and_then(Value::as_str);
    let id = text("checkpoint_id").map(command::checkpoint_id).transpose().map_err(unprocessable)?;
    Ok((id, text("checkpoint_ns").unwrap_or_default().to_owned()))
}

async fn read(ingest: &Ingest, asked: &Asked, thread: &str, id: Option<Uuid>, ns: &str, subgraphs: bool) -> Answer {
    check_thread_id(thread).map_err(unprocessable)?;
    let mut path = format!("/internal/threads/{}/state?ns={}&subgraphs={subgraphs}", segment(thread), segment(ns));
    if let Some(id) = id {
        path.push_str(&format!("&checkpoint_id={id}"));
    }
    match ingest.find(asked, Some(ingest.partition_of_thread(&asked.caller.tenant, thread)), &path).await? {
        Some(found) => Ok(json_bytes(StatusCode::OK, whole(found).await?)),
        None => {
            ingest.made(asked, thread).await?.ok_or_else(|| thread_not_found(thread))?;
            Ok(json_of(&empty()))
        }
    }
}

/// The state of a thread that has had no run.
fn empty() -> Value {
    json!({
        "values": {}, "next": [], "tasks": [], "metadata": null, "created_at": null, "checkpoint": null,
        "parent_checkpoint": null, "interrupts": [], "checkpoint_id": null, "parent_checkpoint_id": null,
    })
}

async fn edit(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&ingest.config, &parts.headers, body, ingest.config.body_bytes_max).await?;
    let claim = ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?;
    let StateEdit { values, as_node, checkpoint, checkpoint_id, supersteps } =
        body::parse_compatible::<StateEdit>(&bytes)?;
    check_thread_id(&thread).map_err(unprocessable)?;
    let (in_checkpoint, ns) = named(checkpoint.as_ref())?;
    let id = checkpoint_id.as_deref().map(command::checkpoint_id).transpose().map_err(unprocessable)?;
    let steps = supersteps
        .unwrap_or_else(|| vec![Superstep { updates: vec![SuperstepUpdate { values, as_node, command: None }] }]);
    let graph = ingest.graph_of_thread(&asked, &thread).await?;
    let at = (id.or(in_checkpoint), ns.as_str());
    let made = ingest.edit_thread(&asked, &thread, &graph, at, steps, claim.as_ref()).await?;
    let checkpoint = json!({"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": made});
    Ok(json_of(&json!({"checkpoint": checkpoint, "configurable": checkpoint, "checkpoint_id": made})))
}

impl Ingest {
    /// The graph that a thread's runs are of.
    async fn graph_of_thread(&self, asked: &Asked, thread: &str) -> Result<Arc<Graph>, Refusal> {
        let about = self.thread_metadata(asked, thread).await?.ok_or_else(|| thread_not_found(thread))?;
        match about.get("graph_id").and_then(Value::as_str) {
            Some(graph) => self.graph(graph).await,
            None => {
                let says = "the thread has no run yet, and its metadata names no `graph_id`";
                Err(unprocessable(Refusal::new(Code::InvalidValue, says)))
            }
        }
    }

    /// Appends an edit at a checkpoint of a namespace, and waits until it is made: the id of its last checkpoint.
    pub(super) async fn edit_thread(
        &self,
        asked: &Asked,
        thread: &str,
        graph: &Graph,
        (checkpoint_id, ns): (Option<Uuid>, &str),
        steps: Vec<Superstep>,
        claim: Option<&ClaimedKey>,
    ) -> Result<String, Refusal> {
        let superstep = |step: Superstep| step.updates.into_iter().map(|update| update_of(graph, update)).collect();
        let supersteps = steps.into_iter().map(superstep).collect::<Result<Vec<_>, _>>()?;
        let version = GraphRef { name: graph.name.clone(), hash: graph.hash.clone() };
        let checkpoint_ns = ns.to_owned();
        let edit = Edit { checkpoint_id, checkpoint_ns, supersteps, claimed: claim.is_some(), ..Edit::default() };
        let event = Event::StateEdited(Box::new(edit));
        let ended = self.change_thread(asked, thread, version, event, claim).await?;
        let view = View::of(&ended)?;
        if let Some(failure) = view.failure() {
            return Err(match failure.code() {
                Code::ThreadBusy => Refusal::new(Code::ThreadBusy, "Thread has in-flight runs; wait for them to end"),
                _ => unprocessable(failure),
            });
        }
        #[derive(Deserialize)]
        struct Made {
            checkpoint_id: String,
        }
        let made = view.output.and_then(|output| serde_json::from_str::<Made>(output.get()).ok());
        made.map(|made| made.checkpoint_id).ok_or_else(|| Refusal::new(Code::Internal, "the edit can't be read"))
    }
}

fn update_of(graph: &Graph, update: SuperstepUpdate) -> Result<StateUpdate, Refusal> {
    let SuperstepUpdate { values, as_node, command } = update;
    refuse_if(command.is_some_and(|command| !command.is_null()), "supersteps.updates.command")?;
    let values = match values {
        None | Some(Value::Null) => None,
        Some(Value::Object(mut channels)) => {
            for (name, value) in &mut channels {
                if graph.spec.channels.get(name).is_some_and(|channel| channel.reducer == Reducer::Messages) {
                    let path = format!("values.{name}");
                    *value = messages::normalized(value.take(), &path).map_err(unprocessable)?;
                }
            }
            Some(Arc::new(Value::Object(channels)))
        }
        Some(other) => Some(Arc::new(other)),
    };
    Ok(StateUpdate { values, as_node })
}
