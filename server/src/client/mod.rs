//! The verbs that ask a server: `chat`, `runs`, `usage`, `keys` and `models`.

mod chat;
mod keys;
mod models;
mod runs;
mod table;
mod tree;
mod usage;

pub use chat::chat;
pub use keys::keys;
pub use models::models;
pub use runs::runs;
pub use table::laid_out;
pub use usage::usage;

use anyhow::{Context, bail};
use reqwest::{RequestBuilder, Response, StatusCode};
use schemas::error::ErrorBody;

use crate::cli::Target;

/// A server, and the key that it wants.
struct Server {
    http: reqwest::Client,
    target: Target,
}

impl Server {
    fn new(target: Target) -> Self {
        Server { http: reqwest::Client::new(), target }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target.url.trim_end_matches('/'))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.get(self.url(path)))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.post(self.url(path)))
    }

    fn put(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.put(self.url(path)))
    }

    fn delete(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.delete(self.url(path)))
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.target.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// None where the server says 404; any other refusal is an error in the server's own words.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Option<Response>> {
        let response = request.send().await.with_context(|| {
            format!("no server answers at {}; start one with `millstream dev`, or name it with --url", self.target.url)
        })?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            match serde_json::from_str::<ErrorBody>(&text) {
                Ok(body) => bail!("{} ({status}, {})", body.error.message, body.error.code),
                Err(_) => bail!("the server answered {status}: {text}"),
            }
        }
        Ok(Some(response))
    }
}
