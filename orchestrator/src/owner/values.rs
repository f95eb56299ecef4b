//! Values by reference: read before a record is applied, stored before an output that names them is appended. Only the
//! key that they belong to waits.

use std::{collections::VecDeque, sync::Arc};

use event_log::Offset;
use futures_util::FutureExt;
use graph::{
    envelope::Key,
    event::{Copied, Edit, Event, Request},
    state::KeyState,
    task::{TaskError, TaskResult},
};
use run_store::{
    Blobs, Position,
    rows::StateRow,
    values::{ValueMissing, Values, await_values, put_values_until_taken},
};
use schemas::{
    record::RunsRecord,
    reference::{self, Referring},
};

use super::{Done, Owner, Parked, Slot};
use crate::{error::Error, outputs::Formed};

impl Owner {
    /// The key waits until the values of this record are there.
    pub(super) fn park_for_values(&mut self, key: &Key, parked: Parked) {
        let Some(Slot::Ready(resident)) = self.slots.remove(key) else { return };
        let (record, offset) = (Arc::clone(&parked.record), parked.offset);
        self.slots.insert(key.clone(), Slot::Waiting { resident: Some(resident), records: VecDeque::from([parked]) });
        let (blobs, key) = (Arc::clone(&self.deps.blobs), key.clone());
        self.work.push(
            async move {
                let found = match &record.references {
                    Some(references) => await_values(&*blobs, &references.owner, &references.wanted()).await,
                    None => Ok(Values::new()),
                };
                Done::Values { key, offset, found }
            }
            .boxed(),
        );
    }

    pub(super) fn on_values(
        &mut self,
        key: Key,
        offset: Offset,
        found: Result<Values, ValueMissing>,
    ) -> Result<(), Error> {
        let Some(Slot::Waiting { resident, records }) = self.slots.get_mut(&key) else { return Ok(()) };
        let Some(first) = records.front_mut().filter(|first| first.offset == offset) else { return Ok(()) };
        first.record = Arc::new(whole(first, found));
        first.payload = None;
        match resident.take() {
            Some(resident) => self.resume(key, resident),
            None => Ok(()),
        }
    }

    /// Keeps a key's outputs in order until their values are stored.
    pub(super) fn hold(&mut self, key: &Key, formed: Formed) {
        self.held.insert(key.clone(), VecDeque::from([formed]));
        self.store_next_values(key);
    }

    fn store_next_values(&mut self, key: &Key) {
        let Some(next) = self.held.get_mut(key).and_then(|held| held.front_mut()) else { return };
        let (offset, values, copy) = (next.offset, next.values.take(), next.copy.take());
        let begins = copy.map(|copy| self.begin_copy(key.clone(), offset, *copy));
        let (blobs, key) = (Arc::clone(&self.deps.blobs), key.clone());
        self.work.push(
            async move {
                if let Some((owner, values)) = values {
                    put_values_until_taken(&*blobs, &owner, &values).await;
                }
                let result = match begins {
                    Some(begins) => begins.await,
                    None => Ok(()),
                };
                Done::ValuesStored { key, result }
            }
            .boxed(),
        );
    }

    pub(super) fn on_values_stored(&mut self, key: &Key) {
        while let Some(formed) = self.held.get_mut(key).and_then(|held| held.pop_front()) {
            self.send(key, formed);
            match self.held.get(key).and_then(VecDeque::front) {
                Some(next) if next.is_held() => return self.store_next_values(key),
                Some(_) => {}
                None => {
                    self.held.remove(key);
                }
            }
        }
    }
}

/// The record as it was written, or what it comes to without its values.
fn whole(parked: &Parked, found: Result<Values, ValueMissing>) -> RunsRecord {
    let record = &*parked.record;
    let filled = match (&record.references, &parked.payload, found) {
        (Some(references), Some(payload), Ok(values)) => {
            RunsRecord::filled(payload, references, &values).map_err(|error| error.to_string())
        }
        (_, _, Err(missing)) => Err(missing.to_string()),
        (None, _, _) | (_, None, _) => Ok(record.clone()),
    };
    filled.unwrap_or_else(|reason| {
        tracing::error!(
            run.id = %record.envelope.run_id,
            offset = parked.offset,
            reason,
            "a value of a record is gone; what it belongs to fails"
        );
        without_values(record, &reason)
    })
}

/// A result fails its task, a request its run, and an edit is refused. The store has answered for ten seconds that it lacks the value, so every
/// replay comes to the same.
fn without_values(record: &RunsRecord, reason: &str) -> RunsRecord {
    let message = format!("a value that the record names is gone: {reason}");
    let event = match &record.event {
        Event::TaskFinished(result) => Event::TaskFinished(Box::new(TaskResult {
            task_id: result.task_id,
            issue: result.issue,
            execution: result.execution,
            attempt: result.attempt,
            node: result.node.clone(),
            last_token: result.last_token,
            calls: result.calls.clone(),
            error: Some(TaskError {
                class: "value_missing".to_owned(),
                message,
                kind: None,
                retryable: true,
                ..TaskError::default()
            }),
            ..TaskResult::default()
        })),
        Event::Requested(request) => Event::Requested(Box::new(Request {
            claimed: request.claimed,
            repeat: request.repeat,
            new_thread: request.new_thread,
            multitask: request.multitask,
            after_ms: request.after_ms,
            keeps_last: request.keeps_last,
            ttl: request.ttl,
            missing: Some(message),
            ..Request::default()
        })),
        Event::StateEdited(edit) => {
            let missing = Some(message);
            Event::StateEdited(Box::new(Edit { claimed: edit.claimed, missing, ..Edit::default() }))
        }
        Event::CopyBegun(copied) => {
            let (from, missing) = (copied.from.clone(), Some(message));
            Event::CopyBegun(Box::new(Copied { from, missing, ..Copied::default() }))
        }
        Event::TaskKept { .. }
        | Event::TaskGivenBack { .. }
        | Event::ThreadDeleted
        | Event::ThreadPruned
        | Event::ThreadCopied { .. }
        | Event::ThreadTimed(_)
        | Event::Cancelled { .. }
        | Event::TimerDue { .. }
        | Event::RunFailed { .. } => record.event.clone(),
    };
    RunsRecord { envelope: Arc::clone(&record.envelope), at: record.at, event, references: None }
}

/// A state as it was stored.
pub struct StoredState {
    pub position: Position,
    pub state: Box<KeyState>,
}

/// Reads a stored state with every value in its place. One whose value is gone says so of itself: its runs end with it.
pub async fn stored_state(blobs: &dyn Blobs, row: StateRow) -> Result<Option<StoredState>, Error> {
    let StateRow { key, position, state: Some(text), .. } = row else { return Ok(None) };
    let unreadable = |reason: String| Error::State { key: key.0.clone(), reason };
    let decode = |text: &[u8]| KeyState::decode(text).map(Box::new).map_err(|error| unreadable(error.to_string()));
    let Some(references) = reference::references_of_row(&text) else {
        return Ok(Some(StoredState { position, state: decode(&text)? }));
    };
    let state = match await_values(blobs, &references.owner, &references.wanted()).await {
        Ok(values) => {
            let whole = reference::fill(&text, &references, &values).map_err(|error| unreadable(error.to_string()))?;
            decode(&whole)?
        }
        Err(missing) => {
            tracing::error!(key = key.as_str(), reason = %missing, "a value of a state is gone; its runs end");
            let mut state = decode(&reference::without_table(&text))?;
            state.lose(format!(
                "a value that the state of the thread or run names is gone, so it can't go on: {missing}"
            ));
            state
        }
    };
    Ok(Some(StoredState { position, state }))
}
