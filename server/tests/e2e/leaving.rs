//! Clients that go away before their run has ended: the graph says what becomes of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    model::CountingModel,
    process::{PATIENCE, Process, dev_with, folder, get},
};

/// Sends a request that takes seconds, goes away when its run is under way, and waits until that has ended.
async fn left(server: &Process, path: &str, body: &Value) -> Value {
    let graph = path.split('/').nth(2).filter(|_| path.starts_with("/graphs")).unwrap_or("slow").to_owned();
    let sent = reqwest::Client::new().post(server.url(path)).json(body).send();
    let client = async {
        let mut response = sent.await.expect("an answer");
        // Reads what comes until it is given up.
        while let Ok(Some(_)) = response.chunk().await {}
    };
    let run = async {
        let began = Instant::now();
        loop {
            let (_, runs) = get(server, &format!("/graphs/{graph}/runs?status=running")).await;
            if let Some(run) = runs["data"][0]["run_id"].as_str() {
                return run.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "{path}: no run is under way");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let run = tokio::select! {
        () = client => panic!("{path}: it was answered before the client could go away"),
        run = run => run,
    };
    let began = Instant::now();
    loop {
        let (_, view) = get(server, &format!("/graphs/{graph}/runs/{run}")).await;
        if view["status"] != "running" {
            return view;
        }
        assert!(began.elapsed() < PATIENCE, "{path}: {view}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_says_what_becomes_of_a_run_whose_client_went_away() {
    let (folder, model) = (folder(), CountingModel::start().await);
    let server = dev_with(folder.path(), &[], &model.environment("?latency=3000&tokens=4")).await;
    let publish = async |policy: &str| {
        let file = format!(
            "version: 1\nname: slow\nstate: {{messages: {{type: messages}}}}\nnodes:\n  answer: {{kind: model, model: \
             default, messages: state.messages}}\nedges: [START -> answer, answer -> END]\n{policy}"
        );
        let sent = reqwest::Client::new().put(server.url("/graphs/slow")).body(file);
        let answer = sent.header("content-type", "application/yaml").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    let said = json!([{"role": "user", "content": "hello"}]);
    let ours = |mode: &str| json!({"input": {"messages": said}, "mode": mode});
    let theirs = |more: Value| {
        let mut body = json!({"assistant_id": "slow", "input": {"messages": said}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };

    publish("on_disconnect: cancel\n").await;
    for (path, body) in [
        ("/graphs/slow/runs", ours("wait")),
        ("/graphs/slow/runs", ours("stream")),
        ("/v1/chat/completions", json!({"model": "slow", "messages": said})),
        ("/v1/chat/completions", json!({"model": "slow", "messages": said, "stream": true})),
        ("/runs/wait", theirs(json!({}))),
        ("/runs/stream", theirs(json!({}))),
    ] {
        let began = Instant::now();
        let view = left(&server, path, &body).await;
        assert_eq!(view["status"], "cancelled", "{path} {body}: {view}");
        assert!(began.elapsed() < Duration::from_secs(3), "{path}: it was not carried out");
    }
    let goes_on = theirs(json!({"on_disconnect": "continue"}));
    assert_eq!(left(&server, "/runs/wait", &goes_on).await["status"], "success", "the request stands above the graph");

    publish("").await;
    assert_eq!(left(&server, "/graphs/slow/runs", &ours("wait")).await["status"], "success");
    let cancels = theirs(json!({"on_disconnect": "cancel"}));
    assert_eq!(left(&server, "/runs/wait", &cancels).await["status"], "cancelled");
}
