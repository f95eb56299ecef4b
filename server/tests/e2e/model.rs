//! A model over HTTP that answers after a moment and counts what it was asked, and what it answered.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::body::{Body, Bytes};
use futures_util::StreamExt;

pub struct CountingModel {
    pub base_url: String,
    calls: Arc<AtomicU64>,
    served: Arc<Served>,
}

/// Tokens, as the answers themselves tell them.
#[derive(Default)]
struct Served {
    input: AtomicU64,
    output: AtomicU64,
}

impl CountingModel {
    pub async fn start() -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let served = Arc::new(Served::default());
        let (counted, added) = (Arc::clone(&calls), Arc::clone(&served));
        let router = node_workers::models::mock_server::mock_model_router().layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                // Looking which models there are is no call.
                counted.fetch_add(u64::from(request.method() == http::Method::POST), Ordering::Relaxed);
                let (added, answer) = (Arc::clone(&added), next.run(request));
                async move {
                    answer.await.map(|body| {
                        let chunks = body.into_data_stream();
                        Body::from_stream(chunks.inspect(move |chunk| added.add(chunk.as_ref().ok())))
                    })
                }
            },
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        #[allow(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        CountingModel { base_url, calls, served }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Tokens that went in, and came out, by what was told to who asked.
    pub fn served(&self) -> (u64, u64) {
        (self.served.input.load(Ordering::Relaxed), self.served.output.load(Ordering::Relaxed))
    }

    /// The environment that points the alias `default` at it.
    pub fn environment(&self, options: &str) -> Vec<(&'static str, String)> {
        vec![
            ("OPENAI_BASE_URL", self.base_url.clone()),
            ("OPENAI_API_KEY", "test".to_owned()),
            ("OPENAI_MODEL", format!("echo{options}")),
        ]
    }
}

impl Served {
    fn add(&self, chunk: Option<&Bytes>) {
        let text = chunk.map(|chunk| String::from_utf8_lossy(chunk)).unwrap_or_default();
        self.input.fetch_add(number_behind(&text, "\"prompt_tokens\":"), Ordering::Relaxed);
        self.output.fetch_add(number_behind(&text, "\"completion_tokens\":"), Ordering::Relaxed);
    }
}

fn number_behind(text: &str, name: &str) -> u64 {
    let Some((_, rest)) = text.split_once(name) else { return 0 };
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number of tokens")
}
