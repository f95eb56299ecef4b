//! Embedded logs in folders of their own, whose time the suite can move.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use event_log::{
    EmbeddedLog, EventLog,
    conformance::{Harness, Instance, RETENTION_MS, writer},
    embedded::{Clock, Config},
};
use tempfile::TempDir;

#[derive(Clone)]
pub struct Embedded {
    pub config: Config,
    pub patience: Duration,
}

impl Embedded {
    pub fn new(config: Config) -> Self {
        Embedded { config, patience: Duration::from_secs(10) }
    }
}

#[async_trait]
impl Harness for Embedded {
    async fn fresh(&self) -> Box<dyn Instance> {
        Box::new(Opened::new(self.config.clone()))
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

pub struct Opened {
    folder: TempDir,
    config: Config,
    now: Arc<AtomicI64>,
    log: Option<Arc<EmbeddedLog>>,
}

impl Opened {
    pub fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_700_000_000_000));
        let log = Some(EmbeddedLog::open(folder.path(), config.clone(), clock(&now)).unwrap());
        Opened { folder, config, now, log }
    }

    async fn close(&mut self) {
        self.log.take().expect("an open log").close().await;
    }

    fn open(&mut self) {
        self.log = Some(EmbeddedLog::open(self.folder.path(), self.config.clone(), clock(&self.now)).unwrap());
    }
}

#[async_trait]
impl Instance for Opened {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(self.log.as_ref().expect("an open log")) as Arc<dyn EventLog>
    }

    async fn reopen(&mut self) {
        self.close().await;
        self.open();
    }

    async fn write_and_kill(&mut self, topic: &str, acks_min: usize) -> Option<Vec<writer::Acked>> {
        self.close().await;
        let target = self.folder.path().to_str().expect("a readable path");
        let acked = writer::write_until_killed(target, topic, acks_min).await;
        self.open();
        Some(acked)
    }

    async fn pass_retention(&mut self) -> bool {
        self.now.fetch_add(RETENTION_MS as i64 + 1, Ordering::SeqCst);
        self.log.as_ref().expect("an open log").enforce_retention().await;
        true
    }
}

/// The log that the process of the killed writer opens.
pub fn open_for_writer(folder: &str) -> Arc<EmbeddedLog> {
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    EmbeddedLog::open(Path::new(folder), Config::default(), clock(&now)).unwrap()
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = Arc::clone(now);
    Arc::new(move || now.load(Ordering::SeqCst))
}
