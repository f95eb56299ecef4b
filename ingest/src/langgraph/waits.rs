//! `…/runs/wait` and `…/join`: the body stays open with newlines until the run has ended, then carries its values.

use std::{pin::Pin, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use graph::envelope::RunId;
use http::{Method, header};
use schemas::error::Code;
use serde_json::{Map, Value, json};

use super::{
    TAG,
    bodies::Streamed,
    runs::{busy, content_location, prepare_stream, view},
};
use crate::{
    auth::Scope,
    extract::At,
    ingest::Ingest,
    layers::Asked,
    leaving::Leaving,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    waiting::View,
};

/// LangGraph's clients and the proxies between take silence for death.
const NEWLINE_EVERY: Duration = Duration::from_secs(5);

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::POST, "/threads/{thread_id}/runs/wait", wait)
            .says(TAG, "Starts a run on a thread and answers with the values at its end.")
            .takes(Media::Json("RunCreate"))
            .answers(200, "The values, with `__interrupt__` or `__error__`.", Media::Json("Document")),
        route(Scope::Read, Method::GET, "/threads/{thread_id}/runs/{run_id}/join", join)
            .says(TAG, "The values at a run's end.")
            .answers(200, "The values, with `__interrupt__` or `__error__`.", Media::Json("Document")),
        route(Scope::Run, Method::POST, "/runs/wait", wait_alone)
            .says(TAG, "Starts a run without a thread and answers with the values at its end.")
            .takes(Media::Json("RunCreate"))
            .answers(200, "The values, with `__interrupt__` or `__error__`.", Media::Json("Document")),
    ]
}

async fn wait(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    begin(ingest, asked, Some(thread), request).await
}

async fn wait_alone(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    begin(ingest, asked, None, request).await
}

async fn begin(ingest: Ingest, asked: Asked, thread: Option<String>, request: http::Request<Body>) -> Answer {
    let (mut prepared, Streamed { on_disconnect, .. }) = prepare_stream(&ingest, &asked, thread, request).await?;
    let registered = ingest.begin_waiting(&asked, &mut prepared).await?;
    ingest.check_rejected(&asked, &prepared).await.map_err(busy)?;
    let location = content_location(&prepared);
    let leaving =
        prepared.is_cancelled_by_leaving(on_disconnect).then(|| Leaving::new(&ingest, &asked, prepared.run_id));
    let body = kept_open(ingest, asked, prepared.run_id, registered, leaving);
    Ok(([(header::CONTENT_LOCATION, location), (header::CONTENT_TYPE, "application/json".to_owned())], body)
        .into_response())
}

async fn join(State(ingest): State<Ingest>, At((thread, id)): At<(String, String)>, asked: Asked) -> Answer {
    let (run, _) = view(&ingest, &asked, &thread, &id).await?;
    let registered = ingest.find_run(&asked, run, &ingest.wait_path(run, ingest.config.wait_timeout)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], kept_open(ingest, asked, run, registered, None)).into_response())
}

type Ending = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// A newline at once lets the client know that it is heard; JSON allows it before a value.
fn kept_open(ingest: Ingest, asked: Asked, run: RunId, registered: Response, leaving: Option<Leaving>) -> Body {
    let ending: Ending = Box::pin(async move {
        let values = values(&ingest, &asked, run, registered).await;
        if let Some(leaving) = leaving {
            leaving.stays();
        }
        values
    });
    Body::from_stream(stream::unfold(Some(ending), |ending| async {
        let mut ending = ending?;
        tokio::select! {
            values = &mut ending => Some((Ok::<_, std::convert::Infallible>(values), None)),
            () = tokio::time::sleep(NEWLINE_EVERY) => Some((Ok(Bytes::from_static(b"\n")), Some(ending))),
        }
    }))
}

/// The run's values at its end, however long that takes; the run's own deadline bounds it.
async fn values(ingest: &Ingest, asked: &Asked, run: RunId, registered: Response) -> Bytes {
    let timeout = ingest.config.wait_timeout;
    let mut waited = ingest.ended(asked, run, registered, timeout).await;
    loop {
        match waited {
            Ok(view) => return rendered(&view).unwrap_or_else(|refusal| error(&refusal)),
            Err(refusal) if refusal.code() == Code::WaitTimeout => {}
            Err(refusal) => return error(&refusal),
        }
        waited = match ingest.find_run(asked, run, &ingest.wait_path(run, timeout)).await {
            Ok(registered) => ingest.ended(asked, run, registered, timeout).await,
            Err(refusal) => Err(refusal),
        };
    }
}

fn rendered(view: &[u8]) -> Result<Bytes, Refusal> {
    let view = View::of(view)?;
    if let Some(failure) = view.failure() {
        return Ok(match &view.exception {
            Some(exception) => raised(exception, failure.message()),
            None => error(&failure),
        });
    }
    let Some(output) = view.output else { return Ok(Bytes::from_static(b"null")) };
    let Some(interrupts) = view.interrupts else { return Ok(Bytes::copy_from_slice(output.get().as_bytes())) };
    let mut values: Map<String, Value> = serde_json::from_str(output.get()).unwrap_or_default();
    let mut asked: Vec<Map<String, Value>> = serde_json::from_str(interrupts.get()).unwrap_or_default();
    for question in &mut asked {
        question.entry("response_schema").or_insert(Value::Null);
    }
    values.insert("__interrupt__".to_owned(), asked.into_iter().map(Value::Object).collect());
    Ok(Value::Object(values).to_string().into())
}

/// As LangGraph has it: 200, and the exception in the body.
fn error(refusal: &Refusal) -> Bytes {
    let kind = match refusal.code() {
        Code::RecursionLimit => "GraphRecursionError",
        Code::InvalidUpdate => "InvalidUpdateError",
        Code::RunTimeout => "TimeoutError",
        Code::RunCancelled => "UserInterrupt",
        _ => "Exception",
    };
    raised(kind, refusal.message())
}

fn raised(kind: &str, message: &str) -> Bytes {
    json!({"__error__": {"error": kind, "message": message}}).to_string().into()
}
