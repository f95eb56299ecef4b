//! Each role apart, on real Kafka and a real CQL store: whole runs, two workers on one node, and kill -9 of any role.
//!
//! Needs MILLSTREAM_TEST_KAFKA and MILLSTREAM_TEST_CQL, which `cargo xtask test` sets.

use std::{path::Path, time::Duration};

use serde_json::json;

use crate::{
    kills::{AtRisk, CountingModel, Seeded, begin_runs, check_run, kills, seed},
    process::{Process, folder, free_address, get, post, read_events},
};

/// A deployment: one process of each role, and a second worker.
struct Deployment {
    ingest: Process,
    others: Vec<Process>,
    model: CountingModel,
}

impl Deployment {
    /// None where the real parts are not there, which CI counts as a failure.
    async fn start(name: &str, folder: &Path) -> Option<Self> {
        let (Ok(kafka), Ok(cql)) = (std::env::var("MILLSTREAM_TEST_KAFKA"), std::env::var("MILLSTREAM_TEST_CQL"))
        else {
            assert!(
                std::env::var_os("CI").is_none(),
                "under CI the roles are tried on real Kafka and a real CQL store"
            );
            println!("skipped: {name}: MILLSTREAM_TEST_KAFKA and MILLSTREAM_TEST_CQL are not set");
            return None;
        };
        let model = CountingModel::start().await;
        let unique = free_address().port();
        let mut environment = model.environment("?latency=60&tokens=8&interval=5");
        environment.extend([
            ("MILLSTREAM__LOG__KIND", "kafka".to_owned()),
            ("MILLSTREAM__LOG__BROKERS", kafka),
            ("MILLSTREAM__LOG__PREFIX", format!("e2e-{unique}-")),
            ("MILLSTREAM__LOG__PARTITIONS", "2".to_owned()),
            ("MILLSTREAM__LOG__NODE_PARTITIONS", "2".to_owned()),
            ("MILLSTREAM__LOG__CREATE", "true".to_owned()),
            ("MILLSTREAM__STORE__KIND", "scylla".to_owned()),
            ("MILLSTREAM__STORE__NODES", cql),
            ("MILLSTREAM__STORE__KEYSPACE", format!("e2e_{unique}")),
            ("MILLSTREAM__STORE__CREATE", "true".to_owned()),
            ("MILLSTREAM__SERVER__SECRET", "between-roles".to_owned()),
        ]);
        // The first makes topics and tables; the others find them.
        let mut ingest = Process::start(&["ingest"], &environment, free_address(), folder);
        ingest.wait_until_ready().await;
        let mut others = Vec::new();
        for role in ["orchestrator", "sink", "node-worker", "node-worker"] {
            let mut process = Process::start(&[role], &environment, free_address(), folder);
            process.wait_until_ready().await;
            others.push(process);
        }
        let graph = include_str!("../../../examples/chat.yaml");
        let response = reqwest::Client::new().put(ingest.url("/graphs/chat")).body(graph).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        Some(Deployment { ingest, others, model })
    }
}

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

#[tokio::test]
async fn any_role_may_be_killed_in_the_middle_of_runs() {
    let folder = folder();
    let Some(mut deployment) = Deployment::start("kills of roles", folder.path()).await else { return };
    let mut random = Seeded::new(seed());
    let (mut runs, mut at_risk) = (Vec::new(), AtRisk::default());
    for kill in 0..kills() {
        at_risk.settle(&deployment.ingest).await;
        let begun = begin_runs(&deployment.ingest, kill, 6).await;
        at_risk.take(&begun);
        runs.extend(begun);
        tokio::time::sleep(Duration::from_millis(random.below(250))).await;
        let victim = random.below(deployment.others.len() as u64) as usize;
        println!("kill {kill}: {}", deployment.others[victim].name());
        deployment.others[victim].restart();
        deployment.others[victim].wait_until_ready().await;
    }
    for run in &runs {
        check_run(&deployment.ingest, run).await;
    }
    at_risk.check(deployment.model.calls(), runs.len() as u64);
}
