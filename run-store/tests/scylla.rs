//! The store on a real CQL server: Cassandra here, in the CQL that it shares with ScyllaDB.
//!
//! `MILLSTREAM_TEST_CQL=host:port` names the server (`cargo xtask backends up` starts one). Without it these tests
//! say so and pass, except where `CI=true`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use graph::{envelope::Millis, world::Clock};
use run_store::{
    Meta, RunStore, ScyllaStore, StoreError,
    conformance::{self, Harness},
    items::LongTermStore,
    scylla::Config,
};
use tokio::sync::OnceCell;

#[path = "recorded/meaning.rs"]
mod meaning;
#[path = "recorded/operations.rs"]
mod operations;

/// Later than every run of the suite.
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Millis {
        1_790_000_000_000
    }
}

/// None where there is no server to test on.
fn config(keyspace: &str) -> Option<Config> {
    match std::env::var("MILLSTREAM_TEST_CQL") {
        Ok(node) => Some(Config { create: true, replication_factor: 1, ..Config::new(vec![node], keyspace) }),
        Err(_) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("set MILLSTREAM_TEST_CQL to the host:port of a CQL server")
        }
        Err(_) => {
            println!("skipped: MILLSTREAM_TEST_CQL names no CQL server");
            None
        }
    }
}

/// One keyspace serves every case, and every run of the suite.
struct ScyllaHarness {
    config: Config,
    open: OnceCell<Arc<ScyllaStore>>,
    next: AtomicU64,
}

impl ScyllaHarness {
    #[allow(clippy::disallowed_methods, reason = "names must differ from those of every earlier run of the tests")]
    fn new(config: Config) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
        ScyllaHarness { config, open: OnceCell::new(), next: AtomicU64::new(now.as_micros() as u64) }
    }
}

#[async_trait]
impl Harness for ScyllaHarness {
    async fn open(&self) -> Result<Arc<dyn RunStore>, StoreError> {
        let opening = || ScyllaStore::connect(self.config.clone(), Arc::new(Fixed));
        let store: Arc<ScyllaStore> = self.open.get_or_try_init(opening).await?.clone();
        Ok(store)
    }

    async fn reopen(&self) -> Result<Arc<dyn RunStore>, StoreError> {
        let store: Arc<ScyllaStore> = ScyllaStore::connect(self.config.clone(), Arc::new(Fixed)).await?;
        Ok(store)
    }

    async fn forget(&self, _now: Millis) -> Result<(), StoreError> {
        // The servers let go by themselves.
        Ok(())
    }

    fn unique(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    let Some(config) = config("millstream_suite") else { return };
    let failed = conformance::run_all(&ScyllaHarness::new(config)).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// On the same keyspace, with tenants of their own.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_long_term_store_as_langgraphs_own() {
    let Some(config) = config("millstream_suite") else { return };
    let number = ScyllaHarness::new(config.clone()).unique();
    let (done, found) = (format!("{number}-done-"), format!("{number}-found-"));
    let items = ScyllaStore::connect(config, Arc::new(Fixed)).await.expect("a CQL server");
    let store = LongTermStore::new(items, Arc::new(Fixed));
    tokio::join!(operations::play(&store, &done), meaning::play(&store, &found));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_keyspace_is_not_made_unasked() {
    let Some(config) = config("millstream_absent") else { return };
    let config = Config { create: false, ..config };
    let opened = ScyllaStore::connect(config, Arc::new(Fixed)).await;
    assert!(matches!(opened, Err(StoreError::Schema { found: 0, wanted: 6 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_start_together_make_the_tables_once() {
    let Some(config) = config("millstream_together") else { return };
    let connect = || ScyllaStore::connect(config.clone(), Arc::new(Fixed));
    let (a, b, c) = tokio::try_join!(connect(), connect(), connect()).expect("three roles that start together");
    let held = a.set_once("generation", "1").await.unwrap();
    for role in [b, c] {
        assert_eq!(role.set_once("generation", "2").await.unwrap(), held);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let config = Config::new(vec!["127.0.0.1:1".into()], "millstream");
    let opened = ScyllaStore::connect(config, Arc::new(Fixed)).await;
    assert!(matches!(opened, Err(StoreError::Unavailable { .. })));
}
