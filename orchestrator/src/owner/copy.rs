//! A thread that begins as a copy of another: its past goes to the store under its own name, then its first record to the log,
//! and only then what tells of it. A kill in between does all of it again; the copy's state takes the record once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use event_log::Offset;
use graph::{
    envelope::Key,
    graph_loop::{Found, GraphLoop},
};
use run_store::{
    Archive, Blobs, Position, StoreError,
    rows::ArchivedRow,
    values::{put_values, put_values_until_taken},
};
use uuid::Uuid;

use super::{
    Owner,
    apply::ASK_AGAIN,
    archive::{archived_row, whole},
    resident::Archived,
};
use crate::{error::Error, outputs::Copying};

/// Checkpoints of the past that are in memory at a time.
const PAGE: u32 = 32;

impl Owner {
    /// Copies what the archive of `from` has below the record at `offset`, and begins the copy.
    pub(super) fn begin_copy(
        &self,
        from: Key,
        offset: Offset,
        copying: Copying,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        let Copying { id, key, wire, values, namespaces, forgets_up_to, unstored } = copying;
        let (archive, blobs) = (Arc::clone(&self.deps.archive), Arc::clone(&self.deps.blobs));
        let generation = self.config.generation;
        let appended = self.outputs.append_formed(wire);
        async move {
            let below = Position::new(generation, offset).ok_or(Error::Position { offset })?;
            let (archive, blobs_of, to) = (&*archive, &*blobs, key.clone());
            let forgotten = forgets_up_to.map(Position::from_u64);
            let past = Past { archive, blobs: blobs_of, from, to, forgotten, below, id, offset, generation };
            past.put(&unstored).await?;
            let known = unstored.iter().map(|at| (at.ns().to_owned(), at.checkpoint_id())).collect();
            for ns in &namespaces {
                past.copy(ns, &known).await?;
            }
            put_values_until_taken(&*blobs, &key, &values).await;
            appended.await.map_err(|source| Error::OutputLost { offset, source })
        }
    }
}

/// What the archive has of one thread, for another.
struct Past<'a> {
    archive: &'a dyn Archive,
    blobs: &'a dyn Blobs,
    from: Key,
    to: Key,
    /// What was put away up to here is not copied, whether it is gone yet or not.
    forgotten: Option<Position>,
    below: Position,
    /// The copying.
    id: Uuid,
    offset: Offset,
    generation: u32,
}

impl Past<'_> {
    /// All of a namespace but what was `known` before the store had it.
    async fn copy(&self, ns: &str, known: &BTreeSet<(String, Uuid)>) -> Result<(), Error> {
        let mut before = None;
        loop {
            let rows = self.page(ns, before).await;
            let Some(last) = rows.last() else { return Ok(()) };
            before = Some(last.checkpoint_id);
            let mut page = Vec::with_capacity(rows.len());
            for row in rows {
                let is_forgotten = self.forgotten.is_some_and(|forgotten| row.position <= forgotten);
                if is_forgotten || known.contains(&(ns.to_owned(), row.checkpoint_id)) {
                    continue;
                }
                match whole(self.blobs, row).await? {
                    Found::There(checkpoint) => page.push(checkpoint),
                    // The copy has no such checkpoint: what begins there is told so.
                    Found::Nothing | Found::Lost(_) => {}
                }
            }
            self.put(&page).await?;
        }
    }

    async fn page(&self, ns: &str, before: Option<Uuid>) -> Vec<ArchivedRow> {
        loop {
            match self.archive.archived_before(&self.from, ns, before, self.below, PAGE).await {
                Ok(rows) => return rows,
                Err(error) => self.wait(&error).await,
            }
        }
    }

    async fn put(&self, checkpoints: &[Arc<GraphLoop>]) -> Result<(), Error> {
        let mut values = Vec::new();
        let mut rows = Vec::with_capacity(checkpoints.len());
        for checkpoint in checkpoints {
            let archived = Archived { offset: self.offset, checkpoint: Arc::new(checkpoint.copied(self.id)) };
            rows.push(archived_row(&self.to, &archived, self.generation, &mut values)?);
        }
        while let Err(error) = self.try_put(&rows, &values).await {
            self.wait(&error).await;
        }
        Ok(())
    }

    async fn try_put(
        &self,
        rows: &[ArchivedRow],
        values: &[(Key, run_store::values::Values)],
    ) -> Result<(), StoreError> {
        for (owner, values) in values {
            put_values(self.blobs, owner, values).await?;
        }
        if rows.is_empty() { Ok(()) } else { self.archive.put_archived(rows).await }
    }

    async fn wait(&self, error: &StoreError) {
        let (from, pause): (_, Duration) = (self.from.as_str(), ASK_AGAIN);
        tracing::warn!(key = from, %error, "a thread's past can't be copied, trying again");
        tokio::time::sleep(pause).await;
    }
}
