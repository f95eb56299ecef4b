//! The OpenAI-compatible dialect: chat completions, always streamed. OpenAI, Azure, Mistral, vLLM, Ollama and many more.
//!
//! Replies are read leniently (as JSON values, not types): what is missing or odd in them is no reason to lose an
//! answer. What is not lenient: an answer without its end is an error.

mod address;
mod answer;
mod ask;
mod embeddings;

pub use self::{answer::Chunks, embeddings::OpenAiEmbeddings};

use futures_util::{FutureExt, future::BoxFuture, stream::BoxStream};

use self::address::Address;
use super::{
    ModelError, ModelEvent, ModelProvider, ModelRequest, Reach,
    http::{Server, ServerSettings},
};
use crate::outgoing::{Outgoing, TRACEPARENT};

/// A server that speaks chat completions.
pub struct OpenAi {
    server: Server,
    address: Address,
}

impl OpenAi {
    pub fn new(settings: ServerSettings, http: reqwest::Client) -> Self {
        OpenAi { address: Address::new(&settings), server: Server::new(settings, http) }
    }
}

impl ModelProvider for OpenAi {
    fn name(&self) -> &str {
        &self.server.settings.name
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let url = self.address.of("chat/completions", &request.model);
        let outgoing = Outgoing::post(request.trace, &url);
        let vendor = self.address.is_vendor();
        let call = self.server.http.post(url).json(&ask::body(&request, vendor));
        let mut call = self.address.authorize(call).header("x-client-request-id", &request.call_id);
        // A server of one's own, or a gateway, goes on with the trace; the vendor has no use for it.
        if let Some(traceparent) = outgoing.traceparent().filter(|_| !vendor) {
            call = call.header(TRACEPARENT, traceparent);
        }
        self.server.ask::<Chunks>(outgoing, call)
    }

    fn reach(&self) -> Option<&Reach> {
        Some(&self.server.reach)
    }

    /// The list of models: a server that has none says so, and is there.
    fn probe(&self) -> BoxFuture<'_, ()> {
        let call = self.server.http.get(self.address.models());
        self.server.probe(self.address.authorize(call)).boxed()
    }
}

#[cfg(test)]
mod tests;
