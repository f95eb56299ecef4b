//! What LangGraph does with random graphs, through the real owner: records of `runs` in, tasks and updates out, states and
//! checkpoints in the store. A case must come to what was recorded whatever fails on the way.

mod faulty_log;
mod faulty_store;
mod player;
mod replay;
mod stage;

use futures_util::{StreamExt, stream};
use semantics::{case::Case, tally};

use player::Player;
use stage::{Faults, Stage};

/// Cases that are played at the same time, each on a thread of its own.
const AT_ONCE: usize = 48;

/// Every `step`-th case of a file; all with `SEMANTICS=all`.
fn cases(file: &str, step: usize) -> Vec<Case> {
    let step = if std::env::var("SEMANTICS").is_ok_and(|which| which == "all") { 1 } else { step };
    let (cases, _) = tally::load(&tally::recorded(file));
    cases.into_iter().step_by(step).collect()
}

async fn hold(cases: &[Case], faults: Faults) -> Stage {
    let stage = Stage::open(faults).await;
    let played = stream::iter(cases).map(|case| Player::play(&stage, case)).buffer_unordered(AT_ONCE);
    let failures: Vec<String> = played.filter_map(async |played| played.err()).collect().await;
    let shortest = failures.iter().min_by_key(|why| why.len());
    assert!(failures.is_empty(), "{} of {} cases fail, the shortest: {shortest:#?}", failures.len(), cases.len());
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_cases_hold_through_the_owner() {
    let mut cases = cases("cases.jsonl.gz", 9);
    cases.extend(self::cases("rich.jsonl.gz", 4));
    hold(&cases, Faults::default()).await.close().await;
}

/// The process dies at any append, and whoever comes next goes on from what the store and the log have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_cases_hold_through_kills() {
    let mut cases = cases("cases.jsonl.gz", 29);
    cases.extend(self::cases("rich.jsonl.gz", 9));
    cases.extend(self::cases("exit.jsonl.gz", 8));
    let stage = hold(&cases, Faults { kill_every: 150, ..Faults::default() }).await;
    let (kills, repeats) = (stage.kills(), stage.log.repeats());
    assert!(kills > 10 && repeats > 10, "{kills} kills and {repeats} outputs that came again prove little");
    stage.close().await;
}

/// The log loses appends or doesn't say that it has them, and the store refuses now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_cases_hold_through_failures_of_log_and_store() {
    let mut cases = cases("cases.jsonl.gz", 29);
    cases.extend(self::cases("rich.jsonl.gz", 11));
    let stage = hold(&cases, Faults { fail_append_every: 700, refuse_every: 7, ..Faults::default() }).await;
    let (failed, refused) = (stage.log.failed(), stage.store.refused());
    assert!(failed > 2 && refused > 10, "{failed} failed appends and {refused} refused calls prove little");
    stage.close().await;
}
