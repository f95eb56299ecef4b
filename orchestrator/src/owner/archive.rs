//! The thread's past: checkpoints that left a key's state, until they are stored with it, and what a record needs of them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use event_log::Offset;
use futures_util::FutureExt;
use graph::{
    advance::Command,
    envelope::Key,
    graph_loop::{Found, GraphLoop, Wanted},
    update::Happened,
};
use run_store::{
    Archive, Blobs, Position, StoreError,
    rows::ArchivedRow,
    values::{Values, await_values},
};
use schemas::reference::{self, Layout, put_away};

use super::{Done, Owner, Parked, Resident, Slot, apply::ASK_AGAIN, resident::Archived};
use crate::error::Error;

/// Checkpoints that one look into a past takes, of which some is forgotten.
const LOOK: u32 = 16;

impl Resident {
    /// Takes what a record puts away out of what it puts out; a copy gets what may not be stored yet.
    pub fn put_away(&mut self, offset: Offset, commands: &mut Vec<Command>) {
        for command in commands.extract_if(.., |command| matches!(command, Command::Archive { .. })) {
            let Command::Archive { checkpoint, envelope: _ } = command else { continue };
            // Whoever comes back to a checkpoint finds it as it was left last.
            let same = |archived: &Archived| {
                archived.checkpoint.checkpoint_id() == checkpoint.checkpoint_id()
                    && archived.checkpoint.ns() == checkpoint.ns()
            };
            self.archived.retain(|archived| !same(archived));
            self.archived.push(Archived { offset, checkpoint: checkpoint.into() });
        }
        for command in commands {
            if let Command::Copy { unstored, .. } = command {
                *unstored = self.archived.iter().map(|archived| Arc::clone(&archived.checkpoint)).collect();
            }
        }
    }

    /// Forgets what was put away, where a record at `position` prunes the thread; says whether it does.
    pub fn forget(&mut self, position: Position, commands: &[Command]) -> bool {
        let prunes = |happened: &Happened| matches!(happened, Happened::Edited(edited) if edited.pruned.is_some());
        let mut updates = commands.iter().filter_map(|command| match command {
            Command::Update { update, .. } => Some(update),
            Command::Issue { .. } | Command::Cancel { .. } | Command::Archive { .. } | Command::Copy { .. } => None,
        });
        let pruned = updates.any(|update| update.happened.iter().any(prunes));
        if pruned {
            self.archived.clear();
            self.state.iter_mut().for_each(|state| state.pruned_at(position.as_u64()));
        }
        pruned
    }

    /// The newest of what was put away and may not be stored yet.
    fn recall(&self, wanted: &Wanted) -> Option<Arc<GraphLoop>> {
        let all = self.archived.iter().map(|archived| &archived.checkpoint);
        all.filter(|checkpoint| checkpoint.answers(wanted)).max_by_key(|found| found.checkpoint_id()).cloned()
    }
}

impl Owner {
    /// The record waits until what it needs of the past is there, and what follows of its key behind it.
    pub(super) fn recall(&mut self, key: &Key, mut parked: Parked, wanted: Wanted) -> Result<(), Error> {
        let Some(Slot::Ready(mut resident)) = self.slots.remove(key) else { return Ok(()) };
        let at_hand = resident.recall(&wanted);
        if let (Wanted::Checkpoint(_), Some(found)) = (&wanted, &at_hand) {
            parked.recalled.insert(wanted, Found::There(Arc::clone(found)));
            self.slots.insert(key.clone(), Slot::Ready(resident));
            return self.apply(key, parked);
        }
        resident.touched = tokio::time::Instant::now();
        let offset = parked.offset;
        self.slots.insert(key.clone(), Slot::Waiting { resident: Some(resident), records: VecDeque::from([parked]) });
        self.ask_checkpoint(key.clone(), offset, wanted, Duration::ZERO)
    }

    fn ask_checkpoint(&mut self, key: Key, offset: Offset, wanted: Wanted, after: Duration) -> Result<(), Error> {
        let (archive, blobs) = (Arc::clone(&self.deps.archive), Arc::clone(&self.deps.blobs));
        // What later records put away is not there yet, though a store may have it: this may be a replay.
        let below = Position::new(self.config.generation, offset).ok_or(Error::Position { offset })?;
        let resident = match self.slots.get(&key) {
            Some(Slot::Ready(resident) | Slot::Waiting { resident: Some(resident), .. }) => Some(resident),
            Some(Slot::Waiting { resident: None, .. }) | None => None,
        };
        let forgotten = resident.and_then(|resident| resident.state().forgets_up_to()).map(Position::from_u64);
        self.work.push(
            async move {
                tokio::time::sleep(after).await;
                let found = match stored(&*archive, &key, &wanted, (forgotten, below)).await {
                    Ok(Some(row)) => Ok(whole(&*blobs, row).await),
                    Ok(None) => Ok(Ok(Found::Nothing)),
                    Err(error) => Err(error),
                };
                Done::Recalled { key, offset, wanted, found }
            }
            .boxed(),
        );
        Ok(())
    }

    pub(super) fn on_recalled(
        &mut self,
        key: Key,
        offset: Offset,
        wanted: Wanted,
        found: Result<Result<Found, Error>, StoreError>,
    ) -> Result<(), Error> {
        let found = match found {
            Ok(found) => found?,
            Err(error) => {
                tracing::warn!(key = key.as_str(), %error, "an archived checkpoint can't be read, asking again");
                return self.ask_checkpoint(key, offset, wanted, ASK_AGAIN);
            }
        };
        let Some(Slot::Waiting { resident, records }) = self.slots.get_mut(&key) else { return Ok(()) };
        let Some(first) = records.front_mut().filter(|first| first.offset == offset) else { return Ok(()) };
        let Some(resident) = resident.take() else { return Ok(()) };
        let at_hand = resident.recall(&wanted);
        first.recalled.insert(wanted, newer(at_hand, found));
        self.resume(key, resident)
    }
}

/// What isn't stored yet counts before what is, where both are one checkpoint.
fn newer(at_hand: Option<Arc<GraphLoop>>, found: Found) -> Found {
    match (at_hand, found) {
        (Some(at_hand), Found::There(found)) if found.checkpoint_id() > at_hand.checkpoint_id() => Found::There(found),
        (Some(at_hand), Found::There(_) | Found::Nothing) => Found::There(at_hand),
        (_, found) => found,
    }
}

async fn stored(
    archive: &dyn Archive,
    key: &Key,
    wanted: &Wanted,
    (forgotten, below): (Option<Position>, Position),
) -> Result<Option<ArchivedRow>, StoreError> {
    let is_known = |row: &ArchivedRow| forgotten.is_none_or(|forgotten| row.position > forgotten);
    let (ns, id) = match wanted {
        Wanted::Checkpoint(id) => return Ok(archive.archived(key, "", *id, below).await?.filter(is_known)),
        Wanted::Before { ns, id } => (ns, id),
    };
    let look = if forgotten.is_some() { LOOK } else { 1 };
    let mut before = *id;
    loop {
        let rows = archive.archived_before(key, ns, Some(before), below, look).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        before = last.checkpoint_id;
        if let Some(found) = rows.into_iter().find(is_known) {
            return Ok(Some(found));
        }
    }
}

/// The checkpoint with every value in its place.
pub(super) async fn whole(blobs: &dyn Blobs, row: ArchivedRow) -> Result<Found, Error> {
    let ArchivedRow { owner, ns, checkpoint_id, checkpoint: text, position: _ } = row;
    let unreadable = |reason: String| Error::State {
        key: owner.0.clone(),
        reason: format!("its archived checkpoint {checkpoint_id} of namespace {ns:?}: {reason}"),
    };
    let decode = |text: &[u8]| {
        GraphLoop::decode(text)
            .map(|found| Found::There(Arc::new(found)))
            .map_err(|error| unreadable(error.to_string()))
    };
    let Some(references) = reference::references_of_row(&text) else { return decode(&text) };
    match await_values(blobs, &references.owner, &references.wanted()).await {
        Ok(values) => {
            decode(&reference::fill(&text, &references, &values).map_err(|error| unreadable(error.to_string()))?)
        }
        Err(missing) => {
            tracing::error!(key = owner.as_str(), checkpoint = %checkpoint_id, reason = %missing,
                "a value of an archived checkpoint is gone; what begins there fails");
            Ok(Found::Lost(format!("a value of the checkpoint {checkpoint_id} is gone: {missing}")))
        }
    }
}

/// The row of what was put away; what is too large for it goes to `values`.
pub(super) fn archived_row(
    key: &Key,
    archived: &Archived,
    generation: u32,
    values: &mut Vec<(Key, Values)>,
) -> Result<ArchivedRow, Error> {
    let Archived { offset, checkpoint } = archived;
    let position = Position::new(generation, *offset).ok_or(Error::Position { offset: *offset })?;
    let mut text = Bytes::from(checkpoint.encode());
    if let Some(put) = put_away(&text, key, &Layout::STATE) {
        text = put.json;
        values.push((key.clone(), put.values));
    }
    Ok(ArchivedRow {
        owner: key.clone(),
        ns: checkpoint.ns().to_owned(),
        checkpoint_id: checkpoint.checkpoint_id(),
        position,
        checkpoint: text,
    })
}

#[cfg(test)]
mod tests {
    use run_store::EmbeddedStore;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_was_put_away_before_a_pruning_is_not_found_though_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path(), run_store::embedded::Config::default()).await.expect("a store");
        let key = Key::thread("default", "t");
        let at = |offset| Position::new(0, offset).expect("a position");
        let row = |ns: &str, id: u128, offset| ArchivedRow {
            owner: key.clone(),
            ns: ns.to_owned(),
            checkpoint_id: Uuid::from_u128(id),
            position: at(offset),
            checkpoint: Bytes::from_static(b"{}"),
        };
        // The second one is the newest before the pruning at 7, left by a run that was undone.
        let rows = [row("sub", 3, 5), row("sub", 4, 6), row("", 9, 5), row("sub", 3, 8), row("", 9, 12)];
        store.put_archived(&rows).await.expect("they are stored");
        let before = Wanted::Before { ns: "sub".to_owned(), id: Uuid::from_u128(5) };
        for (wanted, forgotten, below, expect) in [
            (before.clone(), None, 20, Some((4, 6))),
            (before.clone(), Some(7), 20, Some((3, 8))),
            (before, Some(7), 8, None),
            (Wanted::Checkpoint(Uuid::from_u128(9)), None, 12, Some((9, 5))),
            (Wanted::Checkpoint(Uuid::from_u128(9)), Some(7), 12, None),
            (Wanted::Checkpoint(Uuid::from_u128(9)), Some(7), 13, Some((9, 12))),
        ] {
            let found =
                stored(&*store, &key, &wanted, (forgotten.map(at), at(below))).await.expect("the store answers");
            let found = found.map(|row| (row.checkpoint_id.as_u128(), row.position.offset()));
            assert_eq!(found, expect, "{wanted:?} after {forgotten:?} below {below}");
        }
    }
}
