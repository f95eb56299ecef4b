//! `/graphs/{name}/runs`: start, look at, list, stream and cancel runs of a graph.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use graph::{
    envelope::{Envelope, GraphRef, RunId},
    event::{CommandInput, Event, Request},
    update::RunStatus,
};
use http::{HeaderMap, Method, StatusCode, header};
use schemas::{
    client::{CancelRun, CreateRun, Mode, ResumeRun},
    error::Code,
    stream::{Dialect, Rendering},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    auth::{Scope, check_user},
    body,
    command::{self, breakpoints},
    extract::{At, Params, millis, run_id},
    ingest::Ingest,
    input::{self, Unknown},
    layers::Asked,
    options::{self, Options},
    published::Graph,
    refusal::{Answer, Refusal},
    route::{Media, Route, route, unbuilt},
    sinks::{segment, whole},
    start::{Reply, Shape},
    streaming::Watch,
    submit::{ClaimedKey, NewRun, Thread, location},
    waiting::View,
};

const TAG: &str = "runs";
const LIST_LIMIT_DEFAULT: u32 = 20;
const LIST_LIMIT_MAX: u32 = 200;
const REASON_CHARS_MAX: usize = 500;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        starts(route(Scope::Run, Method::POST, "/graphs/{name}/runs", create))
            .says(TAG, "Starts a run: in the background, waiting for its end, or as a stream.")
            .takes(Media::Json("CreateRun")),
        route(Scope::Read, Method::GET, "/graphs/{name}/runs", list)
            .says(TAG, "Lists runs, newest first.")
            .query(&[
                ("user", "Only runs for this end user."),
                ("thread_id", "Only runs of this thread."),
                ("status", "Only runs with this status."),
                ("since", "Only runs made at or after this time (RFC 3339, or milliseconds since 1970)."),
                ("until", "Only runs made before this time."),
                ("limit", "At most so many; 20 unless told, 200 at most."),
                ("cursor", "Goes on behind an earlier page: its `next_cursor`."),
            ])
            .answers(200, "A page.", Media::JsonList("RunView")),
        route(Scope::Read, Method::GET, "/graphs/{name}/runs/{run_id}", get)
            .says(TAG, "What became of a run.")
            .answers(200, "The run.", Media::Json("RunView")),
        route(Scope::Read, Method::GET, "/graphs/{name}/runs/{run_id}/stream", stream)
            .says(TAG, "A run's events, from the first on or behind an event that the client has.")
            .query(&[
                ("after", "The id of the last event that the client has; `last-event-id` says the same."),
                ("dialect", "`events` or `text`."),
            ])
            .header("last-event-id", "The id of the last event that the client has.")
            .answers(200, "The events.", Media::Events)
            .bare(204, "The client has them all."),
        route(Scope::Read, Method::GET, "/graphs/{name}/runs/{run_id}/updates", updates)
            .says(TAG, "All that became of a run, in order: one record of the topic `updates` a line.")
            .answers(200, "The records, as JSON lines.", Media::Text("application/x-ndjson")),
        route(Scope::Run, Method::POST, "/graphs/{name}/runs/{run_id}/cancel", cancel)
            .says(TAG, "Asks that a run end.")
            .takes(Media::Json("CancelRun"))
            .answers(200, "The run had ended already.", Media::Json("RunView"))
            .answers(202, "The run will end.", Media::Json("RunView")),
        starts(route(Scope::Run, Method::POST, "/graphs/{name}/runs/{run_id}/resume", resume))
            .says(TAG, "Answers what a run asked: a new run of its thread goes on from there.")
            .takes(Media::Json("ResumeRun")),
        unbuilt(Method::POST, "/graphs/{name}/runs/{run_id}/feedback", TAG, "Says how good a run's answer was."),
    ]
}

/// What addresses that start a run have in common.
fn starts(route: Route) -> Route {
    route
        .header("idempotency-key", "A repeat with the same key and body finds the first request's run; 24 hours.")
        .header("x-user-id", "The end user that the request acts for.")
        .answers(200, "`mode: wait`: the run's end.", Media::Json("RunView"))
        .answers(200, "`mode: stream`: the run's events.", Media::Events)
        .answers(202, "`mode: background`: accepted; `location` has the run's address.", Media::Json("RunAccepted"))
}

async fn create(
    State(ingest): State<Ingest>,
    At(name): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let bytes = body::read_json(&ingest.config, &parts.headers, body).await?;
    let body = body::parse::<CreateRun>(&bytes)?;
    let graph = ingest.graph(&name).await?;
    let claim = ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?;
    let reply = reply(body.mode, body.dialect);
    let new = new_run(graph, body, claim)?;
    ingest.start(&asked, new, reply).await
}

fn reply(mode: Mode, dialect: Dialect) -> Reply {
    match mode {
        Mode::Background => Reply::Background,
        Mode::Wait => Reply::Wait(Shape::Run),
        Mode::Stream => Reply::Stream(Rendering::Ours(dialect)),
    }
}

async fn resume(
    State(ingest): State<Ingest>,
    At((name, run)): At<(String, String)>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let run = run_id(&run)?;
    let bytes = body::read_json(&ingest.config, &parts.headers, body).await?;
    let body = body::parse::<ResumeRun>(&bytes)?;
    let claim = ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?;
    let ResumeRun {
        answer,
        answers,
        update,
        context,
        config,
        mode,
        dialect,
        multitask,
        durability,
        user,
        interrupt_before,
        interrupt_after,
    } = body;
    let command = command::answers(answer, answers)?.ok_or_else(|| {
        Refusal::new(Code::InvalidValue, "give `answer`, or `answers` by interrupt id").param("answer")
    })?;
    let command = CommandInput { update: update.map(|update| Arc::new(Value::Object(update))), ..command };
    let asking = view(&ingest, &asked, &name, run).await?;
    let asking = View::of(&asking)?;
    let thread = match (&asking.thread_id, asking.status) {
        (Some(thread), RunStatus::Interrupted) => thread.to_string(),
        (None, RunStatus::Interrupted) => {
            let says = "the run has no thread to go on with; start it again with a `thread_id`";
            return Err(Refusal::new(Code::InvalidValue, says).run_id(run));
        }
        (_, status) => {
            let says = format!("the run asks nothing: its status is `{}`", status.as_str());
            return Err(Refusal::new(Code::InvalidValue, says).run_id(run));
        }
    };
    let create = CreateRun {
        thread_id: Some(thread),
        context,
        config,
        multitask,
        durability,
        user,
        interrupt_before,
        interrupt_after,
        ..CreateRun::default()
    };
    let mut new = new_run(ingest.graph(&name).await?, create, claim)?;
    (new.request.command, new.request.resumes) = (Some(command), Some(run));
    ingest.start(&asked, new, reply(mode, dialect)).await
}

fn new_run(graph: Arc<Graph>, body: CreateRun, claim: Option<ClaimedKey>) -> Result<NewRun, Refusal> {
    options::refuse_unbuilt(&body)?;
    if let Some(thread) = &body.thread_id {
        options::check_thread_id(thread)?;
    }
    if let Some(user) = &body.user {
        check_user(user)?;
    }
    let thread = match body.thread_id {
        Some(thread) => Thread::Named(thread),
        None if graph.can_ask || !body.interrupt_before.is_empty() || !body.interrupt_after.is_empty() => Thread::New,
        None => Thread::None,
    };
    let command = match body.command {
        Some(given) => command::command(given, true)?,
        None => None,
    };
    let checkpoint_id = body.checkpoint_id.as_deref().map(command::checkpoint_id).transpose()?;
    breakpoints(&graph, &body.interrupt_before, "interrupt_before")?;
    breakpoints(&graph, &body.interrupt_after, "interrupt_after")?;
    let on_thread = matches!(thread, Thread::Named(_));
    if !on_thread && (command.is_some() || checkpoint_id.is_some()) {
        let param = if command.is_some() { "command" } else { "checkpoint_id" };
        let says = "only a run on a thread can go on from where one stands; give `thread_id`";
        return Err(Refusal::new(Code::InvalidValue, says).param(param));
    }
    let input = match body.input {
        Some(_) if command.is_some() => {
            return Err(Refusal::new(Code::InvalidValue, "give `input` or `command`, not both").param("command"));
        }
        Some(input) => Some(Arc::new(input::checked(&graph, input, Unknown::Refuse)?)),
        None if on_thread => None,
        None => {
            let message = "give `input`; only a run on a thread can go on without it";
            return Err(Refusal::new(Code::InvalidValue, message).param("input"));
        }
    };
    let context = Arc::new(input::context(&graph, body.context, Unknown::Refuse)?);
    let request = Request {
        input,
        command,
        checkpoint_id,
        context,
        multitask: body.multitask,
        keeps_last: body.durability.keeps_last(),
        after_ms: options::after_ms(body.after_seconds)?,
        interrupt_before: body.interrupt_before,
        interrupt_after: body.interrupt_after,
        ..Request::default()
    };
    Ok(NewRun { thread, request, options: Options::of(body.config)?, user: body.user, claim, graph })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    user: Option<String>,
    thread_id: Option<String>,
    status: Option<graph::update::RunStatus>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

async fn list(
    State(ingest): State<Ingest>,
    At(name): At<String>,
    asked: Asked,
    Params(params): Params<ListParams>,
) -> Answer {
    let graph = ingest.graph(&name).await?;
    let limit = params.limit.unwrap_or(LIST_LIMIT_DEFAULT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(Refusal::new(Code::InvalidValue, "a limit lies between 1 and 200").param("limit"));
    }
    let mut path = format!("/internal/runs?graph={}&limit={limit}", segment(&graph.name));
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(&value)));
        }
    };
    add("user", params.user);
    add("thread_id", params.thread_id);
    add("status", params.status.map(|status| status.as_str().to_owned()));
    add("since", params.since.map(|text| millis(&text, "since")).transpose()?.map(|at| at.to_string()));
    add("until", params.until.map(|text| millis(&text, "until")).transpose()?.map(|at| at.to_string()));
    add("cursor", params.cursor);
    let found =
        ingest.find(&asked, None, &path).await?.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such list"))?;
    Ok(json(StatusCode::OK, whole(found).await?))
}

async fn get(State(ingest): State<Ingest>, At((name, run)): At<(String, String)>, asked: Asked) -> Answer {
    let run = run_id(&run)?;
    Ok(json(StatusCode::OK, view(&ingest, &asked, &name, run).await?))
}

async fn updates(State(ingest): State<Ingest>, At((name, run)): At<(String, String)>, asked: Asked) -> Answer {
    let run = run_id(&run)?;
    view(&ingest, &asked, &name, run).await?;
    let found = ingest.find_run(&asked, run, &format!("/internal/runs/{run}/updates")).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], whole(found).await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamParams {
    after: Option<String>,
    #[serde(default)]
    dialect: Dialect,
}

async fn stream(
    State(ingest): State<Ingest>,
    At((name, run)): At<(String, String)>,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
    asked: Asked,
) -> Answer {
    let run = run_id(&run)?;
    view(&ingest, &asked, &name, run).await?;
    let sent = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let after = sent.filter(|id| !id.is_empty()).or(params.after);
    let watch = Watch { ingest: ingest.clone(), asked: asked.clone(), run, rendering: Rendering::Ours(params.dialect) };
    let answer = ingest.find_run(&asked, run, &watch.path(after.as_deref())).await?;
    Ok(watch.passed_on(answer, format!("{}/stream", location(&name, run)), false))
}

async fn cancel(
    State(ingest): State<Ingest>,
    At((name, run)): At<(String, String)>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let run = run_id(&run)?;
    let body: CancelRun = body::optional(&ingest.config, request).await?;
    let reason = body.reason.unwrap_or_else(|| "asked by the client".to_owned());
    if reason.chars().count() > REASON_CHARS_MAX {
        return Err(Refusal::new(Code::InvalidValue, "a reason has at most 500 characters").param("reason"));
    }
    let bytes = view(&ingest, &asked, &name, run).await?;
    let status = match ingest.cancel(&asked, run, &View::of(&bytes)?, reason, false).await? {
        Cancelled::Asked => StatusCode::ACCEPTED,
        Cancelled::HadEnded => StatusCode::OK,
    };
    Ok(json(status, bytes))
}

/// What a request to cancel found.
pub(crate) enum Cancelled {
    Asked,
    HadEnded,
}

impl Ingest {
    /// Appends the wish that the run end; the log's order decides against a finish.
    pub(crate) async fn cancel(
        &self,
        asked: &Asked,
        run: RunId,
        view: &View<'_>,
        reason: String,
        rollback: bool,
    ) -> Result<Cancelled, Refusal> {
        if view.status.is_terminal() {
            return Ok(Cancelled::HadEnded);
        }
        let now = self.deps.clock.now();
        let thread = view.thread_id.as_deref().map(str::to_owned);
        let graph = GraphRef { name: view.graph.to_string(), hash: view.hash.to_string() };
        let envelope = Envelope { traceparent: None, ..self.envelope(asked, None, run, thread, graph, now) };
        let partition = self.partition_of(run).ok_or_else(Refusal::run_not_found)?;
        self.append(partition, self.record(asked, envelope, now, Event::Cancelled { reason, rollback })).await?;
        Ok(Cancelled::Asked)
    }
}

/// The run's view, if it is a run of that graph.
async fn view(ingest: &Ingest, asked: &Asked, graph: &str, run: RunId) -> Result<Bytes, Refusal> {
    let bytes = whole(ingest.find_run(asked, run, &format!("/internal/runs/{run}")).await?).await?;
    if View::of(&bytes)?.graph != graph {
        return Err(Refusal::run_not_found());
    }
    Ok(bytes)
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(crate) fn json_of<T: serde::Serialize>(value: &T) -> Response {
    Json(value).into_response()
}
