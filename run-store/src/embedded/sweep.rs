//! Forgets what has expired, a few rows at a time so that no writer waits behind it for long.

use graph::envelope::Millis;

use super::EmbeddedStore;
use crate::{error::StoreError, metrics::observe};

/// How long a deleted state's position is kept: longer than any write of an old owner can be under way.
const TOMBSTONE_KEPT_MS: Millis = 10 * 60 * 1000;
/// Rows that one transaction forgets.
const SWEEP_ROWS: usize = 2_000;

/// How many rows a sweep forgot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub claims: u64,
    pub states: u64,
    pub items: u64,
}

impl EmbeddedStore {
    /// Forgets claims, states and items that expired at or before `now`, and deleted keys some minutes after their end.
    ///
    /// Whoever runs the store calls it every minute or so.
    pub async fn sweep(&self, now: Millis) -> Result<Swept, StoreError> {
        observe("sweep", self.sweep_all(now)).await
    }

    async fn sweep_all(&self, now: Millis) -> Result<Swept, StoreError> {
        self.until_none(
            "UPDATE states SET expires_at = ?1 + ?3 WHERE id IN
                 (SELECT id FROM states WHERE state IS NULL AND expires_at IS NULL LIMIT ?2)",
            now,
            Some(TOMBSTONE_KEPT_MS),
        )
        .await?;
        let states = "DELETE FROM states WHERE id IN
                 (SELECT id FROM states WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT ?2)";
        self.until_none(
            "UPDATE deleted_threads SET expires_at = ?1 + ?3 WHERE owner IN
                 (SELECT owner FROM deleted_threads WHERE expires_at IS NULL LIMIT ?2)",
            now,
            Some(TOMBSTONE_KEPT_MS),
        )
        .await?;
        let deleted = "DELETE FROM deleted_threads WHERE owner IN
                 (SELECT owner FROM deleted_threads WHERE expires_at <= ?1 LIMIT ?2)";
        self.until_none(deleted, now, None).await?;
        let claims = "DELETE FROM claims WHERE (tenant, key) IN
                 (SELECT tenant, key FROM claims WHERE expires_at <= ?1 LIMIT ?2)";
        let items = "DELETE FROM items WHERE id IN
                 (SELECT id FROM items WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT ?2)";
        Ok(Swept {
            claims: self.until_none(claims, now, None).await?,
            states: self.until_none(states, now, None).await?,
            items: self.until_none(items, now, None).await?,
        })
    }

    /// Repeats a statement over at most `?2` rows until it finds fewer.
    async fn until_none(&self, sql: &'static str, now: Millis, kept: Option<Millis>) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let changed = self
                .write(SWEEP_ROWS * 64, move |connection| {
                    let mut statement = connection.prepare_cached(sql)?;
                    let rows = SWEEP_ROWS as i64;
                    Ok(match kept {
                        Some(kept) => statement.execute([now, rows, kept])?,
                        None => statement.execute([now, rows])?,
                    })
                })
                .await?;
            all += changed as u64;
            if changed < SWEEP_ROWS {
                return Ok(all);
            }
        }
    }
}
