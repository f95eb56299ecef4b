//! Runs of the graph `chat`: begun, followed, and checked when all is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use graph::update::{Happened, RunStatus};
use schemas::record::UpdateRecord;
use serde_json::{Value, json};

use crate::process::{Event, PATIENCE, Process, get, post, read_events};

/// splitmix64: the same moments for the same seed.
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Seeded(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Runs whose model call a kill may repeat: those that had not ended well before it.
#[derive(Default)]
pub struct AtRisk {
    open: Vec<String>,
    /// Added up over all kills.
    repeats_max: u64,
}

impl AtRisk {
    /// A task that finished this long before a kill is committed, and is not done again.
    const SETTLED: Duration = Duration::from_millis(500);

    /// Asks which runs are still open, and lets those that ended settle.
    pub async fn settle(&mut self, server: &Process) {
        let mut open = Vec::new();
        for run in self.open.drain(..) {
            let (_, view) = get(server, &format!("/graphs/chat/runs/{run}")).await;
            if view["status"] != json!("success") {
                open.push(run);
            }
        }
        self.open = open;
        tokio::time::sleep(Self::SETTLED).await;
    }

    /// Runs that were begun since, all of which the next kill may hit.
    pub fn take(&mut self, begun: &[String]) {
        self.open.extend_from_slice(begun);
        self.repeats_max += self.open.len() as u64;
    }

    pub fn check(&self, calls: u64, runs: u64) {
        println!("{calls} calls for {runs} runs, of which kills could repeat {}", self.repeats_max);
        assert!(calls >= runs, "{calls} calls for {runs} runs");
        assert!(calls <= runs + self.repeats_max, "{calls} calls: more than those in flight at a kill were repeated");
    }
}

/// Asks for runs without waiting for them; only what was acknowledged counts.
pub async fn begin_runs(server: &Process, round: u64, count: u64) -> Vec<String> {
    let mut accepted = Vec::new();
    for number in 0..count {
        let text = format!("round {round} number {number}");
        let body = json!({"input": {"messages": [{"role": "user", "content": text}]}, "mode": "background"});
        let (status, answer) = post(server, "/graphs/chat/runs", &body).await;
        assert_eq!(status, 202, "{answer}");
        accepted.push(answer["run_id"].as_str().expect("a run id").to_owned());
    }
    accepted
}

/// A run ended well, each of its nodes counted once, and its updates are numbered without holes or repeats.
pub async fn check_run(server: &Process, run: &str) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, view) = get(server, &format!("/graphs/chat/runs/{run}")).await;
        if status == 200 && view["status"] == json!("success") {
            assert_eq!(view["output"]["turns"], json!(1), "the state advanced once: {view}");
            break;
        }
        let ended = ["error", "timeout", "cancelled"].iter().any(|word| view["status"] == json!(word));
        assert!(!ended, "run {run}: {view}");
        assert!(tokio::time::Instant::now() < until, "run {run} did not finish: {status} {view}\n{}", server.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let updates = updates_of(server, run).await;
    let numbers: Vec<u64> = updates.iter().filter_map(|record| record.update.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "run {run}");
    let mut done = BTreeMap::<String, u32>::new();
    for happened in updates.iter().flat_map(|record| &record.update.happened) {
        if let Happened::TaskDone(task) = happened {
            *done.entry(task.node.to_string()).or_default() += 1;
        }
    }
    let expect = ["answer", "finish", "prepare"].map(|node| (node.to_owned(), 1));
    assert_eq!(done, BTreeMap::from(expect), "run {run}: each task is applied once");
    assert_eq!(updates.last().map(|record| record.update.status), Some(RunStatus::Success));
}

async fn updates_of(server: &Process, run: &str) -> Vec<UpdateRecord> {
    let url = server.url(&format!("/graphs/chat/runs/{run}/updates"));
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A request for a run under a key: whatever happens to the answer, the client asks again until it is taken.
pub struct Keyed {
    pub key: String,
    pub run: String,
    /// The codes of refusals, and `cut` where the connection broke, before it was taken.
    pub setbacks: Vec<String>,
}

/// Begins a run under `key`, at an address that may be down for a while.
pub async fn begin_keyed(base: &str, key: &str) -> Keyed {
    let url = format!("{base}/graphs/chat/runs");
    let body = json!({"input": {"messages": [{"role": "user", "content": key}]}, "mode": "background"});
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut setbacks = Vec::new();
    loop {
        // A client of its own for each try: nothing of a connection that died is left.
        let asked = reqwest::Client::new().post(&url).header("idempotency-key", key).json(&body).send().await;
        match asked {
            Ok(response) if response.status() == 202 => match response.json::<Value>().await {
                Ok(answer) => {
                    let run = answer["run_id"].as_str().expect("a run id").to_owned();
                    return Keyed { key: key.to_owned(), run, setbacks };
                }
                Err(_) => setbacks.push("cut".to_owned()),
            },
            Ok(response) => setbacks.push(refused(response).await),
            Err(_) => setbacks.push("cut".to_owned()),
        }
        assert!(tokio::time::Instant::now() < until, "{key} was not taken: {setbacks:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The code of a 503 that says when to come back; nothing else may be answered while parts are away.
pub async fn refused(response: reqwest::Response) -> String {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").cloned();
    let body: Value = response.json().await.unwrap_or_default();
    assert_eq!(status, 503, "{body}");
    assert!(retry_after.is_some(), "no retry-after: {body}");
    assert!(body["error"]["message"].as_str().is_some_and(|text| text.len() > 20), "{body}");
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// What a client saw that read a run's stream to its end, coming back behind its last event whenever it was cut.
#[derive(Default, Debug)]
pub struct Followed {
    pub events: Vec<Event>,
    pub cuts: u32,
}

pub async fn follow(base: &str, run: &str) -> Followed {
    let url = format!("{base}/graphs/chat/runs/{run}/stream");
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut followed = Followed::default();
    loop {
        let last = followed.events.last().map(|event| event.id.clone()).unwrap_or_default();
        let asked = reqwest::Client::new().get(&url).header("last-event-id", last).send().await;
        if let Ok(response) = asked
            && response.status() == 200
        {
            let (events, done) = read_events(response).await;
            followed.events.extend(events);
            if done {
                return followed;
            }
        }
        followed.cuts += 1;
        assert!(tokio::time::Instant::now() < until, "the stream of {run} did not end: {followed:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Followed {
    /// Each node's end once and in order, the end last, and a text that adds up wherever no token was lost.
    pub fn check(&self, run: &str) {
        let of = |name: &str| self.events.iter().filter(|event| event.name == name).collect::<Vec<_>>();
        let nodes: Vec<String> =
            of("node_finished").iter().map(|event| event.json()["node"].as_str().unwrap_or_default().into()).collect();
        assert_eq!(nodes, ["prepare", "answer", "finish"], "run {run}, cut {} times: {:?}", self.cuts, self.events);
        assert_eq!(self.events.last().map(|event| event.name.as_str()), Some("final"), "run {run}");
        let mut text = String::new();
        let mut lost = false;
        for event in &self.events {
            match event.name.as_str() {
                "token" => text.push_str(event.json()["text"].as_str().unwrap_or_default()),
                "attempt_reset" => (text, lost) = (String::new(), false),
                "metadata" => lost |= event.json()["recovered"] == json!(false),
                _ => {}
            }
        }
        let answer = self.events.last().map(|event| event.json()["message"]["content"].clone());
        assert!(lost || answer == Some(json!(text)), "run {run}: {text:?} adds up to {answer:?}: {:?}", self.events);
    }
}

/// The ids of all runs, as the list gives them.
pub async fn listed(server: &Process) -> BTreeSet<String> {
    let (mut runs, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let (status, page) = get(server, &format!("/graphs/chat/runs?limit=200{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let rows = page["data"].as_array().expect("a page has data");
        runs.extend(rows.iter().map(|row| row["run_id"].as_str().expect("a row has its run").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return runs,
        }
    }
}
