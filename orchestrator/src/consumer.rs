//! The member of the orchestrator's group: gives each partition an owner, hands it records, commits what it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use event_log::{Assigned, Consumer, Fetched, GroupEvent, LogError, Offset, Partition, Subscription};
use schemas::topic::{ORCHESTRATOR_GROUP, RUNS};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Config, Deps},
    error::Error,
    graphs::GraphCache,
    owner::{self, Claim, Handle, Order, Owner, Ownership, Told},
    poisoned::Poisoned,
};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Serves partitions of `runs` until `shutdown`. What fails is given up, recovered and tried again; only what a
/// repeat can't mend (a record of a newer version, a log that lost records) is returned.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let graphs = Arc::new(GraphCache::new(Arc::clone(&deps.specs), Arc::clone(&deps.log), deps.names.clone(), &config));
    let poisoned = Poisoned::default();
    let mut backoff = BACKOFF_MIN;
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let member = Member::join(&config, &deps, &graphs, &poisoned).await;
        let result = match member {
            Ok(member) => member.serve(&shutdown).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(error) if !is_mended_by_recovery(&error) => return Err(error),
            Err(error) => {
                if began.elapsed() > BACKOFF_MAX {
                    backoff = BACKOFF_MIN;
                }
                tracing::warn!(error = &error as &dyn std::error::Error, retry.after = ?backoff, "the orchestrator rejoins");
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
                }
            }
        }
    }
    Ok(())
}

fn is_mended_by_recovery(error: &Error) -> bool {
    match error {
        Error::Log(LogError::Corrupt { .. } | LogError::Misconfigured { .. } | LogError::Closed) => false,
        Error::OutputLost { source, .. } => !matches!(source, LogError::Corrupt { .. } | LogError::Closed),
        Error::Log(_) | Error::Store(_) | Error::CommitsFail { .. } | Error::FoldPanicked { .. } => true,
        Error::UnknownRecord { .. }
        | Error::ReplayOutsideLog { .. }
        | Error::State { .. }
        | Error::Spec { .. }
        | Error::Position { .. } => false,
    }
}

/// One membership of the group.
pub(crate) struct Member<'a> {
    config: &'a Config,
    deps: &'a Deps,
    graphs: &'a Arc<GraphCache>,
    poisoned: &'a Poisoned,
    topic: Arc<str>,
    pub(crate) consumer: Box<dyn Consumer>,
    owners: BTreeMap<Partition, Handle>,
    paused: BTreeSet<Partition>,
    /// Owned, and left where they are: see [`Member::stop`].
    stopped: BTreeSet<Partition>,
    tracker: TaskTracker,
    ownerships: u64,
    tell: mpsc::UnboundedSender<(Ownership, Told)>,
    told: mpsc::UnboundedReceiver<(Ownership, Told)>,
}

impl<'a> Member<'a> {
    pub(crate) async fn join(
        config: &'a Config,
        deps: &'a Deps,
        graphs: &'a Arc<GraphCache>,
        poisoned: &'a Poisoned,
    ) -> Result<Self, Error> {
        let topic = deps.names.of(RUNS);
        let subscription = Subscription {
            group: deps.names.of(ORCHESTRATOR_GROUP),
            topics: vec![topic.clone()],
            prefetch_bytes_max: config.prefetch_bytes_max,
        };
        let consumer = deps.log.subscribe(subscription).await?;
        let (tell, told) = mpsc::unbounded_channel();
        Ok(Member {
            config,
            deps,
            graphs,
            poisoned,
            topic: Arc::from(topic),
            consumer,
            owners: BTreeMap::new(),
            paused: BTreeSet::new(),
            stopped: BTreeSet::new(),
            tracker: TaskTracker::new(),
            ownerships: 0,
            tell,
            told,
        })
    }

    pub(crate) async fn serve(mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        let result = loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                Some((from, told)) = self.told.recv() => if let Err(error) = self.on_told(from, told).await { break Err(error) },
                event = self.consumer.next() => match event {
                    Ok(event) => if let Err(error) = self.on_event(event).await { break Err(error) },
                    Err(error) => break Err(Error::Log(error)),
                },
            }
        };
        let all: Vec<Partition> = self.owners.keys().chain(&self.stopped).copied().collect();
        let released = self.release(all).await;
        self.tracker.close();
        self.tracker.wait().await;
        let left = self.consumer.leave().await;
        result.and(released).and(left.map_err(Error::Log))
    }

    pub(crate) async fn on_event(&mut self, event: GroupEvent) -> Result<(), Error> {
        match event {
            GroupEvent::Assigned(partitions) => {
                for assigned in partitions {
                    self.own(assigned).await?;
                }
                Ok(())
            }
            GroupEvent::Revoked(partitions) => {
                self.release(partitions.iter().map(|(_, partition)| *partition).collect()).await?;
                Ok(self.consumer.release(&partitions).await?)
            }
            GroupEvent::Lost(partitions) => {
                // Others own them: what these owners still know is of no use.
                for (_, partition) in partitions {
                    self.owners.remove(&partition);
                    self.paused.remove(&partition);
                    self.stopped.remove(&partition);
                    self.deps.board.forget(ORCHESTRATOR_GROUP, partition);
                }
                Ok(())
            }
            GroupEvent::Records(records) => self.deliver(records).await,
        }
    }

    /// Begins at the lower of the group's offset and what the states of the store cover.
    async fn own(&mut self, assigned: Assigned) -> Result<(), Error> {
        let Assigned { partition, committed, start, end, .. } = assigned;
        let covered = self.deps.states.covered(partition).await?;
        let covered = covered.filter(|position| position.generation() == self.config.generation);
        let (group_offset, metadata) = committed.unzip();
        let replay_from = [group_offset, covered.map(|position| position.offset())].into_iter().flatten().min();
        let replay_from = replay_from.unwrap_or(0);
        if replay_from < start || replay_from > end {
            return Err(Error::ReplayOutsideLog { partition, offset: replay_from, start, end });
        }
        let issued_up_to = metadata.as_deref().and_then(owner::issued_up_to).unwrap_or(replay_from);
        // A store restored from a back-up is behind the group's offset: what it lacks is refolded, not issued again.
        let issued_up_to = issued_up_to.max(replay_from);
        self.consumer.seek(&self.topic, partition, replay_from).await?;
        tracing::info!(
            partition,
            replay.from = replay_from,
            issued.up_to = issued_up_to,
            tail = end,
            "owns a partition"
        );
        let poisoned = self.poisoned.met_from(partition, replay_from);
        self.ownerships += 1;
        let ownership = Ownership { partition, number: self.ownerships };
        let claim = Claim { ownership, replay_from, issued_up_to, end, poisoned };
        let (handle, running) =
            Owner::start(self.config.clone(), self.deps.clone(), Arc::clone(self.graphs), claim, self.tell.clone());
        self.tracker.spawn(running);
        self.owners.insert(partition, handle);
        Ok(())
    }

    async fn deliver(&mut self, records: Vec<Fetched>) -> Result<(), Error> {
        let mut by_partition: BTreeMap<Partition, Vec<Fetched>> = BTreeMap::new();
        for fetched in records {
            by_partition.entry(fetched.partition).or_default().push(fetched);
        }
        for (partition, records) in by_partition {
            let Some(handle) = self.owners.get(&partition) else { continue };
            if handle.deliver(records, self.config.queued_records_max) && !self.paused.contains(&partition) {
                self.consumer.pause(&self.topic, partition).await?;
                self.paused.insert(partition);
            }
        }
        Ok(())
    }

    async fn on_told(&mut self, from: Ownership, told: Told) -> Result<(), Error> {
        let partition = from.partition;
        let serves = |handle: &Handle| handle.ownership == from;
        match told {
            _ if !self.owners.get(&partition).is_some_and(serves) => Ok(()),
            Told::Commit { replay_from, metadata } => {
                let taken = self.commit(partition, replay_from, &metadata).await?;
                if let Some(handle) = self.owners.get(&partition) {
                    let _ = handle.orders.send(Order::Committed(taken));
                }
                Ok(())
            }
            Told::Drained => {
                if self.paused.remove(&partition) {
                    self.consumer.resume(&self.topic, partition).await?;
                }
                Ok(())
            }
            Told::Ended(result) => {
                self.owners.remove(&partition);
                match result {
                    Err(Error::FoldPanicked { partition, offset }) => self.fold_anew(partition, offset).await,
                    Err(error @ Error::UnknownRecord { .. }) => self.stop(partition, &error).await,
                    result => result,
                }
            }
        }
    }

    /// The fold panicked on a record: the partition is recovered from what is stored, as after a crash, without it.
    async fn fold_anew(&mut self, partition: Partition, offset: Offset) -> Result<(), Error> {
        tracing::error!(partition, offset, "the fold panicked; the partition is folded anew without the record");
        self.poisoned.add(partition, offset);
        let group = self.deps.names.of(ORCHESTRATOR_GROUP);
        let committed = self.deps.log.committed(&group, &self.topic, partition).await?;
        let (start, end) = self.deps.log.bounds(&self.topic, partition).await?;
        self.own(Assigned { topic: Arc::clone(&self.topic), partition, committed, start, end }).await?;
        if self.paused.remove(&partition) {
            self.consumer.resume(&self.topic, partition).await?;
        }
        Ok(())
    }

    /// Leaves a partition where it is: only a newer version can go on, and it takes the partition over. The others are
    /// served, and readiness says why this one is not.
    async fn stop(&mut self, partition: Partition, error: &Error) -> Result<(), Error> {
        tracing::error!(partition, error = error as &dyn std::error::Error, "a partition is stopped");
        self.consumer.pause(&self.topic, partition).await?;
        self.stopped.insert(partition);
        self.deps.board.stop(ORCHESTRATOR_GROUP, partition, error.to_string());
        Ok(())
    }

    /// Whether it was taken. An owner counts how long its commits fail.
    async fn commit(&mut self, partition: Partition, replay_from: Offset, metadata: &str) -> Result<bool, Error> {
        match self.consumer.commit(&self.topic, partition, replay_from, metadata).await {
            Ok(()) => Ok(true),
            Err(error @ (LogError::Unavailable { .. } | LogError::StaleOwner { .. })) => {
                tracing::warn!(partition, error = &error as &dyn std::error::Error, "a commit failed");
                Ok(false)
            }
            Err(error) => Err(Error::Log(error)),
        }
    }

    /// Ends owners, and makes the last commit that each asks for.
    async fn release(&mut self, partitions: Vec<Partition>) -> Result<(), Error> {
        let mut ending = BTreeMap::new();
        for partition in partitions {
            self.paused.remove(&partition);
            self.stopped.remove(&partition);
            self.deps.board.forget(ORCHESTRATOR_GROUP, partition);
            if let Some(handle) = self.owners.remove(&partition) {
                let _ = handle.orders.send(Order::Release);
                ending.insert(partition, handle);
            }
        }
        let until = Instant::now() + self.config.release_within + Duration::from_secs(1);
        while !ending.is_empty() {
            let Ok(Some((from, told))) = tokio::time::timeout_at(until, self.told.recv()).await else { break };
            if !ending.get(&from.partition).is_some_and(|handle| handle.ownership == from) {
                self.on_told(from, told).await?;
                continue;
            }
            match told {
                Told::Commit { replay_from, metadata } => {
                    self.commit(from.partition, replay_from, &metadata).await?;
                }
                Told::Ended(result) => {
                    ending.remove(&from.partition);
                    if let Err(error) = result {
                        tracing::warn!(
                            partition = from.partition,
                            error = &error as &dyn std::error::Error,
                            "a released partition ended with an error; its next owner recovers it"
                        );
                    }
                }
                Told::Drained => {}
            }
        }
        Ok(())
    }
}
