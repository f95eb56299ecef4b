//! Kafka or the store away: at the start, and killed in the middle of runs. Each process says what it can't reach, each
//! request gets a 503 that says when to come back, and all goes on by itself when the part is there again.
//!
//! Needs what `roles` needs, and MILLSTREAM_TEST_BACKENDS for the part that is killed.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    backends::Backend,
    deployment::{Deployment, Parts, publish_chat},
    process::{PATIENCE, Process, folder, free_address, get, post, read_events},
    runs::{begin_keyed, check_run, listed, refused},
};

/// How long a part is away in the middle of runs.
const AWAY: Duration = Duration::from_secs(20);
/// How soon a request is refused whose part is away.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
/// As the sink has it: what comes so soon after a takeover may have been told before.
const MAYBE_REPEATED_WITHIN: Duration = Duration::from_secs(6);
const RUNS: usize = 6;

#[tokio::test]
async fn kafka_may_be_away_at_the_start_and_in_the_middle_of_runs() {
    let folder = folder();
    let Some(shared) = Parts::shared("Kafka away") else { return };
    let Some(mut kafka) = Backend::start("kafka", folder.path()).await else { return };
    kafka.kill();
    let parts = Parts { kafka: kafka.address.to_string(), ..shared };
    let mut deployment = Deployment::begin(&parts, folder.path()).await;
    let mut alone = all_in_one(&parts, &deployment, folder.path());
    for process in deployment.all().chain(std::iter::once(&mut alone)) {
        says_what_it_misses(process, &parts.kafka).await;
    }
    for server in [&deployment.ingest, &alone] {
        assert_eq!(chat_is_refused(server).await, "log_unavailable");
    }

    kafka.restart().await;
    deployment.wait_until_ready().await;
    alone.wait_until_ready().await;
    for server in [&deployment.ingest, &alone] {
        publish_chat(server).await;
        chats(server).await;
    }

    let mut begun = [Vec::new(), Vec::new()];
    for (server, begun) in [&deployment.ingest, &alone].into_iter().zip(&mut begun) {
        for number in 0..RUNS {
            begun.push(begin_keyed(&server.url(""), &format!("before {number}")).await);
        }
    }
    kafka.kill();
    let away = async {
        tokio::time::sleep(AWAY).await;
        kafka.restart().await;
    };
    let asked = async {
        for server in [&deployment.ingest, &alone] {
            assert_eq!(chat_is_refused(server).await, "log_unavailable");
            says_what_it_misses(server, &parts.kafka).await;
        }
        // These ask until they are taken.
        let (one, two) = (deployment.ingest.url(""), alone.url(""));
        tokio::join!(begin_keyed(&one, "meanwhile"), begin_keyed(&two, "meanwhile"))
    };
    let ((), (one, two)) = tokio::join!(away, asked);
    for keyed in [&one, &two] {
        // When the log is there, its owners are not yet heard for a moment.
        let known = |code: &String| ["log_unavailable", "queue_full"].contains(&code.as_str());
        assert!(keyed.setbacks.iter().all(known), "{:?}", keyed.setbacks);
    }
    let [first, second] = &mut begun;
    first.push(one);
    second.push(two);
    deployment.wait_until_ready().await;
    alone.wait_until_ready().await;
    for (server, begun) in [&deployment.ingest, &alone].into_iter().zip(begun) {
        for keyed in &begun {
            check_run(server, &keyed.run).await;
        }
        let ours: BTreeSet<String> = begun.into_iter().map(|keyed| keyed.run).collect();
        assert_eq!(ours.difference(&listed(server).await).count(), 0, "a run is not listed");
        assert_eq!(runs_of(server, &["before", "meanwhile"]).await, ours, "a request was begun twice");
        chats(server).await;
    }
}

#[tokio::test]
async fn the_store_may_be_away_at_the_start_and_in_the_middle_of_runs() {
    let folder = folder();
    let Some(shared) = Parts::shared("the store away") else { return };
    let Some(mut cassandra) = Backend::start("cassandra", folder.path()).await else { return };
    cassandra.kill();
    let parts = Parts { cql: cassandra.address.to_string(), ..shared };
    let mut deployment = Deployment::begin(&parts, folder.path()).await;
    for process in deployment.all() {
        says_what_it_misses(process, &parts.cql).await;
    }
    assert_eq!(chat_is_refused(&deployment.ingest).await, "store_unavailable");

    cassandra.restart().await;
    deployment.wait_until_ready().await;
    publish_chat(&deployment.ingest).await;
    chats(&deployment.ingest).await;

    let ingest = &deployment.ingest;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        runs.push(begin_keyed(&ingest.url(""), &format!("before {number}")).await.run);
    }
    // Sooner after a takeover, the first update of a thread waits until the store has said whether it is a repeat.
    tokio::time::sleep(MAYBE_REPEATED_WITHIN).await;
    cassandra.kill();
    let away = async {
        tokio::time::sleep(AWAY).await;
        cassandra.restart().await;
    };
    let asked = async {
        // Rows are written behind the stream, so it goes on, to its end.
        let answer = reqwest::Client::new().post(ingest.url("/chat")).json(&json!({"message": "a b", "stream": true}));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200, "a new run needs no row to begin");
        let (events, done) = read_events(answer).await;
        assert!(done, "the stream broke off: {events:?}");
        let run = events[0].json()["run_id"].as_str().expect("metadata names the run").to_owned();
        // What only the store knows is refused: keys, and lists.
        let keyed = reqwest::Client::new().post(ingest.url("/graphs/chat/runs")).header("idempotency-key", "new");
        let keyed = keyed.json(&json!({"input": {"messages": []}})).timeout(REFUSED_WITHIN).send().await.unwrap();
        assert_eq!(refused(keyed).await, "store_unavailable");
        let list = reqwest::Client::new().get(ingest.url("/graphs/chat/runs")).timeout(REFUSED_WITHIN).send().await;
        assert_eq!(refused(list.unwrap()).await, "store_unavailable");
        says_what_it_misses(ingest, &parts.cql).await;
        run
    };
    let ((), run) = tokio::join!(away, asked);
    runs.push(run);
    deployment.wait_until_ready().await;
    for run in &runs {
        check_run(&deployment.ingest, run).await;
    }
    let missing: Vec<&String> = {
        let listed = listed(&deployment.ingest).await;
        runs.iter().filter(|run| !listed.contains(*run)).collect()
    };
    assert!(missing.is_empty(), "not listed: {missing:?}");
    chats(&deployment.ingest).await;
}

/// Everything in one process on the same Kafka, with a store of its own.
fn all_in_one(parts: &Parts, deployment: &Deployment, folder: &Path) -> Process {
    let mut environment = parts.environment(&deployment.model, "?latency=60&tokens=8&interval=5");
    environment.extend([
        ("MILLSTREAM__LOG__PREFIX", format!("{}-alone-", parts.name)),
        ("MILLSTREAM__STORE__KIND", "embedded".to_owned()),
        ("MILLSTREAM__SERVER__DATA_DIR", folder.join("alone").display().to_string()),
    ]);
    Process::start(&["serve"], &environment, free_address(), folder)
}

/// It lives, is not ready, and names the address that does not answer.
async fn says_what_it_misses(process: &Process, address: &str) {
    let until = tokio::time::Instant::now() + PATIENCE;
    let http = reqwest::Client::new();
    loop {
        if let Ok(response) = http.get(process.url("/ready")).send().await {
            let status = response.status().as_u16();
            let said = response.text().await.unwrap_or_default();
            if status == 503 && said.contains(address) {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{}: {status} {said}", process.name());
        }
        assert!(tokio::time::Instant::now() < until, "{} does not answer: {}", process.name(), process.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(http.get(process.url("/health")).send().await.unwrap().status(), 200);
}

async fn chat_is_refused(server: &Process) -> String {
    let asked = reqwest::Client::new().post(server.url("/chat")).json(&json!({"message": "anybody?"}));
    let answer = asked.timeout(REFUSED_WITHIN).send().await.expect("a refusal in time");
    refused(answer).await
}

/// A whole chat; owners have a moment to say that they are there again.
async fn chats(server: &Process) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, answer) = post(server, "/chat", &json!({"message": "hello"})).await;
        if (status, &answer["status"]) == (200, &json!("success")) {
            return;
        }
        assert_eq!(status, 503, "{answer}\n{}", server.said());
        assert!(tokio::time::Instant::now() < until, "{answer}\n{}", server.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs whose question begins with one of the words.
async fn runs_of(server: &Process, words: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for run in listed(server).await {
        let (_, view) = get(server, &format!("/graphs/chat/runs/{run}")).await;
        let question: &Value = &view["output"]["messages"][0]["content"];
        if words.iter().any(|word| question.as_str().is_some_and(|text| text.starts_with(word))) {
            found.insert(run);
        }
    }
    found
}
