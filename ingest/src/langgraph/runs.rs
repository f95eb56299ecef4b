//! `/threads/{thread_id}/runs` and `/runs`: runs as LangGraph's clients start, read and cancel them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use graph::{envelope::RunId, event::Request, update::RunStatus};
use http::{Method, header};
use schemas::{
    error::Code,
    http::{List, RunView, assistant_id},
};
use serde::Deserialize;
use serde_json::Map;

use super::{
    TAG,
    bodies::{IfNotExists, OnCompletion, OneOrMore, Run, RunCreate, Streamed},
    threads::{thread_not_found, unprocessable},
};
use crate::{
    auth::Scope,
    body, command,
    extract::{At, Params, flag, rfc3339},
    ingest::Ingest,
    input::{self, Unknown},
    layers::Asked,
    options::{self, check_thread_id, refuse_if},
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::{Cancelled, json_of},
    sinks::{segment, whole},
    submit::{ClaimedKey, NewRun, Prepared, Thread},
    waiting::View,
};

const LIST_LIMIT_DEFAULT: u32 = 10;
const LIST_LIMIT_MAX: u32 = 200;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::POST, "/threads/{thread_id}/runs", create)
            .says(TAG, "Starts a run on a thread, in the background.")
            .takes(Media::Json("RunCreate"))
            .answers(200, "The run; `content-location` has its address.", Media::Json("Run")),
        route(Scope::Read, Method::GET, "/threads/{thread_id}/runs", list)
            .says(TAG, "Lists a thread's runs, newest first.")
            .query(&[("limit", "At most so many; 10 unless told."), ("status", "Only runs with this status.")])
            .answers(200, "The runs.", Media::JsonArray("Run")),
        route(Scope::Read, Method::GET, "/threads/{thread_id}/runs/{run_id}", get)
            .says(TAG, "A run of a thread.")
            .answers(200, "The run.", Media::Json("Run")),
        route(Scope::Read, Method::GET, "/runs/{run_id}", get_alone).says(TAG, "A run without a thread.").answers(
            200,
            "The run.",
            Media::Json("Run"),
        ),
        route(Scope::Run, Method::POST, "/threads/{thread_id}/runs/{run_id}/cancel", cancel)
            .says(TAG, "Cancels a run.")
            .query(&[
                ("wait", "`true`: answers when the run has ended."),
                ("action", "`interrupt`; `rollback`: as if it had never been."),
            ])
            .answers(200, "It will end, or has.", Media::Json("Document")),
        route(Scope::Run, Method::POST, "/runs", create_alone)
            .says(TAG, "Starts a run without a thread, in the background.")
            .takes(Media::Json("RunCreate"))
            .answers(200, "The run.", Media::Json("Run")),
    ]
}

async fn create(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let mut prepared = prepare(&ingest, &asked, Some(thread), request).await?;
    ingest.begin(&mut prepared).await?;
    ingest.check_rejected(&asked, &prepared).await.map_err(busy)?;
    Ok(started(&ingest, &prepared))
}

async fn create_alone(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let mut prepared = prepare(&ingest, &asked, None, request).await?;
    ingest.begin(&mut prepared).await?;
    Ok(started(&ingest, &prepared))
}

/// Reads a run creation and gives the run its ids.
pub(super) async fn prepare(
    ingest: &Ingest,
    asked: &Asked,
    thread: Option<String>,
    request: http::Request<Body>,
) -> Result<Prepared, Refusal> {
    prepare_stream(ingest, asked, thread, request).await.map(|(prepared, _)| prepared)
}

/// The same, with how its stream is to look.
pub(super) async fn prepare_stream(
    ingest: &Ingest,
    asked: &Asked,
    thread: Option<String>,
    request: http::Request<Body>,
) -> Result<(Prepared, Streamed), Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&ingest.config, &parts.headers, body, ingest.config.body_bytes_max).await?;
    let mut create = body::parse_compatible::<RunCreate>(&bytes)?;
    let streamed = create.streamed()?;
    create.refuse_unbuilt()?;
    let id = create.assistant_id.take();
    let id = id.ok_or_else(|| Refusal::new(Code::SchemaViolation, "'assistant_id' is a required property"))?;
    let unknown =
        |refusal: Refusal| if refusal.code() == Code::AssistantNotFound { unprocessable(refusal) } else { refusal };
    let graph = ingest.assistant(&id).await.map_err(unknown)?;
    if let Some(thread) = &thread {
        check_thread_id(thread).map_err(unprocessable)?;
        let may_make = create.if_not_exists == Some(IfNotExists::Create);
        if !may_make && !ingest.thread_exists(asked, thread).await? {
            return Err(Refusal::new(Code::ThreadNotFound, "Thread or assistant not found."));
        }
    }
    let command = match create.command.take() {
        Some(given) => command::command(given, false).map_err(unprocessable)?,
        None => None,
    };
    // LangGraph passes over the input of a request with a command.
    let input = match create.channels()?.filter(|_| command.is_none()) {
        Some(channels) => Some(Arc::new(input::checked(&graph, channels, Unknown::Ignore).map_err(unprocessable)?)),
        None if thread.is_some() || command.is_some() => None,
        None => return Err(Refusal::new(Code::SchemaViolation, "'input' is required for a run without a thread")),
    };
    let context = input::context(&graph, create.context.take(), Unknown::Ignore).map_err(unprocessable)?;
    let alone = if create.on_completion == Some(OnCompletion::Keep) { Thread::New } else { Thread::None };
    let new = NewRun {
        thread: thread.map_or(alone, Thread::Named),
        request: Request {
            input,
            command,
            checkpoint_id: create.checkpoint().map_err(unprocessable)?,
            context: Arc::new(context),
            multitask: create.multitask_strategy.unwrap_or_default(),
            after_ms: options::after_ms(create.after_seconds).map_err(unprocessable)?,
            keeps_last: create.durability().keeps_last(),
            interrupt_before: OneOrMore::all(create.interrupt_before.take()),
            interrupt_after: OneOrMore::all(create.interrupt_after.take()),
            ..Request::default()
        },
        options: create.options().map_err(unprocessable)?,
        user: None,
        claim: ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?,
        graph,
    };
    Ok((ingest.prepare(asked, new).await?, streamed))
}

/// LangGraph's words for a thread that is busy.
pub(super) fn busy(refusal: Refusal) -> Refusal {
    let says = "Thread is already running a task. Wait for it to finish or choose a different multitask strategy.";
    if refusal.code() == Code::ThreadBusy { Refusal::new(Code::ThreadBusy, says) } else { refusal }
}

fn started(ingest: &Ingest, prepared: &Prepared) -> Response {
    let now = rfc3339(ingest.deps.clock.now());
    let run = Run {
        run_id: prepared.run_id.to_string(),
        thread_id: prepared.thread_id.clone(),
        assistant_id: prepared.graph.assistant_id.to_string(),
        created_at: now.clone(),
        updated_at: now,
        status: RunStatus::Pending.as_str().to_owned(),
        metadata: BTreeMap::new(),
        kwargs: Map::new(),
        multitask_strategy: "enqueue".to_owned(),
    };
    ([(header::CONTENT_LOCATION, content_location(prepared))], json_of(&run)).into_response()
}

/// The run's address in LangGraph's words.
pub(super) fn content_location(prepared: &Prepared) -> String {
    match &prepared.thread_id {
        Some(thread) => format!("/threads/{}/runs/{}", segment(thread), prepared.run_id),
        None => format!("/runs/{}", prepared.run_id),
    }
}

#[derive(Deserialize)]
struct ListParams {
    limit: Option<u32>,
    offset: Option<u32>,
    status: Option<RunStatus>,
}

async fn list(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    Params(params): Params<ListParams>,
    asked: Asked,
) -> Answer {
    check_thread_id(&thread).map_err(unprocessable)?;
    refuse_if(params.offset.is_some_and(|offset| offset > 0), "offset")?;
    let limit = params.limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LIST_LIMIT_MAX);
    let mut path = format!("/internal/runs?thread_id={}&limit={limit}", segment(&thread));
    if let Some(status) = params.status {
        path.push_str(&format!("&status={}", status.as_str()));
    }
    let runs = match ingest.find(&asked, None, &path).await? {
        Some(found) => parse::<List<RunView>>(&whole(found).await?)?.data,
        None => Vec::new(),
    };
    if runs.is_empty() && !ingest.thread_exists(&asked, &thread).await? {
        return Err(thread_not_found(&thread));
    }
    Ok(json_of(&runs.into_iter().map(run).collect::<Vec<_>>()))
}

async fn get(State(ingest): State<Ingest>, At((thread, id)): At<(String, String)>, asked: Asked) -> Answer {
    let (_, bytes) = view(&ingest, &asked, &thread, &id).await?;
    Ok(json_of(&run(parse::<RunView>(&bytes)?)))
}

async fn get_alone(State(ingest): State<Ingest>, At(id): At<String>, asked: Asked) -> Answer {
    let (_, bytes) = view_alone(&ingest, &asked, &id).await?;
    Ok(json_of(&run(parse::<RunView>(&bytes)?)))
}

#[derive(Deserialize)]
struct CancelParams {
    #[serde(default, deserialize_with = "flag")]
    wait: bool,
    action: Option<String>,
}

async fn cancel(
    State(ingest): State<Ingest>,
    At((thread, id)): At<(String, String)>,
    Params(params): Params<CancelParams>,
    asked: Asked,
) -> Answer {
    let rollback = match params.action.as_deref() {
        None | Some("interrupt") => false,
        Some("rollback") => true,
        Some(_) => return Err(unprocessable(Refusal::new(Code::InvalidValue, "action: `interrupt` or `rollback`"))),
    };
    let (run, bytes) = view(&ingest, &asked, &thread, &id).await?;
    let reason = format!("interrupt requested via POST /threads/{thread}/runs/{run}/cancel");
    match ingest.cancel(&asked, run, &View::of(&bytes)?, reason, rollback).await? {
        Cancelled::HadEnded => return Err(run_not_found()),
        Cancelled::Asked => {}
    }
    if params.wait {
        let timeout = ingest.config.wait_timeout;
        let registered = ingest.find_run(&asked, run, &ingest.wait_path(run, timeout)).await?;
        ingest.ended(&asked, run, registered, timeout).await?;
    }
    Ok(json_of(&Map::new()))
}

/// A run's id and view, if it is a run of that thread.
pub(super) async fn view(ingest: &Ingest, asked: &Asked, thread: &str, id: &str) -> Result<(RunId, Bytes), Refusal> {
    check_thread_id(thread).map_err(unprocessable)?;
    let (run, bytes) = view_alone(ingest, asked, id).await?;
    if View::of(&bytes)?.thread_id.as_deref() != Some(thread) {
        return Err(run_not_found());
    }
    Ok((run, bytes))
}

/// A run's id and view.
pub(super) async fn view_alone(ingest: &Ingest, asked: &Asked, id: &str) -> Result<(RunId, Bytes), Refusal> {
    let invalid = |_| unprocessable(Refusal::new(Code::InvalidValue, "Invalid run ID: must be a UUID"));
    let run = RunId::try_parse(id).map_err(invalid)?;
    let unknown = |refusal: Refusal| if refusal.code() == Code::RunNotFound { run_not_found() } else { refusal };
    let found = ingest.find_run(asked, run, &format!("/internal/runs/{run}")).await.map_err(unknown)?;
    Ok((run, whole(found).await?))
}

fn run_not_found() -> Refusal {
    Refusal::new(Code::RunNotFound, "Run not found")
}

fn run(view: RunView) -> Run {
    // LangGraph has no word for a run that a client ended, and one that asked was a success: its thread tells. One that
    // was made to stop was not.
    let status = match view.status {
        RunStatus::Cancelled => RunStatus::Interrupted,
        RunStatus::Interrupted if view.exception.is_none() => RunStatus::Success,
        other => other,
    };
    Run {
        assistant_id: assistant_id(&view.graph).to_string(),
        run_id: view.run_id,
        thread_id: view.thread_id,
        created_at: view.created_at,
        updated_at: view.updated_at,
        status: status.as_str().to_owned(),
        metadata: view.metadata,
        kwargs: Map::new(),
        multitask_strategy: "enqueue".to_owned(),
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        tracing::error!(%error, "a sink's answer can't be read");
        Refusal::new(Code::Internal, "what became of runs can't be read")
    })
}
