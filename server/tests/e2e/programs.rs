//! A user's own programs: a reducer, a decision and a node that keeps what it sees. They answer after a moment, and live
//! through the kills of whoever asks.

use std::{
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use crate::{
    langgraph,
    process::{PATIENCE, free_address},
};

/// Long enough that a kill meets a program which has not answered.
const THINKS: Duration = Duration::from_millis(60);

pub struct Programs {
    url: String,
    asked: Arc<AtomicU64>,
}

impl Programs {
    pub async fn start() -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let router = Router::new()
            .route("/joined", post(joined))
            .route("/next", post(async || Json(json!({"goto": ["b"]}))))
            .route("/keep", post(keep))
            .layer(axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
                counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(THINKS).await;
                    next.run(request).await
                }
            }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        #[allow(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Programs { url, asked }
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// START -> a -> b, where a program joins what is written to the log, and one says what comes behind `a`.
    pub fn joined(&self) -> String {
        let url = &self.url;
        format!(
            r#"
version: 1
name: joined
state:
  log: {{type: array, items: string, default: [], reducer: {{http: {{url: "{url}/joined"}}}}}}
nodes:
  a: {{kind: transform, update: {{log: "['a']"}}}}
  b: {{kind: transform, update: {{log: "['b']"}}}}
edges:
  - START -> a
  - {{from: a, decide: {{url: "{url}/next", to: [b]}}}}
  - b -> END
"#
        )
    }

    /// A graph of a node that keeps what it sees.
    pub fn keeper(&self) -> String {
        keeper("keeper", &format!("{}/keep", self.url))
    }
}

/// A node that keeps what it sees in the long-term store, and answers with what it finds there.
fn keeper(name: &str, url: &str) -> String {
    format!(
        r#"
version: 1
name: {name}
state: {{said: string, found: {{type: array, items: string}}}}
nodes:
  keep: {{kind: http, url: "{url}"}}
edges: [START -> keep, keep -> END]
"#
    )
}

/// The same node in Python, by the package for them: a process that ends with this.
pub struct PythonNode {
    child: Child,
    port: u16,
}

impl PythonNode {
    /// None where there is no Python for it.
    pub async fn start() -> Option<Self> {
        let python = langgraph::python()?;
        let port = free_address().port();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut command = Command::new(python);
        command.arg(format!("{root}/server/tests/e2e/keeper.py")).arg(port.to_string());
        let child = command.env("PYTHONPATH", format!("{root}/clients/python/src")).spawn().expect("Python starts");
        let begun = tokio::time::Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "the node in Python doesn't listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(PythonNode { child, port })
    }

    pub fn keeper(&self) -> String {
        keeper("python-keeper", &format!("http://127.0.0.1:{}/nodes/keep", self.port))
    }
}

impl Drop for PythonNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn joined(Json(ask): Json<Value>) -> Json<Value> {
    let lists = std::iter::once(&ask["left"]).chain(ask["writes"].as_array().into_iter().flatten());
    let value: Vec<&Value> = lists.flat_map(|list| list.as_array().into_iter().flatten()).collect();
    Json(json!({"value": value}))
}

/// Puts, gets, searches and forgets, by the address and the token of its ask.
async fn keep(Json(ask): Json<Value>) -> Json<Value> {
    let (said, thread) = (&ask["input"]["said"], &ask["thread_id"]);
    // A task that is done again after a kill must not meet another one's.
    let passing = json!({"namespace": ["passing", thread], "key": said});
    let put =
        |namespace: &str| json!({"put": {"namespace": [namespace, thread], "key": said, "value": {"said": said}}});
    let ops = json!([
        put("said"),
        put("passing"),
        {"get": passing},
        {"delete": passing},
        {"get": passing},
        {"search": {"prefix": ["said", thread]}},
    ]);
    let url = ask["store"]["url"].as_str().unwrap_or_default();
    let token = ask["store"]["token"].as_str().unwrap_or_default();
    let asked = reqwest::Client::new().post(url).bearer_auth(token).json(&json!({"ops": ops})).send().await;
    let answer: Value = match asked {
        Ok(response) if response.status() == 200 => response.json().await.unwrap_or_default(),
        other => return Json(json!({"error": {"message": format!("{other:?}"), "retryable": false}})),
    };
    let results = &answer["results"];
    if results[2]["item"]["value"]["said"] != *said || !results[4]["item"].is_null() {
        return Json(json!({"error": {"message": format!("what is kept: {results}"), "retryable": false}}));
    }
    let found = results[5]["items"].as_array().into_iter().flatten().map(|item| &item["value"]["said"]);
    Json(json!({"update": {"found": found.collect::<Vec<_>>()}}))
}
