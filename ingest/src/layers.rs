//! What happens around every handler: an id, a span, metrics, panics caught, refusals rendered, callers proved.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, request::Parts};
use quota::Standings;
use schemas::{error::Code, stream::REQUEST_ID_HEADER};
use tokio::{sync::SemaphorePermit, time::Instant};
use tracing::{Instrument, Span, field::Empty};

use crate::{
    auth::{Caller, Scope},
    ingest::Ingest,
    metrics::{self, Rejected},
    rates,
    refusal::{Family, Refusal},
    trace::RequestTrace,
};

const REQUEST_ID_CHARS_MAX: usize = 128;
/// The request log has a name of its own, so that it is turned on without anything else.
const REQUESTS: &str = "requests";
/// What a path that no route knows is called in metrics.
const UNMATCHED: &str = "unmatched";

/// Who asks, by which route, under which ids. In the extensions of every request that got past [`authorize`].
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub caller: Caller,
    /// The route's template, such as `/graphs/{name}/runs`, or a path that a graph binds.
    pub endpoint: Arc<str>,
    pub request_id: RequestId,
    /// Which trace the request belongs to, passed on in the records.
    pub trace: RequestTrace,
    /// Where its key and user stand, once it is known.
    pub standings: Arc<OnceLock<Standings>>,
}

impl Asked {
    /// The response, which [`observe`] shows where its client stands.
    pub fn told(standings: &OnceLock<Standings>, mut response: Response) -> Response {
        if let Some(standings) = standings.get() {
            response.extensions_mut().insert(*standings);
        }
        response
    }
}

#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub Arc<str>);

/// The template of a path that only the handler knows (bound paths).
#[derive(Clone, Debug)]
pub(crate) struct Template(pub Arc<str>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Asked>().expect("a route that asks who asks is behind `authorize`").clone())
    }
}

/// Around all routes, and outermost but for CORS.
pub(crate) async fn observe(State(ingest): State<Ingest>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let family = Family::of(request.uri().path());
    let id = request_id(request.headers(), &ingest);
    request.extensions_mut().insert(id.clone());
    let mut trace = RequestTrace::begin(&request, &id);
    if trace.context().is_some() {
        request.extensions_mut().insert(trace.clone());
    }
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!(
        "request",
        http.method = %method,
        http.route = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str),
        http.status = Empty,
        ms = Empty,
        key = Empty,
        run_id = Empty,
        request_id = &*id.0,
        trace_id = trace.context().map(|context| tracing::field::display(context.trace)),
    );
    let _counted = Counted::new();
    let caught = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = caught.unwrap_or_else(|panic| {
        span.in_scope(|| tracing::error!(reason = panic_text(&panic), "a handler panicked"));
        Refusal::new(Code::Internal, "something went wrong here; the request id names it in the logs").into_response()
    });
    let standings = response.extensions_mut().remove::<Standings>();
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = refusal.render(family, &id.0);
    }
    if let Some(standings) = standings {
        rates::add_headers(standings, response.headers_mut());
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    let bound = response.extensions_mut().remove::<Template>();
    let route = match (&bound, &matched) {
        (Some(template), _) => &template.0,
        (None, Some(matched)) => matched.as_str(),
        (None, None) => UNMATCHED,
    };
    let took = started.elapsed();
    span.record("http.status", response.status().as_u16()).record("ms", took.as_millis() as u64);
    if bound.is_some() {
        span.record("http.route", route);
    }
    if response.status().is_server_error() {
        span.in_scope(|| tracing::warn!(target: REQUESTS, "a request failed"));
    } else {
        span.in_scope(|| tracing::debug!(target: REQUESTS, "a request was answered"));
    }
    trace.end(&method, route, response.status());
    metrics::request_done(route, &method, response.status(), took);
    response
}

/// Counts a request as being answered, also when the client goes away and the future is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::in_flight().increment(1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::in_flight().decrement(1);
    }
}

/// Around each route that needs a caller: proves it before the body is read, and bounds how many are served at a time.
pub(crate) async fn authorize(
    State((ingest, scope)): State<(Ingest, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    let endpoint = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).into();
    let asked = match prove(&ingest, request.extensions(), request.headers(), scope, endpoint).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal.into_response(),
    };
    let _permit = match ingest.admit() {
        Ok(permit) => permit,
        Err(refusal) => return refusal.into_response(),
    };
    let standings = Arc::clone(&asked.standings);
    request.extensions_mut().insert(asked);
    Asked::told(&standings, next.run(request).await)
}

impl Ingest {
    /// A place among the requests being answered.
    pub(crate) fn admit(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.in_flight.try_acquire().map_err(|_| {
            metrics::rejected(Rejected::Backpressure);
            Refusal::new(Code::QueueFull, "too many requests are being answered; try again")
        })
    }
}

/// Who asks, if its key has the scope.
pub(crate) async fn prove(
    ingest: &Ingest,
    extensions: &http::Extensions,
    headers: &HeaderMap,
    scope: Scope,
    endpoint: Arc<str>,
) -> Result<Asked, Refusal> {
    let caller = ingest.keys.authenticate(headers, scope, ingest.deps.clock.now()).await;
    let caller = caller.inspect_err(|_| metrics::rejected(Rejected::Auth))?;
    if let Some(key) = caller.key.as_deref() {
        Span::current().record("key", key);
    }
    let request_id = extensions.get::<RequestId>().expect("`observe` gives every request an id").clone();
    let trace = extensions.get().cloned().unwrap_or_default();
    Ok(Asked { caller, endpoint, request_id, trace, standings: Arc::default() })
}

/// The client's own id where it is printable and short, else a drawn one.
fn request_id(headers: &HeaderMap, ingest: &Ingest) -> RequestId {
    let given = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    match given {
        Some(text)
            if (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            RequestId(text.into())
        }
        Some(_) | None => RequestId(format!("req_{}", ingest.deps.random.uuid().simple()).into()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of no text")
}
