//! The loop of one node: what its group gives it, what has ended, and when it commits.

mod budget;
mod commit;
mod handover;
mod running;
mod start;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use event_log::{Assigned, Consumer, Fetched, GroupEvent, LogError, Partition, ProgressBoard, Subscription};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    budget::{Admission, Budget},
    running::Running,
};
use crate::{
    Config,
    execute::Executor,
    metrics::NodeMetrics,
    outbox::Outbox,
    partition::{Next, OwnedPartition},
};

pub use self::budget::ProcessBudget;

/// Ended executions that wait to be noted; beyond it they wait themselves.
const ENDED_MAX: usize = 4_096;
/// Ended executions noted in one turn of the loop.
const ENDED_A_TURN: usize = 256;
/// Wait after an error of the log that may pass.
const LOG_AWAY: Duration = Duration::from_millis(500);

/// What the consumers of one worker share.
pub struct Worker {
    pub config: Config,
    pub executor: Executor,
    pub outbox: Outbox,
    pub budget: ProcessBudget,
    pub executions: TaskTracker,
    /// Calls that are still under way are given up.
    pub give_up: CancellationToken,
    pub progress: ProgressBoard,
}

/// Which node, and under which names.
#[derive(Clone, Debug)]
pub struct Served {
    pub graph: String,
    pub node: String,
    /// Topics of both lanes belong to one group; the batch lane's is made with the first batch.
    pub topics: Vec<String>,
    pub group: Arc<str>,
    pub concurrency: usize,
}

/// What is said to a running consumer.
pub enum Hint {
    /// Nobody wants these tasks' results.
    Cancelled(Vec<graph::task::TaskId>),
}

pub struct NodeConsumer {
    worker: Arc<Worker>,
    served: Served,
    metrics: Arc<NodeMetrics>,
    budget: Budget,
    partitions: BTreeMap<Partition, OwnedPartition>,
    /// Executions under way, of partitions that were lost too.
    running: BTreeMap<Place, Arc<Running>>,
    ended: mpsc::Sender<Ended>,
    endings: mpsc::Receiver<Ended>,
    ownerships: u64,
    /// When the next commit is due; None while nothing changed.
    commit_at: Option<Instant>,
    /// Where the next round of beginning starts: partitions take turns.
    turn: Partition,
    cancelled: start::RecentlyCancelled,
}

/// Partition, ownership, offset: names one execution.
type Place = (Partition, u64, u64);

struct Ended {
    place: Place,
    /// What it had to say is durable.
    durable: bool,
}

impl NodeConsumer {
    pub fn new(worker: Arc<Worker>, served: Served) -> Self {
        let (ended, endings) = mpsc::channel(ENDED_MAX);
        let metrics = Arc::new(NodeMetrics::new(&served.graph, &served.node, served.concurrency));
        let budget = Budget::new(&worker.budget, served.concurrency);
        NodeConsumer {
            worker,
            served,
            metrics,
            budget,
            partitions: BTreeMap::new(),
            running: BTreeMap::new(),
            ended,
            endings,
            ownerships: 0,
            commit_at: None,
            turn: 0,
            cancelled: start::RecentlyCancelled::default(),
        }
    }

    /// Serves the node until `shutdown` or an error that another try in place can't cure. In both cases calls under
    /// way go on, outside of the group.
    pub async fn run(
        &mut self,
        hints: &mut mpsc::Receiver<Hint>,
        shutdown: &CancellationToken,
    ) -> Result<(), LogError> {
        self.lose_all();
        let subscription = Subscription {
            group: self.served.group.to_string(),
            topics: self.served.topics.clone(),
            prefetch_bytes_max: self.worker.config.prefetch_bytes_max,
        };
        let mut consumer = self.worker.outbox.log.subscribe(subscription).await?;
        let mut endings = Vec::with_capacity(ENDED_A_TURN);
        let mut admission = None;
        let mut commit_timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let waits_for = self.begin_all(&mut admission);
            self.regulate(&mut *consumer).await?;
            if let Some(at) = self.commit_at
                && commit_timer.deadline() != at
            {
                commit_timer.as_mut().reset(at);
            }
            let budget = self.budget.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = self.endings.recv_many(&mut endings, ENDED_A_TURN) => {
                    for ended in endings.drain(..) {
                        self.note(&ended);
                    }
                }
                () = commit_timer.as_mut(), if self.commit_at.is_some() => self.commit_due(&mut *consumer).await,
                admitted = budget.admit(waits_for.unwrap_or(0)), if waits_for.is_some() => admission = Some(admitted),
                Some(hint) = hints.recv() => self.hear(hint),
                event = consumer.next() => match event {
                    Ok(event) => self.handle(event, &mut *consumer).await?,
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(error = %error, group = &*self.served.group, "the log can't be read for now");
                        tokio::time::sleep(LOG_AWAY).await;
                    }
                    Err(LogError::Closed) => break,
                    Err(error) => return Err(error),
                },
            }
        }
        self.leave(consumer).await;
        Ok(())
    }

    async fn handle(&mut self, event: GroupEvent, consumer: &mut dyn Consumer) -> Result<(), LogError> {
        match event {
            GroupEvent::Records(records) => self.take_in(records),
            GroupEvent::Assigned(assigned) => self.own(assigned).await,
            GroupEvent::Revoked(partitions) => {
                self.metrics.rebalances.increment(1);
                let names: Vec<Partition> = partitions.iter().map(|(_, partition)| *partition).collect();
                self.let_go(&names, self.worker.config.keep, consumer).await;
                consumer.release(&partitions).await?;
            }
            GroupEvent::Lost(partitions) => {
                self.metrics.rebalances.increment(1);
                for (topic, partition) in partitions {
                    tracing::warn!(topic = &*topic, partition, "the partition was lost: others do its tasks again");
                    self.forget(partition);
                }
            }
        }
        Ok(())
    }

    async fn own(&mut self, assigned: Vec<Assigned>) {
        self.metrics.rebalances.increment(1);
        let windows = start::windows(&*self.worker.outbox.log, &assigned, self.worker.executor.clock.now()).await;
        for (assigned, window) in assigned.iter().zip(windows) {
            self.ownerships += 1;
            let owned = OwnedPartition::new(assigned, self.ownerships, window);
            tracing::info!(
                topic = &*assigned.topic,
                partition = assigned.partition,
                offset = owned.tracker.watermark(),
                "a partition is served"
            );
            self.partitions.insert(assigned.partition, owned);
        }
        self.metrics.partitions.set(self.partitions.len() as f64);
        self.report_progress();
    }

    fn take_in(&mut self, records: Vec<Fetched>) {
        for fetched in records {
            if let Some(owned) = self.partitions.get_mut(&fetched.partition) {
                owned.push(fetched);
            }
        }
    }

    /// Begins what waits, as far as the budget goes; else the bytes that room is needed for.
    fn begin_all(&mut self, admission: &mut Option<Admission>) -> Option<usize> {
        let now = self.worker.executor.clock.now();
        while let Some(partition) = self.next_partition() {
            let owned = self.partitions.get_mut(&partition)?;
            let bytes = owned.next_bytes()?;
            let admitted = match admission.take().or_else(|| self.budget.try_admit(bytes)) {
                Some(admitted) => admitted,
                None => return Some(bytes),
            };
            match owned.take_next(now) {
                Next::Nothing => *admission = Some(admitted),
                Next::Skipped => {
                    *admission = Some(admitted);
                    self.metrics.skipped.increment(1);
                    self.commit_soon();
                }
                Next::Begin(fetched, task) => {
                    self.turn = partition + 1;
                    let ownership = owned.ownership;
                    self.begin(fetched, task, ownership, admitted);
                }
            }
        }
        // Room that nothing waits for is given to other nodes.
        *admission = None;
        None
    }

    /// The next partition in turn with a record that may begin.
    fn next_partition(&self) -> Option<Partition> {
        let patience = self.worker.config.commit_failing_max;
        let ready = |(partition, owned): (&Partition, &OwnedPartition)| {
            (!owned.has_failed_for(patience)).then(|| owned.next_bytes())?.map(|_| *partition)
        };
        self.partitions
            .range(self.turn..)
            .find_map(ready)
            .or_else(|| self.partitions.range(..self.turn).find_map(ready))
    }

    fn note(&mut self, ended: &Ended) {
        let (partition, ownership, offset) = ended.place;
        self.running.remove(&ended.place);
        self.metrics.in_flight.set(self.running.len() as f64);
        if !ended.durable {
            return;
        }
        if let Some(owned) = self.partitions.get_mut(&partition)
            && owned.ownership == ownership
        {
            owned.tracker.finish(offset);
            self.commit_soon();
        }
    }

    fn hear(&mut self, hint: Hint) {
        let Hint::Cancelled(tasks) = hint;
        for running in self.running.values() {
            if running.task.is_some_and(|(task, _)| tasks.contains(&task)) {
                running.stop.cancel();
            }
        }
        self.cancelled.note(tasks);
    }

    /// Pauses partitions with much waiting, and all while commits fail; resumes them when little is left.
    async fn regulate(&mut self, consumer: &mut dyn Consumer) -> Result<(), LogError> {
        let config = &self.worker.config;
        for (partition, owned) in &mut self.partitions {
            let stopped = owned.has_failed_for(config.commit_failing_max);
            let full = owned.waiting.len() >= config.waiting_max || owned.waiting_bytes >= config.prefetch_bytes_max;
            let drained =
                owned.waiting.len() <= config.waiting_max / 2 && owned.waiting_bytes <= config.prefetch_bytes_max / 2;
            let pause = stopped || full || (owned.paused && !drained);
            if pause == owned.paused {
                continue;
            }
            let Some(topic) = self.served.topics.first() else { continue };
            match pause {
                true => consumer.pause(topic, *partition).await?,
                false => consumer.resume(topic, *partition).await?,
            }
            owned.paused = pause;
        }
        Ok(())
    }

    fn commit_soon(&mut self) {
        self.commit_at.get_or_insert_with(|| Instant::now() + self.worker.config.commit_every);
    }
}
