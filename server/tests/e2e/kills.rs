//! kill -9 at seeded moments in the middle of runs: every run finishes, each task advances its state once, model calls
//! are counted, and a stream that comes back misses nothing.
//!
//! `MILLSTREAM_KILLS` sets the number of kills (5 unless told), `MILLSTREAM_SEED` the first seed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use graph::update::{Happened, RunStatus};
use schemas::record::UpdateRecord;
use serde_json::json;

use crate::process::{Event, PATIENCE, Process, folder, free_address, get, post, read_events};

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

pub fn kills() -> u64 {
    std::env::var("MILLSTREAM_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

pub fn seed() -> u64 {
    std::env::var("MILLSTREAM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A model over HTTP that answers after a moment and counts what it was asked.
pub struct CountingModel {
    pub base_url: String,
    calls: Arc<AtomicU64>,
}

impl CountingModel {
    pub async fn start() -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let router = node_workers::models::mock_server::mock_model_router().layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                counted.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            },
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        #[allow(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        CountingModel { base_url, calls }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The environment that points the alias `default` at it.
    pub fn environment(&self, options: &str) -> Vec<(&'static str, String)> {
        vec![
            ("OPENAI_BASE_URL", self.base_url.clone()),
            ("OPENAI_API_KEY", "test".to_owned()),
            ("OPENAI_MODEL", format!("echo{options}")),
        ]
    }
}

/// `millstream dev` on that model, ready.
async fn dev_with(model: &CountingModel, options: &str, folder: &Path) -> Process {
    let data = folder.join("data");
    let arguments = ["dev", "--data-dir", data.to_str().expect("a path in UTF-8")];
    let mut server = Process::start(&arguments, &model.environment(options), free_address(), folder);
    server.wait_until_ready().await;
    server
}

#[tokio::test]
async fn an_embedded_server_survives_kills_at_any_moment() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=60&tokens=8&interval=5", folder.path()).await;
    let mut random = Seeded::new(seed());
    let (mut runs, mut at_risk) = (Vec::new(), AtRisk::default());
    for kill in 0..kills() {
        at_risk.settle(&server).await;
        let begun = begin_runs(&server, kill, 8).await;
        at_risk.take(&begun);
        runs.extend(begun);
        tokio::time::sleep(Duration::from_millis(random.below(250))).await;
        server.restart();
        server.wait_until_ready().await;
    }
    for run in &runs {
        check_run(&server, run).await;
    }
    at_risk.check(model.calls(), runs.len() as u64);
}

#[tokio::test]
async fn a_stream_that_comes_back_after_a_kill_misses_nothing() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=150&tokens=20&interval=10", folder.path()).await;
    let body = json!({"input": {"messages": [{"role": "user", "content": "a b c d"}]}, "mode": "background"});
    let (status, run) = post(&server, "/graphs/chat/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    let address = format!("/graphs/chat/runs/{}/stream", run["run_id"].as_str().unwrap());
    let seen = {
        let response = reqwest::get(server.url(&address)).await.unwrap();
        let reading = tokio::time::timeout(Duration::from_millis(200), collect(response)).await;
        reading.unwrap_or_default()
    };
    server.restart();
    server.wait_until_ready().await;
    let last = seen.last().map(|event| event.id.clone()).unwrap_or_default();
    let response = reqwest::Client::new().get(server.url(&address)).header("last-event-id", last).send().await.unwrap();
    let (rest, done) = read_events(response).await;
    assert!(done, "{rest:?}");
    let finished: Vec<String> = seen
        .iter()
        .chain(&rest)
        .filter(|event| event.name == "node_finished")
        .map(|event| event.json()["node"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(finished, ["prepare", "answer", "finish"], "each node once, none missing");
    assert_eq!(rest.last().map(|event| event.name.as_str()), Some("final"));
}

/// Reads events without waiting for the end.
async fn collect(response: reqwest::Response) -> Vec<Event> {
    read_events(response).await.0
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
            *done.entry(task.node.clone()).or_default() += 1;
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
