//! Logs on one broker, kept apart by a prefix of their names.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use event_log::{
    EventLog,
    conformance::{Harness, Instance, RETENTION_MS, writer},
    kafka::{Config, KafkaLog},
};

/// The broker looks for what is past its retention every second.
const RETENTION_CHECK: Duration = Duration::from_secs(5);

pub struct Broker;

#[async_trait]
impl Harness for Broker {
    fn missing(&self) -> Option<&'static str> {
        brokers().is_none().then_some("MILLSTREAM_TEST_KAFKA is not set")
    }

    async fn fresh(&self) -> Box<dyn Instance> {
        let brokers = brokers().expect("it is not missing");
        let log = connect_to(brokers.clone()).await;
        Box::new(Connected { brokers, prefix: new_name("suite"), log })
    }

    /// A member joins, or hears that it must let go, with a heartbeat: every 2 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// Where the broker is. Under CI it has to be somewhere.
pub fn brokers() -> Option<String> {
    let brokers = std::env::var("MILLSTREAM_TEST_KAFKA").ok();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(brokers.is_some() || !ci, "MILLSTREAM_TEST_KAFKA is not set");
    brokers
}

pub async fn connect_to(brokers: String) -> Arc<KafkaLog> {
    Arc::new(KafkaLog::connect(Config::new(brokers)).await.expect("the broker answers"))
}

/// A name that no test has used before.
pub fn new_name(of: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    format!("{of}-{}", since.as_nanos())
}

struct Connected {
    brokers: String,
    prefix: String,
    log: Arc<KafkaLog>,
}

#[async_trait]
impl Instance for Connected {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    async fn reopen(&mut self) {
        self.log.close().await;
        self.log = connect_to(self.brokers.clone()).await;
    }

    async fn write_and_kill(&mut self, topic: &str, acks_min: usize) -> Option<Vec<writer::Acked>> {
        self.log.close().await;
        let acked = writer::write_until_killed(&self.brokers, topic, acks_min).await;
        self.log = connect_to(self.brokers.clone()).await;
        Some(acked)
    }

    async fn pass_retention(&mut self) -> bool {
        tokio::time::sleep(Duration::from_millis(RETENTION_MS) + RETENTION_CHECK).await;
        true
    }
}
