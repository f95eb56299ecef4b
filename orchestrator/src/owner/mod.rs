//! The owner of one partition of `runs`: one loop, one state for each key, and nothing applied out of its key's order.
//!
//! It first recovers: folds from the replay start to the tail that it found, puts nothing out, and keeps what each
//! record from `issued up to` on would have caused. At the tail it issues those updates and the tasks still open.

mod apply;
mod archive;
mod commit;
mod copy;
mod progress;
mod recover;
mod resident;
mod values;
mod wake;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use event_log::{Fetched, LogError, Offset, Partition};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use graph::{
    envelope::{Key, Millis},
    graph_loop::{Found, Wanted},
    state::KeyState,
};
use run_store::{StoreError, values::ValueMissing};
use tokio::{sync::mpsc, time::Instant};

use self::{
    commit::Mark,
    progress::Said,
    recover::Recovery,
    resident::{Parked, Resident, Slot},
    values::StoredState,
    wake::Wakes,
};
use crate::{
    config::{Config, Deps},
    error::Error,
    graphs::{GraphCache, Loaded},
    outputs::{Formed, Issued, Outputs},
    watermark::Watermarks,
};

/// What the consumer tells an owner.
pub enum Order {
    Records(Vec<Fetched>),
    /// The last commit that the owner asked for has been answered.
    Committed(bool),
    /// Store what can be stored, ask for a last commit, and end.
    Release,
}

/// What an owner tells the consumer.
pub enum Told {
    /// Commit this for the partition.
    Commit { replay_from: Offset, metadata: String },
    /// The queue has room again.
    Drained,
    /// The owner has ended; nothing more comes.
    Ended(Result<(), Error>),
}

/// Tells one owner of a partition from those before it: one that was lost may still speak when its successor serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    pub partition: Partition,
    pub number: u64,
}

/// The consumer's end of an owner.
pub struct Handle {
    pub ownership: Ownership,
    pub orders: mpsc::UnboundedSender<Order>,
    queued: Arc<AtomicUsize>,
}

impl Handle {
    /// Hands records over and says whether the owner has enough for now.
    pub fn deliver(&self, records: Vec<Fetched>, queued_max: usize) -> bool {
        let queued = self.queued.fetch_add(records.len(), Ordering::Relaxed) + records.len();
        // An owner that has ended says so by itself.
        let _ = self.orders.send(Order::Records(records));
        queued >= queued_max
    }
}

/// Where an owner begins.
pub struct Claim {
    pub ownership: Ownership,
    pub replay_from: Offset,
    pub issued_up_to: Offset,
    /// The tail at assignment: below it a former owner may have been.
    pub end: Offset,
    /// Records on which the fold is known to panic.
    pub poisoned: BTreeSet<Offset>,
}

pub struct Owner {
    config: Config,
    deps: Deps,
    graphs: Arc<GraphCache>,
    partition: Partition,
    outputs: Outputs,
    slots: BTreeMap<Key, Slot>,
    /// Outputs of keys that wait until their values are stored; those of other keys go past them.
    held: BTreeMap<Key, VecDeque<Formed>>,
    marks: Watermarks,
    wakes: Wakes,
    recovery: Option<Recovery>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// One write of states at a time.
    storing: bool,
    mark: Mark,
    said: Said,
    ownership: Ownership,
    told: mpsc::UnboundedSender<(Ownership, Told)>,
    queued: Arc<AtomicUsize>,
    tail: Offset,
    poisoned: BTreeSet<Offset>,
}

/// What the owner waits for beside its orders.
enum Done {
    Issued {
        key: Key,
        issued: Issued,
    },
    /// A record that the owner added to `runs` or set aside.
    Appended(Result<(), LogError>),
    Loaded {
        key: Key,
        loaded: Result<Result<Option<StoredState>, Error>, StoreError>,
    },
    Spec {
        key: Key,
        hash: String,
        loaded: Result<Option<Arc<Loaded>>, Error>,
    },
    /// The values that the first record of a waiting key names.
    Values {
        key: Key,
        offset: Offset,
        found: Result<run_store::values::Values, ValueMissing>,
    },
    /// What the first record of a waiting key needs of the thread's past.
    Recalled {
        key: Key,
        offset: Offset,
        wanted: Wanted,
        found: Result<Result<Found, Error>, StoreError>,
    },
    /// What has to stand before a key's next outputs does.
    ValuesStored {
        key: Key,
        result: Result<(), Error>,
    },
    Stored {
        keys: Vec<(Key, Offset)>,
        result: Result<(), StoreError>,
    },
    Covered(Result<(), StoreError>),
    Tail(Result<Offset, LogError>),
}

impl Owner {
    pub fn start(
        config: Config,
        deps: Deps,
        graphs: Arc<GraphCache>,
        claim: Claim,
        told: mpsc::UnboundedSender<(Ownership, Told)>,
    ) -> (Handle, impl Future<Output = ()>) {
        let (orders, received) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let ownership = claim.ownership;
        let partition = ownership.partition;
        let handle = Handle { ownership, orders, queued: Arc::clone(&queued) };
        crate::metrics::dead_letters().increment(0);
        let outputs =
            Outputs::new(Arc::clone(&deps.log), Arc::clone(&graphs), &deps.names, config.generation, partition);
        let owner = Owner {
            partition,
            outputs,
            slots: BTreeMap::new(),
            held: BTreeMap::new(),
            marks: Watermarks::new(claim.replay_from),
            wakes: Wakes::default(),
            recovery: Some(Recovery::new(claim.issued_up_to, claim.end)),
            work: FuturesUnordered::new(),
            storing: false,
            mark: Mark::new(claim.replay_from),
            said: Said::default(),
            ownership,
            told: told.clone(),
            queued,
            tail: claim.end,
            poisoned: claim.poisoned,
            config,
            deps,
            graphs,
        };
        let running = async move {
            let result = owner.run(received).await;
            // The consumer ends only after its owners, or with the process.
            let _ = told.send((ownership, Told::Ended(result)));
        };
        (handle, running)
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<(), Error> {
        self.read_sleepers().await?;
        self.go_live_at_the_tail()?;
        let mut tick = tokio::time::interval(self.config.commit_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut progress = tokio::time::interval(self.config.progress_every);
        progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.wakes.next_due().map(|at| self.instant_of(at));
            tokio::select! {
                biased;
                // What comes by the clock is first, and short: an owner that has much to do must still say so, commit and
                // end what is overdue.
                _ = progress.tick() => self.look_at_the_tail(),
                _ = tick.tick() => self.on_tick()?,
                () = sleep_until(due) => self.fire_timers(),
                Some(done) = self.work.next() => self.on_done(done)?,
                order = orders.recv() => match order {
                    Some(Order::Records(records)) => self.on_records(records)?,
                    Some(Order::Committed(taken)) => self.on_committed(taken),
                    Some(Order::Release) => return self.release().await,
                    // The partition was lost: what this owner would still store or commit is another's by now.
                    None => return Ok(()),
                },
            }
        }
    }

    fn on_records(&mut self, records: Vec<Fetched>) -> Result<(), Error> {
        let before = self.queued.fetch_sub(records.len(), Ordering::Relaxed);
        let (left, room) = (before - records.len(), self.config.queued_records_max / 2);
        for fetched in records {
            self.take(fetched)?;
        }
        // Said once on the way down: a partition was paused well above.
        if left < room && room <= before {
            self.tell(Told::Drained);
        }
        self.go_live_at_the_tail()
    }

    fn on_done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Issued { key, issued: (offset, Ok(())) } => self.on_issued(&key, offset),
            Done::Issued { issued: (offset, Err(source)), .. } => return Err(Error::OutputLost { offset, source }),
            Done::Appended(result) => result?,
            Done::Loaded { key, loaded } => self.on_loaded(key, loaded)?,
            Done::Spec { key, hash, loaded } => self.on_spec(key, &hash, loaded)?,
            Done::Values { key, offset, found } => self.on_values(key, offset, found)?,
            Done::Recalled { key, offset, wanted, found } => self.on_recalled(key, offset, wanted, found)?,
            Done::ValuesStored { key, result } => {
                result?;
                self.on_values_stored(&key);
            }
            Done::Stored { keys, result } => self.on_stored(keys, result),
            Done::Covered(result) => self.on_covered(result),
            Done::Tail(tail) => self.on_tail(tail),
        }
        self.go_live_at_the_tail()
    }

    fn on_tick(&mut self) -> Result<(), Error> {
        self.store_old_states(false)?;
        self.evict();
        self.ask_for_commit();
        self.mark.check(self.partition, self.config.commit_failing_max)
    }

    fn tell(&self, told: Told) {
        // The consumer ends only after its owners, or with the process.
        let _ = self.told.send((self.ownership, told));
    }

    fn now(&self) -> Millis {
        self.deps.clock.now()
    }

    fn instant_of(&self, at: Millis) -> Instant {
        Instant::now() + std::time::Duration::from_millis(at.saturating_sub(self.now()).max(0) as u64)
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A state that holds nothing yet.
fn fresh(key: &Key) -> KeyState {
    KeyState::new(key.clone())
}

pub use self::commit::issued_up_to;
