//! Budgets on one Redis, each test's under a prefix of its own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use graph::{
    envelope::Millis,
    world::{Clock, Random},
};
use quota::{
    Budgets, QuotaError, RateLimits, Redis, RedisBudgets, RedisRates,
    conformance::Harness,
    redis::{Config, Epochs, EpochsUnavailable},
};

static NEXT: AtomicU64 = AtomicU64::new(0);

pub struct Shared {
    pub config: Config,
    pub epochs: Arc<Known>,
}

impl Shared {
    /// None where there is no server to test on.
    pub fn find() -> Option<Self> {
        let address = match std::env::var("MILLSTREAM_TEST_REDIS") {
            Ok(address) => address,
            Err(_) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                panic!("set MILLSTREAM_TEST_REDIS to the host:port of a Redis")
            }
            Err(_) => {
                println!("skipped: Redis: MILLSTREAM_TEST_REDIS is not set");
                return None;
            }
        };
        let config = Config { url: format!("redis://{address}"), prefix: new_name() };
        Some(Shared { config, epochs: Arc::default() })
    }

    /// The same server, with nothing in it yet.
    pub fn apart(&self) -> Self {
        Shared { config: Config { prefix: new_name(), ..self.config.clone() }, epochs: Arc::default() }
    }

    pub fn redis(&self) -> Redis {
        Redis::new(&self.config, Arc::clone(&self.epochs) as _, &Drawn).expect("an address")
    }

    pub fn budgets(&self) -> RedisBudgets {
        RedisBudgets::new(Arc::new(self.redis()))
    }

    pub fn rates(&self, limits: RateLimits) -> RedisRates {
        RedisRates::new(Arc::new(self.redis()), limits)
    }

    pub async fn connection(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(self.config.url.as_str()).expect("an address");
        client.get_multiplexed_async_connection().await.expect("Redis")
    }

    pub fn key(&self, key: &str) -> String {
        format!("{{{}}}:{key}", self.config.prefix)
    }
}

#[async_trait]
impl Harness for Shared {
    async fn open(&self) -> Result<Arc<dyn Budgets>, QuotaError> {
        Ok(Arc::new(self.budgets()))
    }

    async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn unique(&self) -> u64 {
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

/// A name that no test has used before.
pub fn new_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    format!("test-{}-{}", since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a store would know of Redis.
#[derive(Default)]
pub struct Known(pub Mutex<Option<String>>);

#[async_trait]
impl Epochs for Known {
    async fn known(&self) -> Result<Option<String>, EpochsUnavailable> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn set_once(&self, epoch: &str) -> Result<String, EpochsUnavailable> {
        Ok(self.0.lock().unwrap().get_or_insert_with(|| epoch.to_owned()).clone())
    }
}

/// A number that no other process draws.
pub struct Drawn;

impl Random for Drawn {
    fn next_u64(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        (since.as_nanos() as u64).wrapping_mul(31) + NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
pub struct At(AtomicI64);

impl At {
    pub fn pass(&self, ms: Millis) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for At {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a balance looks like for whoever reads Redis by hand.
pub async fn fields(shared: &Shared, account: &str) -> BTreeMap<String, String> {
    let mut connection = shared.connection().await;
    ::redis::AsyncCommands::hgetall(&mut connection, shared.key(&format!("account:{account}"))).await.expect("Redis")
}
