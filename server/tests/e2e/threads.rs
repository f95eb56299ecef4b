//! Threads with each role apart, on real Kafka and a real CQL store: edited behind programs, copied, pruned, deleted and ended
//! in their time, while whoever carries it out dies; and the long-term store as their nodes reach it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    deployment::Deployment,
    edits,
    kills::seed,
    process::{PATIENCE, Process, folder, get, post},
    programs::{Programs, PythonNode},
    runs::Seeded,
};

#[tokio::test]
async fn threads_are_changed_and_end_whoever_dies() {
    let folder = folder();
    let Some(mut deployment) = Deployment::start("threads whose owners die", folder.path()).await else { return };
    let (programs, python) = (Programs::start().await, PythonNode::start().await);
    let mut graphs = vec![("joined", programs.joined()), ("keeper", programs.keeper())];
    graphs.extend(python.iter().map(|python| ("python-keeper", python.keeper())));
    for (name, file) in &graphs {
        let url = deployment.ingest.url(&format!("/graphs/{name}"));
        let put = reqwest::Client::new().put(url).body(file.clone()).send().await.unwrap();
        assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    }
    let mut random = Seeded::new(seed());
    let begun = Instant::now();
    begin_threads_that_end(&deployment.ingest).await;
    are_copied_pruned_and_deleted(&mut deployment, &mut random).await;
    let keepers = graphs.iter().map(|(name, _)| *name).filter(|name| name.ends_with("keeper"));
    for keeper in keepers.clone() {
        keeps(&deployment.ingest, keeper, "one", &["one"]).await;
    }
    are_edited_behind_programs(&mut deployment, &mut random).await;
    for keeper in keepers {
        keeps(&deployment.ingest, keeper, "two", &["one", "two"]).await;
    }
    end_in_their_time(&deployment.ingest, begun).await;
}

/// One of them while the others are changed, one after it.
async fn begin_threads_that_end(ingest: &Process) {
    for (thread, seconds) in [("soon", 3.0), ("later", 20.0), ("stays", 3_600.0)] {
        let body = json!({"thread_id": thread, "ttl": {"ttl": seconds / 60.0, "strategy": "delete"}});
        let (status, made) = post(ingest, "/threads", &body).await;
        assert_eq!(status, 200, "{made}");
        let (status, chat) = post(ingest, "/chat", &json!({"message": "hello", "thread_id": thread})).await;
        assert_eq!((status, &chat["status"]), (200, &json!("success")), "{chat}");
    }
}

/// The next owner reads who sleeps, and ends each thread in its time.
async fn end_in_their_time(ingest: &Process, begun: Instant) {
    for thread in ["soon", "later"] {
        while get(ingest, &format!("/threads/{thread}")).await.0 != 404 {
            assert!(begun.elapsed() < Duration::from_secs(150), "{thread} doesn't end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (status, chat) = post(ingest, "/chat", &json!({"message": "anew", "thread_id": thread})).await;
        assert_eq!((status, chat["output"]["messages"].as_array().map(Vec::len)), (200, Some(2)), "{chat}");
    }
    let (_, stays) = get(ingest, "/threads/stays?include=ttl").await;
    assert_eq!(stays["ttl"]["ttl_minutes"], json!(60.0), "{stays}");
}

/// What was asked for happens, whole, and nothing else.
async fn are_copied_pruned_and_deleted(deployment: &mut Deployment, random: &mut Seeded) {
    let ingest = deployment.ingest.url("");
    let chat = async |thread: &str, said: &str| {
        // Values that stand beside the log.
        let body = json!({"message": format!("{said} {}", "x ".repeat(20_000)), "thread_id": thread});
        let chat = ask("POST", &format!("{ingest}/chat"), &body).await;
        assert_eq!((chat.0, &chat.1["status"]), (200, &json!("success")), "{chat:?}");
        chat.1["output"]["messages"].as_array().map(Vec::len)
    };
    let look = async |thread: &str| {
        let mut seen = Vec::new();
        for path in ["state", "history?limit=100"] {
            let (status, shown) = ask("GET", &format!("{ingest}/threads/{thread}/{path}"), &Value::Null).await;
            assert_eq!(status, 200, "{thread}: {shown}");
            let text = shown.to_string().replace(&format!("{thread:?}"), "\"the thread\"");
            seen.push(serde_json::from_str::<Value>(&text).expect("it was JSON"));
        }
        seen
    };
    assert_eq!((chat("t", "one").await, chat("t", "two").await), (Some(2), Some(4)));
    let whole = look("t").await;
    let newest = json!([whole[1][0]]);

    let copy = while_owners_die(deployment, random, "POST", "/threads/t/copy", &json!({})).await;
    let copy = copy["thread_id"].as_str().expect("a thread").to_owned();
    assert_eq!(look(&copy).await, whole);
    let prune = json!({"thread_ids": ["t"], "strategy": "keep_latest"});
    let pruned = while_owners_die(deployment, random, "POST", "/threads/prune", &prune).await;
    assert_eq!(pruned, json!({"pruned_count": 1}));
    assert_eq!(look("t").await, [whole[0].clone(), newest]);
    assert_eq!(look(&copy).await, whole, "the copy stays as it was");
    assert_eq!((chat("t", "three").await, chat(&copy, "three").await), (Some(6), Some(6)));

    let address = format!("/threads/{copy}");
    while_owners_die(deployment, random, "DELETE", &address, &Value::Null).await;
    assert_eq!(ask("GET", &format!("{ingest}{address}"), &Value::Null).await.0, 404);
    assert_eq!(chat("t", "four").await, Some(8));
    let runs = ask("GET", &format!("{ingest}/threads/t/runs?limit=100"), &Value::Null).await.1;
    assert_eq!(runs.as_array().map(Vec::len), Some(4), "{runs}");
}

/// Asks, while the orchestrator and the sink are killed; and again where nobody could tell in time what came of it.
async fn while_owners_die(
    deployment: &mut Deployment,
    random: &mut Seeded,
    method: &str,
    path: &str,
    body: &Value,
) -> Value {
    let url = deployment.ingest.url(path);
    let moment = Duration::from_millis(random.below(1_500));
    let killed = kill(deployment, &["orchestrator", "sink"], moment);
    let (mut answer, ()) = tokio::join!(ask(method, &url, body), killed);
    while [503, 504].contains(&answer.0) {
        answer = ask(method, &url, body).await;
    }
    // Whoever takes over may still be on the way.
    let thread = deployment.ingest.url("/threads/t");
    while ask("GET", &thread, &Value::Null).await.0 == 503 {}
    // It was deleted, and nobody could tell.
    assert!((200..300).contains(&answer.0) || (method, answer.0) == ("DELETE", 404), "{path}: {answer:?}");
    answer.1
}

/// All processes of these roles at once, each started again.
async fn kill(deployment: &mut Deployment, roles: &[&str], moment: Duration) {
    tokio::time::sleep(moment).await;
    let mut dead: Vec<_> = deployment.all().filter(|process| roles.contains(&process.name())).collect();
    dead.iter_mut().for_each(|process| process.restart());
    for process in dead {
        process.wait_until_ready().await;
    }
}

/// An edit that waits for programs is made once, and its client hears of it, whoever of them dies.
async fn are_edited_behind_programs(deployment: &mut Deployment, random: &mut Seeded) {
    edits::begin(&deployment.ingest, "edited").await;
    let mut expected: Vec<String> = ["in", "a", "b"].map(str::to_owned).into();
    let deaths: [&[&str]; 3] = [&["orchestrator", "sink"], &["node-worker"], &["ingest"]];
    for (edit, roles) in deaths.into_iter().enumerate() {
        let said = format!("edit {edit}");
        let base = deployment.ingest.url("");
        let moment = Duration::from_millis(random.below(200));
        let ((made, asked), ()) = tokio::join!(edits::edit(&base, "edited", &said), kill(deployment, roles, moment));
        println!("{roles:?} killed after {moment:?}: the edit was asked for {asked} times");
        edits::check(&deployment.ingest, "edited", &mut expected, (&made, &said)).await;
    }
    assert_eq!(edits::made(&deployment.ingest, "edited").await, deaths.len());
}

/// A node puts, gets, searches and forgets items through its worker; clients and later runs find them, whoever worked on it.
async fn keeps(ingest: &Process, keeper: &str, said: &str, found: &[&str]) {
    let body = json!({"assistant_id": keeper, "input": {"said": said}, "if_not_exists": "create"});
    let (_, ran) = post(ingest, &format!("/threads/{keeper}/runs/wait"), &body).await;
    assert_eq!(ran["found"], json!(found), "{ran}");
    let (status, item) = get(ingest, &format!("/store/items?namespace=said.{keeper}&key={said}")).await;
    assert_eq!((status, &item["value"]), (200, &json!({"said": said})), "{item}");
}

async fn ask(method: &str, url: &str, body: &Value) -> (u16, Value) {
    let method = method.parse().expect("a method");
    let mut request = reqwest::Client::new().request(method, url).timeout(PATIENCE);
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}
