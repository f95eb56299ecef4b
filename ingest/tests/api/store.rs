//! The long-term store over HTTP, as LangGraph's SDKs use it.

use serde_json::{Value, json};

use crate::stage::{ACME, BETA, Reply, Stage};

async fn put(stage: &Stage, key: &str, item: Value) -> Reply {
    stage.ask(key, "PUT", "/store/items", Some(item)).await
}

async fn search(stage: &Stage, key: &str, body: Value) -> Value {
    let found = stage.ask(key, "POST", "/store/items/search", Some(body)).await.expect(200).json();
    found["items"].as_array().unwrap().iter().map(|item| item["key"].clone()).collect()
}

#[tokio::test]
async fn an_item_is_put_read_found_and_deleted() {
    let stage = Stage::new().await;
    let item = json!({"namespace": ["users", "7"], "key": "name", "value": {"first": "Ada", "age": 36}, "index": null});
    assert_eq!(put(&stage, ACME, item.clone()).await.expect(204).text, "");
    let path = "/store/items?namespace=users.7&key=name";
    let found = stage.get(path).await.expect(200).json();
    let fields: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(fields.len(), 5, "{found}");
    assert_eq!(
        (&found["namespace"], &found["key"], &found["value"]),
        (&item["namespace"], &item["key"], &item["value"])
    );
    assert!(found["created_at"].as_str().is_some_and(|at| at.ends_with("+00:00")), "{found}");

    let body = json!({"namespace_prefix": ["users"], "filter": {"age": {"$gte": 30}}, "query": "a name", "limit": 5});
    let answer = stage.post("/store/items/search", body).await.expect(200).json();
    assert_eq!(answer["items"][0]["value"], item["value"]);
    assert_eq!(answer["items"][0]["score"], Value::Null, "without an embedding nothing has a score");
    let names = stage.post("/store/namespaces", json!({"suffix": ["*"], "max_depth": 1})).await.expect(200).json();
    assert_eq!(names, json!({"namespaces": [["users"]]}));

    let gone = json!({"namespace": ["users", "7"], "key": "name"});
    for _ in 0..2 {
        stage.ask(ACME, "DELETE", "/store/items", Some(gone.clone())).await.expect(204);
        assert_eq!(stage.get(path).await.expect(200).json(), Value::Null);
    }
    assert_eq!(stage.post("/store/namespaces", json!({})).await.expect(200).json(), json!({"namespaces": []}));
}

#[tokio::test]
async fn a_tenant_sees_its_own_items_alone() {
    let stage = Stage::new().await;
    for (key, first) in [(ACME, "Ada"), (BETA, "Bob")] {
        let item = json!({"namespace": ["users", "7"], "key": first, "value": {"first": first}});
        put(&stage, key, item).await.expect(204);
    }
    for (key, own, others) in [(ACME, "Ada", "Bob"), (BETA, "Bob", "Ada")] {
        assert_eq!(search(&stage, key, json!({})).await, json!([own]));
        let path = format!("/store/items?namespace=users.7&key={others}");
        assert_eq!(stage.ask(key, "GET", &path, None).await.expect(200).json(), Value::Null);
        let gone = json!({"namespace": ["users", "7"], "key": others});
        stage.ask(key, "DELETE", "/store/items", Some(gone)).await.expect(204);
    }
    assert_eq!(search(&stage, ACME, json!({})).await, json!(["Ada"]));
    let names = stage.ask(BETA, "POST", "/store/namespaces", Some(json!({}))).await.expect(200).json();
    assert_eq!(names, json!({"namespaces": [["users", "7"]]}));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_422_and_says_why() {
    let stage = Stage::new().await;
    put(&stage, ACME, json!({"namespace": ["a"], "key": "k", "value": {"n": 1}})).await.expect(204);
    for (item, says) in [
        (json!({"key": "k", "value": {}}), "namespace: can't be empty"),
        (json!({"namespace": ["a.b"], "key": "k", "value": {}}), "can't contain '.'"),
        (json!({"namespace": ["a", ""], "key": "k", "value": {}}), "labels can't be empty"),
        (json!({"namespace": ["langgraph"], "key": "k", "value": {}}), "can't be `langgraph`"),
        (json!({"namespace": ["a"], "value": {}}), "key: is needed"),
        (json!({"namespace": ["a"], "key": "k"}), "value: is needed"),
        (json!({"namespace": ["a"], "key": "k", "value": [1]}), "expected a map"),
        (json!({"namespace": ["a"], "key": "k", "value": {}, "ttl": 0}), "ttl: must be above 0"),
        (json!({"namespace": ["a"], "key": "k", "value": {}, "ttl": -1}), "ttl: must be above 0"),
        (json!({"namespace": ["a"], "key": "k", "value": {}, "index": "name"}), "Index"),
    ] {
        let told = put(&stage, ACME, item.clone()).await.expect(422).json();
        assert!(told["detail"].as_str().unwrap().contains(says), "{item}: {told}");
    }
    for (body, says) in [
        (json!({"filter": {"n": {"$in": [1]}}}), "Unsupported operator: $in"),
        (json!({"filter": {"n": {"$gt": "x"}}}), "compares numbers"),
        (json!({"filter": ["n"]}), "expected a map"),
        (json!({"limit": -1}), "integer `-1`"),
        (json!({"namespace_prefix": "a"}), "expected a sequence"),
    ] {
        let told = stage.post("/store/items/search", body.clone()).await.expect(422).json();
        assert!(told["detail"].as_str().unwrap().contains(says), "{body}: {told}");
    }
    stage.get("/store/items?namespace=a").await.expect(422);
    stage.get("/store/items?namespace=a&key=k&refresh_ttl=maybe").await.expect(422);
    stage.get("/store/items?namespace=a..b&key=k").await.expect(422);
    assert_eq!(search(&stage, ACME, json!({})).await, json!(["k"]), "nothing was stored but the first");
}
