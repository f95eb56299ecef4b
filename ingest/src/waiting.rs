//! Waiting for a run's end at its sink, across moves of its partition, without parsing the view more than needed.

use std::{borrow::Cow, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use graph::{envelope::RunId, update::RunStatus};
use http::StatusCode;
use schemas::error::{Code, ErrorFields};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{ingest::Ingest, layers::Asked, refusal::Refusal, sinks};

/// Before a sink is asked again after its answer broke off.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// What a sink may take beyond the wait that it was asked for.
const GRACE: Duration = Duration::from_secs(2);

/// The parts of a [`schemas::http::RunView`] that an answer is made of; the rest stays text.
#[derive(Deserialize)]
pub(crate) struct View<'a> {
    #[serde(borrow)]
    pub run_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub thread_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub graph: Cow<'a, str>,
    #[serde(borrow, default)]
    pub hash: Cow<'a, str>,
    pub status: RunStatus,
    #[serde(borrow, default)]
    pub output: Option<&'a RawValue>,
    #[serde(default)]
    pub error: Option<ErrorFields>,
    #[serde(borrow, default)]
    pub exception: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub interrupts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub usage: Option<&'a RawValue>,
}

impl<'a> View<'a> {
    pub fn of(bytes: &'a [u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(bytes).map_err(|error| {
            tracing::error!(%error, "a sink's view of a run can't be read");
            Refusal::new(Code::Internal, "what became of the run can't be read")
        })
    }

    /// A run that did not succeed as the error that it is: the code's status, the node's name, the state so far.
    pub fn failure(&self) -> Option<Refusal> {
        let fallback = match self.status {
            RunStatus::Pending | RunStatus::Running | RunStatus::Success | RunStatus::Interrupted => return None,
            RunStatus::Error => (Code::Internal, "the run failed"),
            RunStatus::Timeout => (Code::RunTimeout, "the run did not end before its deadline"),
            RunStatus::Cancelled => (Code::RunCancelled, "the run was cancelled"),
        };
        let mut refusal = match &self.error {
            Some(error) => Refusal::new(Code::parse(&error.code).unwrap_or(fallback.0), error.message.clone()),
            None => Refusal::new(fallback.0, fallback.1),
        };
        if let Some(param) = self.error.as_ref().and_then(|error| error.param.clone()) {
            refusal = refusal.param(param);
        }
        if let Some(budget) = self.error.as_ref().and_then(|error| error.budget.clone()) {
            refusal = refusal.budget(budget);
        }
        if let Ok(run_id) = self.run_id.parse::<RunId>() {
            refusal = refusal.run_id(run_id);
        }
        let raw = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        Some(
            refusal
                .beside("run_id", self.run_id.as_ref().into())
                .beside("thread_id", self.thread_id.as_deref().into())
                .beside("status", self.status.as_str().into())
                .beside("output", raw(self.output))
                .beside("usage", raw(self.usage)),
        )
    }
}

/// [`schemas::stream::Waited`], with the view left as text.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Waited<'a> {
    #[serde(borrow)]
    Ended(&'a RawValue),
    StillRunning,
    Moved,
}

impl Ingest {
    pub(crate) fn wait_path(&self, run: RunId, timeout: Duration) -> String {
        format!("/internal/runs/{run}/wait?timeout_ms={}", timeout.as_millis())
    }

    /// The run's view as JSON once it has ended. `registered` is the sink's answer to a first wait.
    pub(crate) async fn ended(
        &self,
        asked: &Asked,
        run: RunId,
        registered: Response,
        timeout: Duration,
    ) -> Result<Bytes, Refusal> {
        let deadline = Instant::now() + timeout;
        let mut response = registered;
        loop {
            if let Some(view) = view_of(response, deadline).await {
                return Ok(view);
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(wait_timeout(run));
            }
            response = self.wait_again(asked, run, remaining).await?;
        }
    }

    /// Registers anew: after a move the new sink may not have heard of the run yet.
    async fn wait_again(&self, asked: &Asked, run: RunId, remaining: Duration) -> Result<Response, Refusal> {
        let path = format!("{}&register=true", self.wait_path(run, remaining));
        let response = self.sink(asked, self.partition_of(run), &path).await?;
        if response.status() != StatusCode::OK {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(response)
    }
}

/// None where the sink has to be asked again: time-out, move, or an answer that broke off.
async fn view_of(response: Response, deadline: Instant) -> Option<Bytes> {
    if response.status() != StatusCode::OK {
        return None;
    }
    let Ok(Ok(body)) = tokio::time::timeout_at(deadline + GRACE, sinks::whole(response)).await else {
        tokio::time::sleep(RETRY_PAUSE).await;
        return None;
    };
    match serde_json::from_slice::<Waited>(&body) {
        Ok(Waited::Ended(view)) => Some(body.slice_ref(view.get().as_bytes())),
        Ok(Waited::StillRunning) => None,
        Ok(Waited::Moved) | Err(_) => {
            tokio::time::sleep(RETRY_PAUSE).await;
            None
        }
    }
}

fn wait_timeout(run: RunId) -> Refusal {
    Refusal::new(Code::WaitTimeout, "the run goes on; its address is in the header `location`").run_id(run)
}
