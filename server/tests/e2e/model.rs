//! A model over HTTP that answers after a moment and counts what it was asked.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub struct CountingModel {
    pub base_url: String,
    calls: Arc<AtomicU64>,
}

impl CountingModel {
    pub async fn start() -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let router = node_workers::models::mock_server::mock_model_router().layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                counted.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            },
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        #[allow(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        CountingModel { base_url, calls }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
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
