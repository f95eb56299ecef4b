//! Values of any size through real processes: 2 MB in, 300 KB and 5 MB written, many that are too much together, a
//! thread that grows beyond a megabyte, kill -9 in between, and every answer shows the values themselves.

use std::{collections::BTreeSet, time::Duration};

use axum::{Json, Router, routing::post as answer};
use event_log::{EventLog, Start};
use schemas::reference::RECORD_BYTES_INLINE;
use serde_json::{Map, Value, json};

use crate::{
    deployment::{Deployment, Parts},
    process::{PATIENCE, Process, dev, folder, get, post},
};

/// What headers and the key add to a record's text.
const HEADERS_BYTES: usize = 4 * 1024;
const SMALL_VALUES: usize = 20;

/// A text that says where it is: a piece that is missing or doubled shows.
fn text(name: &str, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 32);
    while text.len() < bytes {
        text.push_str(&format!("{name} {} \"ü\"\n", text.len()));
    }
    text
}

/// The update, if the node was given what it should see of these channels.
fn answered(asked: &Value, expected: &[(&str, usize)], update: Value) -> Json<Value> {
    let wrong = expected.iter().find(|(name, bytes)| asked["input"][name] != json!(text(name, *bytes)));
    Json(match wrong {
        None => json!({"update": update}),
        Some((name, _)) => json!({"error": {"message": format!("the node was given another {name}")}}),
    })
}

/// The services behind the graph's `http` nodes.
async fn services() -> String {
    let written = || json!({"middle": text("middle", 300_000), "large": text("large", 5_000_000)});
    let many = || {
        let update: Map<String, Value> =
            (0..SMALL_VALUES).map(|n| (format!("c{n}"), text(&format!("c{n}"), 20_000).into())).collect();
        Value::Object(update)
    };
    let document = ("document", 2_000_000);
    let (given_write, given_many) = ([document], [document, ("middle", 300_000), ("large", 5_000_000)]);
    let router = Router::new()
        .route("/write", answer(async move |Json(asked): Json<Value>| answered(&asked, &given_write, written())))
        .route("/many", answer(async move |Json(asked): Json<Value>| answered(&asked, &given_many, many())))
        .layer(axum::extract::DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test.
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn graph(services: &str) -> String {
    let channels: String = (0..SMALL_VALUES).map(|n| format!("  c{n}: string\n")).collect();
    format!(
        "version: 1
name: large
state:
  document: string
  middle: string
  large: string
  sizes: {{type: object}}
  lookalike: {{type: object}}
{channels}input: [document, lookalike]
nodes:
  write: {{kind: http, url: '{services}/write'}}
  many: {{kind: http, url: '{services}/many'}}
  measure: {{kind: transform, update: {{sizes: '{{\"document\": size(state.document), \"large\": size(state.large), \"c19\": size(state.c19)}}'}}}}
edges:
  - START -> write
  - write -> many
  - many -> measure
  - measure -> END
"
    )
}

fn input() -> Value {
    let table = json!({"version": 1, "owner": "default/t/x", "values": [{"at": "/event", "hash": "00", "bytes": 9}]});
    json!({"document": text("document", 2_000_000), "lookalike": {"references": table, "text": text("alike", 40_000)}})
}

/// All channels at the end.
fn output() -> Map<String, Value> {
    let Value::Object(mut output) = input() else { unreachable!() };
    output.insert("middle".into(), text("middle", 300_000).into());
    output.insert("large".into(), text("large", 5_000_000).into());
    output.extend((0..SMALL_VALUES).map(|n| (format!("c{n}"), text(&format!("c{n}"), 20_000).into())));
    let size = |name: &str| output[name].as_str().unwrap().chars().count();
    let sizes = json!({"document": size("document"), "large": size("large"), "c19": size("c19")});
    output.insert("sizes".into(), sizes);
    output
}

/// Tells how two values differ without printing megabytes.
fn same(what: &str, found: &Value, expected: &Value) {
    if found == expected {
        return;
    }
    let names = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<BTreeSet<_>>());
    let (Some(has), Some(wants)) = (names(found), names(expected)) else {
        panic!("{what}: found {:.300}, expected {:.300}", found.to_string(), expected.to_string());
    };
    let differ: Vec<&String> = has.union(&wants).filter(|name| found.get(*name) != expected.get(*name)).collect();
    panic!("{what}: these differ: {differ:?}");
}

async fn publish(ingest: &Process) {
    let file = graph(&services().await);
    let response = reqwest::Client::new().put(ingest.url("/graphs/large")).body(file).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
}

async fn begin(ingest: &Process, thread: &str) -> String {
    let body = json!({"input": input(), "thread_id": thread, "mode": "background"});
    let (status, run) = post(ingest, "/graphs/large/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

async fn ended(ingest: &Process, graph: &str, run: &str) -> Value {
    let began = tokio::time::Instant::now();
    loop {
        let (_, view) = get(ingest, &format!("/graphs/{graph}/runs/{run}")).await;
        match view["status"].as_str() {
            Some("pending" | "running") | None if began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            _ => return view,
        }
    }
}

/// The run shows every value.
async fn check(ingest: &Process, run: &str) {
    let view = ended(ingest, "large", run).await;
    assert_eq!(view["status"], json!("success"), "{}", view["error"]);
    same("the run's input", &view["input"], &input());
    same("the run's output", &view["output"], &Value::Object(output()));
}

/// Every other way to read it shows them too.
async fn check_every_way(ingest: &Process, thread: &str, run: &str) {
    let expected = Value::Object(output());
    let (_, list) = get(ingest, "/graphs/large/runs?limit=1").await;
    same("the listed run's output", &list["data"][0]["output"], &expected);

    let (_, state) = get(ingest, &format!("/threads/{thread}/state")).await;
    same("the state", &state["values"], &expected);
    let history = format!("/threads/{thread}/history?limit=10");
    let history = reqwest::get(ingest.url(&history)).await.unwrap().json::<Value>().await.unwrap();
    let steps = history.as_array().unwrap_or_else(|| panic!("no history: {:.300}", history.to_string()));
    assert_eq!(steps.len(), 5, "input, start and three nodes");
    same("the newest checkpoint", &steps[0]["values"], &expected);
    assert_eq!(steps[2]["values"]["large"], expected["large"], "the checkpoint after `write`");
    assert!(steps[3]["values"].get("large").is_none(), "the checkpoint before `write`");

    let stream = reqwest::get(ingest.url(&format!("/graphs/large/runs/{run}/stream"))).await.unwrap();
    // At once: a parser of pieces reads a long event again with every piece.
    let stream = stream.text().await.unwrap();
    let mut events = stream.trim_end().rsplit("\n\n");
    assert!(events.next().is_some_and(|event| event.ends_with("[DONE]")), "the stream broke off");
    let last = events.next().unwrap_or_default().lines().find_map(|line| line.strip_prefix("data: "));
    let last: Value = serde_json::from_str(last.expect("an event has data")).unwrap();
    same("the stream's end", &last["output"], &expected);
}

/// Turns of 300 KB each.
async fn grow_a_thread(ingest: &mut Process, mut kill: impl AsyncFnMut(&mut Process, u64)) {
    let turns = 4;
    for turn in 0..turns {
        let said = text(&format!("turn {turn}"), 300_000);
        let body = json!({"input": {"messages": [{"role": "user", "content": said}]}, "thread_id": "long", "mode": "background"});
        let (status, run) = post(ingest, "/graphs/chat/runs", &body).await;
        assert_eq!(status, 202, "{run}");
        kill(ingest, turn).await;
        let view = ended(ingest, "chat", run["run_id"].as_str().unwrap()).await;
        assert_eq!(view["status"], json!("success"), "turn {turn}: {}", view["error"]);
    }
    let (_, state) = get(ingest, "/threads/long/state").await;
    let messages = state["values"]["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2 * turns as usize);
    for (turn, pair) in messages.chunks(2).enumerate() {
        assert_eq!(pair[0]["content"], json!(text(&format!("turn {turn}"), 300_000)), "what was said in turn {turn}");
        assert_eq!(pair[1]["type"], json!("ai"));
    }
}

#[tokio::test]
async fn values_of_any_size_come_through_one_process_and_its_kills() {
    let folder = folder();
    let mut server = dev(folder.path(), &[]).await;
    publish(&server).await;
    let run = begin(&server, "t").await;
    for pause in [150, 700] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.restart();
        server.wait_until_ready().await;
    }
    check(&server, &run).await;
    check_every_way(&server, "t", &run).await;
    // Not from memory.
    server.restart();
    server.wait_until_ready().await;
    check(&server, &run).await;
    grow_a_thread(&mut server, async |server, turn| {
        if turn == 2 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            server.restart();
            server.wait_until_ready().await;
        }
    })
    .await;
}

#[tokio::test]
async fn values_of_any_size_come_through_roles_apart_and_records_stay_small() {
    let folder = folder();
    let Some(parts) = Parts::shared("large values") else { return };
    let mut deployment = Deployment::start_on(&parts, folder.path()).await;
    publish(&deployment.ingest).await;
    let run = begin(&deployment.ingest, "t").await;
    // The second worker is the first one's like.
    for victim in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        deployment.others[victim].restart();
        deployment.others[victim].wait_until_ready().await;
    }
    check(&deployment.ingest, &run).await;
    check_every_way(&deployment.ingest, "t", &run).await;
    grow_a_thread(&mut deployment.ingest, async |_, _| {}).await;
    records_are_small(&parts).await;
}

/// Reads every topic with values on it, as anybody with access to Kafka does.
async fn records_are_small(parts: &Parts) {
    let config = event_log::kafka::Config::new(parts.kafka.clone());
    let log = event_log::kafka::KafkaLog::connect(config).await.unwrap();
    let names = schemas::topic::Names::new(format!("{}-", parts.name));
    let nodes = ["write", "many", "measure"].map(|node| names.node("large", node, graph::envelope::Lane::Interactive));
    let (mut records, mut by_reference) = (0, 0);
    for topic in [names.of(schemas::topic::RUNS), names.of(schemas::topic::UPDATES)].into_iter().chain(nodes) {
        for partition in 0..log.partitions(&topic).await.unwrap() {
            let (start, end) = log.bounds(&topic, partition).await.unwrap();
            if start == end {
                continue;
            }
            let mut reader = log.read(&topic, partition, Start::Earliest).await.unwrap();
            let mut next = start;
            while next < end {
                for fetched in reader.next().await.unwrap() {
                    next = fetched.offset + 1;
                    records += 1;
                    let bytes = fetched.record.size();
                    assert!(bytes <= RECORD_BYTES_INLINE + HEADERS_BYTES, "{bytes} bytes on {topic}");
                    by_reference += usize::from(fetched.record.payload.starts_with(b"{\"references\":"));
                }
            }
        }
    }
    println!("{records} records, {by_reference} with references");
    assert!(by_reference >= 20, "only {by_reference} of {records} records have references");
    log.close().await;
}
