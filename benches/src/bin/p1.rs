//! P1: three nodes (code, one model call without latency, code), POST in, JSON out, 512 kept-alive clients; every input
//! different, every answer compared, and afterwards the store is asked for runs and their checkpoints.
//!
//! `cargo xtask bench p1`. Options: seconds of load (default 20), and `kafka=HOST:PORT` for the log on Kafka.

use std::{cell::RefCell, path::PathBuf, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use benches::{
    figures,
    load::{self, Client},
    server::Server,
};
use serde_json::Value;

const CLIENTS: usize = 512;
const PATH: &str = "/graphs/three-nodes/runs";
/// Runs that are read back from the store, spread over all.
const READ_BACK: usize = 500;
/// Longer than ended runs stay in a sink's memory.
const OUT_OF_MEMORY: Duration = Duration::from_secs(40);
/// Input, START, and one for each node.
const CHECKPOINTS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut seconds = 20;
    let mut kafka = None;
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("kafka", brokers)) => kafka = Some(brokers.to_owned()),
            _ => seconds = argument.parse().context("say seconds, or kafka=HOST:PORT")?,
        }
    }
    figures::print_machine();
    let mut environment = Vec::new();
    if let Some(brokers) = &kafka {
        environment.push(("MILLSTREAM__LOG__KIND", "kafka".to_owned()));
        environment.push(("MILLSTREAM__LOG__BROKERS", brokers.clone()));
        environment.push(("MILLSTREAM__LOG__PREFIX", format!("p1-{}-", std::process::id())));
    }
    let name = if kafka.is_some() { "P1 on Kafka, embedded store" } else { "P1 embedded" };
    let graph = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/three-nodes.yaml"));
    let server = Server::start(&[graph], &environment).await?;

    // One client first: what a run takes when nothing else does.
    let idle = load::closed_loop(1, Duration::from_secs(5), server.address, ask(Rc::default())).await?;
    figures::print(&format!("{name}, idle"), &idle);

    load::closed_loop(CLIENTS, Duration::from_secs(3), server.address, ask(Rc::default())).await?;
    let runs = Rc::new(RefCell::new(Vec::new()));
    let cpu = server.cpu_seconds()?;
    let loaded =
        load::closed_loop(CLIENTS, Duration::from_secs(seconds), server.address, ask(Rc::clone(&runs))).await?;
    figures::print(name, &loaded);
    println!(
        "{name}: {:.0} us of CPU a run in the server, {:.0} MiB resident",
        (server.cpu_seconds()? - cpu) * 1e6 / loaded.latency.len() as f64,
        server.resident_mib()?
    );
    let runs = runs.take();
    read_back(&server, &runs).await
}

/// Asks for a run that no other is like, and compares its answer.
fn ask(runs: Rc<RefCell<Vec<String>>>) -> impl AsyncFn(&mut Client, usize, u64) -> anyhow::Result<()> + Clone {
    async move |client: &mut Client, number: usize, count: u64| {
        let text = format!("client {number} request {count}");
        let body = format!(r#"{{"input":{{"text":"{text}"}},"mode":"wait"}}"#);
        let (status, answer) = client.post(PATH, &body).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let expect = format!("{text}: You said: Answer in one sentence: {text}");
        ensure!(
            status == 200 && answer["output"]["answer"] == expect.as_str(),
            "{status}, wanted {expect:?}: {answer}"
        );
        runs.borrow_mut().push(answer["run_id"].as_str().context("no run id")?.to_owned());
        Ok(())
    }
}

/// The store has what was answered.
async fn read_back(server: &Server, runs: &[String]) -> anyhow::Result<()> {
    tokio::time::sleep(OUT_OF_MEMORY).await;
    let mut client = Client::connect(server.address).await?;
    let every = (runs.len() / READ_BACK).max(1);
    let mut read = 0;
    for run in runs.iter().step_by(every) {
        let (status, lines) = client.get(&format!("{PATH}/{run}/updates")).await?;
        ensure!(status == 200, "run {run} is not in the store: {status}");
        let text = String::from_utf8(lines)?;
        let checkpoints = text.matches("\"step_done\"").count();
        ensure!(checkpoints == CHECKPOINTS, "run {run} has {checkpoints} checkpoints: {text}");
        read += 1;
    }
    println!("read back {read} of {} runs from the store, each with its {CHECKPOINTS} checkpoints", runs.len());
    Ok(())
}
