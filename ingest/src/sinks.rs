//! Asking a sink: what became of runs and threads. Every question names the tenant, so an answer can't be another's.

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use graph::envelope::{Key, RunId};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemas::{
    error::{Code, ErrorBody},
    stream::{MOVED_STATUS, REQUEST_ID_HEADER, TENANT_HEADER},
};
use tokio::time::Instant;

use crate::{deps::SinkUnavailable, ingest::Ingest, layers::Asked, refusal::Refusal};

/// Between two tries to find the sink of a partition that is moving.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks for a run that was accepted this moment.
const FRESH_PAUSE: Duration = Duration::from_millis(20);
/// Largest answer of a sink that is read whole: a page of states.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One part of a path, or one value of a query.
pub(crate) fn segment(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, SEGMENT)
}

impl Ingest {
    /// The partition of a run, which its id names; None for an id that this log can't have given.
    pub(crate) fn partition_of(&self, run: RunId) -> Option<u32> {
        let partition = u32::from(graph::ids::partition_of(run));
        (partition < self.config.runs_partitions).then_some(partition)
    }

    pub(crate) fn partition_of_thread(&self, tenant: &str, thread: &str) -> u32 {
        event_log::partition_for(Key::thread(tenant, thread).as_str().as_bytes(), self.config.runs_partitions)
    }

    /// The head of the sink's answer, whatever its status. A sink that can't be found is looked for again for
    /// `sink_timeout`: a moving partition has none for a moment. One that was found has `answer_timeout`.
    pub(crate) async fn sink(&self, asked: &Asked, partition: Option<u32>, path: &str) -> Result<Response, Refusal> {
        let deadline = Instant::now() + self.config.sink_timeout;
        loop {
            let call = self.deps.sinks.call(partition, question(asked, path));
            match tokio::time::timeout(self.config.answer_timeout, call).await {
                Ok(Ok(response)) if response.status() != MOVED_STATUS => return Ok(response),
                Ok(_) if Instant::now() + RETRY_PAUSE < deadline => tokio::time::sleep(RETRY_PAUSE).await,
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(_)) => return Err(SinkUnavailable { reason: "its partition is moving".to_owned() }.into()),
                Err(_) => {
                    return Err(Refusal::new(Code::StoreUnavailable, "the sink did not answer in time; try again"));
                }
            }
        }
    }

    /// The sink's answer if it has the thing; None where it has not.
    pub(crate) async fn find(
        &self,
        asked: &Asked,
        partition: Option<u32>,
        path: &str,
    ) -> Result<Option<Response>, Refusal> {
        let response = self.sink(asked, partition, path).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(response)),
            _ => Err(refused(response).await),
        }
    }

    /// As [`Ingest::find`] for a run: one that was accepted this moment may not have reached the sink yet.
    pub(crate) async fn find_run(&self, asked: &Asked, run: RunId, path: &str) -> Result<Response, Refusal> {
        let partition = self.partition_of(run).ok_or_else(Refusal::run_not_found)?;
        let deadline = Instant::now() + self.config.fresh_run_wait;
        loop {
            if let Some(response) = self.find(asked, Some(partition), path).await? {
                return Ok(response);
            }
            if !self.is_fresh(run) || Instant::now() + FRESH_PAUSE >= deadline {
                return Err(Refusal::run_not_found());
            }
            tokio::time::sleep(FRESH_PAUSE).await;
        }
    }

    fn is_fresh(&self, run: RunId) -> bool {
        let (seconds, nanos) = run.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
        let made_at = seconds as i64 * 1_000 + i64::from(nanos / 1_000_000);
        let age = self.deps.clock.now() - made_at;
        age.unsigned_abs() as u128 <= self.config.fresh_run_wait.as_millis()
    }
}

pub(crate) async fn whole(response: Response) -> Result<Bytes, Refusal> {
    match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => {
            tracing::warn!(%error, "a sink's answer broke off");
            Err(Refusal::new(Code::StoreUnavailable, "the answer broke off; try again"))
        }
    }
}

fn question(asked: &Asked, path: &str) -> Request<Body> {
    Request::get(path)
        .header(TENANT_HEADER, &*asked.caller.tenant)
        .header(REQUEST_ID_HEADER, &*asked.request_id.0)
        .body(Body::empty())
        .expect("paths are made of encoded segments")
}

/// The sink's own error in our words; one that is no error body is the sink's failure.
async fn refused(response: Response) -> Refusal {
    let status = response.status();
    let body = whole(response).await.unwrap_or_default();
    let known = serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|body| {
        let refusal = Refusal::new(Code::parse(&body.error.code)?, body.error.message);
        Some(match body.error.param {
            Some(param) => refusal.param(param),
            None => refusal,
        })
    });
    known.unwrap_or_else(|| {
        tracing::warn!(%status, "a sink refused a question");
        Refusal::new(Code::StoreUnavailable, "what became of runs can't be read at the moment; try again")
    })
}
