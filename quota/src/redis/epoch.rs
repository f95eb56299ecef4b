//! Whether Redis holds the data that it held: a Redis that came back empty would let everybody spend anew. Its data has a
//! name, drawn when it is used for the first time, which is kept outside of it too.

use std::{collections::BTreeMap, sync::Arc};

use ::redis::{AsyncCommands, aio::MultiplexedConnection};
use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{link::Link, unavailable};
use crate::contract::QuotaError;

/// Where the name is kept outside of Redis.
#[async_trait]
pub trait Epochs: Send + Sync + 'static {
    async fn known(&self) -> Result<Option<String>, EpochsUnavailable>;
    /// Sets it, unless it is set; returns what it is.
    async fn set_once(&self, epoch: &str) -> Result<String, EpochsUnavailable>;
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EpochsUnavailable(pub String);

pub struct Epoch {
    key: String,
    epochs: Arc<dyn Epochs>,
    /// Where there is none yet.
    drawn: String,
    known: OnceCell<String>,
}

impl Epoch {
    pub fn new(key: String, epochs: Arc<dyn Epochs>, drawn: String) -> Self {
        Epoch { key, epochs, drawn, known: OnceCell::new() }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub async fn known(&self, link: &Link) -> Result<&str, QuotaError> {
        self.known.get_or_try_init(|| self.learn(link)).await.map(String::as_str)
    }

    pub async fn check(&self, link: &Link) -> Result<(), QuotaError> {
        let known = self.known(link).await?;
        let found = self.read(link).await?;
        if found.as_deref() == Some(known) { Ok(()) } else { Err(self.refused(found.as_deref().unwrap_or_default())) }
    }

    /// Why the data that Redis has now is not worked with.
    pub fn refused(&self, found: &str) -> QuotaError {
        if found.is_empty() {
            return unavailable(format!(
                "Redis has lost its data ({} is not there), and with it what was spent: bring back its appendonly file, \
                 or run `millstream budgets restore`, which counts it anew from the calls in the store",
                self.key
            ));
        }
        unavailable(format!(
            "Redis holds the budgets of another deployment ({} is {found}): set [quota] to the Redis that was used \
             before, or to a prefix of its own",
            self.key
        ))
    }

    pub async fn is_lost(&self, link: &Link) -> Result<bool, QuotaError> {
        let known = self.named_elsewhere().await?;
        match self.read(link).await? {
            None => Ok(true),
            Some(found) if found == known => Ok(false),
            Some(found) => Err(self.refused(&found)),
        }
    }

    pub async fn put_back(&self, link: &Link) -> Result<(), QuotaError> {
        let known = self.named_elsewhere().await?;
        let (key, known) = (&self.key, &known);
        link.ask(|mut connection| async move { connection.set_nx(key, known).await }).await
    }

    async fn named_elsewhere(&self) -> Result<String, QuotaError> {
        let known = self.epochs.known().await.map_err(elsewhere)?;
        known.ok_or_else(|| unavailable("this store has never worked with Redis, so there is nothing to bring back"))
    }

    /// Redis is given its name before the other place is, and nothing is charged before both have it: cut off anywhere,
    /// no Redis is taken for empty that isn't.
    async fn learn(&self, link: &Link) -> Result<String, QuotaError> {
        link.ask(keeps_everything).await?.map_err(unavailable)?;
        let known = self.epochs.known().await.map_err(elsewhere)?;
        let found = match (self.read(link).await?, &known) {
            (Some(found), _) => found,
            (None, Some(_)) => return Err(self.refused("")),
            (None, None) => {
                let (key, drawn) = (&self.key, &self.drawn);
                link.ask(|mut connection| async move {
                    let () = connection.set_nx(key, drawn).await?;
                    connection.get(key).await
                })
                .await?
            }
        };
        let known = match known {
            Some(known) => known,
            None => self.epochs.set_once(&found).await.map_err(elsewhere)?,
        };
        if known == found { Ok(known) } else { Err(self.refused(&found)) }
    }

    async fn read(&self, link: &Link) -> Result<Option<String>, QuotaError> {
        let key = &self.key;
        link.ask(|mut connection| async move { connection.get(key).await }).await
    }
}

fn elsewhere(error: EpochsUnavailable) -> QuotaError {
    unavailable(format!("the name of Redis' data: {error}"))
}

/// Says why it doesn't, where Redis tells.
async fn keeps_everything(mut connection: MultiplexedConnection) -> ::redis::RedisResult<Result<(), String>> {
    let text: String = ::redis::cmd("INFO").query_async(&mut connection).await?;
    let info: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let policy = info.get("maxmemory_policy").copied().unwrap_or("noeviction");
    if policy != "noeviction" {
        return Ok(Err(format!(
            "Redis may throw budgets away (its maxmemory-policy is {policy}): set it to noeviction"
        )));
    }
    if info.get("aof_enabled") == Some(&"0") {
        tracing::warn!("redis keeps no appendonly file: what was spent is lost with its process");
    }
    Ok(Ok(()))
}
