//! One partition in memory: its bounds, its newest records, where the older ones lie, and who waits for the next.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::Notify;

use super::config::{INDEX_ROWS, OFFSET_BLOCK};
use crate::{
    error::LogError,
    record::{Fetched, Offset, Partition, Record},
    topic::Class,
};

pub(super) struct PartitionLog {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: u32,
    pub(super) class: Class,
    pub(super) number: Partition,
    /// Refusals that their callers have not seen yet. While there are any, later appends are refused too: one taken
    /// behind a refused one would stand where its caller believes the first to be.
    refusals: AtomicU32,
    state: Mutex<State>,
}

struct State {
    start: Offset,
    end: Offset,
    /// The newest records, in order. Everything from the first of these on is in memory.
    tail: VecDeque<Fetched>,
    tail_start: Offset,
    spans: VecDeque<SegmentSpan>,
    watchers: Vec<Arc<Notify>>,
    /// Ephemeral only: offsets below this may be given out.
    reserved: Offset,
    reserving: bool,
}

/// Which of a partition's records a segment holds, and every [`INDEX_ROWS`] rows in which row.
#[derive(Clone, Debug)]
pub(super) struct SegmentSpan {
    pub(super) segment: u64,
    pub(super) path: Arc<Path>,
    pub(super) first: Offset,
    pub(super) end: Offset,
    pub(super) rows: Vec<(Offset, i64)>,
}

/// What a reader finds at its offset.
pub(super) enum View {
    /// Records were handed over.
    Tail,
    /// At the end; nothing to read.
    Caught,
    /// Behind what memory holds: to be read from disk, up to `below`.
    Behind { place: Place, below: Offset },
    /// Removed from an ephemeral topic: reading goes on here.
    Skip(Offset),
}

/// Where records lie on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Segment { path: Arc<Path>, row: i64 },
    Compacted,
}

/// The offset that an ephemeral record got, and whether the next block should be reserved now.
pub(super) struct Ephemeral {
    pub(super) offset: Offset,
    pub(super) reserve: Option<Offset>,
}

impl PartitionLog {
    /// `next` is the offset that the next append gets.
    pub(super) fn new(topic: Arc<str>, topic_id: u32, class: Class, number: Partition, next: Offset) -> Self {
        let start = if class == Class::Compacted { 0 } else { next };
        let state = State {
            start,
            end: next,
            tail: VecDeque::new(),
            tail_start: next,
            spans: VecDeque::new(),
            watchers: Vec::new(),
            reserved: next + OFFSET_BLOCK,
            reserving: false,
        };
        PartitionLog { topic, topic_id, class, number, refusals: AtomicU32::new(0), state: Mutex::new(state) }
    }

    pub(super) fn bounds(&self) -> (Offset, Offset) {
        let state = self.state();
        (state.start, state.end)
    }

    pub(super) fn end(&self) -> Offset {
        self.state().end
    }

    pub(super) fn out_of_range(&self, offset: Offset) -> LogError {
        let (start, end) = self.bounds();
        LogError::OutOfRange { topic: self.topic.to_string(), partition: self.number, offset, start, end }
    }

    /// At open: everything below `next` was given out before.
    pub(super) fn restore_end(&self, next: Offset) {
        let mut state = self.state();
        if next > state.end {
            state.end = next;
            state.tail_start = next;
            if state.spans.is_empty() && self.class != Class::Compacted {
                state.start = next;
            }
        }
    }

    /// At open: a row of a segment holds these.
    pub(super) fn restore_span(&self, segment: u64, path: &Arc<Path>, first: Offset, end: Offset, row: i64) {
        let mut state = self.state();
        state.index(segment, path, first, end, row);
        state.end = state.end.max(end);
        state.tail_start = state.end;
    }

    /// At open: the whole of a sealed segment.
    pub(super) fn restore_segment(&self, span: SegmentSpan) {
        let mut state = self.state();
        if state.spans.is_empty() {
            state.start = span.first;
        }
        state.end = state.end.max(span.end);
        state.tail_start = state.end;
        state.spans.push_back(span);
    }

    pub(super) fn segment_span(&self, segment: u64) -> Option<SegmentSpan> {
        self.state().spans.iter().find(|span| span.segment == segment).cloned()
    }

    /// Makes durable records readable and wakes who waits.
    pub(super) fn publish(&self, records: impl Iterator<Item = Fetched>, row: Option<(u64, &Arc<Path>, i64)>) {
        let mut state = self.state();
        let first = state.end;
        for record in records {
            debug_assert!(record.offset == state.end, "offsets have no holes");
            state.end = record.offset + 1;
            state.tail.push_back(record);
        }
        let end = state.end;
        if let Some((segment, path, row)) = row
            && first < end
        {
            state.index(segment, path, first, end, row);
        }
        state.wake();
    }

    /// Takes a record that lives in memory only, where an offset is left for it.
    pub(super) fn publish_ephemeral(&self, timestamp: i64, record: Record) -> Option<Ephemeral> {
        let mut state = self.state();
        let offset = state.end;
        if offset >= state.reserved {
            return None;
        }
        state.tail.push_back(Fetched {
            topic: Arc::clone(&self.topic),
            partition: self.number,
            offset,
            timestamp,
            record,
        });
        state.end = offset + 1;
        let short = !state.reserving && state.reserved - state.end < OFFSET_BLOCK / 2;
        state.reserving |= short;
        let reserve = short.then_some(state.reserved + OFFSET_BLOCK);
        state.wake();
        Some(Ephemeral { offset, reserve })
    }

    pub(super) fn reserved(&self, below: Offset) {
        let mut state = self.state();
        state.reserved = below;
        state.reserving = false;
    }

    /// Forgets records in memory below `offset`; of an ephemeral topic they are gone.
    pub(super) fn evict(&self, offset: Offset) {
        let mut state = self.state();
        while state.tail.front().is_some_and(|record| record.offset < offset) {
            state.tail.pop_front();
        }
        state.tail_start = state.tail_start.max(offset);
        if matches!(self.class, Class::Ephemeral { .. }) {
            state.start = state.tail_start;
        }
    }

    /// Forgets a segment that retention removes.
    pub(super) fn remove_segment(&self, segment: u64) {
        let mut state = self.state();
        let Some(removed_end) = state.spans.iter().filter(|span| span.segment <= segment).map(|span| span.end).max()
        else {
            return;
        };
        state.spans.retain(|span| span.segment > segment);
        state.start = state.start.max(removed_end);
        while state.tail.front().is_some_and(|record| record.offset < removed_end) {
            state.tail.pop_front();
        }
        state.tail_start = state.tail_start.max(removed_end);
        // Readers that stand below learn of it at once rather than at the next record.
        state.wake();
    }

    /// What lies at `from`; records found in memory are added to `out`.
    pub(super) fn view(
        &self,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
        out: &mut Vec<Fetched>,
    ) -> Result<View, LogError> {
        let mut state = self.state();
        if from < state.start || from > state.end {
            if matches!(self.class, Class::Ephemeral { .. }) {
                return Ok(View::Skip(state.start));
            }
            drop(state);
            return Err(self.out_of_range(from));
        }
        if from == state.end {
            return Ok(View::Caught);
        }
        if from < state.tail_start {
            let place = if self.class == Class::Compacted { Place::Compacted } else { state.place(from)? };
            return Ok(View::Behind { place, below: state.tail_start });
        }
        let mut bytes = 0;
        let sole_reader = state.watchers.len() == 1;
        let tail_start = state.tail_start;
        // Offsets in memory have no holes.
        for record in state.tail.range_mut((from - tail_start) as usize..).take(records_max) {
            bytes += record.record.size();
            out.push(record.clone());
            // The only reader takes the parsed form along, so that it is freed soon after it was made and not when the record
            // leaves the tail. Whoever reads it again parses.
            if sole_reader {
                record.record.local = None;
            }
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(View::Tail)
    }

    pub(super) fn watch(&self, watcher: &Arc<Notify>) {
        self.state().watchers.push(Arc::clone(watcher));
    }

    pub(super) fn unwatch(&self, watcher: &Arc<Notify>) {
        self.state().watchers.retain(|known| !Arc::ptr_eq(known, watcher));
    }

    pub(super) fn refuses(&self) -> bool {
        self.refusals.load(Ordering::Acquire) > 0
    }

    pub(super) fn refuse(self: &Arc<Self>) -> Refusal {
        self.refusals.fetch_add(1, Ordering::AcqRel);
        Refusal(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn index(&mut self, segment: u64, path: &Arc<Path>, first: Offset, end: Offset, row: i64) {
        if self.spans.is_empty() {
            self.start = first;
        }
        match self.spans.back_mut() {
            Some(span) if span.segment == segment => {
                span.end = end;
                if span.rows.last().is_none_or(|(_, last)| row >= last + INDEX_ROWS) {
                    span.rows.push((first, row));
                }
            }
            _ => {
                let path = Arc::clone(path);
                self.spans.push_back(SegmentSpan { segment, path, first, end, rows: vec![(first, row)] });
            }
        }
    }

    fn place(&self, from: Offset) -> Result<Place, LogError> {
        let at = self.spans.partition_point(|span| span.end <= from);
        let span = self
            .spans
            .get(at)
            .ok_or_else(|| LogError::Corrupt { reason: format!("no segment holds offset {from}") })?;
        let row = span.rows.partition_point(|(first, _)| *first <= from).saturating_sub(1);
        Ok(Place::Segment { path: Arc::clone(&span.path), row: span.rows.get(row).map_or(0, |(_, row)| *row) })
    }

    fn wake(&self) {
        for watcher in &self.watchers {
            watcher.notify_one();
        }
    }
}

/// A refusal on its way to its caller.
pub(super) struct Refusal(Arc<PartitionLog>);

impl Drop for Refusal {
    fn drop(&mut self) {
        self.0.refusals.fetch_sub(1, Ordering::AcqRel);
    }
}
