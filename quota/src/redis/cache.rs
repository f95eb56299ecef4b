//! Answers that processes share, in Redis. What it loses is asked for again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::Redis;
use crate::contract::{Cache, QuotaError};

pub struct RedisCache(Arc<Redis>);

impl RedisCache {
    pub fn new(redis: Arc<Redis>) -> Self {
        RedisCache(redis)
    }

    fn key(&self, name: &str) -> String {
        format!("{}cache:{name}", self.0.base)
    }

    fn list(&self, name: &str) -> String {
        format!("{}cached:{name}", self.0.base)
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, QuotaError> {
        let key = self.key(name);
        self.0.link.ask(async |mut connection| ::redis::cmd("GET").arg(&key).query_async(&mut connection).await).await
    }

    async fn put(&self, name: &str, value: &[u8], ttl: Duration) -> Result<(), QuotaError> {
        let (key, ms) = (self.key(name), ttl.as_millis().max(1) as u64);
        let mut set = ::redis::cmd("SET");
        set.arg(&key).arg(value).arg("PX").arg(ms);
        self.0.link.ask(async |mut connection| set.query_async(&mut connection).await).await
    }

    async fn items(&self, name: &str) -> Result<Vec<Vec<u8>>, QuotaError> {
        let mut range = ::redis::cmd("LRANGE");
        range.arg(self.list(name)).arg(0).arg(-1);
        self.0.link.ask(async |mut connection| range.query_async(&mut connection).await).await
    }

    async fn push(&self, name: &str, value: &[u8], most: usize, ttl: Duration) -> Result<(), QuotaError> {
        let (key, last) = (self.list(name), most.max(1) - 1);
        let mut all = ::redis::pipe();
        all.atomic().cmd("LPUSH").arg(&key).arg(value).ignore();
        all.cmd("LTRIM").arg(&key).arg(0).arg(last).ignore();
        all.cmd("PEXPIRE").arg(&key).arg(ttl.as_millis().max(1) as u64).ignore();
        self.0.link.ask(async |mut connection| all.query_async(&mut connection).await).await
    }
}
