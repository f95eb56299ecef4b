//! LangGraph's addresses from a client's side. While the pipeline is away for a moment the client asks again, with the same
//! key, so that nothing is begun twice.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

const AGAIN: Duration = Duration::from_millis(50);
/// Two minutes: on Kafka what a killed process had is another's when its sessions have ended.
const TRIES_MAX: usize = 2_400;
/// No run of a case takes nearly so long.
const RUN_MAX: Duration = Duration::from_secs(60);
const HISTORY_MAX: usize = 1_000;

/// One event of a stream: its name and its data.
pub type Event = (String, Value);

#[derive(Clone)]
pub struct Api {
    http: Client,
    base: String,
    /// The pipeline may be killed, and comes back.
    crashes: bool,
}

/// Why a request has no answer.
enum Trouble {
    /// The pipeline is away, or about to be. If it is being killed the same request may be made again.
    Away(anyhow::Error),
    /// It asks to be asked again.
    Later(anyhow::Error),
    /// What it answered.
    Refused(StatusCode, Value),
}

impl Api {
    pub fn new(address: SocketAddr, crashes: bool) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(RUN_MAX).no_proxy().build()?;
        Ok(Api { http, base: format!("http://{address}"), crashes })
    }

    /// Starts a run and reads its stream to the end.
    pub async fn stream(&self, thread: &str, key: &str, body: &Value) -> anyhow::Result<Result<Vec<Event>, Refused>> {
        let url = format!("{}/threads/{thread}/runs/stream", self.base);
        self.insist(async || {
            let answer = sent(self.http.post(&url).header("idempotency-key", key).json(body)).await?;
            let mut events = Vec::new();
            let mut stream = answer.bytes_stream().eventsource();
            while let Some(event) = stream.next().await {
                let event = event.map_err(|error| Trouble::Away(anyhow::anyhow!("the stream broke: {error}")))?;
                events.push((event.event, serde_json::from_str(&event.data).unwrap_or(Value::String(event.data))));
            }
            Ok(events)
        })
        .await
    }

    /// Starts a run and reads what it came to.
    pub async fn wait(&self, thread: &str, key: &str, body: &Value) -> anyhow::Result<Result<Value, Refused>> {
        let url = format!("{}/threads/{thread}/runs/wait", self.base);
        self.insist(async || document(self.http.post(&url).header("idempotency-key", key).json(body)).await).await
    }

    /// Edits the thread's state.
    pub async fn edit(&self, thread: &str, key: &str, body: &Value) -> anyhow::Result<Result<Value, Refused>> {
        let url = format!("{}/threads/{thread}/state", self.base);
        self.insist(async || document(self.http.post(&url).header("idempotency-key", key).json(body)).await).await
    }

    pub async fn make_thread(&self, thread: &str) -> anyhow::Result<()> {
        let (url, body) = (format!("{}/threads", self.base), json!({"thread_id": thread, "if_exists": "do_nothing"}));
        let made = self.insist(async || document(self.http.post(&url).json(&body)).await).await?;
        made.map(drop).map_err(|refused| refused.into_error("the thread"))
    }

    pub async fn state(&self, thread: &str) -> anyhow::Result<Result<Value, Refused>> {
        let url = format!("{}/threads/{thread}/state", self.base);
        self.insist(async || document(self.http.get(&url)).await).await
    }

    /// Every state of the thread, oldest first.
    pub async fn history(&self, thread: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/threads/{thread}/history?limit={HISTORY_MAX}", self.base);
        let states = self.insist(async || document(self.http.get(&url)).await).await?;
        let mut states = match states.map_err(|refused| refused.into_error("the history"))? {
            Value::Array(states) => states,
            other => bail!("the history is no list: {other}"),
        };
        states.reverse();
        Ok(states)
    }

    /// Makes the request until it has an answer.
    async fn insist<T>(&self, ask: impl AsyncFn() -> Result<T, Trouble>) -> anyhow::Result<Result<T, Refused>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match ask().await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Trouble::Refused(status, body)) => return Ok(Err(Refused { status, body })),
                Err(Trouble::Away(_)) if self.crashes && tries < TRIES_MAX => {}
                Err(Trouble::Later(_)) if tries < TRIES_MAX => {}
                Err(Trouble::Away(why) | Trouble::Later(why)) => {
                    return Err(why).context("the pipeline does not answer");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// An answer that is a refusal.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub body: Value,
}

impl Refused {
    fn into_error(self, what: &str) -> anyhow::Error {
        anyhow::anyhow!("{what} is refused: {} {}", self.status, self.body)
    }
}

async fn sent(request: RequestBuilder) -> Result<Response, Trouble> {
    let answer = request.send().await.map_err(|error| Trouble::Away(error.into()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.map_err(|error| Trouble::Away(error.into()))?;
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY) {
        return Err(Trouble::Later(anyhow::anyhow!("{status}: {text}")));
    }
    Err(Trouble::Refused(status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

async fn document(request: RequestBuilder) -> Result<Value, Trouble> {
    let answer = sent(request).await?;
    answer.json().await.map_err(|error| Trouble::Away(error.into()))
}
