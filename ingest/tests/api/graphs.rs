//! `/graphs`: publishing and looking.

use std::time::Duration;

use http::Request;
use serde_json::json;

use crate::stage::{ACME, READER, Reply, SUPPORT, Stage};

async fn put(stage: &Stage, name: &str, file: &str) -> Reply {
    let request =
        Request::put(format!("/graphs/{name}")).header("x-api-key", ACME).header("content-type", "application/yaml");
    stage.send(request.body(file.to_owned().into()).unwrap()).await
}

fn version(description: &str) -> String {
    SUPPORT.replace("Answers a customer.", description)
}

#[tokio::test]
async fn a_published_version_is_what_new_runs_begin_with() {
    let stage = Stage::new().await;
    let before = stage.get("/graphs/support").await.expect(200).json();
    let published = put(&stage, "support", &version("Better.")).await.expect(200).json();
    assert_ne!(published["hash"], before["hash"]);
    let accepted = stage.post("/graphs/support/runs", json!({"input": {"messages": "x"}})).await.expect(202).json();
    assert_eq!(accepted["hash"], published["hash"]);
    let after = stage.get("/graphs/support").await.expect(200).json();
    assert_eq!((&after["hash"], &after["spec"]["description"]), (&published["hash"], &json!("Better.")));
    let versions: Vec<_> =
        after["versions"].as_array().unwrap().iter().map(|version| version["hash"].clone()).collect();
    assert_eq!(versions, [published["hash"].clone(), before["hash"].clone()]);
    assert!(after["mermaid"].as_str().unwrap().contains("answer"));
    assert_eq!(stage.log.partitions("node.support.answer").await.unwrap(), 4);
}

#[tokio::test]
async fn another_ingest_hears_of_it() {
    let stage = Stage::new().await;
    let hash = stage.get("/graphs/support").await.json()["hash"].clone();
    // As another process would: the store, then the news on `control`.
    let spec = graph::file::read(&version("From elsewhere."), None).spec.unwrap();
    let row = run_store::rows::SpecRow {
        hash: spec.hash(),
        name: spec.name.clone(),
        spec: spec.canonical().into(),
        created_at: 1_763_800_000_000,
    };
    run_store::Specs::put_spec(&*stage.store, &row).await.unwrap();
    run_store::Specs::publish(&*stage.store, &row.name, &row.hash, row.created_at).await.unwrap();
    assert_eq!(stage.get("/graphs/support").await.json()["hash"], hash);
    let news = json!({"at": 1, "fact": {"type": "graph_published", "data": {"graph": "support", "hash": row.hash}}});
    stage.log.append("control", 0, event_log::Record::new("graph/support", news.to_string())).await.unwrap();
    for _ in 0..200 {
        if stage.get("/graphs/support").await.json()["hash"] == row.hash {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the news never arrived");
}

#[tokio::test]
async fn a_bad_file_is_422_with_everything_that_is_wrong() {
    let stage = Stage::new().await;
    let bad = SUPPORT.replace("kind: transform", "kind: transfrom").replace("START -> answer", "START -> anwser");
    let body = put(&stage, "support", &bad).await.expect(422).json();
    assert_eq!(body["error"]["code"], "graph_invalid");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("support.yaml:") && message.contains("transfrom"), "{message}");
    let diagnostics = body["diagnostics"].as_array().unwrap();
    assert!(!diagnostics.is_empty() && diagnostics.iter().all(|it| it["line"].is_u64() && it["code"].is_string()));
    assert_eq!(put(&stage, "support", ": : :").await.expect(422).code(), "graph_invalid");
    let other = put(&stage, "other", SUPPORT).await.expect(422);
    assert!(other.text.contains("make them the same"), "{}", other.text);
}

#[tokio::test]
async fn a_path_is_one_graphs_and_none_of_ours() {
    let stage = Stage::new().await;
    let bind = |path: &str| {
        SUPPORT.replace("name: support", "name: other").replace("path: /support", &format!("path: {path}"))
    };
    for (path, says) in [
        ("/support", "served by the graph `support`"),
        ("/graphs/x", "the server's own"),
        ("/assets", "the API has itself"),
    ] {
        let reply = put(&stage, "other", &bind(path)).await.expect(422);
        assert!(reply.text.contains(says), "{}", reply.text);
    }
    put(&stage, "other", &bind("/other")).await.expect(200);
    stage.post("/other", json!({"message": "hi"})).await.expect(200);
    put(&stage, "other", &bind("/moved")).await.expect(200);
    stage.post("/other", json!({"message": "hi"})).await.expect(404);
}

#[tokio::test]
async fn publishing_needs_its_scope() {
    let stage = Stage::new().await;
    let request = Request::put("/graphs/support").header("x-api-key", READER).body(version("x").into());
    assert_eq!(stage.send(request.unwrap()).await.expect(403).code(), "permission_denied");
}

#[tokio::test]
async fn graphs_are_listed_by_name() {
    let stage = Stage::new().await;
    let list = stage.get("/graphs").await.expect(200).json();
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|graph| graph["name"].clone()).collect();
    assert_eq!(names, [json!("sum"), json!("support")]);
    assert_eq!(list["data"][1]["serve"], json!({"path": "/support", "as": "chat"}));
}
