//! Idempotency keys, by lightweight transactions.

use async_trait::async_trait;
use graph::envelope::Millis;

use super::ScyllaStore;
use crate::{
    contract::Claims,
    error::StoreError,
    metrics::observe,
    rows::{Claim, Claimed},
    stored::{corrupt, uuid},
};

/// How often a claim is tried while others take and lose the same key in between.
const TRIES_MAX: usize = 5;

#[async_trait]
impl Claims for ScyllaStore {
    async fn claim(&self, claim: &Claim, now: Millis) -> Result<Claimed, StoreError> {
        observe("claim", self.take(claim, now)).await
    }
}

impl ScyllaStore {
    async fn take(&self, claim: &Claim, now: Millis) -> Result<Claimed, StoreError> {
        let Claim { tenant, key, run_id, body_hash, expires_at } = claim;
        let ttl = seconds_to_live(*expires_at, now);
        let (run, hash) = (run_id.as_bytes().as_slice(), body_hash.as_slice());
        for _ in 0..TRIES_MAX {
            if self.applied(&self.statements.claim, (tenant, key, run, hash, expires_at, ttl)).await? {
                return Ok(Claimed::New);
            }
            let Some(held) = self.held(claim).await? else { continue };
            if held.expires_at > now {
                return Ok(Claimed::Taken(held));
            }
            let seen = held.run_id.as_bytes().as_slice();
            let again = (ttl, run, hash, expires_at, tenant, key, seen, held.expires_at);
            if self.applied(&self.statements.claim_again, again).await? {
                return Ok(Claimed::New);
            }
        }
        Err(StoreError::Unavailable { reason: "too many requests claim the same key".into() })
    }

    async fn held(&self, claim: &Claim) -> Result<Option<Claim>, StoreError> {
        let found: Option<(Vec<u8>, Vec<u8>, i64)> =
            self.first(&self.statements.find_claim, (&claim.tenant, &claim.key)).await?;
        let Some((run_id, body_hash, expires_at)) = found else { return Ok(None) };
        Ok(Some(Claim {
            tenant: claim.tenant.clone(),
            key: claim.key.clone(),
            run_id: uuid(&run_id)?,
            body_hash: body_hash.try_into().map_err(|_| corrupt("a claim's hash has not 32 bytes"))?,
            expires_at,
        }))
    }
}

/// Expiry beyond this is kept for good: Cassandra refuses what would expire after 2038.
const LIVE_SECONDS_MAX: i64 = 5 * 365 * 24 * 60 * 60;

/// A TTL, at least one second; 0 keeps the row.
pub(super) fn seconds_to_live(expires_at: Millis, now: Millis) -> i32 {
    let seconds = expires_at.saturating_sub(now).saturating_add(999) / 1000;
    if seconds > LIVE_SECONDS_MAX { 0 } else { seconds.max(1) as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_lives_no_shorter_than_asked() {
        for (expires_at, expect) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (86_400_000, 86_400), (i64::MAX, 0)] {
            assert_eq!(seconds_to_live(expires_at, 0), expect);
        }
    }
}
