//! The poll thread of a group's member. It polls, follows changes of assignment when the member lets it, and never
//! waits for the member: what it has to say goes into a queue that the prefetch budget bounds.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering, mpsc},
    thread::{self, Thread},
    time::Duration,
};

use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::{
    sync::{Semaphore, mpsc as events, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    answers::{self, misconfigured},
    config::Config,
    context::{Context, Rebalance},
    fetch::{Budget, Decoder, Partitions, weight},
};
use crate::{Assigned, Fetched, GroupEvent, LogError, Offset, Partition, Subscription};

/// librdkafka wakes the thread when its queue fills; this is for a wake-up that got lost.
const NAP: Duration = Duration::from_millis(20);
/// Also a member that takes nothing has to be seen polling, or librdkafka takes it for dead.
const POLL_AT_LEAST_EVERY: Duration = Duration::from_secs(5);
const BATCH_RECORDS_MAX: usize = 1024;
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
const SEEK_ATTEMPT: Duration = Duration::from_secs(1);
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that doesn't release by then loses what was revoked: its group waits for it.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a commit may go on when its partition is lost.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
const PREPARE_RETRY: Duration = Duration::from_millis(100);

pub(super) type TopicPartition = (Arc<str>, Partition);

/// What the member asks of its thread.
pub(super) enum Command {
    /// `count` is the member's number of seeks with this one.
    Seek {
        of: TopicPartition,
        offset: Offset,
        count: u64,
        done: oneshot::Sender<Result<(), LogError>>,
    },
    Pause {
        of: TopicPartition,
    },
    Resume {
        of: TopicPartition,
    },
    Release {
        partitions: Vec<TopicPartition>,
        done: oneshot::Sender<Result<(), LogError>>,
    },
    Leave {
        done: Option<oneshot::Sender<()>>,
    },
    /// From the thread's own helper: what newly assigned partitions were found to be.
    Prepared {
        partitions: TopicPartitionList,
        assigned: Vec<Assigned>,
    },
}

/// What the thread tells its member.
pub(super) enum Event {
    /// `seeks` counts those that the thread had followed when it fetched these.
    Records {
        records: Vec<Fetched>,
        bytes: usize,
        seeks: u64,
    },
    Group(GroupEvent),
    Failed(LogError),
}

/// Reaches a running thread.
pub(super) struct Handle {
    pub commands: mpsc::Sender<Command>,
    pub thread: Thread,
    /// Weak, so that the client ends on its own thread: that may take a while.
    pub consumer: Weak<BaseConsumer<Context>>,
    pub context: Arc<Context>,
    pub budget: Arc<Budget>,
    pub commits: Arc<Commits>,
}

/// Keeps commits apart from losses. The broker checks who commits, not what it owns: a commit that is sent when this
/// client has joined anew could move another owner's position back.
pub(super) struct Commits {
    /// One commit at a time, also when the future of one was dropped.
    pub one: Arc<Semaphore>,
    /// Lost, though the member has not heard of it yet.
    pub lost: Mutex<Vec<TopicPartition>>,
}

impl Handle {
    pub fn send(&self, command: Command) -> Result<(), LogError> {
        self.commands.send(command).map_err(|_| LogError::Closed)?;
        self.thread.unpark();
        Ok(())
    }
}

struct MemberThread {
    consumer: Arc<BaseConsumer<Context>>,
    /// Reaches this thread from its helpers.
    myself: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    events: events::UnboundedSender<Event>,
    budget: Arc<Budget>,
    commits: Arc<Commits>,
    closing: CancellationToken,
    decoder: Decoder,
    owned: Partitions<Owned>,
    /// Handed to the member as revoked; given back when it has released all of them.
    revoked: Vec<TopicPartition>,
    revoked_list: TopicPartitionList,
    revoked_at: Instant,
    seeks: u64,
    polled: Instant,
}

struct Owned {
    topic: Arc<str>,
    /// The next offset to hand out: an older one is a repeat.
    next: Offset,
    paused: bool,
}

/// Joins the group and returns when the thread polls.
pub(super) async fn start(
    config: &Config,
    subscription: &Subscription,
    closing: CancellationToken,
    token: TaskTrackerToken,
) -> Result<(Handle, events::UnboundedReceiver<Event>), LogError> {
    let (client, subscription) = (config.joining(subscription), subscription.clone());
    let (started, start) = oneshot::channel();
    let (sender, receiver) = events::unbounded_channel();
    let spawned = thread::Builder::new().name(format!("kafka-{}", subscription.group)).spawn(move || {
        let _token = token;
        let mut consumer: BaseConsumer<Context> =
            match BaseConsumer::from_config_and_context(&client, Context::default()) {
                Ok(consumer) => consumer,
                Err(error) => return drop(started.send(Err(misconfigured(error)))),
            };
        let me = thread::current();
        let woken = me.clone();
        consumer.set_nonempty_callback(move || woken.unpark());
        let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
        if let Err(error) = consumer.subscribe(&topics) {
            return drop(started.send(Err(consumer.context().unavailable("take a subscription", &error))));
        }
        let (consumer, budget) = (Arc::new(consumer), Arc::new(Budget::new(subscription.prefetch_bytes_max)));
        let commits = Arc::new(Commits { one: Arc::new(Semaphore::new(1)), lost: Mutex::default() });
        let (myself, commands) = mpsc::channel();
        let handle = Handle {
            commands: myself.clone(),
            thread: me,
            consumer: Arc::downgrade(&consumer),
            context: Arc::clone(consumer.context()),
            budget: Arc::clone(&budget),
            commits: Arc::clone(&commits),
        };
        if started.send(Ok(handle)).is_err() {
            return;
        }
        MemberThread {
            consumer,
            myself,
            commands,
            events: sender,
            budget,
            commits,
            closing,
            decoder: Decoder::default(),
            owned: Partitions::new(),
            revoked: Vec::new(),
            revoked_list: TopicPartitionList::new(),
            revoked_at: Instant::now(),
            seeks: 0,
            polled: Instant::now(),
        }
        .run();
    });
    spawned.map_err(|error| LogError::Unavailable { reason: format!("no thread for kafka: {error}") })?;
    let handle = start.await.unwrap_or(Err(LogError::Closed))?;
    Ok((handle, receiver))
}

impl MemberThread {
    fn run(mut self) {
        loop {
            let mut busy = false;
            while let Ok(command) = self.commands.try_recv() {
                busy = true;
                if let Command::Leave { done } = command {
                    return self.leave(done);
                }
                self.follow(command);
            }
            if self.closing.is_cancelled() {
                return self.leave(None);
            }
            if self.budget.has_room() || self.polled.elapsed() > POLL_AT_LEAST_EVERY {
                busy |= self.poll();
            }
            while let Some(rebalance) = self.consumer.context().next_rebalance() {
                busy = true;
                self.rebalance(rebalance);
            }
            if !self.revoked.is_empty() && self.revoked_at.elapsed() > RELEASE_TIMEOUT {
                let list = std::mem::take(&mut self.revoked_list);
                let partitions = std::mem::take(&mut self.revoked);
                self.lose(&list, partitions);
            }
            if !busy {
                thread::park_timeout(NAP);
            }
        }
    }

    fn follow(&mut self, command: Command) {
        match command {
            Command::Seek { of, offset, count, done } => {
                self.seeks = count;
                let _ = done.send(self.seek(&of.0, of.1, offset));
            }
            Command::Pause { of } => self.pause(&of.0, of.1),
            Command::Resume { of } => self.resume(&of.0, of.1),
            Command::Release { partitions, done } => {
                let _ = done.send(self.release(&partitions));
            }
            Command::Prepared { partitions, assigned } => self.assign(&partitions, assigned),
            Command::Leave { .. } => {}
        }
    }

    /// Hands out what librdkafka holds. Whether there was anything.
    fn poll(&mut self) -> bool {
        self.polled = Instant::now();
        let consumer = Arc::clone(&self.consumer);
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut failure = None;
        while records.len() < BATCH_RECORDS_MAX && self.budget.has_room() {
            match consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let Some(owned) = self.owned.get_mut(message.topic(), message.partition() as Partition) else {
                        continue;
                    };
                    let fetched = self.decoder.decode(&owned.topic, &message);
                    if fetched.offset < owned.next {
                        continue;
                    }
                    owned.next = fetched.offset + 1;
                    let weight = weight(&fetched);
                    self.budget.take(weight);
                    bytes += weight;
                    records.push(fetched);
                }
                Some(Err(error)) => {
                    failure = self.failure(&error);
                    break;
                }
            }
        }
        let busy = !records.is_empty() || failure.is_some();
        if !records.is_empty() {
            self.tell(Event::Records { records, bytes, seeks: self.seeks });
        }
        if let Some(error) = failure {
            self.tell(Event::Failed(error));
        }
        busy
    }

    /// What the member has to hear of an error; librdkafka mends the others by itself.
    fn failure(&self, error: &KafkaError) -> Option<LogError> {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let told = matches!(
            code,
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::AutoOffsetReset)
        );
        if fatal || told {
            return Some(self.consumer.context().unavailable("serve a member of a group", error));
        }
        tracing::warn!(kafka.error = %error, "a member of a group met an error that passes");
        None
    }

    fn rebalance(&mut self, rebalance: Rebalance) {
        match rebalance {
            Rebalance::Assign(partitions) => self.prepare(partitions),
            Rebalance::Revoke { partitions, lost } => self.revoke(partitions, lost),
        }
    }

    /// Looks up, on a thread for that, what the member wants to know of new partitions.
    fn prepare(&self, partitions: TopicPartitionList) {
        let (consumer, myself, me) = (Arc::clone(&self.consumer), self.myself.clone(), thread::current());
        let closing = self.closing.clone();
        thread::spawn(move || {
            while !closing.is_cancelled() && !consumer.context().leaving.load(Ordering::SeqCst) {
                match look_up(&consumer, &partitions) {
                    Ok(assigned) => {
                        let _ = myself.send(Command::Prepared { partitions, assigned });
                        return me.unpark();
                    }
                    Err(error) => {
                        tracing::warn!(kafka.error = %error, "an assigned partition's offsets can't be read yet");
                        thread::park_timeout(PREPARE_RETRY);
                    }
                }
            }
        });
    }

    fn assign(&mut self, partitions: &TopicPartitionList, mut assigned: Vec<Assigned>) {
        let mut begin = TopicPartitionList::with_capacity(assigned.len());
        for part in &mut assigned {
            if let Some(known) = self.name_of(&part.topic) {
                part.topic = known;
            }
            let next = part.committed.as_ref().map_or(part.start, |(offset, _)| (*offset).max(part.start));
            let added =
                begin.add_partition_offset(&part.topic, part.partition as i32, KafkaOffset::Offset(next as i64));
            if added.is_err() {
                tracing::warn!(log.offset = next, "an offset is beyond what kafka counts to");
            }
            let owned = Owned { topic: Arc::clone(&part.topic), next, paused: false };
            self.owned.insert(&part.topic, part.partition, owned);
        }
        if begin.count() != partitions.count() {
            tracing::warn!("kafka knew offsets of other partitions than it assigned");
        }
        match self.consumer.incremental_assign(&begin) {
            Ok(()) => self.tell(Event::Group(GroupEvent::Assigned(assigned))),
            Err(error) => {
                self.tell(Event::Failed(self.consumer.context().unavailable("take an assignment", &error)));
            }
        }
    }

    fn name_of(&self, topic: &str) -> Option<Arc<str>> {
        self.owned.iter().find(|(name, ..)| &***name == topic).map(|(name, ..)| Arc::clone(name))
    }

    fn revoke(&mut self, list: TopicPartitionList, lost: bool) {
        let mut partitions = Vec::with_capacity(list.count());
        for part in list.elements() {
            let partition = part.partition() as Partition;
            if let Some(owned) = self.owned.get(part.topic(), partition) {
                partitions.push((Arc::clone(&owned.topic), partition));
            }
        }
        if lost {
            return self.lose(&list, partitions);
        }
        if let Err(error) = self.consumer.pause(&list) {
            tracing::warn!(kafka.error = %error, "revoked partitions could not be paused");
        }
        self.revoked.clone_from(&partitions);
        (self.revoked_list, self.revoked_at) = (list, Instant::now());
        self.tell(Event::Group(GroupEvent::Revoked(partitions)));
    }

    /// Others own these, or will at once: nothing that the member could still do would count. Giving them back lets
    /// this client join anew, so a commit that is under way has to end first.
    fn lose(&mut self, list: &TopicPartitionList, partitions: Vec<TopicPartition>) {
        self.commits.lost.lock().unwrap_or_else(PoisonError::into_inner).extend(partitions.iter().cloned());
        self.wait_for_commit();
        self.give_back(list, &partitions);
        self.tell(Event::Group(GroupEvent::Lost(partitions)));
    }

    fn wait_for_commit(&self) {
        let deadline = Instant::now() + COMMIT_TIMEOUT;
        while self.commits.one.try_acquire().is_err() && Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Kafka is told once all are let go: it assigns them to others then.
    fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        if self.revoked.is_empty() {
            return Ok(());
        }
        self.revoked.retain(|revoked| !partitions.contains(revoked));
        for (topic, partition) in partitions {
            self.owned.remove(topic, *partition);
        }
        if self.revoked.is_empty() {
            let list = std::mem::take(&mut self.revoked_list);
            self.give_back(&list, partitions);
        }
        Ok(())
    }

    fn give_back(&mut self, list: &TopicPartitionList, partitions: &[TopicPartition]) {
        for (topic, partition) in partitions {
            self.owned.remove(topic, *partition);
        }
        // librdkafka keeps a partition paused beyond its assignment: it would be silent if it came back.
        if let Err(error) = self.consumer.resume(list) {
            tracing::warn!(kafka.error = %error, "revoked partitions could not be resumed");
        }
        if let Err(error) = self.consumer.incremental_unassign(list) {
            tracing::warn!(kafka.error = %error, "revoked partitions could not be given back");
        }
    }

    /// Right after an assignment librdkafka may not be ready for it: it is asked again.
    fn seek(&mut self, topic: &str, partition: Partition, offset: Offset) -> Result<(), LogError> {
        let Some(owned) = self.owned.get_mut(topic, partition) else { return Ok(()) };
        owned.next = offset;
        let deadline = Instant::now() + SEEK_TIMEOUT;
        loop {
            let sought = self.consumer.seek(topic, partition as i32, KafkaOffset::Offset(offset as i64), SEEK_ATTEMPT);
            match sought {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(self.consumer.context().unavailable("move to an offset", &error));
                }
                Err(_) => thread::park_timeout(Duration::from_millis(5)),
            }
        }
    }

    fn pause(&mut self, topic: &str, partition: Partition) {
        let Some(owned) = self.owned.get_mut(topic, partition) else { return };
        owned.paused = true;
        if let Err(error) = self.consumer.pause(&one(topic, partition)) {
            tracing::warn!(kafka.error = %error, "a partition could not be paused");
        }
    }

    fn resume(&mut self, topic: &str, partition: Partition) {
        let Some(owned) = self.owned.get_mut(topic, partition) else { return };
        if !std::mem::take(&mut owned.paused) {
            return;
        }
        let next = owned.next;
        if let Err(error) = self.consumer.resume(&one(topic, partition)) {
            tracing::warn!(kafka.error = %error, "a partition could not be resumed");
        }
        // librdkafka goes on where it believes that the application stood, which a seek while paused doesn't change.
        if let Err(error) = self.seek(topic, partition, next) {
            self.tell(Event::Failed(error));
        }
    }

    /// Gives back what it holds and leaves; polls on until the broker has heard it.
    fn leave(mut self, done: Option<oneshot::Sender<()>>) {
        self.consumer.context().leaving.store(true, Ordering::SeqCst);
        if !self.revoked.is_empty() {
            let (list, partitions) = (std::mem::take(&mut self.revoked_list), std::mem::take(&mut self.revoked));
            self.give_back(&list, &partitions);
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            let followed = match &rebalance {
                Rebalance::Assign(partitions) => self.consumer.incremental_assign(partitions),
                Rebalance::Revoke { partitions, .. } => self.consumer.incremental_unassign(partitions),
            };
            drop(followed);
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        if self.consumer.close_queue().is_ok() {
            while !self.consumer.closed() && Instant::now() < deadline {
                self.consumer.poll(Duration::from_millis(2));
            }
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn tell(&self, event: Event) {
        // A member that is gone has sent `Leave`, or will.
        let _ = self.events.send(event);
    }
}

/// Where each partition stands: committed by the group, and kept by the log. Blocks.
fn look_up(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> Result<Vec<Assigned>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(partitions.count());
    for part in partitions.elements() {
        asked.add_partition(part.topic(), part.partition());
    }
    let mut assigned = Vec::with_capacity(partitions.count());
    for found in answers::committed(consumer, asked)? {
        let (start, end) = answers::watermarks(consumer, &found.topic, found.partition)?;
        assigned.push(Assigned {
            topic: found.topic.into(),
            partition: found.partition as Partition,
            committed: found.committed,
            start,
            end,
        });
    }
    Ok(assigned)
}

fn one(topic: &str, partition: Partition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition as i32);
    list
}
