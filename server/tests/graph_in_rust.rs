//! A graph written in Rust, in a process that brings its nodes along, as a client meets it.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use graph::task::Destination;
use node_workers::{GraphBuilder, NodeOutput, NodeRegistry, failure};
use serde_json::{Value, json};
use server::{
    config::{self, Config},
    embed::Embedded,
};

/// Plans items, works on each in a graph of its own, asks a person whether the result will do, and tries again where a
/// node fails once.
fn graph() -> GraphBuilder {
    let inner = GraphBuilder::new("inner")
        .state(json!({"item": "integer", "done": {"type": "array", "reducer": "append"}}))
        .node("square", |input, _| {
            Box::pin(async move {
                let item = input.get("item").and_then(Value::as_i64).unwrap_or_default();
                Ok(NodeOutput::update(json!({"done": [item * item]})))
            })
        })
        .edge("START -> square")
        .edge("square -> END");
    GraphBuilder::new("squares")
        .state(json!({
            "n": "integer",
            "done": {"type": "array", "reducer": "append"},
            "largest": {"type": "integer", "reducer": {"rust": "larger"}},
            "verdict": "string",
        }))
        .reducer("larger", |left, right| Ok(json!(left.as_i64().max(right.as_i64()))))
        .node("plan", |input, _| {
            Box::pin(async move {
                let n = input.get("n").and_then(Value::as_i64).unwrap_or_default();
                let send =
                    |item: i64| Destination::Send { node: "work".to_owned(), argument: json!({"item": item}).into() };
                Ok(NodeOutput::command(Value::Null, (1..=n).map(send).collect()))
            })
        })
        .settings("plan", json!({"destinations": ["work"]}))
        .subgraph("work", inner)
        .node("sum_up", |input, context| {
            Box::pin(async move {
                if context.attempt() == 1 {
                    return Err(failure::node_failed("not at the first time").into());
                }
                let done = input.get("done").and_then(Value::as_array).cloned().unwrap_or_default();
                let writes: Vec<Value> = done.into_iter().map(|square| json!({"largest": square})).collect();
                Ok(NodeOutput::update(json!(writes)))
            })
        })
        .settings(
            "sum_up",
            json!({"retry": {"max_attempts": 2, "initial_interval": "1ms", "retry_on": ["node_failed"]}}),
        )
        .node("ask", |input, context| {
            Box::pin(async move {
                let question = json!({"largest": input.get("largest")});
                let answer = context.interrupt_for(question, Some(json!({"type": "string"}).into()))?;
                Ok(NodeOutput::update(json!({"verdict": *answer})))
            })
        })
        .edge("START -> plan")
        .edge("work -> sum_up")
        .edge(json!({"from": "sum_up", "when": [{"if": "state.largest > 1", "to": "ask"}, {"else": "END"}]}))
        .edge("ask -> END")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_written_in_rust_is_served_as_any_other() {
    let graph = graph().build().expect("the graph is good");
    assert_eq!(graph.warnings, []);
    let folder = tempfile::tempdir().expect("a folder");
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let embedded = Embedded::start(config(listen, folder.path()), graph.register(NodeRegistry::new())).await.unwrap();
    embedded.publish_built(&graph).await.unwrap();
    tokio::select! {
        stopped = embedded.run_until_stopped() => panic!("it stopped by itself: {stopped:?}"),
        () = asked_and_answered(listen) => {}
    }
}

async fn asked_and_answered(listen: SocketAddr) {
    let client = Client { http: reqwest::Client::new(), base: format!("http://{listen}") };
    let thread = client.post("/threads", json!({})).await["thread_id"].as_str().expect("a thread").to_owned();
    let runs = format!("/threads/{thread}/runs/wait");
    let asked = client.post(&runs, json!({"assistant_id": "squares", "input": {"n": 4}})).await;
    assert_eq!((&asked["done"], &asked["largest"]), (&json!([1, 4, 9, 16]), &json!(16)), "{asked}");
    assert_eq!(asked["__interrupt__"][0]["value"], json!({"largest": 16}), "{asked}");

    let refused = client.post(&runs, json!({"assistant_id": "squares", "command": {"resume": 7}})).await;
    assert_eq!(refused["__error__"]["error"], "AnswerDoesNotFit", "{refused}");
    let ended = client.post(&runs, json!({"assistant_id": "squares", "command": {"resume": "fine"}})).await;
    assert_eq!(ended["verdict"], "fine", "the question stayed open: {ended}");

    let short = client.post("/runs/wait", json!({"assistant_id": "squares", "input": {"n": 1}})).await;
    assert_eq!((&short["largest"], short.get("verdict")), (&json!(1), None), "{short}");
}

#[test]
fn what_is_wrong_with_a_graph_is_said_as_graph_check_says_it() {
    let wrong =
        graph().edge("ask -> nobody").settings("ask", json!({"tiemout": "1s"})).build().map(|_| ()).unwrap_err();
    let said = wrong.to_string();
    for part in ["nobody", "tiemout", "timeout", "squares"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

fn config(listen: SocketAddr, folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.telemetry.log = "warn".to_owned();
    config.server = config::Server { listen, data_dir: folder.to_owned(), ..config.server };
    config
}

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.base)).json(&body).timeout(Duration::from_secs(60));
        request.send().await.expect("an answer").json().await.expect("JSON")
    }
}
