//! Reads an update out of a record, or sets the record aside.

use std::sync::Arc;

use bytes::Bytes;
use event_log::{Fetched, LogError};
use run_store::Position;
use schemas::{
    record::{DeadLetter, UpdateRecord},
    reference::Referring,
    topic::DEAD_LETTERS,
};
use tracing::{error, warn};

use super::{CONSUMER, append};
use crate::{
    materialize, metrics as names,
    shared::{Backoff, Shared},
};

/// An update that could be read; its values may have to be read yet.
pub struct Update {
    pub record: Arc<UpdateRecord>,
    pub payload: Bytes,
    pub position: Position,
    /// Its values are in their places.
    pub is_whole: bool,
    /// What it takes away has left the store.
    pub is_removed: bool,
}

/// The update in a record, or why there is none.
pub fn decode(fetched: &Fetched) -> Result<Update, String> {
    let record =
        fetched.json::<UpdateRecord>().map_err(|bad| format!("no update that this version can read: {bad}"))?;
    record.check_references().map_err(|bad| bad.to_string())?;
    let position = materialize::position(record.position)
        .ok_or_else(|| "the position that caused the update is beyond what a log has".to_owned())?;
    let is_whole = record.references.is_none();
    Ok(Update { record, payload: fetched.record.payload.clone(), position, is_whole, is_removed: false })
}

/// Puts a record that nobody can read where people look. Its offset is passed only when it is there.
pub fn set_aside(shared: &Arc<Shared>, fetched: &Fetched, reason: String, done: impl FnOnce() + Send + 'static) {
    error!(partition = fetched.partition, offset = fetched.offset, reason, "a record of updates is set aside");
    names::dead_letters().increment(1);
    let headers = fetched.record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    let letter = DeadLetter::of(
        shared.deps.clock.now(),
        CONSUMER,
        reason,
        (&fetched.topic, fetched.partition, fetched.offset),
        (&fetched.record.key, &fetched.record.payload),
        headers,
    );
    let shared = Arc::clone(shared);
    shared.tasks.clone().spawn(async move {
        let mut backoff = Backoff::new(shared.config.retry_pause);
        let letter = Arc::new(letter);
        loop {
            match append(&shared, DEAD_LETTERS, &letter).await {
                // One that no log takes would keep its partition from ever being committed.
                Ok(()) | Err(LogError::RecordTooLarge { .. } | LogError::Closed) => return done(),
                Err(failed) => warn!(error = %failed, "a dead letter could not be appended; this is tried again"),
            }
            backoff.pause().await;
        }
    });
}
