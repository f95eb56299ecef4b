//! A partition that has enough takes no new runs, and finishes those that it took.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::{PATIENCE, Process, folder, free_address, get};

const OPEN_RUNS_MAX: u64 = 4;

#[tokio::test]
async fn a_full_partition_refuses_new_runs_and_finishes_what_it_took() {
    let folder = folder();
    let data = folder.path().join("data");
    let arguments = ["dev", "--data-dir", data.to_str().unwrap()];
    let environment = [
        ("MILLSTREAM__LOG__PARTITIONS", "1".to_owned()),
        ("MILLSTREAM__LIMITS__PARTITION_OPEN_RUNS_MAX", OPEN_RUNS_MAX.to_string()),
        ("MILLSTREAM__MODELS__DEFAULT__USE", "scripted/echo?latency=4000".to_owned()),
    ];
    let mut server = Process::start(&arguments, &environment, free_address(), folder.path());
    server.wait_until_ready().await;
    // Without a thread nothing of a run stays in its owner's memory when it has ended.
    let graph = "version: 1\nname: ask\nstate: {messages: messages}\ninput: [messages]\noutput: [messages]\n\
                 nodes:\n  answer: {kind: model, model: default, messages: state.messages}\n\
                 edges:\n  - START -> answer\n  - answer -> END\n";
    let published = reqwest::Client::new().put(server.url("/graphs/ask")).body(graph).send().await.unwrap();
    assert!(published.status().is_success(), "{}", published.text().await.unwrap());

    let (accepted, refused) = fill(&server).await;
    assert!(accepted.len() as u64 > OPEN_RUNS_MAX, "{} runs were accepted", accepted.len());
    assert_eq!((refused.status, refused.retry_after.as_deref()), (503, Some("1")), "{}", refused.body);
    assert_eq!(refused.body["error"]["code"], "queue_full");
    assert_eq!(
        refused.body["error"]["message"],
        "no new runs are taken at the moment: too many runs are open; try again"
    );

    for location in &accepted {
        let run = ended(&server, location).await;
        assert_eq!(run["status"], "success", "what was accepted finishes: {run}");
    }
    let began = Instant::now();
    while ask(&server).await.status != 202 {
        assert!(began.elapsed() < PATIENCE, "the partition has room again, and takes nothing");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

struct Answer {
    status: u16,
    retry_after: Option<String>,
    location: Option<String>,
    body: Value,
}

/// Starts runs until one is refused: addresses of the accepted ones, and the refusal.
async fn fill(server: &Process) -> (Vec<String>, Answer) {
    let mut accepted = Vec::new();
    let began = Instant::now();
    loop {
        let answer = ask(server).await;
        if answer.status != 202 {
            return (accepted, answer);
        }
        accepted.push(answer.location.expect("an accepted run has an address"));
        assert!(began.elapsed() < PATIENCE, "nothing is refused");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn ask(server: &Process) -> Answer {
    let body = json!({"input": {"messages": [{"role": "user", "content": "hello"}]}});
    let response = reqwest::Client::new().post(server.url("/graphs/ask/runs")).json(&body).send().await.unwrap();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, location) = (header("retry-after"), header("location"));
    Answer { status: response.status().as_u16(), retry_after, location, body: response.json().await.unwrap() }
}

async fn ended(server: &Process, location: &str) -> Value {
    let began = Instant::now();
    loop {
        let (_, run) = get(server, location).await;
        if !["pending", "running"].contains(&run["status"].as_str().unwrap_or_default()) {
            return run;
        }
        assert!(began.elapsed() < PATIENCE, "the run never ended: {run}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
