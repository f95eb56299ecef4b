//! Finds a run for a client: in memory, in the store, or not yet anywhere.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use run_store::StoreError;
use schemas::stream::Waited;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use crate::{
    live::{Awaiting, Filter, Joined, LiveRun, Shard, Viewing, Watcher, lock, waited},
    load,
    position::Position,
    shared::Shared,
    values,
};

/// A run that nobody told of for this long is looked up: it may have ended before it was asked for.
pub const LOOK_UP_AFTER: Duration = Duration::from_secs(1);

/// One client's search for one run.
#[derive(Clone)]
pub struct Seek {
    pub shared: Arc<Shared>,
    pub shard: Arc<Mutex<Shard>>,
    pub tenant: String,
    pub run_id: Uuid,
}

#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// There is no such run, for this tenant.
    #[error("there is no run {0}")]
    NotFound(Uuid),
    #[error(
        "what the run {0} streamed went with its thread's history, which was pruned; what it answered is kept: look the run up, or wait for it"
    )]
    Pruned(Uuid),
    #[error("too many runs are awaited that have not begun; try again")]
    TooManyAwaited,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a run is that was not in memory.
pub enum Found {
    Nowhere,
    /// Read from the store, and complete.
    Over(Box<LiveRun>),
    /// It is over, and its thread's history was pruned since: all that is left is its view, and the number of its last
    /// update.
    Pruned {
        view: Bytes,
        number: u64,
    },
    /// It goes on: from now on it is in memory.
    InMemory,
}

impl Seek {
    /// Joins the run's stream where it is in memory.
    pub fn join_known(&self, after: Option<Position>) -> Result<Option<Joined>, SeekError> {
        let mut shard = lock(&self.shard);
        if !self.is_known(&shard)? {
            return Ok(None);
        }
        let limits = shard.limits;
        Ok(shard.with_run(self.run_id, |run| run.join(after, limits.buffer_events_max, limits.hold_max)))
    }

    /// Watches a run that is yet to come.
    pub fn register_stream(&self) -> Result<Joined, SeekError> {
        let mut shard = lock(&self.shard);
        let (watcher, facts, ending) = Watcher::new(shard.limits.buffer_events_max);
        let awaiting = Awaiting::Stream { tenant: self.tenant.clone(), watcher };
        if !shard.register(self.run_id, awaiting, Instant::now()) {
            return Err(SeekError::TooManyAwaited);
        }
        let viewing = Viewing { prelude: Vec::new(), filter: Filter::default(), facts: Some(facts), ending };
        Ok(Joined::Stream(Box::new(viewing)))
    }

    /// Joins a run that the store knows.
    pub async fn join_stored(&self, after: Option<Position>) -> Result<Joined, SeekError> {
        match self.find().await? {
            Found::Nowhere => Err(SeekError::NotFound(self.run_id)),
            Found::InMemory => self.join_known(after)?.ok_or(SeekError::NotFound(self.run_id)),
            Found::Over(mut run) => Ok(run.join(after, 1, Duration::ZERO)),
            Found::Pruned { number, .. } if after.is_some_and(|after| after.is_whole(number)) => Ok(Joined::Whole),
            Found::Pruned { .. } => Err(SeekError::Pruned(self.run_id)),
        }
    }

    /// Where a client stands that wants only what comes from now on. None where nothing was told yet.
    pub async fn stand_now(&self) -> Result<Option<Position>, SeekError> {
        let known = {
            let mut shard = lock(&self.shard);
            if self.is_known(&shard)? {
                let hold_max = shard.limits.hold_max;
                shard.with_run(self.run_id, |run| run.stand(hold_max))
            } else {
                None
            }
        };
        match known {
            Some(stand) => Ok(stand),
            None => match self.find().await? {
                Found::Nowhere => Err(SeekError::NotFound(self.run_id)),
                Found::InMemory => Ok(None),
                Found::Pruned { number, .. } => Ok(Some(Position { update: number, ..Position::default() })),
                Found::Over(mut run) => Ok(run.stand(Duration::ZERO)),
            },
        }
    }

    /// Whether the end of the run will be told to `waiter`, because it is in memory; else gives it back.
    pub fn wait_known(&self, waiter: oneshot::Sender<Bytes>) -> Result<Result<(), oneshot::Sender<Bytes>>, SeekError> {
        let mut shard = lock(&self.shard);
        if !self.is_known(&shard)? {
            return Ok(Err(waiter));
        }
        shard.with_run(self.run_id, |run| run.wait(waiter));
        Ok(Ok(()))
    }

    pub fn register_wait(&self, waiter: oneshot::Sender<Bytes>) -> Result<(), SeekError> {
        let awaiting = Awaiting::End { tenant: self.tenant.clone(), waiter };
        let taken = lock(&self.shard).register(self.run_id, awaiting, Instant::now());
        if taken { Ok(()) } else { Err(SeekError::TooManyAwaited) }
    }

    /// As [`end_of`], for a run that was not known when it was asked for.
    pub async fn end_of_unknown(&self, mut ended: oneshot::Receiver<Bytes>, time: Duration) -> Bytes {
        let began = Instant::now();
        if time > LOOK_UP_AFTER {
            match tokio::time::timeout(LOOK_UP_AFTER, &mut ended).await {
                Ok(Ok(waited)) => return waited,
                Ok(Err(_)) => return said(&Waited::Moved),
                Err(_) => {}
            }
            let known = lock(&self.shard).run(self.run_id).is_some();
            let found = if known { Ok(Found::InMemory) } else { self.find().await };
            match found {
                Ok(Found::Over(run)) => return waited(&run.view()),
                Ok(Found::Pruned { view, .. }) => return waited(&view),
                Ok(Found::Nowhere | Found::InMemory) | Err(_) => {}
            }
        }
        end_of(ended, time.saturating_sub(began.elapsed())).await
    }

    /// Looks in the store.
    pub async fn find(&self) -> Result<Found, SeekError> {
        let stored = load::updates(&self.shared, &self.tenant, self.run_id).await?;
        let Some((last, _)) = stored.last() else { return self.find_view().await };
        let now = Instant::now();
        let record = Arc::clone(&last.record);
        if !record.update.status.is_terminal() {
            lock(&self.shard).begin(&record, stored, now);
            return Ok(Found::InMemory);
        }
        // Tokens of a run that has left memory are gone.
        let mut run = Box::new(LiveRun::new(&record, u64::MAX, now));
        stored.into_iter().for_each(|(stored, position)| run.apply(stored, position, now));
        Ok(Found::Over(run))
    }

    /// The view of a run of which no update is left, for its thread was pruned. Else they are being written just now.
    pub async fn find_view(&self) -> Result<Found, SeekError> {
        let deps = &self.shared.deps;
        let row = deps.results.run(&self.tenant, self.run_id).await?;
        let Some(row) = row.filter(|row| row.status.is_terminal()) else { return Ok(Found::Nowhere) };
        let Some(thread_id) = &row.thread_id else { return Ok(Found::Nowhere) };
        match deps.deletes.deleted(&self.tenant, thread_id).await? {
            Some(pruned) if row.position <= pruned => {
                let view = values::listed(&*deps.blobs, row.view).await?;
                Ok(Found::Pruned { view, number: row.number })
            }
            Some(_) | None => Ok(Found::Nowhere),
        }
    }

    /// Whether the run is in memory; another tenant's is not to be found.
    fn is_known(&self, shard: &Shard) -> Result<bool, SeekError> {
        match shard.run(self.run_id) {
            None => Ok(false),
            Some(run) if run.state.envelope.tenant == self.tenant => Ok(true),
            Some(_) => Err(SeekError::NotFound(self.run_id)),
        }
    }
}

/// The run's end, or that it goes on, or that it is told elsewhere: a [`Waited`] as JSON.
pub async fn end_of(ended: oneshot::Receiver<Bytes>, time: Duration) -> Bytes {
    match tokio::time::timeout(time, ended).await {
        Ok(Ok(waited)) => waited,
        Ok(Err(_)) => said(&Waited::Moved),
        Err(_) => said(&Waited::StillRunning),
    }
}

fn said(waited: &Waited) -> Bytes {
    serde_json::to_vec(waited).unwrap_or_default().into()
}
