//! `/ready` names what a process needs, and models count as the configuration says.

use serde_json::json;
use tokio::time::Instant;

use crate::process::{PATIENCE, Process, folder, free_address, get, post};

#[tokio::test]
async fn a_model_that_is_away_is_told_and_counts_where_it_is_said_to() {
    let folder = folder();
    let model = free_address();
    let mut servers = Vec::new();
    for (on_failure, status, state) in [("warn", 200, "warn: "), ("fail", 503, "fail: ")] {
        let data = folder.path().join(on_failure);
        let environment = [
            ("OPENAI_BASE_URL", format!("http://{model}/v1")),
            ("OPENAI_MODEL", "echo".to_owned()),
            ("MILLSTREAM__READY__MODEL", on_failure.to_owned()),
        ];
        let arguments = ["dev", "--data-dir", data.to_str().unwrap()];
        let server = Process::start(&arguments, &environment, free_address(), folder.path());
        let (got, body) = asked_until(&server, |body| says(body, "models").contains("unreachable")).await;
        assert!(says(&body, "models").starts_with(state), "{body}");
        assert!(says(&body, "models").contains("openai can't be used"), "{body}");
        for name in ["log", "store", "progress", "graphs"] {
            assert_eq!(says(&body, name), "ok", "{body}");
        }
        assert_eq!((got, &body["ready"]), (status, &json!(status == 200)));
        servers.push(server);
    }

    let listener = tokio::net::TcpListener::bind(model).await.unwrap();
    let router = node_workers::models::mock_server::mock_model_router();
    #[allow(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    for server in &servers {
        // A call that succeeds says so at once: no probe has to come first.
        let (status, answer) = post(server, "/chat", &json!({"message": "hello"})).await;
        assert_eq!((status, &answer["status"]), (200, &json!("success")), "{answer}");
        let (status, body) = get(server, "/ready").await;
        assert_eq!((status, says(&body, "models")), (200, "ok"), "{body}");
    }
}

fn says<'a>(body: &'a serde_json::Value, check: &str) -> &'a str {
    body["checks"][check].as_str().unwrap_or_default()
}

/// Asks `/ready` until its body is as wanted.
async fn asked_until(server: &Process, wanted: impl Fn(&serde_json::Value) -> bool) -> (u16, serde_json::Value) {
    let began = Instant::now();
    loop {
        if let Ok(response) = reqwest::get(server.url("/ready")).await {
            let status = response.status().as_u16();
            let body = response.json().await.unwrap_or_default();
            if wanted(&body) && says(&body, "graphs") == "ok" && says(&body, "store") == "ok" {
                return (status, body);
            }
            assert!(began.elapsed() < PATIENCE, "it never said so: {body}");
        }
        assert!(began.elapsed() < PATIENCE, "it never answered");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
