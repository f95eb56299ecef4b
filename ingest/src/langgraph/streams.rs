//! `…/runs/stream`: runs as streams in LangGraph's modes, and joining one that is under way.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, HeaderValue, Method, header};
use schemas::stream::{LangGraph, Rendering};
use serde::Deserialize;

use super::{
    TAG,
    bodies::{Streamed, modes},
    runs::{busy, content_location, prepare_stream, view, view_alone},
};
use crate::{
    auth::Scope,
    extract::{At, Params, flag},
    ingest::Ingest,
    layers::Asked,
    refusal::Answer,
    route::{Media, Route, route},
    streaming::Watch,
};

/// What a client sends to see a stream from its beginning.
const FROM_THE_START: &str = "-1";

pub(crate) fn routes() -> Vec<Route> {
    let query = [
        ("stream_mode", "How to show the run; `values` unless told. Several by commas."),
        ("cancel_on_disconnect", "`true`: the run is cancelled when this client goes away."),
    ];
    let last =
        ("last-event-id", "The id of the last event that the client has; `-1` for all; without it only what comes.");
    vec![
        route(Scope::Run, Method::POST, "/threads/{thread_id}/runs/stream", stream)
            .says(TAG, "Starts a run on a thread and streams it.")
            .takes(Media::Json("RunCreate"))
            .answers(200, "The run's events.", Media::Events),
        route(Scope::Run, Method::POST, "/runs/stream", stream_alone)
            .says(TAG, "Starts a run without a thread and streams it.")
            .takes(Media::Json("RunCreate"))
            .answers(200, "The run's events.", Media::Events),
        route(Scope::Read, Method::GET, "/threads/{thread_id}/runs/{run_id}/stream", join)
            .says(TAG, "Joins the stream of a run.")
            .query(&query)
            .header(last.0, last.1)
            .answers(200, "The run's events.", Media::Events),
        route(Scope::Read, Method::GET, "/runs/{run_id}/stream", join_alone)
            .says(TAG, "Joins the stream of a run without a thread.")
            .query(&query)
            .header(last.0, last.1)
            .answers(200, "The run's events.", Media::Events),
    ]
}

async fn stream(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    begin(ingest, asked, Some(thread), request).await
}

async fn stream_alone(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    begin(ingest, asked, None, request).await
}

async fn begin(ingest: Ingest, asked: Asked, thread: Option<String>, request: http::Request<Body>) -> Answer {
    let (mut prepared, Streamed { rendering, on_disconnect }) =
        prepare_stream(&ingest, &asked, thread, request).await?;
    let at = content_location(&prepared);
    let back = come_back(&at, &rendering);
    let rendering = Rendering::LangGraph(rendering);
    let watch = Watch { ingest: ingest.clone(), asked: asked.clone(), run: prepared.run_id, rendering };
    let answer = ingest.begin_registered(&asked, &mut prepared, &watch.path(None)).await?;
    ingest.check_rejected(&asked, &prepared).await.map_err(busy)?;
    let mut response = watch.passed_on(answer, back, prepared.is_cancelled_by_leaving(on_disconnect));
    if let Ok(at) = HeaderValue::try_from(at) {
        response.headers_mut().insert(header::CONTENT_LOCATION, at);
    }
    Ok(response)
}

/// Where a client that was cut takes up the stream as it was.
fn come_back(at: &str, rendering: &LangGraph) -> String {
    let LangGraph { modes, subgraphs, ids } = rendering;
    let modes = modes.iter().map(|mode| mode.as_str()).collect::<Vec<_>>().join(",");
    format!("{at}/stream?stream_mode={modes}&stream_subgraphs={subgraphs}&stream_resumable={ids}")
}

#[derive(Deserialize)]
struct JoinParams {
    stream_mode: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    stream_subgraphs: bool,
    #[serde(default, deserialize_with = "flag")]
    stream_resumable: bool,
    #[serde(default, deserialize_with = "flag")]
    cancel_on_disconnect: bool,
}

async fn join(
    State(ingest): State<Ingest>,
    At((thread, id)): At<(String, String)>,
    params: Params<JoinParams>,
    headers: HeaderMap,
    asked: Asked,
) -> Answer {
    let (run, _) = view(&ingest, &asked, &thread, &id).await?;
    joined(ingest, asked, run, params, &headers).await
}

async fn join_alone(
    State(ingest): State<Ingest>,
    At(id): At<String>,
    params: Params<JoinParams>,
    headers: HeaderMap,
    asked: Asked,
) -> Answer {
    let (run, _) = view_alone(&ingest, &asked, &id).await?;
    joined(ingest, asked, run, params, &headers).await
}

async fn joined(
    ingest: Ingest,
    asked: Asked,
    run: graph::envelope::RunId,
    Params(params): Params<JoinParams>,
    headers: &HeaderMap,
) -> Result<Response, crate::refusal::Refusal> {
    let JoinParams { stream_mode, stream_subgraphs: subgraphs, stream_resumable, cancel_on_disconnect } = params;
    let named = stream_mode.unwrap_or_default();
    let modes = modes(named.split(',').filter(|mode| !mode.is_empty()).map(str::to_owned).collect())?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    // Who comes back by an id wants more of them.
    let ids = stream_resumable || last.is_some();
    let rendering = Rendering::LangGraph(LangGraph { modes, subgraphs, ids });
    let watch = Watch { ingest: ingest.clone(), asked: asked.clone(), run, rendering };
    let path = match last {
        Some(FROM_THE_START) => watch.path(None),
        Some(last) => watch.path(Some(last)),
        None => format!("{}&live=true", watch.path(None)),
    };
    let answer = ingest.find_run(&asked, run, &path).await?;
    Ok(watch.passed_on(answer, String::new(), cancel_on_disconnect))
}
