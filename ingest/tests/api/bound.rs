//! Paths that graphs bind.

use graph::event::Event;
use serde_json::json;

use crate::stage::{ACME, Stage};

#[tokio::test]
async fn a_chat_makes_a_thread_and_goes_on_with_it() {
    let stage = Stage::new().await;
    let first = stage.post("/support", json!({"message": "hello"})).await.expect(200).json();
    assert_eq!((&first["status"], &first["message"]["content"]), (&json!("success"), &json!("you said hello")));
    assert_eq!(first["usage"]["input_tokens"], 3);
    assert_eq!(first["output"]["messages"].as_array().unwrap().len(), 2);
    let thread = first["thread_id"].as_str().unwrap().to_owned();
    let second = stage.post("/support", json!({"message": "again", "thread_id": thread})).await.expect(200).json();
    assert_eq!(second["thread_id"], first["thread_id"]);
    let other = stage.post("/support", json!({"message": "hello"})).await.expect(200).json();
    assert_ne!(other["thread_id"], first["thread_id"], "never a shared default");

    let records = stage.records().await;
    let made: Vec<(bool, &str)> = records
        .iter()
        .map(|(_, record)| {
            let Event::Requested(request) = &record.event else { panic!() };
            assert_eq!(record.envelope.endpoint, "/support");
            (request.new_thread, record.envelope.thread_id.as_deref().unwrap())
        })
        .collect();
    assert!(made.contains(&(true, &thread)) && made.contains(&(false, &thread)));
    assert_eq!(made.iter().filter(|(new, _)| *new).count(), 2);
}

#[tokio::test]
async fn a_chat_takes_text_blocks_or_a_message() {
    let stage = Stage::new().await;
    for (message, expect) in [
        (json!("hi"), json!({"type": "human", "content": "hi"})),
        (
            json!([{"type": "text", "text": "hi"}]),
            json!({"type": "human", "content": [{"type": "text", "text": "hi"}]}),
        ),
        (json!({"role": "user", "content": "hi"}), json!({"type": "human", "content": "hi"})),
    ] {
        let answer = stage.post("/support", json!({"message": message})).await.expect(200).json();
        assert_eq!(answer["output"]["messages"][0], expect);
    }
    assert_eq!(stage.post("/support", json!({"message": 5})).await.expect(400).code(), "invalid_value");
    assert_eq!(stage.post("/support", json!({})).await.expect(400).code(), "invalid_value");
    assert_eq!(stage.post("/support", json!({"mesage": "hi"})).await.expect(400).code(), "unknown_field");
    for no_thread_or_both in [json!({"answer": "yes"}), json!({"answer": 1, "message": "hi", "thread_id": "t"})] {
        assert_eq!(stage.post("/support", no_thread_or_both).await.expect(400).code(), "invalid_value");
    }
    stage.post("/support", json!({"answer": "yes", "thread_id": "t"})).await.expect(200);
    let requests = stage.records().await.into_iter().filter_map(|(_, record)| match record.event {
        Event::Requested(request) => Some(request),
        _ => None,
    });
    let request = requests.into_iter().find(|request| request.command.is_some()).expect("a request with an answer");
    assert_eq!(request.command.unwrap().resume.as_deref(), Some(&json!("yes")));
    assert_eq!(request.input, None);
}

#[tokio::test]
async fn a_chat_streams() {
    let stage = Stage::new().await;
    let reply = stage.post("/support", json!({"message": "hi", "stream": true})).await.expect(200);
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
    stage.get(reply.header("location")).await.expect(200);
}

#[tokio::test]
async fn a_chat_that_asks_or_fails_says_so() {
    let stage = Stage::new().await;
    let asks = stage.post("/support", json!({"message": "ask"})).await.expect(200).json();
    assert_eq!((&asks["status"], &asks["interrupts"][0]["value"]), (&json!("interrupted"), &json!("sure?")));
    let fails = stage.post("/support", json!({"message": "fail"})).await.expect(500).json();
    assert_eq!(fails["error"]["code"], "node_failed");
    assert!(fails["thread_id"].is_string());
}

#[tokio::test]
async fn a_query_takes_its_channels_and_waits() {
    let stage = Stage::new().await;
    let view = stage.post("/sum", json!({"left": 2, "right": 3})).await.expect(200).json();
    assert_eq!(view["output"], json!({"total": 5}));
    assert_eq!(stage.post("/sum", json!({"left": 2, "rigt": 3})).await.expect(400).code(), "unknown_field");
    assert_eq!(stage.post("/sum", json!({"left": "2"})).await.expect(422).code(), "schema_violation");
}

#[tokio::test]
async fn bound_paths_are_behind_keys_too() {
    let stage = Stage::new().await;
    let body = || Some(json!({"message": "hi"}));
    assert_eq!(stage.ask("no-such-key-at-all", "POST", "/support", body()).await.expect(401).code(), "invalid_api_key");
    assert_eq!(
        stage.ask(crate::stage::READER, "POST", "/support", body()).await.expect(403).code(),
        "permission_denied"
    );
    assert_eq!(stage.ask(ACME, "GET", "/support", None).await.expect(405).code(), "method_not_allowed");
    assert!(stage.records().await.is_empty());
}
