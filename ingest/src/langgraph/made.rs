//! What is kept beside a thread: what was said of it when it was made, and by which request.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    refusal::Refusal,
    submit::{ClaimedKey, mismatch},
};

/// What is kept of a thread that has no run yet.
#[derive(Serialize, Deserialize)]
pub(super) struct Made {
    pub created_at: i64,
    pub metadata: BTreeMap<String, Value>,
    /// The idempotency key of the request that made it, and what it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct MadeBy {
    key: String,
    body: String,
}

impl MadeBy {
    pub fn of(claim: &ClaimedKey) -> Self {
        MadeBy { key: claim.key.clone(), body: claim.body() }
    }
}

impl Made {
    /// Whether this request made the thread, and comes again while its key is held.
    pub fn is_repeated_by(&self, claim: &ClaimedKey, now: i64, held: Duration) -> Result<bool, Refusal> {
        let made_by = self.made_by.as_ref().filter(|_| now - self.created_at < held.as_millis() as i64);
        match made_by.filter(|made_by| made_by.key == claim.key) {
            Some(made_by) if *made_by == MadeBy::of(claim) => Ok(true),
            Some(_) => Err(mismatch()),
            None => Ok(false),
        }
    }
}
