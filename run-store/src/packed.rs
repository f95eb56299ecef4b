//! Rows of one run that are written together are packed into one: few rows a run is what a store's speed hangs on.
//!
//! A packed row is byte-equal to, or overlaps, what a repeat writes; readers merge what overlaps.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use graph::envelope::Key;
use uuid::Uuid;

use crate::{
    error::StoreError,
    position::Position,
    rows::{CheckpointRow, UpdateRow},
    stored::corrupt,
};

/// Where a packed row is ended and another begun; a single larger value stays whole.
const PACKED_BYTES_MAX: usize = 256 * 1024;
/// The layouts of packed bytes. Frozen.
const PLAIN: u8 = 1;
/// The length before, as u32, and the rest of [`PLAIN`] as one LZ4 block: a run's rows say much of the same again.
const COMPRESSED: u8 = 2;
/// Rows below it stay plain.
const COMPRESSED_BYTES_MIN: usize = 512;

/// Updates whose numbers follow each other without a hole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PackedUpdates {
    pub first: u64,
    pub last: u64,
    pub bytes: Vec<u8>,
}

/// Checkpoints of one owner and namespace, in the order of their ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PackedCheckpoints<'a> {
    pub tenant: &'a str,
    pub owner: &'a Key,
    pub ns: &'a str,
    pub first: Uuid,
    pub last: Uuid,
    pub count: u32,
    /// The newest of them.
    pub position: Position,
    pub bytes: Vec<u8>,
}

pub(crate) fn pack_updates(updates: &[UpdateRow]) -> Vec<PackedUpdates> {
    let by_number: BTreeMap<u64, &UpdateRow> = updates.iter().map(|row| (row.number, row)).collect();
    let mut packed: Vec<PackedUpdates> = Vec::new();
    for (number, row) in by_number {
        let goes_on = packed
            .last()
            .is_some_and(|open| open.last + 1 == number && open.bytes.len() + row.update.len() <= PACKED_BYTES_MAX);
        if !goes_on {
            packed.push(PackedUpdates { first: number, last: number, bytes: vec![PLAIN] });
        }
        if let Some(open) = packed.last_mut() {
            open.last = number;
            open.bytes.put_u64(row.number);
            open.bytes.put_u64(row.position.as_u64());
            put_value(&mut open.bytes, &row.update);
        }
    }
    for row in &mut packed {
        compress(&mut row.bytes);
    }
    packed
}

pub(crate) fn unpack_updates(packed: Bytes) -> Result<Vec<UpdateRow>, StoreError> {
    unpack(packed, |bytes| {
        let number = bytes.try_get_u64().ok()?;
        let position = Position::from_u64(bytes.try_get_u64().ok()?);
        Some(UpdateRow { number, position, update: take_value(bytes)? })
    })
}

pub(crate) fn pack_checkpoints(checkpoints: &[CheckpointRow]) -> Vec<PackedCheckpoints<'_>> {
    let by_id: BTreeMap<_, &CheckpointRow> =
        checkpoints.iter().map(|row| ((&row.tenant, &row.owner, &row.ns, row.checkpoint_id), row)).collect();
    let mut packed: Vec<PackedCheckpoints<'_>> = Vec::new();
    for row in by_id.into_values() {
        let goes_on = packed.last().is_some_and(|open| {
            (open.tenant, open.owner, open.ns) == (row.tenant.as_str(), &row.owner, row.ns.as_str())
                && open.bytes.len() + row.checkpoint.len() <= PACKED_BYTES_MAX
        });
        if !goes_on {
            packed.push(PackedCheckpoints {
                tenant: &row.tenant,
                owner: &row.owner,
                ns: &row.ns,
                first: row.checkpoint_id,
                last: row.checkpoint_id,
                count: 0,
                position: row.position,
                bytes: vec![PLAIN],
            });
        }
        if let Some(open) = packed.last_mut() {
            open.last = row.checkpoint_id;
            open.count += 1;
            open.position = open.position.max(row.position);
            open.bytes.put_slice(row.checkpoint_id.as_bytes());
            open.bytes.put_slice(row.run_id.as_bytes());
            open.bytes.put_u64(row.position.as_u64());
            put_value(&mut open.bytes, &row.checkpoint);
        }
    }
    for row in &mut packed {
        compress(&mut row.bytes);
    }
    packed
}

pub(crate) fn unpack_checkpoints(
    packed: Bytes,
    tenant: &str,
    owner: &Key,
    ns: &str,
) -> Result<Vec<CheckpointRow>, StoreError> {
    unpack(packed, |bytes| {
        Some(CheckpointRow {
            tenant: tenant.to_owned(),
            owner: owner.clone(),
            ns: ns.to_owned(),
            checkpoint_id: Uuid::from_u128(bytes.try_get_u128().ok()?),
            run_id: Uuid::from_u128(bytes.try_get_u128().ok()?),
            position: Position::from_u64(bytes.try_get_u64().ok()?),
            checkpoint: take_value(bytes)?,
        })
    })
}

/// Updates in the order of their numbers, each once, gathered from packed rows in the order of their first.
pub(crate) struct UpdatesAfter {
    after: u64,
    limit: usize,
    rows: BTreeMap<u64, UpdateRow>,
}

impl UpdatesAfter {
    pub(crate) fn new(after: u64, limit: u32) -> Self {
        UpdatesAfter { after, limit: limit as usize, rows: BTreeMap::new() }
    }

    /// Whether a packed row that begins at `first`, and those behind it, add nothing any more.
    pub(crate) fn is_full(&self, first: u64) -> bool {
        match self.rows.keys().nth(self.limit.saturating_sub(1)) {
            Some(&last_wanted) => first > last_wanted,
            None => self.limit == 0,
        }
    }

    pub(crate) fn add(&mut self, packed: Bytes) -> Result<(), StoreError> {
        for row in unpack_updates(packed)? {
            if row.number > self.after {
                self.rows.insert(row.number, row);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<UpdateRow> {
        self.rows.into_values().take(self.limit).collect()
    }
}

/// Checkpoints newest first, each once, gathered from packed rows in descending order of their last.
pub(crate) struct CheckpointsBefore {
    before: Option<Uuid>,
    limit: usize,
    rows: BTreeMap<std::cmp::Reverse<Uuid>, CheckpointRow>,
}

impl CheckpointsBefore {
    pub(crate) fn new(before: Option<Uuid>, limit: u32) -> Self {
        CheckpointsBefore { before, limit: limit as usize, rows: BTreeMap::new() }
    }

    /// Whether a packed row that ends at `last`, and those behind it, add nothing any more.
    pub(crate) fn is_full(&self, last: Uuid) -> bool {
        match self.rows.keys().nth(self.limit.saturating_sub(1)) {
            Some(last_wanted) => last < last_wanted.0,
            None => self.limit == 0,
        }
    }

    pub(crate) fn add(&mut self, rows: Vec<CheckpointRow>) {
        for row in rows {
            if self.before.is_some_and(|before| row.checkpoint_id >= before) {
                continue;
            }
            let key = std::cmp::Reverse(row.checkpoint_id);
            if self.rows.get(&key).is_none_or(|known| known.position <= row.position) {
                self.rows.insert(key, row);
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<CheckpointRow> {
        self.rows.into_values().take(self.limit).collect()
    }
}

fn unpack<T>(mut packed: Bytes, mut take: impl FnMut(&mut Bytes) -> Option<T>) -> Result<Vec<T>, StoreError> {
    match packed.try_get_u8() {
        Ok(PLAIN) => {}
        Ok(COMPRESSED) => packed = decompress(packed)?,
        layout => return Err(corrupt(format!("a packed row has the unknown layout {layout:?}"))),
    }
    let mut rows = Vec::new();
    while packed.has_remaining() {
        rows.push(take(&mut packed).ok_or_else(|| corrupt("a packed row ends in the middle of a value"))?);
    }
    Ok(rows)
}

fn compress(packed: &mut Vec<u8>) {
    if packed.len() < COMPRESSED_BYTES_MIN {
        return;
    }
    let plain = &packed[1..];
    let block = lz4_flex::block::compress(plain);
    if block.len() + size_of::<u32>() < plain.len() {
        let length = plain.len() as u32;
        packed.clear();
        packed.put_u8(COMPRESSED);
        packed.put_u32(length);
        packed.put_slice(&block);
    }
}

fn decompress(mut packed: Bytes) -> Result<Bytes, StoreError> {
    let plain = packed.try_get_u32().ok().and_then(|length| {
        let length = length as usize;
        lz4_flex::block::decompress(&packed, length).ok().filter(|plain| plain.len() == length)
    });
    plain.map(Bytes::from).ok_or_else(|| corrupt("a packed row can't be decompressed"))
}

fn put_value(packed: &mut Vec<u8>, value: &Bytes) {
    packed.put_u32(value.len() as u32);
    packed.put_slice(value);
}

fn take_value(packed: &mut Bytes) -> Option<Bytes> {
    let length = packed.try_get_u32().ok()? as usize;
    (packed.remaining() >= length).then(|| packed.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn update(number: u64) -> UpdateRow {
        UpdateRow {
            number,
            position: Position::from_u64(number * 3),
            update: Bytes::from(format!("{{\"n\":{number}}}")),
        }
    }

    #[test]
    fn a_hole_ends_a_packed_row() {
        let packed = pack_updates(&[update(3), update(1), update(2), update(7)]);
        let spans: Vec<_> = packed.iter().map(|row| (row.first, row.last)).collect();
        assert_eq!(spans, [(1, 3), (7, 7)]);
    }

    #[test]
    fn a_torn_packed_row_is_corrupt() {
        let packed = pack_updates(&[update(1)]).remove(0).bytes;
        for cut in 2..packed.len() {
            assert!(matches!(unpack_updates(Bytes::copy_from_slice(&packed[..cut])), Err(StoreError::Corrupt { .. })));
        }
        assert!(matches!(unpack_updates(Bytes::from_static(&[9])), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn rows_that_say_the_same_again_are_compressed() {
        let said = format!("{{\"text\":\"{}\"}}", "in other words, ".repeat(20));
        let rows: Vec<_> =
            (1..=5).map(|number| UpdateRow { update: Bytes::from(said.clone()), ..update(number) }).collect();
        let packed = pack_updates(&rows).remove(0).bytes;
        assert!(packed.len() < said.len(), "{} bytes", packed.len());
        assert_eq!(unpack_updates(Bytes::from(packed.clone())).unwrap(), rows);
        for cut in 2..packed.len() {
            assert!(matches!(unpack_updates(Bytes::copy_from_slice(&packed[..cut])), Err(StoreError::Corrupt { .. })));
        }
    }

    proptest! {
        /// Whatever pieces a run's updates were written and repeated in, they read as one row a number.
        #[test]
        fn overlapping_pieces_read_as_one(
            pieces in prop::collection::vec((1u64..40, 1u64..10), 1..12),
            after in 0u64..45,
            limit in 0u32..50,
        ) {
            let mut packed = Vec::new();
            let mut expect = std::collections::BTreeSet::new();
            for (first, count) in pieces {
                let rows: Vec<_> = (first..first + count).map(update).collect();
                expect.extend(first..first + count);
                packed.extend(pack_updates(&rows));
            }
            packed.sort_by_key(|row| row.first);
            let mut gathered = UpdatesAfter::new(after, limit);
            for row in packed {
                if gathered.is_full(row.first) {
                    break;
                }
                gathered.add(Bytes::from(row.bytes)).unwrap();
            }
            let expect: Vec<_> =
                expect.into_iter().filter(|number| *number > after).take(limit as usize).map(update).collect();
            prop_assert_eq!(gathered.finish(), expect);
        }
    }
}
