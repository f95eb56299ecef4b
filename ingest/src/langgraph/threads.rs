//! `/threads`: made before their first run, or by it; state and history are the sink's.
//!
//! What a client says of a thread before its first run is kept beside it ([`super::made`]): there is no record that would
//! change nothing. Once it has a run, the sink knows it.

use axum::{body::Body, extract::State, response::IntoResponse};
use graph::{envelope::GraphRef, event::Event};
use http::{Method, StatusCode};
use schemas::error::Code;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    TAG,
    bodies::{History, IfExists, Thread, ThreadCreate},
    made::{Made, MadeBy},
    state::named,
    ttl,
};
use crate::{
    auth::Scope,
    body, command,
    extract::{At, Params, rfc3339},
    ingest::Ingest,
    layers::Asked,
    options::{check_metadata, check_thread_id},
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::{json as json_bytes, json_of},
    sinks::{segment, whole},
    submit::ClaimedKey,
    waiting::View,
};

const HISTORY_LIMIT_DEFAULT: u32 = 1;
const HISTORY_LIMIT_MAX: u32 = 1_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::POST, "/threads", create)
            .says(TAG, "Makes a thread.")
            .takes(Media::Json("ThreadCreate"))
            .header(
                "idempotency-key",
                "A repeat with the same key and body answers with the thread that the first one made; 24 hours.",
            )
            .answers(200, "The thread.", Media::Json("Thread")),
        route(Scope::Read, Method::GET, "/threads/{thread_id}", get)
            .says(TAG, "A thread.")
            .query(&[("include", "`ttl`: with how long it lives.")])
            .answers(200, "The thread.", Media::Json("Thread")),
        route(Scope::Run, Method::DELETE, "/threads/{thread_id}", delete)
            .says(TAG, "Deletes a thread, and ends its runs.")
            .bare(204, "Nothing of it is left but what it cost."),
        route(Scope::Read, Method::GET, "/threads/{thread_id}/history", history)
            .says(TAG, "A thread's states, newest first.")
            .query(&[("limit", "At most so many; 1 unless told."), ("before", "Only states before this checkpoint.")])
            .answers(200, "The states.", Media::JsonArray("Document")),
        route(Scope::Read, Method::POST, "/threads/{thread_id}/history", post_history)
            .says(TAG, "A thread's states, newest first.")
            .takes(Media::Json("History"))
            .answers(200, "The states.", Media::JsonArray("Document")),
    ]
}

async fn create(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&ingest.config, &parts.headers, body, ingest.config.body_bytes_max).await?;
    let claim = ClaimedKey::of(&parts.headers, "POST", parts.uri.path(), &bytes)?;
    let create = body::parse_compatible::<ThreadCreate>(&bytes)?;
    let ttl = ttl::of_body(create.ttl.as_ref())?.map(|ttl| ingest.timed(ttl)).or(ingest.timed_by_default());
    let mut metadata = create.metadata.unwrap_or_default();
    metadata.extend(create.graph_id.map(|graph| ("graph_id".to_owned(), Value::String(graph))));
    check_metadata(&metadata, "metadata")?;
    let thread = match create.thread_id {
        Some(thread) => thread,
        // A repeat finds the thread that the first request made.
        None => claim.as_ref().map_or_else(|| ingest.deps.random.uuid(), ClaimedKey::uuid).to_string(),
    };
    check_thread_id(&thread).map_err(unprocessable)?;
    let repeats = match (&claim, ingest.made(&asked, &thread).await?) {
        (Some(claim), Some(made)) => made.is_repeated_by(claim, ingest.deps.clock.now(), ingest.config.claim_ttl)?,
        (None, _) | (_, None) => false,
    };
    if repeats || !ingest.thread_exists(&asked, &thread).await? {
        let supersteps = create.supersteps.unwrap_or_default();
        let graph = match (supersteps.is_empty(), metadata.get("graph_id").and_then(Value::as_str)) {
            (true, _) => None,
            (false, Some(graph)) => Some(ingest.graph(graph).await?),
            (false, None) => {
                let says = "supersteps: name the thread's graph in metadata.graph_id";
                return Err(unprocessable(Refusal::new(Code::InvalidValue, says)));
            }
        };
        if !repeats {
            if let (Some(claim), Some(_)) = (&claim, &graph) {
                ingest.claim_edit(&asked, &thread, claim).await?;
            }
            ingest.make_thread(&asked, &thread, metadata, claim.as_ref().map(MadeBy::of), ttl).await?;
        }
        if let Some(timed) = ttl {
            ingest.time_thread(&asked, &thread, timed.ttl).await?;
        }
        if let Some(graph) = graph {
            ingest.edit_thread(&asked, &thread, &graph, (None, ""), supersteps, claim.as_ref()).await?;
        }
        return ingest.thread(&asked, &thread).await;
    }
    match create.if_exists.unwrap_or_default() {
        IfExists::DoNothing => ingest.thread(&asked, &thread).await,
        IfExists::Raise => Err(Refusal::new(Code::ThreadBusy, format!("Thread with ID {thread} already exists"))),
    }
}

#[derive(Deserialize)]
struct GetParams {
    /// Names, separated by commas.
    include: Option<String>,
}

async fn get(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    Params(params): Params<GetParams>,
    asked: Asked,
) -> Answer {
    check_thread_id(&thread).map_err(unprocessable)?;
    if params.include.is_some_and(|names| names.split(',').any(|name| name.trim() == "ttl")) {
        return ingest.timed_thread(&asked, &thread).await;
    }
    ingest.thread(&asked, &thread).await
}

async fn delete(State(ingest): State<Ingest>, At(thread): At<String>, asked: Asked) -> Answer {
    check_thread_id(&thread).map_err(unprocessable)?;
    ingest.delete_thread(&asked, &thread).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
struct HistoryParams {
    limit: Option<u32>,
    before: Option<String>,
}

async fn history(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    Params(params): Params<HistoryParams>,
    asked: Asked,
) -> Answer {
    let wanted = Wanted { limit: params.limit, before: params.before, ..Wanted::default() };
    states(&ingest, &asked, &thread, wanted).await
}

async fn post_history(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let History { limit, before, metadata, checkpoint } = body::compatible::<History>(&ingest.config, request).await?;
    let (_, ns) = named(checkpoint.as_ref())?;
    let before = match before {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(object) => {
            let id = object.get("checkpoint_id").or_else(|| object.pointer("/configurable/checkpoint_id"));
            let id = id.and_then(Value::as_str).map(str::to_owned);
            Some(id.ok_or_else(|| unprocessable(Refusal::new(Code::InvalidValue, "before: names no checkpoint_id")))?)
        }
    };
    let metadata = metadata.filter(|metadata| !metadata.is_empty());
    states(&ingest, &asked, &thread, Wanted { limit, before, ns, metadata }).await
}

/// Which states of a thread's history.
#[derive(Default)]
struct Wanted {
    limit: Option<u32>,
    before: Option<String>,
    /// Of a subgraph.
    ns: String,
    metadata: Option<Map<String, Value>>,
}

async fn states(ingest: &Ingest, asked: &Asked, thread: &str, wanted: Wanted) -> Answer {
    let Wanted { limit, before, ns, metadata } = wanted;
    check_thread_id(thread).map_err(unprocessable)?;
    let limit = limit.unwrap_or(HISTORY_LIMIT_DEFAULT);
    if !(1..=HISTORY_LIMIT_MAX).contains(&limit) {
        return Err(unprocessable(Refusal::new(Code::InvalidValue, "limit: must lie between 1 and 1000")));
    }
    let mut path = format!("/internal/threads/{}/history?limit={limit}&ns={}", segment(thread), segment(&ns));
    if let Some(before) = before {
        command::checkpoint_id(&before).map_err(unprocessable)?;
        path.push_str(&format!("&before={}", segment(&before)));
    }
    if let Some(metadata) = metadata {
        path.push_str(&format!("&metadata={}", segment(&Value::Object(metadata).to_string())));
    }
    match ingest.find(asked, Some(ingest.partition_of_thread(&asked.caller.tenant, thread)), &path).await? {
        Some(found) => Ok(json_bytes(StatusCode::OK, whole(found).await?)),
        None => {
            ingest.made(asked, thread).await?.ok_or_else(|| thread_not_found(thread))?;
            Ok(json_of::<[Value; 0]>(&[]))
        }
    }
}

impl Ingest {
    /// Whether the tenant has the thread: by a run, or made beforehand.
    pub(super) async fn thread_exists(&self, asked: &Asked, thread: &str) -> Result<bool, Refusal> {
        Ok(self.sinks_thread(asked, thread, "").await?.is_some() || self.made(asked, thread).await?.is_some())
    }

    pub(super) async fn has_run(&self, asked: &Asked, thread: &str) -> Result<bool, Refusal> {
        Ok(self.sinks_thread(asked, thread, "").await?.is_some())
    }

    /// Makes a thread without a run as another one was made.
    pub(super) async fn copy_made(&self, asked: &Asked, thread: &str, to: &str) -> Result<(), Refusal> {
        let made = self.made(asked, thread).await?.ok_or_else(|| thread_not_found(thread))?;
        self.make_thread(asked, to, made.metadata, None, None).await
    }

    async fn sinks_thread(
        &self,
        asked: &Asked,
        thread: &str,
        query: &str,
    ) -> Result<Option<axum::response::Response>, Refusal> {
        let partition = self.partition_of_thread(&asked.caller.tenant, thread);
        self.find(asked, Some(partition), &format!("/internal/threads/{}{query}", segment(thread))).await
    }

    pub(super) async fn thread(&self, asked: &Asked, thread: &str) -> Answer {
        let made = self.made(asked, thread).await?;
        if let Some(found) = self.sinks_thread(asked, thread, "").await? {
            let bytes = whole(found).await?;
            let Some(made) = made else { return Ok(json_bytes(StatusCode::OK, bytes)) };
            return Ok(json_of(&with_metadata(parse(&bytes)?, made)));
        }
        let made = made.ok_or_else(|| thread_not_found(thread))?;
        Ok(json_of(&idle(thread, made)))
    }

    /// The thread with how long it lives.
    async fn timed_thread(&self, asked: &Asked, thread: &str) -> Answer {
        let made = self.made(asked, thread).await?;
        let own = made.as_ref().and_then(|made| made.ttl);
        let mut shown = match (self.sinks_thread(asked, thread, "?include=ttl").await?, made) {
            (Some(found), Some(made)) => with_metadata(parse(&whole(found).await?)?, made),
            (Some(found), None) => parse(&whole(found).await?)?,
            (None, made) => json!(idle(thread, made.ok_or_else(|| thread_not_found(thread))?)),
        };
        ttl::show(&mut shown, own);
        Ok(json_of(&shown))
    }

    /// A thread as its sink shows it, with what is kept beside it.
    pub(super) async fn with_made(&self, asked: &Asked, shown: Value) -> Result<Value, Refusal> {
        let made = match shown["thread_id"].as_str() {
            Some(thread) => self.made(asked, thread).await?,
            None => None,
        };
        Ok(match made {
            Some(made) => with_metadata(shown, made),
            None => shown,
        })
    }

    /// Ends the thread's runs and forgets it. Returns when the store has forgotten it too.
    pub(super) async fn delete_thread(&self, asked: &Asked, thread: &str) -> Result<(), Refusal> {
        let metadata = self.thread_metadata(asked, thread).await?.ok_or_else(|| thread_not_found(thread))?;
        let says = "the thread will be deleted as soon as the store takes it; nothing else is needed";
        let changed = self.change_whole(asked, thread, &metadata, Event::ThreadDeleted).await;
        changed.map_err(|refusal| late(refusal, says))?.map_or(Ok(()), Err)
    }

    /// Tells the log of the whole thread, and waits for what comes of it: why it was refused, if it was.
    pub(super) async fn change_whole(
        &self,
        asked: &Asked,
        thread: &str,
        metadata: &Value,
        event: Event,
    ) -> Result<Option<Refusal>, Refusal> {
        // No version is needed: the name is for whoever counts.
        let name = metadata["graph_id"].as_str().unwrap_or_default().to_owned();
        let graph = GraphRef { name, hash: String::new() };
        let ended = self.change_thread(asked, thread, graph, event, None).await?;
        Ok(View::of(&ended)?.failure())
    }

    /// What a thread's metadata says, as clients see it. None where there is no such thread.
    pub(super) async fn thread_metadata(&self, asked: &Asked, thread: &str) -> Result<Option<Value>, Refusal> {
        let made = self.made(asked, thread).await?;
        let Some(found) = self.sinks_thread(asked, thread, "").await? else {
            return Ok(made.map(|made| json!(made.metadata)));
        };
        let mut shown: Value = parse(&whole(found).await?)?;
        if let Some(made) = made {
            shown = with_metadata(shown, made);
        }
        Ok(Some(shown["metadata"].take()))
    }
}

/// What is said where the wait for a change ends before it is made.
pub(super) fn late(refusal: Refusal, says: &'static str) -> Refusal {
    if refusal.code() == Code::WaitTimeout { Refusal::new(Code::WaitTimeout, says) } else { refusal }
}

/// Why nothing was done to a thread that has to rest for it.
pub(super) fn unrested(failure: Refusal, busy: String) -> Refusal {
    if failure.code() == Code::ThreadBusy { Refusal::new(Code::ThreadBusy, busy) } else { unprocessable(failure) }
}

fn parse(bytes: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        tracing::error!(%error, "a sink's thread can't be read");
        Refusal::new(Code::Internal, "the thread can't be read")
    })
}

/// A thread as its sink shows it, with what was said of it when it was made.
fn with_metadata(mut thread: Value, made: Made) -> Value {
    if let Some(shown) = thread["metadata"].as_object_mut() {
        for (name, value) in made.metadata {
            shown.entry(name).or_insert(value);
        }
    }
    thread
}

fn idle(thread: &str, made: Made) -> Thread {
    let at = rfc3339(made.created_at);
    Thread {
        thread_id: thread.to_owned(),
        created_at: at.clone(),
        updated_at: at.clone(),
        state_updated_at: at,
        metadata: made.metadata,
        status: "idle".to_owned(),
        config: Map::new(),
        values: None,
        interrupts: Map::new(),
        ttl: None,
    }
}

pub(super) fn thread_not_found(thread: &str) -> Refusal {
    Refusal::new(Code::ThreadNotFound, format!("Thread with ID {thread} not found"))
}

/// LangGraph's status for what doesn't fit.
pub(super) fn unprocessable(refusal: Refusal) -> Refusal {
    refusal.detail_status(StatusCode::UNPROCESSABLE_ENTITY)
}
