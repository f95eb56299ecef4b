//! The runs of P1: each asks something that no other does, its answer is compared, and later the store is asked for it.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::{load::Client, process::Process};

pub const PATH: &str = "/graphs/three-nodes/runs";
/// Runs that are read back from the store, spread over all.
const READ_BACK: usize = 500;
/// Longer than a run that nobody streamed stays in a sink's memory.
const OUT_OF_MEMORY: Duration = Duration::from_secs(10);
/// Input, START, and one for each node.
const CHECKPOINTS: usize = 5;

/// What is compared of an answer. The rest is not parsed: on the same cores the client's work is part of the figure.
#[derive(Deserialize)]
struct Answer<'a> {
    run_id: &'a str,
    #[serde(borrow)]
    output: Output<'a>,
}

#[derive(Deserialize)]
struct Output<'a> {
    answer: &'a str,
}

/// What the graph answers to a text.
pub fn expected(text: &str) -> String {
    format!("{text}: You said: Answer in one sentence: {text}")
}

/// Waits for a run that no other of any turn is like, compares its answer and keeps its id.
pub fn ask(
    turn: u32,
    runs: Rc<RefCell<Vec<String>>>,
) -> impl AsyncFn(&mut Client, usize, u64) -> anyhow::Result<()> + Clone {
    async move |client: &mut Client, number: usize, count: u64| {
        let text = format!("turn {turn} client {number} request {count}");
        let body = format!(r#"{{"input":{{"text":"{text}"}},"mode":"wait"}}"#);
        let (status, answer) = client.post(PATH, &body).await?;
        let said = || String::from_utf8_lossy(&answer).into_owned();
        ensure!(status == 200, "{status}: {}", said());
        let answer: Answer<'_> = serde_json::from_slice(&answer).with_context(said)?;
        ensure!(
            answer.output.answer == expected(&text),
            "wanted {:?}, got {:?}",
            expected(&text),
            answer.output.answer
        );
        runs.borrow_mut().push(answer.run_id.to_owned());
        Ok(())
    }
}

/// The store has what was answered: each run that is read has its checkpoints, and no run was answered twice.
pub async fn read_back(server: &Process, runs: &[String]) -> anyhow::Result<()> {
    let different: BTreeSet<&String> = runs.iter().collect();
    ensure!(different.len() == runs.len(), "{} answers came of {} runs", runs.len(), different.len());
    tokio::time::sleep(OUT_OF_MEMORY).await;
    let mut client = Client::connect(server.address).await?;
    let mut read = 0;
    for run in runs.iter().step_by((runs.len() / READ_BACK).max(1)) {
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
