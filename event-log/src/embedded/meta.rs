//! The database beside the segments: topics, reserved offsets, and the groups' offsets. One thread writes it, many
//! commits in one transaction. Topics and reservations are synced; offsets need no sync, since losing a commit only
//! repeats records.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::{
    config::OFFSET_BLOCK,
    jobs::Jobs,
    partition::PartitionLog,
    segment::connect,
    status::{Failure, Status},
    topics::{Topic, Topics},
};
use crate::{
    error::LogError,
    record::{Offset, Partition},
    topic::{Class, TopicSpec},
};

pub(super) enum Order {
    Create { specs: Vec<TopicSpec>, reply: oneshot::Sender<Result<(), LogError>> },
    Commit { commit: Commit, reply: oneshot::Sender<Result<(), LogError>> },
    Reserve { log: Arc<PartitionLog>, below: Offset },
}

pub(super) struct Commit {
    pub(super) group: Arc<str>,
    pub(super) topic: u32,
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) metadata: String,
}

/// (group, topic's name, partition) to what was committed last.
pub(super) type Committed = Vec<(String, Arc<str>, Partition, Offset, String)>;

pub(super) struct Meta {
    connection: Connection,
}

impl Meta {
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let connection = connect(&folder.join("meta.db"))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
                 partitions INTEGER NOT NULL, class INTEGER NOT NULL, retention_ms INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS blocks (topic INTEGER, partition INTEGER, below INTEGER NOT NULL,
                 PRIMARY KEY (topic, partition)) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS offsets (member_group TEXT, topic INTEGER, partition INTEGER,
                 next INTEGER NOT NULL, metadata TEXT NOT NULL, PRIMARY KEY (member_group, topic, partition))
                 WITHOUT ROWID;",
        )?;
        Ok(Meta { connection })
    }

    /// The topics, each ephemeral partition at the beginning of a block that no process gave offsets of before.
    pub(super) fn topics(&mut self) -> Result<Topics, Failure> {
        let transaction = self.connection.transaction()?;
        let topics = Topics::default();
        {
            let mut statement =
                transaction.prepare("SELECT id, name, partitions, class, retention_ms FROM topics ORDER BY id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (id, name): (u32, String) = (row.get(0)?, row.get(1)?);
                let class = read_class(row.get(3)?, row.get::<_, i64>(4)? as u64)?;
                let mut next = BTreeMap::new();
                if let Class::Ephemeral { .. } = class {
                    for partition in 0..row.get(2)? {
                        next.insert(partition, next_block(&transaction, id, partition)?);
                    }
                }
                let next = |partition: Partition| next.get(&partition).copied().unwrap_or(0);
                topics.insert(Topic::new(&name, id, class, row.get(2)?, next));
            }
        }
        transaction.commit()?;
        Ok(topics)
    }

    pub(super) fn committed(&self, topics: &Topics) -> Result<Committed, Failure> {
        let names = topics.by_id();
        let mut statement =
            self.connection.prepare("SELECT member_group, topic, partition, next, metadata FROM offsets")?;
        let mut rows = statement.query([])?;
        let mut committed = Vec::new();
        while let Some(row) = rows.next()? {
            let topic: u32 = row.get(1)?;
            let topic = names.get(&topic).ok_or_else(|| Failure::Damage(format!("topic {topic} has no name")))?;
            let next = row.get::<_, i64>(3)? as Offset;
            committed.push((row.get(0)?, Arc::clone(&topic.name), row.get(2)?, next, row.get(4)?));
        }
        Ok(committed)
    }

    /// The body of the thread.
    pub(super) fn run(mut self, orders: &Jobs<Order>, topics: &Topics, status: &Status) {
        loop {
            let batch = orders.next_all();
            if batch.is_empty() {
                return;
            }
            if let Err(failure) = self.carry_out(batch, topics, status) {
                status.fail(failure);
            }
        }
    }

    fn carry_out(&mut self, batch: Vec<Order>, topics: &Topics, status: &Status) -> Result<(), Failure> {
        let mut commits = Vec::new();
        for order in batch {
            match order {
                Order::Commit { commit, reply } => commits.push((commit, reply)),
                Order::Create { specs, reply } => {
                    let created = status.check().and_then(|()| self.create(&specs, topics, status));
                    let _ = reply.send(created);
                }
                Order::Reserve { log, below } => {
                    reserve(&self.connection, log.topic_id, log.number, below)?;
                    log.reserved(below);
                }
            }
        }
        if commits.is_empty() {
            return Ok(());
        }
        // Whoever waits hears of the failure as its sender is dropped.
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        self.commit(commits.iter().map(|(commit, _)| commit))?;
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        for (_, reply) in commits {
            let _ = reply.send(Ok(()));
        }
        Ok(())
    }

    fn commit<'a>(&mut self, commits: impl Iterator<Item = &'a Commit>) -> Result<(), Failure> {
        let transaction = self.connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO offsets (member_group, topic, partition, next, metadata)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for commit in commits {
                let next = commit.offset as i64;
                statement.execute(params![&*commit.group, commit.topic, commit.partition, next, commit.metadata])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn create(&mut self, specs: &[TopicSpec], topics: &Topics, status: &Status) -> Result<(), LogError> {
        for spec in specs {
            match topics.get(&spec.name) {
                Ok(topic) if topic.partitions.len() as u32 == spec.partitions => {
                    if topic.class != spec.class {
                        tracing::warn!(topic = spec.name, "the topic keeps the retention that it was made with");
                    }
                }
                Ok(topic) => {
                    return Err(LogError::UnknownPartition {
                        topic: spec.name.clone(),
                        partition: spec.partitions.saturating_sub(1),
                        partitions: topic.partitions.len() as u32,
                    });
                }
                Err(_) => topics.insert(self.insert(spec).map_err(|failure| {
                    status.fail(failure.clone());
                    failure.error()
                })?),
            }
        }
        Ok(())
    }

    fn insert(&mut self, spec: &TopicSpec) -> Result<Topic, Failure> {
        let transaction = self.connection.transaction()?;
        let (class, retention_ms) = write_class(spec.class);
        let id = transaction
            .prepare("INSERT INTO topics (name, partitions, class, retention_ms) VALUES (?1, ?2, ?3, ?4)")?
            .insert(params![spec.name, spec.partitions, class, retention_ms as i64])? as u32;
        if let Class::Ephemeral { .. } = spec.class {
            for partition in 0..spec.partitions {
                reserve(&transaction, id, partition, OFFSET_BLOCK)?;
            }
        }
        transaction.commit()?;
        Ok(Topic::new(&spec.name, id, spec.class, spec.partitions, |_| 0))
    }
}

fn next_block(connection: &Connection, topic: u32, partition: Partition) -> Result<Offset, Failure> {
    let below: Option<i64> = connection
        .prepare_cached("SELECT below FROM blocks WHERE topic = ?1 AND partition = ?2")?
        .query_row(params![topic, partition], |row| row.get(0))
        .optional()?;
    let next = below.unwrap_or(0) as Offset;
    reserve(connection, topic, partition, next + OFFSET_BLOCK)?;
    Ok(next)
}

fn reserve(connection: &Connection, topic: u32, partition: Partition, below: Offset) -> Result<(), Failure> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO blocks (topic, partition, below) VALUES (?1, ?2, ?3)")?
        .execute(params![topic, partition, below as i64])?;
    Ok(())
}

/// Frozen.
fn write_class(class: Class) -> (u32, u64) {
    match class {
        Class::Durable { retention_ms } => (0, retention_ms),
        Class::Compacted => (1, 0),
        Class::Ephemeral { retention_ms } => (2, retention_ms),
    }
}

fn read_class(class: u32, retention_ms: u64) -> Result<Class, Failure> {
    match class {
        0 => Ok(Class::Durable { retention_ms }),
        1 => Ok(Class::Compacted),
        2 => Ok(Class::Ephemeral { retention_ms }),
        other => Err(Failure::Damage(format!("a topic has class {other}, which this binary does not know"))),
    }
}
