//! The segments of one retention class, oldest first; only the last one is written to.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    config::Config,
    frame::Row,
    partition::PartitionLog,
    segment::{Sealed, Segment, remove_database},
    status::Failure,
    topics::{Topic, Topics},
};
use crate::topic::Class;

pub(super) struct Chain {
    retention_ms: u64,
    folder: PathBuf,
    sealed: Vec<Sealed>,
    active: Segment,
}

impl Chain {
    /// Starts a class that has no segment yet.
    pub(super) fn create(folder: &Path, retention_ms: u64, now: i64) -> Result<Self, Failure> {
        let active = Segment::create(&path_of(folder, retention_ms, 1), 1, now, &[])?;
        Ok(Chain { retention_ms, folder: folder.to_owned(), sealed: Vec::new(), active })
    }

    /// Opens every class found in the folder and tells the partitions what they hold.
    pub(super) fn open_all(folder: &Path, topics: &Topics, now: i64) -> Result<BTreeMap<u64, Chain>, Failure> {
        let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            if let Some((retention_ms, number)) = entry?.file_name().to_str().and_then(parse_name) {
                numbers.entry(retention_ms).or_default().push(number);
            }
        }
        let topics = topics.by_id();
        let mut chains = BTreeMap::new();
        for (retention_ms, mut numbers) in numbers {
            numbers.sort_unstable();
            if let Some(chain) = Chain::open(folder, retention_ms, &numbers, &topics, now)? {
                chains.insert(retention_ms, chain);
            }
        }
        Ok(chains)
    }

    fn open(
        folder: &Path,
        retention_ms: u64,
        numbers: &[u64],
        topics: &BTreeMap<u32, Arc<Topic>>,
        now: i64,
    ) -> Result<Option<Self>, Failure> {
        let mut segments = Vec::new();
        for number in numbers {
            let path = path_of(folder, retention_ms, *number);
            match Segment::open(&path, *number)? {
                Some(segment) => segments.push(segment),
                // The process that made it died first; an append goes nowhere before the file is whole.
                None => remove_database(&path)?,
            }
        }
        let Some(last) = segments.pop() else { return Ok(None) };
        let mut sealed = Vec::new();
        for segment in segments {
            restore(&segment, topics)?;
            sealed.push(segment.into_sealed()?);
        }
        restore(&last, topics)?;
        let was_sealed = last.summary()?.is_some();
        let mut chain = Chain { retention_ms, folder: folder.to_owned(), sealed, active: last };
        if was_sealed {
            let partitions = partitions_of(topics.values(), retention_ms);
            chain.roll(&partitions, now)?;
        }
        Ok(Some(chain))
    }

    /// Appends rows, each with the timestamp of its newest record; they are on disk when this returns.
    pub(super) fn append(&mut self, rows: &[(i64, Row)]) -> Result<Vec<i64>, Failure> {
        self.active.append(rows)
    }

    pub(super) fn active(&self) -> (u64, &Arc<Path>) {
        (self.active.number, &self.active.path)
    }

    /// Whether the active segment is large or old enough to be followed by another.
    pub(super) fn is_full(&self, config: &Config, now: i64) -> bool {
        let age_max = config.segment_age_ms_max.min(self.retention_ms / 8);
        self.active.newest.is_some()
            && (self.active.bytes >= config.segment_bytes_max || elapsed(self.active.began, now) > age_max)
    }

    /// Seals the active segment and begins the next.
    pub(super) fn roll(&mut self, partitions: &[Arc<PartitionLog>], now: i64) -> Result<(), Failure> {
        let opening: Vec<_> = partitions.iter().map(|p| (p.topic_id, p.number, p.end())).collect();
        let number = self.active.number + 1;
        let next = Segment::create(&path_of(&self.folder, self.retention_ms, number), number, now, &opening)?;
        let full = std::mem::replace(&mut self.active, next);
        let summary = partitions
            .iter()
            .filter_map(|p| p.segment_span(full.number).map(|span| (p.topic_id, p.number, span)))
            .collect();
        self.sealed.push(full.seal(&summary)?);
        Ok(())
    }

    /// Removes the segments in which every record is older than the class keeps them.
    pub(super) fn remove_expired(&mut self, partitions: &[Arc<PartitionLog>], now: i64) -> Result<(), Failure> {
        let retention_ms = self.retention_ms;
        let expired = |newest: Option<i64>| newest.is_none_or(|newest| elapsed(newest, now) > retention_ms);
        if self.active.newest.is_some() && expired(self.active.newest) {
            self.roll(partitions, now)?;
        }
        // From the oldest on, without a hole.
        let removed = self.sealed.iter().take_while(|segment| expired(segment.newest)).count();
        for segment in self.sealed.drain(..removed) {
            for partition in partitions {
                partition.remove_segment(segment.number);
            }
            tracing::info!(segment.path = %segment.path.display(), "removed a segment that is past its retention");
            segment.remove()?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.active.bytes + self.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }
}

/// The partitions whose records a class holds.
pub(super) fn partitions_of<'a>(
    topics: impl IntoIterator<Item = &'a Arc<Topic>>,
    retention_ms: u64,
) -> Vec<Arc<PartitionLog>> {
    topics
        .into_iter()
        .filter(|topic| topic.class == Class::Durable { retention_ms })
        .flat_map(|topic| topic.partitions.iter().map(Arc::clone))
        .collect()
}

fn restore(segment: &Segment, topics: &BTreeMap<u32, Arc<Topic>>) -> Result<(), Failure> {
    let find = |topic: u32, partition: u32| {
        topics.get(&topic).and_then(|topic| topic.partitions.get(partition as usize)).ok_or_else(|| {
            Failure::Damage(format!(
                "{} names partition {partition} of a topic {topic} that does not exist",
                segment.path.display()
            ))
        })
    };
    for (topic, partition, next) in segment.opening()? {
        find(topic, partition)?.restore_end(next);
    }
    if let Some(summary) = segment.summary()? {
        for (topic, partition, span) in summary {
            find(topic, partition)?.restore_segment(span);
        }
        return Ok(());
    }
    segment.scan(|row, index| {
        for span in &index.spans {
            find(span.topic, span.partition)?.restore_span(segment.number, &segment.path, span.first, span.end(), row);
        }
        Ok(())
    })
}

fn elapsed(since: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(since)).unwrap_or(0)
}

fn path_of(folder: &Path, retention_ms: u64, number: u64) -> PathBuf {
    folder.join(format!("durable-{retention_ms}ms-{number:010}.segment"))
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (retention_ms, number) = name.strip_prefix("durable-")?.strip_suffix(".segment")?.split_once("ms-")?;
    Some((retention_ms.parse().ok()?, number.parse().ok()?))
}
