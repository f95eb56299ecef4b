//! Each role as a process of its own, on a Kafka and a CQL store.

use std::path::Path;

use crate::{
    model::CountingModel,
    process::{Process, free_address},
};

/// Where the shared parts are.
#[derive(Clone)]
pub struct Parts {
    pub kafka: String,
    pub cql: String,
    /// Before topics, and the keyspace's name: no other test has it.
    pub name: String,
}

impl Parts {
    /// Those that `cargo xtask test` has started. None where there are none, which CI counts as a failure.
    pub fn shared(what: &str) -> Option<Self> {
        let (Ok(kafka), Ok(cql)) = (std::env::var("MILLSTREAM_TEST_KAFKA"), std::env::var("MILLSTREAM_TEST_CQL"))
        else {
            assert!(
                std::env::var_os("CI").is_none(),
                "under CI the roles are tried on real Kafka and a real CQL store"
            );
            println!("skipped: {what}: MILLSTREAM_TEST_KAFKA and MILLSTREAM_TEST_CQL are not set");
            return None;
        };
        Some(Parts { kafka, cql, name: format!("e2e_{}", free_address().port()) })
    }

    /// The settings of every role, with the alias `default` at `model`.
    pub fn environment(&self, model: &CountingModel, options: &str) -> Vec<(&'static str, String)> {
        let mut environment = model.environment(options);
        environment.extend([
            ("MILLSTREAM__LOG__KIND", "kafka".to_owned()),
            ("MILLSTREAM__LOG__BROKERS", self.kafka.clone()),
            ("MILLSTREAM__LOG__PREFIX", format!("{}-", self.name)),
            ("MILLSTREAM__LOG__PARTITIONS", "2".to_owned()),
            ("MILLSTREAM__LOG__NODE_PARTITIONS", "2".to_owned()),
            ("MILLSTREAM__LOG__CREATE", "true".to_owned()),
            ("MILLSTREAM__STORE__KIND", "scylla".to_owned()),
            ("MILLSTREAM__STORE__NODES", self.cql.clone()),
            ("MILLSTREAM__STORE__KEYSPACE", self.name.clone()),
            ("MILLSTREAM__STORE__CREATE", "true".to_owned()),
            ("MILLSTREAM__SERVER__SECRET", "between-roles".to_owned()),
        ]);
        environment
    }
}

/// One process of each role, and a second worker.
pub struct Deployment {
    pub ingest: Process,
    pub others: Vec<Process>,
    pub model: CountingModel,
}

impl Deployment {
    /// On the shared parts, ready, with the graph `chat`.
    pub async fn start(what: &str, folder: &Path) -> Option<Self> {
        let parts = Parts::shared(what)?;
        Some(Self::start_on(&parts, folder).await)
    }

    pub async fn start_on(parts: &Parts, folder: &Path) -> Self {
        let mut deployment = Self::begin(parts, folder).await;
        deployment.wait_until_ready().await;
        publish_chat(&deployment.ingest).await;
        deployment
    }

    /// Starts all and waits for none.
    pub async fn begin(parts: &Parts, folder: &Path) -> Self {
        let model = CountingModel::start().await;
        let environment = parts.environment(&model, "?latency=60&tokens=8&interval=5");
        let start = |role: &str| Process::start(&[role], &environment, free_address(), folder);
        let ingest = start("ingest");
        let others = ["orchestrator", "sink", "node-worker", "node-worker"].map(start).into();
        Deployment { ingest, others, model }
    }

    pub async fn wait_until_ready(&mut self) {
        for process in self.all() {
            process.wait_until_ready().await;
        }
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.ingest).chain(&mut self.others)
    }

    /// The first process of a role.
    pub fn role(&mut self, name: &str) -> &mut Process {
        self.all().find(|process| process.name() == name).expect("the deployment has the role")
    }
}

pub async fn publish_chat(ingest: &Process) {
    let graph = include_str!("../../../examples/chat.yaml");
    let response = reqwest::Client::new().put(ingest.url("/graphs/chat")).body(graph).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
}
