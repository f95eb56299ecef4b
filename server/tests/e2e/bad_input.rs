//! What people send by mistake: a clear sentence each, and nothing stalls.

use serde_json::json;

use crate::process::{dev, folder, post};

#[tokio::test]
async fn every_mistake_gets_its_own_answer() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let http = reqwest::Client::new();
    let large = format!(r#"{{"message": "{}"}}"#, "x".repeat(10 << 20));
    let cases: [(&str, &str, String, u16, &str); 7] = [
        ("POST", "/chat", "{\"message\": ".to_owned(), 400, "bad_json"),
        ("POST", "/chat", json!({"message": "x", "thread": "t"}).to_string(), 400, "unknown_field"),
        ("POST", "/chat", json!({"message": 7}).to_string(), 400, "invalid_value"),
        ("POST", "/chat", large, 413, "request_too_large"),
        ("POST", "/graphs/nope/runs", json!({"input": {}}).to_string(), 404, "graph_not_found"),
        ("PUT", "/graphs/bad", "version: 1\nname: bad\nnodes: {a: {kind: modle}}\n".to_owned(), 422, "graph_invalid"),
        ("GET", "/graphs/chat/runs/0198c0de-0000-7000-8000-000000000000", String::new(), 404, "run_not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let shown: String = body.chars().take(80).collect();
        let response = http
            .request(method, server.url(path))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let got = response.status().as_u16();
        assert!(response.headers().contains_key("x-request-id"), "{path} {shown}");
        let answer: serde_json::Value = response.json().await.unwrap();
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{path} {shown}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
    }
    let (status, answer) = post(&server, "/chat", &json!({"message": "still there?"})).await;
    assert_eq!(status, 200, "{answer}");
}
