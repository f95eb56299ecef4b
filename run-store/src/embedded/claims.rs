//! Idempotency keys.

use async_trait::async_trait;
use graph::envelope::Millis;
use rusqlite::{Connection, OptionalExtension, params};

use super::EmbeddedStore;
use crate::{
    contract::Claims,
    error::StoreError,
    metrics::observe,
    rows::{Claim, Claimed},
    stored::{corrupt, uuid},
};

#[async_trait]
impl Claims for EmbeddedStore {
    async fn claim(&self, claim: &Claim, now: Millis) -> Result<Claimed, StoreError> {
        let wanted = claim.clone();
        observe("claim", self.write(128, move |connection| take(connection, &wanted, now))).await
    }
}

fn take(connection: &Connection, wanted: &Claim, now: Millis) -> Result<Claimed, StoreError> {
    if let Some(held) = held(connection, wanted, now)? {
        return Ok(Claimed::Taken(held));
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO claims (tenant, key, run_id, body_hash, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            wanted.tenant,
            wanted.key,
            wanted.run_id.as_bytes(),
            wanted.body_hash.as_slice(),
            wanted.expires_at
        ])?;
    Ok(Claimed::New)
}

fn held(connection: &Connection, wanted: &Claim, now: Millis) -> Result<Option<Claim>, StoreError> {
    let row: Option<(Vec<u8>, Vec<u8>, Millis)> = connection
        .prepare_cached(
            "SELECT run_id, body_hash, expires_at FROM claims WHERE tenant = ?1 AND key = ?2 AND expires_at > ?3",
        )?
        .query_row(params![wanted.tenant, wanted.key, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((run_id, body_hash, expires_at)) = row else { return Ok(None) };
    Ok(Some(Claim {
        tenant: wanted.tenant.clone(),
        key: wanted.key.clone(),
        run_id: uuid(&run_id)?,
        body_hash: body_hash.try_into().map_err(|_| corrupt("a claim's hash has not 32 bytes"))?,
        expires_at,
    }))
}
