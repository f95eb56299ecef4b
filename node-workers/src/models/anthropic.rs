//! Anthropic's Messages, always streamed.

mod answer;
mod ask;

use futures_util::{FutureExt, future::BoxFuture, stream::BoxStream};
use reqwest::RequestBuilder;
use secrecy::ExposeSecret;

pub use self::answer::Blocks;
use super::{
    ModelError, ModelEvent, ModelProvider, ModelRequest, Reach,
    http::{Server, ServerSettings},
};
use crate::outgoing::{Outgoing, TRACEPARENT};

pub const BASE_URL: &str = "https://api.anthropic.com/v1";
/// `anthropic-version`, where the configuration names none: the one that every server of this dialect knows.
const API_VERSION: &str = "2023-06-01";

/// A server that speaks `POST /v1/messages`.
pub struct Anthropic {
    server: Server,
    base_url: String,
}

impl Anthropic {
    /// Addresses of this dialect are known without their `/v1`, too.
    pub fn new(settings: ServerSettings, http: reqwest::Client) -> Self {
        let base_url = format!("{}/v1", settings.base_url.trim_end_matches('/').trim_end_matches("/v1"));
        Anthropic { base_url, server: Server::new(settings, http) }
    }

    fn authorize(&self, call: RequestBuilder) -> RequestBuilder {
        let settings = &self.server.settings;
        let call = call.header("anthropic-version", settings.api_version.as_deref().unwrap_or(API_VERSION));
        match &settings.key {
            Some(key) => call.header("x-api-key", key.expose_secret()),
            None => call,
        }
    }
}

impl ModelProvider for Anthropic {
    fn name(&self) -> &str {
        &self.server.settings.name
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let url = format!("{}/messages", self.base_url);
        let outgoing = Outgoing::post(request.trace, &url);
        let call = self.server.http.post(url).json(&ask::body(&request));
        let mut call = self.authorize(call).header("x-client-request-id", &request.call_id);
        if let Some(traceparent) = outgoing.traceparent().filter(|_| self.base_url != BASE_URL) {
            call = call.header(TRACEPARENT, traceparent);
        }
        self.server.ask::<Blocks>(outgoing, call)
    }

    fn reach(&self) -> Option<&Reach> {
        Some(&self.server.reach)
    }

    fn probe(&self) -> BoxFuture<'_, ()> {
        let call = self.server.http.get(format!("{}/models", self.base_url));
        self.server.probe(self.authorize(call)).boxed()
    }
}

#[cfg(test)]
mod tests;
