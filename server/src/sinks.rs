//! How ingest reaches the sinks: in process by the sink's own router, apart by HTTP/2 to whoever serves the partition.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body};
use event_log::EventLog;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use ingest::{SinkUnavailable, Sinks};
use schemas::{
    record::{ControlFact, ControlRecord},
    stream::SECRET_HEADER,
    topic::{CONTROL, Names, SINK_GROUP},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A partition that has just moved is asked for again, this often and this many times.
const MOVED_PAUSE: Duration = Duration::from_millis(100);
const MOVED_TRIES: u32 = 50;

/// The sink of this process.
pub struct InProcess(pub Router);

#[async_trait]
impl Sinks for InProcess {
    async fn call(&self, _partition: Option<u32>, request: Request<Body>) -> Result<Response<Body>, SinkUnavailable> {
        match self.0.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

/// Sinks in other processes: `control` says who serves what.
pub struct Apart {
    addresses: Addresses,
    http: reqwest::Client,
    secret: Option<HeaderValue>,
}

#[derive(Clone, Default)]
struct Addresses(Arc<RwLock<BTreeMap<u32, String>>>);

impl Addresses {
    fn of(&self, partition: Option<u32>) -> Option<String> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match partition {
            Some(partition) => known.get(&partition).cloned(),
            None => known.values().next().cloned(),
        }
    }

    fn learn(&self, record: &ControlRecord) {
        if let ControlFact::Serves { role, partition, address } = &record.fact
            && role == SINK_GROUP
        {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(*partition, address.clone());
        }
    }
}

impl Apart {
    pub fn new(secret: Option<&str>) -> anyhow::Result<Self> {
        // One multiplexed connection to each sink: thousands of waits share it.
        let http = reqwest::Client::builder()
            .http2_prior_knowledge()
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(5))
            .connect_timeout(Duration::from_secs(2))
            .build()?;
        let secret = secret.map(HeaderValue::from_str).transpose()?;
        Ok(Apart { addresses: Addresses::default(), http, secret })
    }

    /// Follows `control` until `shutdown`.
    pub fn follow(
        &self,
        log: Arc<dyn EventLog>,
        names: Names,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let addresses = self.addresses.clone();
        let (following, _) =
            event_log::follow(log, names.of(CONTROL), move |record: &ControlRecord| addresses.learn(record));
        async move {
            shutdown.run_until_cancelled(following).await;
        }
    }

    async fn send(&self, partition: Option<u32>, request: Request<Body>) -> Result<Response<Body>, SinkUnavailable> {
        let address = self
            .addresses
            .of(partition)
            .ok_or_else(|| unavailable("no sink has said that it serves this partition yet"))?;
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("{}{path}", address.trim_end_matches('/'))
            .parse::<Uri>()
            .map_err(|error| unavailable(format!("a sink's address can't be used: {error}")))?;
        parts.version = http::Version::HTTP_2;
        parts.headers.remove(header::HOST);
        parts.headers.remove(header::CONNECTION);
        if let Some(secret) = &self.secret {
            parts.headers.insert(SECRET_HEADER, secret.clone());
        }
        let request = Request::from_parts(parts, reqwest::Body::wrap_stream(body.into_data_stream()));
        let request = reqwest::Request::try_from(request)
            .map_err(|error| unavailable(format!("a request to a sink can't be built: {error}")))?;
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| unavailable(format!("the sink at {address} does not answer: {error}")))?;
        let response: Response<reqwest::Body> = response.into();
        let (parts, body) = response.into_parts();
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

#[async_trait]
impl Sinks for Apart {
    async fn call(&self, partition: Option<u32>, request: Request<Body>) -> Result<Response<Body>, SinkUnavailable> {
        // Requests to sinks have no bodies, so they can be asked again.
        let (parts, _) = request.into_parts();
        let mut last = unavailable("no sink answers");
        for _ in 0..MOVED_TRIES {
            match self.send(partition, Request::from_parts(parts.clone(), Body::empty())).await {
                Ok(response) if response.status() == StatusCode::MISDIRECTED_REQUEST => {
                    last = unavailable("the partition is moving to another sink");
                }
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
            tokio::time::sleep(MOVED_PAUSE).await;
        }
        Err(last)
    }
}

fn unavailable(reason: impl Into<String>) -> SinkUnavailable {
    SinkUnavailable { reason: reason.into() }
}
