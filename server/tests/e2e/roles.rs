//! Each role apart, on real Kafka and a real CQL store: whole runs, two workers on one node, and kill -9 of any role.
//!
//! Needs MILLSTREAM_TEST_KAFKA and MILLSTREAM_TEST_CQL, which `cargo xtask test` sets. MILLSTREAM_ROLES names the roles
//! that are killed: all of them unless told.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use crate::{
    deployment::Deployment,
    kills::{kills, seed},
    process::{folder, get, post, read_events},
    runs::{AtRisk, Keyed, Seeded, begin_keyed, check_run, follow, listed},
};

/// Runs begun around each kill; the first of them is watched.
const RUNS_A_KILL: usize = 6;
/// Longer than Kafka waits for a member that says nothing.
const STILL: Duration = Duration::from_secs(12);

#[tokio::test]
async fn roles_apart_serve_chats_and_streams() {
    let folder = folder();
    let Some(deployment) = Deployment::start("roles apart", folder.path()).await else { return };
    let ingest = &deployment.ingest;
    let (status, first) = post(ingest, "/chat", &json!({"message": "hello"})).await;
    assert_eq!((status, &first["status"]), (200, &json!("success")), "{first}");
    let (_, second) = post(ingest, "/chat", &json!({"message": "again", "thread_id": first["thread_id"]})).await;
    assert_eq!(second["output"]["messages"].as_array().map(Vec::len), Some(4), "{second}");
    let response = reqwest::Client::new()
        .post(ingest.url("/chat"))
        .json(&json!({"message": "one two", "stream": true}))
        .send()
        .await
        .unwrap();
    let (events, done) = read_events(response).await;
    assert!(done, "{events:?}");
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("final"));
    let (_, list) = get(ingest, "/graphs/chat/runs?status=success").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(3), "{list}");
}

/// Whoever stands still for longer than its session loses its partitions without hearing of it. What it does when it goes
/// on counts no more, and what it gets back it serves.
#[tokio::test]
async fn processes_may_stand_still_beyond_their_session() {
    let folder = folder();
    let Some(deployment) = Deployment::start("processes that stand still", folder.path()).await else { return };
    let base = deployment.ingest.url("");
    let mut workers = deployment.others.iter().filter(|process| process.name() == "node-worker");
    let begin = async |when: &str| {
        let mut begun = Vec::new();
        for number in 0..RUNS_A_KILL {
            begun.push(begin_keyed(&base, &format!("{when} {number}")).await.run);
        }
        begun
    };
    let check = async |runs: Vec<String>| {
        for run in &runs {
            check_run(&deployment.ingest, run).await;
        }
    };

    // All at once, with nobody to take over: each gets back what it lost.
    let runs = begin("before all").await;
    deployment.others.iter().for_each(|process| process.stand_still(true));
    tokio::time::sleep(STILL).await;
    deployment.others.iter().for_each(|process| process.stand_still(false));
    check(runs).await;
    check(begin("after all").await).await;

    // One worker of two: the other one does its tasks, and gives back what it took when the first goes on.
    let still = workers.next_back().expect("two workers");
    let runs = begin("before one").await;
    still.stand_still(true);
    check(runs).await;
    check(begin("without it").await).await;
    still.stand_still(false);
    for round in 0..3 {
        check(begin(&format!("with it {round}")).await).await;
    }
}

#[tokio::test]
async fn each_role_may_be_killed_in_the_middle_of_runs() {
    let folder = folder();
    let Some(mut deployment) = Deployment::start("kills of roles", folder.path()).await else { return };
    let mut random = Seeded::new(seed());
    let mut runs = BTreeSet::new();
    let wanted =
        std::env::var("MILLSTREAM_ROLES").unwrap_or_else(|_| "ingest,orchestrator,sink,node-worker".to_owned());
    for role in wanted.split(',') {
        kill_again_and_again(&mut deployment, role, &mut random, &mut runs).await;
    }
    assert_eq!(listed(&deployment.ingest).await, runs, "a request was begun twice, or a run is not listed");
}

/// Kills processes of one role, with runs under way and one stream open each time, and checks all of them afterwards.
async fn kill_again_and_again(
    deployment: &mut Deployment,
    role: &str,
    random: &mut Seeded,
    all: &mut BTreeSet<String>,
) {
    let (mut runs, mut at_risk): (Vec<Keyed>, _) = (Vec::new(), AtRisk::default());
    let calls_before = deployment.model.calls();
    let base = deployment.ingest.url("");
    let mut cuts = 0;
    for kill in 0..kills() {
        at_risk.settle(&deployment.ingest).await;
        let keys: Vec<String> = (0..RUNS_A_KILL).map(|number| format!("{role} kill {kill} run {number}")).collect();
        let watched = async {
            let first = begin_keyed(&base, &keys[0]).await;
            let followed = follow(&base, &first.run).await;
            followed.check(&first.run);
            (first, followed.cuts)
        };
        let begun = async {
            let mut begun = Vec::new();
            for key in &keys[1..] {
                begun.push(begin_keyed(&base, key).await);
            }
            begun
        };
        let moment = Duration::from_millis(random.below(250));
        let killed = async {
            tokio::time::sleep(moment).await;
            let candidates: Vec<_> = deployment.all().filter(|process| process.name() == role).collect();
            let which = random.below(candidates.len() as u64) as usize;
            let victim = candidates.into_iter().nth(which).expect("it is below their number");
            victim.restart();
            victim.wait_until_ready().await;
        };
        let ((first, cut), begun, ()) = tokio::join!(watched, begun, killed);
        cuts += cut;
        let begun: Vec<Keyed> = std::iter::once(first).chain(begun).collect();
        at_risk.take(&begun.iter().map(|keyed| keyed.run.clone()).collect::<Vec<_>>());
        runs.extend(begun);
    }
    for keyed in &runs {
        check_run(&deployment.ingest, &keyed.run).await;
    }
    let calls = deployment.model.calls() - calls_before;
    let setbacks: Vec<&String> = runs.iter().flat_map(|keyed| &keyed.setbacks).collect();
    println!(
        "{role}: {} kills, {} runs, {calls} model calls, {} requests asked again, {cuts} streams cut",
        kills(),
        runs.len(),
        setbacks.len()
    );
    match role {
        // A claimed key is the same run, so that a request whose answer was lost is asked again without harm.
        "ingest" => {
            for keyed in &runs {
                let again = begin_keyed(&base, &keyed.key).await;
                assert_eq!(again.run, keyed.run, "{}: one key, one run", keyed.key);
            }
        }
        _ => assert!(setbacks.is_empty(), "{role}: a request was refused though ingest lives: {setbacks:?}"),
    }
    match role {
        "node-worker" => at_risk.check(calls, runs.len() as u64),
        // No worker died, and a copy of a task meets the one that has the first.
        _ => assert_eq!(calls, runs.len() as u64, "{role}: a model call was repeated"),
    }
    all.extend(runs.into_iter().map(|keyed| keyed.run));
}
