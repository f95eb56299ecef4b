//! The long-term store as nodes reach it: a service by the address and token of its ask, a Rust node by method.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::{Json, Router, extract::State, routing::post};
use node_workers::{Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop};
use run_store::items::{Put, Search};
use schemas::{
    node_api::{NodeAsk, StoreAccess},
    record::TaskRecord,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::bench::Bench;

type Seen = Arc<Mutex<Option<StoreAccess>>>;

async fn ops(access: &StoreAccess, ops: Value) -> (u16, Value) {
    let client = reqwest::Client::new();
    let answer = client.post(&access.url).bearer_auth(&access.token).json(&json!({"ops": ops})).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Reads what it wrote, within its task.
async fn service(State(seen): State<Seen>, Json(ask): Json<NodeAsk>) -> Json<Value> {
    let access = ask.store.expect("the ask says where the store is");
    let name = json!({"namespace": ["users", "7"], "key": "name"});
    let mut put = name.clone();
    put["value"] = json!({"first": "Ada", "age": 36});
    let asked = json!([
        {"put": put}, {"get": name},
        {"search": {"prefix": ["users"], "filter": {"age": {"$gt": 30}}, "query": "who is ada?"}},
        {"list_namespaces": {"max_depth": 1}}, {"delete": name}, {"get": name}, {"put": put},
    ]);
    let (status, answer) = ops(&access, asked).await;
    *seen.lock().unwrap() = Some(access);
    Json(json!({"update": {"out": {"status": status, "answer": answer}}}))
}

async fn listening(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn stage(url: &str) -> Bench {
    Bench::new(&format!(
        "version: 1\nname: keeps\nstate: {{out: {{}}}}\nnodes:\n  ask: {{kind: http, url: \"{url}\"}}\nedges: [START -> ask, ask -> END]\n"
    ))
    .await
}

fn of_tenant(task: TaskRecord, tenant: &str) -> TaskRecord {
    let envelope = graph::envelope::Envelope { tenant: tenant.to_owned(), ..(*task.envelope).clone() };
    TaskRecord { envelope: Arc::new(envelope), ..task }
}

#[tokio::test]
async fn a_service_reads_what_it_wrote_within_its_task() {
    let seen = Seen::default();
    let url = listening(Router::new().route("/", post(service)).with_state(Arc::clone(&seen))).await;
    let mut bench = stage(&url).await;
    // Any worker of the deployment can be asked.
    bench.services_reach = Some(listening(bench.node_store(None).router()).await);
    let worker = bench.start(NodeRegistry::new());
    let result = bench.result_of(&of_tenant(bench.task("ask", json!({})), "acme")).await;
    let out = &result.writes.iter().find(|(name, _)| &**name == "out").expect("what the service said").1;
    assert_eq!(out["status"], 200, "{out}");
    let results = out["answer"]["results"].as_array().unwrap();
    assert_eq!(results.len(), 7);
    assert_eq!(results[1]["item"]["value"], json!({"first": "Ada", "age": 36}));
    assert_eq!(results[2]["items"][0]["key"], "name");
    assert!(results[2]["items"][0]["score"].as_f64().is_some_and(|score| score > 0.5), "{out}");
    assert_eq!(results[3]["namespaces"], json!([["users"]]));
    for written in [0, 4, 5, 6] {
        assert_eq!(results[written], json!({}));
    }

    let access = seen.lock().unwrap().clone().unwrap();
    let (status, told) = ops(&access, json!([{"get": {"namespace": ["a.b"], "key": "k"}}])).await;
    assert!(status == 422 && told["error"]["message"].as_str().unwrap().starts_with("ops[0]: namespace"), "{told}");
    assert_eq!(ops(&access, json!([{"got": {}}])).await.0, 422);
    let forged = StoreAccess { token: access.token.replace('.', "x."), ..access };
    assert_eq!(ops(&forged, json!([])).await.0, 401);

    let result = bench.result_of(&of_tenant(bench.task("ask", json!({})), "bond")).await;
    let out = &result.writes.iter().find(|(name, _)| &**name == "out").unwrap().1;
    let found = out["answer"]["results"][2]["items"].as_array().unwrap().len();
    assert_eq!(found, 1, "another tenant finds its own alone: {out}");
    worker.stop().await;
}

#[tokio::test]
async fn without_an_address_a_service_is_offered_no_store() {
    let echo = async |Json(ask): Json<Value>| Json(json!({"update": {"out": {"has": ask.get("store").is_some()}}}));
    let url = listening(Router::new().route("/", post(echo))).await;
    let bench = stage(&url).await;
    let worker = bench.start(NodeRegistry::new());
    let result = bench.result_of(&bench.task("ask", json!({}))).await;
    assert_eq!(*result.writes[0].1, json!({"has": false}));
    worker.stop().await;
}

struct Keeps;

#[async_trait]
impl Node for Keeps {
    async fn run(&self, _: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let store = context.store().expect("a worker has a store");
        for n in 0..3 {
            store.put(&["notes"], &format!("n{n}"), [("n".to_owned(), json!(n))].into_iter().collect()).await?;
        }
        store.delete(&["notes"], "n1").await?;
        let kept = store.get(&["notes"], "n2").await?.map(|item| item.value);
        let found = store.search(Search { prefix: vec!["notes".into()], ..Search::default() }).await?;
        let keys: Vec<String> = found.into_iter().map(|item| item.key).collect();
        let namespaces = store.list_namespaces(Default::default()).await?;
        let wrong = Put { namespace: vec![], key: "k".into(), value: Default::default(), ..Put::default() };
        let refused = store.put_with(wrong).await.unwrap_err();
        let out =
            json!({"kept": kept, "keys": keys, "names": namespaces, "refused": [refused.kind, refused.retryable]});
        Ok(NodeOutput::update(json!({"out": out})))
    }
}

#[tokio::test]
async fn a_rust_node_has_the_store_by_method() {
    let bench = Bench::new(
        "version: 1\nname: keeps\nstate: {out: {}}\nnodes: {keep: {kind: rust, name: keeps}}\nedges: [START -> keep, keep -> END]\n",
    )
    .await;
    let worker = bench.start(NodeRegistry::new().with_node("keeps", Keeps));
    let result = bench.result_of(&bench.task("keep", json!({}))).await;
    assert!(result.error.is_none(), "{:?}", result.error);
    let expected =
        json!({"kept": {"n": 2}, "keys": ["n0", "n2"], "names": [["notes"]], "refused": ["ValueError", false]});
    assert_eq!(*result.writes[0].1, expected);
    worker.stop().await;
}
