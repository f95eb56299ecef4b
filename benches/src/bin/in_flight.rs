//! 10,000 model calls in flight at once, and what memory the worker takes for them.
//!
//! With `kafka=` and `cql=` the roles are processes of their own, and the figure is of the one node-worker: it is started
//! when all its work lies in the log. Without them everything is one process, and the figure is of all of it; its calls
//! take longer, so that the last begins before the first ends.
//!
//! `cargo xtask bench in_flight [smoke] [kafka=HOST:PORT cql=HOST:PORT]`

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use benches::{
    deployment::{Deployment, start_model, with_model},
    figures,
    load::Client,
    options::Options,
    process::{Process, free_address},
    three_nodes::{PATH, expected},
};
use serde_json::Value;
use tokio::time::Instant;

const CALLS: usize = 10_000;
const LATENCY_APART_MS: u64 = 5_000;
const LATENCY_TOGETHER_MS: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options { http_model: true, ..Options::read(0)? };
    let calls = if options.smoke { 200 } else { CALLS };
    figures::print_machine();
    let room = [
        ("MILLSTREAM__LIMITS__TASKS_IN_FLIGHT_MAX", calls.to_string()),
        ("MILLSTREAM__LIMITS__NODE_TASKS_IN_FLIGHT_MAX", calls.to_string()),
    ];
    match (&options.kafka, &options.cql) {
        (Some(_), Some(_)) => apart(&options, &room, calls).await,
        (None, None) => together(&options, &room, calls).await,
        _ => bail!("roles apart need both kafka=HOST:PORT and cql=HOST:PORT"),
    }
}

async fn together(options: &Options, room: &[(&'static str, String)], calls: usize) -> anyhow::Result<()> {
    let latency = if options.smoke { 3_000 } else { LATENCY_TOGETHER_MS };
    let deployment = Deployment::start(options, room).await?;
    let server = &deployment.server;
    let runs = request(server, calls, latency).await?;
    measure("all in one process", server, calls, latency).await?;
    check(server, &runs, latency).await
}

async fn apart(options: &Options, room: &[(&'static str, String)], calls: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = start_model(folder.path()).await?;
    let mut environment = options.environment();
    environment.extend_from_slice(room);
    environment.extend(with_model(&model));
    environment.push(("MILLSTREAM__SERVER__SECRET", "between-roles".to_owned()));
    let start = async |role: &str| {
        let mut process = Process::start(&[role], &environment, free_address()?, folder.path())?;
        process.wait_until("/ready").await?;
        anyhow::Ok(process)
    };
    let ingest = start("ingest").await?;
    let _others = [start("orchestrator").await?, start("sink").await?];
    let graph = include_str!("../../../examples/three-nodes.yaml");
    let (status, answer) = Client::connect(ingest.address).await?.put("/graphs/three-nodes", graph).await?;
    ensure!(status < 300, "{status}: {}", String::from_utf8_lossy(&answer));
    // Another worker does the first node alone, so that all calls wait in the log for the one that is measured.
    let arguments = ["node-worker", "--graph", "three-nodes", "--node", "prepare"];
    let mut before = Process::start(&arguments, &environment, free_address()?, folder.path())?;
    before.wait_until("/ready").await?;
    let runs = request(&ingest, calls, LATENCY_APART_MS).await?;
    wait_for(&before, "prepare", "millstream_node_records_total", calls).await?;
    let arguments = ["node-worker", "--graph", "three-nodes", "--node", "ask"];
    let mut worker = Process::start(&arguments, &environment, free_address()?, folder.path())?;
    worker.wait_until("/health").await?;
    measure("one node-worker", &worker, calls, LATENCY_APART_MS).await?;
    let arguments = ["node-worker", "--graph", "three-nodes", "--node", "finish"];
    let mut after = Process::start(&arguments, &environment, free_address()?, folder.path())?;
    after.wait_until("/ready").await?;
    check(&ingest, &runs, LATENCY_APART_MS).await
}

fn text(number: usize) -> String {
    format!("run {number}")
}

/// Begins the runs in the background. Directives of the scripted model travel in the text, and are not echoed.
async fn request(server: &Process, calls: usize, latency_ms: u64) -> anyhow::Result<Vec<String>> {
    const CLIENTS: usize = 64;
    let address = server.address;
    let local = tokio::task::LocalSet::new();
    let lanes = (0..CLIENTS).map(|lane| {
        local.spawn_local(async move {
            let mut client = Client::connect(address).await?;
            let mut begun = Vec::new();
            for number in (lane..calls).step_by(CLIENTS) {
                let text = text(number);
                let body =
                    format!(r#"{{"input":{{"text":"{text}{{{{latency={latency_ms}}}}}"}},"mode":"background"}}"#);
                let (status, answer) = client.post(PATH, &body).await?;
                ensure!(status == 202, "{status}: {}", String::from_utf8_lossy(&answer));
                let answer: Value = serde_json::from_slice(&answer)?;
                begun.push((number, answer["run_id"].as_str().context("no run id")?.to_owned()));
            }
            anyhow::Ok(begun)
        })
    });
    let lanes: Vec<_> = lanes.collect();
    local
        .run_until(async {
            let mut runs = Vec::new();
            for lane in lanes {
                runs.extend(lane.await??);
            }
            runs.sort_unstable();
            Ok(runs.into_iter().map(|(_, run)| run).collect())
        })
        .await
}

/// Waits until all calls are in flight, and reads the memory that this takes.
async fn measure(name: &str, worker: &Process, calls: usize, latency_ms: u64) -> anyhow::Result<()> {
    wait_for(worker, "ask", "millstream_node_in_flight", calls).await?;
    let (resident, peak) = worker.resident_mib()?;
    println!("{calls} calls of {latency_ms} ms in flight: {name} takes {resident:.0} MiB, {peak:.0} at most so far");
    Ok(())
}

/// Waits until a metric of a node reaches a number.
async fn wait_for(process: &Process, node: &str, metric: &str, number: usize) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut most = 0.0_f64;
    loop {
        // A role that is starting has no metrics yet, and closes its connections when it has started.
        let answer = async { Client::connect(process.address).await?.get("/metrics").await };
        let text = match answer.await {
            Ok((200, text)) => String::from_utf8(text)?,
            Ok((503, _)) | Err(_) => String::new(),
            Ok((status, _)) => bail!("/metrics answers {status}"),
        };
        let label = format!("node=\"{node}\"");
        let lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(&label));
        let now: f64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        most = most.max(now);
        if most >= number as f64 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{metric} of {node} came to {most}, not to {number}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every run ends with its own answer.
async fn check(server: &Process, runs: &[String], latency_ms: u64) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE + Duration::from_millis(latency_ms);
    let mut client = Client::connect(server.address).await?;
    for (number, run) in runs.iter().enumerate() {
        loop {
            let (status, answer) = client.get(&format!("{PATH}/{run}")).await?;
            let answer: Value = serde_json::from_slice(&answer)?;
            if answer["status"] == "success" {
                let said = answer["output"]["answer"].as_str().unwrap_or_default().replace(&directive(latency_ms), "");
                ensure!(said == expected(&text(number)), "run {number} answered {said:?}");
                break;
            }
            ensure!(status == 200 && Instant::now() < until, "run {number} does not end: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    println!("every one of {} runs ended with its own answer", runs.len());
    Ok(())
}

/// The graph's last node repeats the text as it came in.
fn directive(latency_ms: u64) -> String {
    format!("{{{{latency={latency_ms}}}}}")
}
