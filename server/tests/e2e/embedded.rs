//! The whole of it in one process: what a stranger does in the first ten minutes.

use serde_json::json;

use crate::process::{dev, folder, get, post, read_events};

#[tokio::test]
async fn chat_answers_json_and_goes_on_in_its_thread() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let (status, first) = post(&server, "/chat", &json!({"message": "hello"})).await;
    assert_eq!((status, &first["status"]), (200, &json!("success")), "{first}");
    assert!(first["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "{first}");
    let thread = first["thread_id"].as_str().expect("a thread").to_owned();
    let (_, second) = post(&server, "/chat", &json!({"message": "again", "thread_id": thread})).await;
    assert_eq!(second["thread_id"], json!(thread));
    assert_ne!(first["run_id"], second["run_id"]);
    let messages = second["output"]["messages"].as_array().expect("messages").len();
    assert_eq!(messages, 4, "two questions and two answers: {second}");
    let (_, stranger) = post(&server, "/chat", &json!({"message": "hello"})).await;
    assert_ne!(stranger["thread_id"], json!(thread), "a new thread, never a shared default");
}

#[tokio::test]
async fn chat_streams_tokens_node_events_and_done() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let response = reqwest::Client::new()
        .post(server.url("/chat"))
        .json(&json!({"message": "hello there", "stream": true}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
    assert!(response.headers().contains_key("location"));
    let (events, done) = read_events(response).await;
    assert!(done, "{events:?}");
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.first(), Some(&"metadata"));
    assert_eq!(names.last(), Some(&"final"));
    for name in ["node_started", "token", "node_finished"] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    let text: String = events
        .iter()
        .filter(|event| event.name == "token")
        .map(|event| event.json()["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    let last = events.last().unwrap().json();
    assert_eq!(last["message"]["content"], json!(text), "tokens add up to the answer");
    assert!(events.iter().all(|event| !event.id.is_empty()), "every event has an id");
}

#[tokio::test]
async fn a_stream_resumes_after_any_event() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let http = reqwest::Client::new();
    let response =
        http.post(server.url("/chat")).json(&json!({"message": "one two three", "stream": true})).send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let (whole, done) = read_events(response).await;
    assert!(done);
    for cut in 0..whole.len() - 1 {
        let resumed = http.get(server.url(&location)).header("last-event-id", &whole[cut].id).send().await.unwrap();
        let (rest, done) = read_events(resumed).await;
        assert!(done);
        let rest: Vec<_> = rest.into_iter().filter(|event| event.name != "metadata").collect();
        let expect: Vec<_> = whole[cut + 1..]
            .iter()
            .filter(|event| event.id != whole[cut].id)
            .filter(|event| event.name != "metadata")
            .cloned()
            .collect();
        assert_eq!(rest, expect, "after event {cut} ({})", whole[cut].id);
    }
    let last = http.get(server.url(&location)).header("last-event-id", &whole.last().unwrap().id).send().await.unwrap();
    assert_eq!(last.status(), 204, "a browser's EventSource must stop");
}

#[tokio::test]
async fn state_survives_kill_9_and_restart() {
    let folder = folder();
    let mut server = dev(folder.path(), &[]).await;
    let (_, first) = post(&server, "/chat", &json!({"message": "remember me"})).await;
    let thread = first["thread_id"].as_str().expect("a thread").to_owned();
    server.restart();
    server.wait_until_ready().await;
    let (status, run) = get(&server, &format!("/graphs/chat/runs/{}", first["run_id"].as_str().unwrap())).await;
    assert_eq!((status, &run["status"]), (200, &json!("success")), "{run}");
    let (_, second) = post(&server, "/chat", &json!({"message": "and now", "thread_id": thread})).await;
    assert_eq!(second["output"]["messages"].as_array().map(Vec::len), Some(4), "{second}");
    let (_, state) = get(&server, &format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"]["messages"].as_array().map(Vec::len), Some(4), "{state}");
}

#[tokio::test]
async fn a_graph_of_ones_own_is_registered_without_a_restart() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let graph = "version: 1\nname: shout\nstate: {text: string, loud: string}\ninput: [text]\noutput: [loud]\n\
                 nodes:\n  shout: {kind: transform, update: {loud: 'state.text + \"!\"'}}\nedges:\n  - START -> shout\n  - shout -> END\n";
    let response = reqwest::Client::new().put(server.url("/graphs/shout")).body(graph).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    let (status, run) = post(&server, "/graphs/shout/runs", &json!({"input": {"text": "hey"}, "mode": "wait"})).await;
    assert_eq!((status, &run["output"]), (200, &json!({"loud": "hey!"})), "{run}");
    let (_, list) = get(&server, "/graphs/shout/runs").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn a_repeated_request_finds_its_first_run() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let ask = async |body: serde_json::Value| {
        let response = reqwest::Client::new()
            .post(server.url("/chat"))
            .header("idempotency-key", "k-1")
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json::<serde_json::Value>().await.unwrap())
    };
    let (_, first) = ask(json!({"message": "once"})).await;
    let (_, again) = ask(json!({"message": "once"})).await;
    assert_eq!(first["run_id"], again["run_id"]);
    assert_eq!(first["message"], again["message"]);
    let (status, other) = ask(json!({"message": "something else"})).await;
    assert_eq!((status, &other["error"]["code"]), (422, &json!("idempotency_mismatch")));
}

#[tokio::test]
async fn pages_are_served_and_need_no_other_server() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    for path in ["/", "/docs/", "/redoc", "/openapi.json", "/metrics", "/health", "/ready", "/schemas"] {
        let response = reqwest::get(server.url(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn init_writes_a_graph_whose_own_test_passes() {
    let folder = folder();
    let project = folder.path().join("my-agent");
    let binary = env!("CARGO_BIN_EXE_millstream");
    let written = std::process::Command::new(binary).arg("init").arg(&project).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let again = std::process::Command::new(binary).arg("init").arg(&project).output().unwrap();
    assert!(!again.status.success(), "nothing is overwritten");
    let tested = std::process::Command::new(project.join("test.sh")).env("MILLSTREAM", binary).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(
        tested.status.success() && said.ends_with("1 passed, 0 failed\n"),
        "{said}{}",
        String::from_utf8_lossy(&tested.stderr)
    );
}

/// Runs `millstream graph test` on a file.
fn graph_test(file: &std::path::Path) -> (bool, String) {
    let tested =
        std::process::Command::new(env!("CARGO_BIN_EXE_millstream")).args(["graph", "test"]).arg(file).output();
    let tested = tested.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    (tested.status.success(), said)
}

#[test]
fn the_cases_of_the_examples_pass() {
    for example in ["approval", "jokes", "research"] {
        let file = format!("{}/../examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let (passed, said) = graph_test(file.as_ref());
        assert!(passed && said.ends_with(" passed, 0 failed\n"), "{example}: {said}");
    }
}

#[test]
fn a_case_that_fails_says_what_is_not_as_expected() {
    let folder = folder();
    let file = folder.path().join("g.yaml");
    let graph = "version: 1\nname: g\nstate: {n: integer, said: string}\nnodes:\n  call: {kind: http, url: 'http://127.0.0.1:1/', update: {n: out.n}}\n  ask: {kind: human, question: 'is it {{ n }}?', update: {said: string(answer)}}\n  say: {kind: model, model: m, prompt: '{{ n }}', update: {said: answer.text}}\nedges: [START -> call, call -> ask, ask -> say, say -> END]\n";
    std::fs::write(&file, graph).unwrap();
    let (passed, said) = graph_test(&file);
    assert!(!passed && said.contains("g.test.yaml can't be read"), "{said}");
    let cases = "wrong: {services: {call: [{update: {n: 7}}]}, answers: [true, false], models: {m: [hm]}, expect: {status: error, state: {n: 8, said: hm, x: 1}, questions: [], error: boom}}\nends: {services: {call: []}, expect: {error: no more answers}}\nodd: {services: {call: [{updat: {}}]}, expect: {error: unknown field}}\n";
    std::fs::write(folder.path().join("g.test.yaml"), cases).unwrap();
    let (passed, said) = graph_test(&file);
    let expect = [
        "ends: passed\n",
        "odd: passed\n",
        "wrong: FAILED\n",
        "status: expected error, got success",
        "state.n: expected 8, got 7",
        "state.x: expected 1, and it has no value",
        "questions: expected [], got [\"is it 7?\"]",
        "error: expected one with \"boom\", got \"\"",
        "2 passed, 1 failed",
    ];
    for line in expect {
        assert!(!passed && said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("state.said"), "{said}");
    std::fs::write(folder.path().join("g.test.yaml"), "wrong: {inptu: {}, expect: {}}").unwrap();
    let (passed, said) = graph_test(&file);
    assert!(!passed && said.contains("unknown field `inptu`"), "{said}");
}
