//! Which offsets of a partition are finished, when they finish in any order. Pure.
//!
//! ```text
//!   committed = watermark      finished beyond it           next
//!        | 17 . . 20 21 22 . . . . 27 28 . . . . . . . . . | 36
//!          ^ lowest unfinished   ^ a map in the commit's metadata
//! ```
//! The watermark never passes an offset that is unfinished. Offsets that the log never gives out (Kafka has such
//! holes) count as finished once a later one was seen.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use event_log::Offset;

/// Offsets between the watermark and the last one taken in. As bits they are 3,000 bytes, 4,000 in base64: the most
/// that fits into a commit's metadata of 4,096 bytes.
pub const SPAN_MAX: u64 = 24_000;

/// Frozen: first the version, then how the rest is written.
const RUNS: &str = "1r";
const BITS: &str = "1b";

/// The metadata of a commit is no map that this version wrote.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the commit's metadata is no map of finished offsets")]
pub struct BadMap;

/// What is known of an offset that the log gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// To be done.
    Fresh,
    /// Finished, by this owner or a former one.
    Done,
    /// Given out before and under way.
    UnderWay,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// The lowest offset that isn't finished.
    watermark: Offset,
    /// One past the highest offset seen.
    next: Offset,
    /// Finished offsets beyond the watermark: start to end (exclusive), apart from each other.
    finished: BTreeMap<Offset, Offset>,
}

impl Tracker {
    /// A partition from `start` on, nothing of it finished.
    pub fn new(start: Offset) -> Self {
        Tracker { watermark: start, next: start, finished: BTreeMap::new() }
    }

    /// The tracker as a former owner committed it.
    pub fn restore(committed: Offset, metadata: &str) -> Result<Self, BadMap> {
        let mut tracker = Tracker::new(committed);
        for (start, end) in decode(committed, metadata)? {
            tracker.insert(start, end);
        }
        tracker.next = tracker.next.max(tracker.watermark);
        Ok(tracker)
    }

    /// Whether taking `offset` in keeps the map within its bound. It always does once everything below is finished.
    pub fn admits(&self, offset: Offset) -> bool {
        self.watermark >= self.next || offset < self.watermark + SPAN_MAX
    }

    /// Notes that the log gave out `offset`: what it skipped since the last one doesn't exist.
    pub fn see(&mut self, offset: Offset) -> Seen {
        if offset >= self.next {
            if offset > self.next {
                self.insert(self.next, offset);
            }
            self.next = offset + 1;
            return if self.is_finished(offset) { Seen::Done } else { Seen::Fresh };
        }
        if self.is_finished(offset) { Seen::Done } else { Seen::UnderWay }
    }

    /// Marks an offset that was seen; again changes nothing.
    pub fn finish(&mut self, offset: Offset) {
        debug_assert!(offset < self.next, "offset {offset} was never taken in");
        if !self.is_finished(offset) {
            self.insert(offset, offset + 1);
        }
    }

    /// What is committed: the next offset that an owner reads.
    pub fn watermark(&self) -> Offset {
        self.watermark
    }

    /// Offsets seen and not finished lie in here.
    pub fn next(&self) -> Offset {
        self.next.max(self.watermark)
    }

    pub fn is_finished(&self, offset: Offset) -> bool {
        offset < self.watermark || self.finished.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// The finished offsets beyond the watermark, as metadata of its commit; empty where there are none.
    pub fn map(&self) -> String {
        if self.finished.is_empty() {
            return String::new();
        }
        let (runs, bits) = (self.as_runs(), self.as_bits());
        match bits {
            Some(bits) if bits.len() < runs.len() => format!("{BITS}{}", URL_SAFE_NO_PAD.encode(bits)),
            Some(_) | None => format!("{RUNS}{}", URL_SAFE_NO_PAD.encode(runs)),
        }
    }

    fn insert(&mut self, mut start: Offset, mut end: Offset) {
        start = start.max(self.watermark);
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.finished.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
            self.finished.remove(&before);
        }
        while let Some((&after, &after_end)) = self.finished.range(start..=end).next() {
            end = end.max(after_end);
            self.finished.remove(&after);
        }
        if start == self.watermark {
            self.watermark = end;
        } else {
            self.finished.insert(start, end);
        }
    }

    /// Distance from the last run's end and length, in turn, as varints.
    fn as_runs(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.finished.len() * 2);
        let mut at = self.watermark;
        for (&start, &end) in &self.finished {
            push_varint(&mut bytes, start - at);
            push_varint(&mut bytes, end - start);
            at = end;
        }
        bytes
    }

    /// One bit an offset, from the one behind the watermark; None where that is longer than any map may be.
    fn as_bits(&self) -> Option<Vec<u8>> {
        let first = self.watermark + 1;
        let (_, &end) = self.finished.last_key_value()?;
        if end - first > SPAN_MAX {
            return None;
        }
        let mut bytes = vec![0u8; (end - first).div_ceil(8) as usize];
        for (&start, &end) in &self.finished {
            for offset in start..end {
                let bit = offset - first;
                bytes[(bit / 8) as usize] |= 1 << (bit % 8);
            }
        }
        Some(bytes)
    }
}

fn decode(committed: Offset, metadata: &str) -> Result<Vec<(Offset, Offset)>, BadMap> {
    if metadata.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = URL_SAFE_NO_PAD.decode(metadata.get(RUNS.len()..).ok_or(BadMap)?).map_err(|_| BadMap)?;
    match &metadata[..RUNS.len()] {
        RUNS => decode_runs(committed, &bytes),
        BITS => Ok(decode_bits(committed, &bytes)),
        _ => Err(BadMap),
    }
}

fn decode_runs(committed: Offset, mut bytes: &[u8]) -> Result<Vec<(Offset, Offset)>, BadMap> {
    let mut runs = Vec::new();
    let mut at = committed;
    while !bytes.is_empty() {
        let start = at.checked_add(take_varint(&mut bytes).ok_or(BadMap)?).ok_or(BadMap)?;
        let end = start.checked_add(take_varint(&mut bytes).ok_or(BadMap)?).ok_or(BadMap)?;
        runs.push((start, end));
        at = end;
    }
    Ok(runs)
}

fn decode_bits(committed: Offset, bytes: &[u8]) -> Vec<(Offset, Offset)> {
    let set = |bit: &u64| bytes[(bit / 8) as usize] & (1 << (bit % 8)) != 0;
    (0..bytes.len() as u64 * 8).filter(set).map(|bit| (committed + 1 + bit, committed + 2 + bit)).collect()
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What the tracker should say, kept as plain sets.
    #[derive(Debug, Default)]
    struct Naive {
        start: Offset,
        exists: BTreeSet<Offset>,
        finished: BTreeSet<Offset>,
    }

    impl Naive {
        fn watermark(&self) -> Offset {
            match self.exists.difference(&self.finished).next() {
                Some(&unfinished) => unfinished,
                None => self.exists.last().map_or(self.start, |last| last + 1),
            }
        }
    }

    /// Offsets with holes between them, and an order to finish some of them in.
    fn partition() -> impl Strategy<Value = (Vec<Offset>, Vec<usize>)> {
        prop::collection::vec(prop_oneof![8 => Just(1u64), 1 => 2..5u64, 1 => 100..30_000u64], 1..300).prop_flat_map(
            |steps| {
                let offsets: Vec<Offset> = steps
                    .iter()
                    .scan(7, |at, step| {
                        *at += step;
                        Some(*at)
                    })
                    .collect();
                let indices: Vec<usize> = (0..offsets.len()).collect();
                let count = offsets.len();
                (Just(offsets), Just(indices).prop_shuffle(), 0..=count).prop_map(|(offsets, mut order, finished)| {
                    order.truncate(finished);
                    (offsets, order)
                })
            },
        )
    }

    proptest! {
        #[test]
        fn any_order_of_finishing_gives_the_lowest_unfinished((offsets, order) in partition()) {
            let start = offsets[0];
            let mut tracker = Tracker::new(start);
            let mut naive = Naive { start, ..Naive::default() };
            for &offset in &offsets {
                prop_assert_eq!(tracker.see(offset), Seen::Fresh);
                naive.exists.insert(offset);
            }
            for index in order {
                let offset = offsets[index];
                tracker.finish(offset);
                naive.finished.insert(offset);
                prop_assert_eq!(tracker.watermark(), naive.watermark());
                for &offset in &offsets {
                    prop_assert_eq!(tracker.is_finished(offset), naive.finished.contains(&offset));
                }
            }
        }

        /// The next owner does exactly what the last one had not finished, also where it reads with the same holes.
        #[test]
        fn a_new_owner_repeats_only_what_is_unfinished((offsets, order) in partition()) {
            let mut tracker = Tracker::new(offsets[0]);
            let mut finished = BTreeSet::new();
            offsets.iter().for_each(|&offset| { tracker.see(offset); });
            for index in order {
                tracker.finish(offsets[index]);
                finished.insert(offsets[index]);
            }
            let mut next = Tracker::restore(tracker.watermark(), &tracker.map()).unwrap();
            prop_assert_eq!(next.watermark(), tracker.watermark());
            let committed = next.watermark();
            for &offset in offsets.iter().filter(|&&offset| offset >= committed) {
                let expected = if finished.contains(&offset) { Seen::Done } else { Seen::Fresh };
                prop_assert_eq!(next.clone().see(offset), expected);
                next.see(offset);
            }
            prop_assert_eq!(next.watermark(), tracker.watermark());
        }

        #[test]
        fn any_metadata_is_read_or_refused(metadata in ".{0,40}", tail in "[A-Za-z0-9_-]{0,40}") {
            let _ = Tracker::restore(3, &metadata);
            for form in [RUNS, BITS] {
                let _ = Tracker::restore(u64::MAX / 2, &format!("{form}{tail}"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn what_is_admitted_fits_into_the_metadata(finish in prop::collection::vec(any::<bool>(), 30_000)) {
            let mut tracker = Tracker::new(5);
            tracker.see(5);
            let mut offset = 6;
            for finish in finish {
                if !tracker.admits(offset) {
                    break;
                }
                tracker.see(offset);
                if finish {
                    tracker.finish(offset);
                }
                offset += 1;
            }
            prop_assert_eq!(offset, 5 + SPAN_MAX, "offset 5 is unfinished, so intake stops behind the span");
            let map = tracker.map();
            prop_assert!(map.len() <= 4096, "{} bytes", map.len());
            let restored = Tracker::restore(5, &map).unwrap();
            prop_assert_eq!(restored.map(), map);
        }
    }

    #[test]
    fn a_wide_hole_is_admitted_when_nothing_is_under_way() {
        let mut tracker = Tracker::new(0);
        tracker.see(0);
        assert!(!tracker.admits(1_000_000), "offset 0 is under way, the map would be too wide");
        tracker.finish(0);
        assert!(tracker.admits(1_000_000));
        assert_eq!(tracker.see(1_000_000), Seen::Fresh);
        assert_eq!(tracker.watermark(), 1_000_000);
    }

    #[test]
    fn an_offset_given_out_twice_is_under_way() {
        let mut tracker = Tracker::new(0);
        assert_eq!(tracker.see(0), Seen::Fresh);
        assert_eq!(tracker.see(0), Seen::UnderWay);
        tracker.finish(0);
        assert_eq!(tracker.see(0), Seen::Done);
    }

    /// Written by the first version: later ones must read it.
    #[test]
    fn old_maps_stay_readable() {
        let tracker = Tracker::restore(100, "1rAgMCAQ").unwrap();
        let finished: Vec<Offset> = (100..110).filter(|&offset| tracker.is_finished(offset)).collect();
        assert_eq!(finished, [102, 103, 104, 107]);
        let tracker = Tracker::restore(100, "1bTg").unwrap();
        let finished: Vec<Offset> = (100..110).filter(|&offset| tracker.is_finished(offset)).collect();
        assert_eq!(finished, [102, 103, 104, 107]);
    }
}
