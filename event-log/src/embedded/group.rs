//! A consumer group: who owns which partition, and what it committed.
//!
//! A partition that is to move is first revoked; its next owner gets it when the old one has released it, left, or let
//! [`RELEASE_MS_MAX`] pass. Deadlines are looked at by whoever calls, so the group needs no timer of its own.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    balance::{Key, MemberId, balance},
    config::RELEASE_MS_MAX,
    partition::PartitionLog,
    topics::Topic,
};
use crate::{
    contract::Assigned,
    error::LogError,
    record::{Offset, Partition},
};

pub(super) struct Group {
    pub(super) name: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    committed: BTreeMap<Key, (Offset, String)>,
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<Key, Owner>,
    /// Who has each partition or gets it once it is released.
    targets: BTreeMap<Key, MemberId>,
    members_ever: MemberId,
    epoch: u64,
}

struct Member {
    topics: Vec<Arc<Topic>>,
    inbox: VecDeque<MemberEvent>,
    wake: Arc<Notify>,
}

struct Owner {
    member: MemberId,
    epoch: u64,
    revoked_until: Option<Instant>,
}

pub(super) enum MemberEvent {
    Assigned(Vec<Assignment>),
    Revoked(Vec<Key>),
    Lost(Vec<Key>),
}

pub(super) struct Assignment {
    pub(super) log: Arc<PartitionLog>,
    /// Tells this ownership from an earlier one of the same member.
    pub(super) epoch: u64,
    pub(super) assigned: Assigned,
}

/// What a member hears when it asks.
pub(super) struct News {
    pub(super) event: Option<MemberEvent>,
    /// When to ask again, though nobody wakes it.
    pub(super) deadline: Option<Instant>,
}

impl Group {
    pub(super) fn new(name: &str) -> Self {
        Group { name: name.into(), state: Mutex::default() }
    }

    pub(super) fn restore(&self, topic: Arc<str>, partition: Partition, offset: Offset, metadata: String) {
        self.state().committed.insert((topic, partition), (offset, metadata));
    }

    pub(super) fn join(&self, topics: Vec<Arc<Topic>>, wake: Arc<Notify>) -> MemberId {
        let mut state = self.state();
        state.members_ever += 1;
        let id = state.members_ever;
        state.members.insert(id, Member { topics, inbox: VecDeque::new(), wake });
        state.rebalance();
        id
    }

    pub(super) fn leave(&self, member: MemberId) {
        let mut state = self.state();
        if state.members.remove(&member).is_some() {
            state.owners.retain(|_, owner| owner.member != member);
            state.rebalance();
        }
    }

    pub(super) fn news(&self, member: MemberId) -> News {
        let mut state = self.state();
        state.expire();
        let event = state.members.get_mut(&member).and_then(|member| member.inbox.pop_front());
        let deadline = state.owners.values().filter_map(|owner| owner.revoked_until).min();
        News { event, deadline }
    }

    pub(super) fn release(&self, member: MemberId, partitions: &[Key]) {
        let mut state = self.state();
        for key in partitions {
            if state.owners.get(key).is_some_and(|owner| owner.member == member && owner.revoked_until.is_some()) {
                state.owners.remove(key);
            }
        }
        state.apply();
    }

    /// Notes the commit where `member` still owns the partition, and passes it on by `persist` in that order.
    pub(super) fn commit<T>(
        &self,
        member: MemberId,
        epoch: u64,
        log: &PartitionLog,
        offset: Offset,
        metadata: &str,
        persist: impl FnOnce() -> T,
    ) -> Result<T, LogError> {
        let mut state = self.state();
        state.expire();
        let key = (Arc::clone(&log.topic), log.number);
        if state.owners.get(&key).is_none_or(|owner| owner.member != member || owner.epoch != epoch) {
            return Err(self.stale(&log.topic, log.number));
        }
        state.committed.insert(key, (offset, metadata.to_owned()));
        Ok(persist())
    }

    pub(super) fn stale(&self, topic: &str, partition: Partition) -> LogError {
        LogError::StaleOwner { group: self.name.to_string(), topic: topic.to_owned(), partition }
    }

    pub(super) fn committed(&self, topic: &Arc<str>, partition: Partition) -> Option<(Offset, String)> {
        self.state().committed.get(&(Arc::clone(topic), partition)).cloned()
    }

    /// Topics and partitions that it committed, with the offsets.
    pub(super) fn positions(&self) -> Vec<(Key, Offset)> {
        self.state().committed.iter().map(|(key, (offset, _))| (key.clone(), *offset)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rebalance(&mut self) {
        let members: BTreeMap<MemberId, BTreeSet<Arc<str>>> = self
            .members
            .iter()
            .map(|(id, member)| (*id, member.topics.iter().map(|topic| Arc::clone(&topic.name)).collect()))
            .collect();
        let partitions = self.members.values().flat_map(|member| &member.topics).flat_map(|topic| {
            (0..topic.partitions.len() as Partition).map(|partition| (Arc::clone(&topic.name), partition))
        });
        self.targets = balance(&members, &partitions.collect(), &self.targets);
        self.apply();
    }

    /// Brings owners nearer to the targets: assigns what is free, revokes what is to move.
    fn apply(&mut self) {
        let until = Instant::now() + Duration::from_millis(RELEASE_MS_MAX);
        let mut revoked: BTreeMap<MemberId, Vec<Key>> = BTreeMap::new();
        for (key, owner) in &mut self.owners {
            if owner.revoked_until.is_none() && self.targets.get(key) != Some(&owner.member) {
                owner.revoked_until = Some(until);
                revoked.entry(owner.member).or_default().push(key.clone());
            }
        }
        for (member, keys) in revoked {
            self.tell(member, MemberEvent::Revoked(keys));
        }
        let free: Vec<_> = self
            .targets
            .iter()
            .filter(|(key, _)| !self.owners.contains_key(*key))
            .map(|(key, member)| (key.clone(), *member))
            .collect();
        let mut assigned: BTreeMap<MemberId, Vec<Assignment>> = BTreeMap::new();
        for (key, member) in free {
            if let Some(assignment) = self.assign(key, member) {
                assigned.entry(member).or_default().push(assignment);
            }
        }
        for (member, assignments) in assigned {
            self.tell(member, MemberEvent::Assigned(assignments));
        }
    }

    fn assign(&mut self, key: Key, member: MemberId) -> Option<Assignment> {
        let topic = self.members.get(&member)?.topics.iter().find(|topic| topic.name == key.0)?;
        let log = Arc::clone(topic.partition(key.1).ok()?);
        self.epoch += 1;
        let (start, end) = log.bounds();
        let committed = self.committed.get(&key).cloned();
        let assigned = Assigned { topic: Arc::clone(&key.0), partition: key.1, committed, start, end };
        self.owners.insert(key, Owner { member, epoch: self.epoch, revoked_until: None });
        Some(Assignment { log, epoch: self.epoch, assigned })
    }

    /// Cuts off owners that did not release in time.
    fn expire(&mut self) {
        if self.owners.values().all(|owner| owner.revoked_until.is_none()) {
            return;
        }
        let now = Instant::now();
        let mut lost: BTreeMap<MemberId, Vec<Key>> = BTreeMap::new();
        self.owners.retain(|key, owner| {
            let late = owner.revoked_until.is_some_and(|until| until <= now);
            if late {
                lost.entry(owner.member).or_default().push(key.clone());
            }
            !late
        });
        if !lost.is_empty() {
            for (member, keys) in lost {
                self.tell(member, MemberEvent::Lost(keys));
            }
            self.apply();
        }
    }

    fn tell(&mut self, member: MemberId, event: MemberEvent) {
        if let Some(member) = self.members.get_mut(&member) {
            member.inbox.push_back(event);
            member.wake.notify_one();
        }
    }
}
