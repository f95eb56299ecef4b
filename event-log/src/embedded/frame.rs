//! A commit group as one row: which partitions it holds (`spans`), and their records (`records`). Frozen as version 2;
//! version 1, which is read still, had no `length` and was never compressed.
//!
//! ```text
//! spans    version, base timestamp, where the dictionary lies, sections {topic, partition, first, count, place},
//!          length of `records` before it was compressed (0: it is not), checksum
//! records  section: record {timestamp - base, key, headers {name's number, value}, payload} ..
//!          dictionary: the headers' names, each once
//!          checksum, seeded with that of the spans, so that no two rows' halves fit
//! ```
//! All but the checksum of `records` is one LZ4 block: a group's records are much alike, and each byte is written twice, into
//! the write-ahead log and then into the file. Opening a log reads spans only; records are read by who has fallen behind.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    status::Failure,
    varint::{Cursor, put, put_bytes, put_signed},
};
use crate::record::{HeaderName, Headers, Offset, Partition, Record};

const VERSION: u64 = 2;
const VERSION_WITHOUT_LENGTH: u64 = 1;
/// Rows below it stay as they are.
const COMPRESSED_BYTES_MIN: usize = 512;
/// A compacted record's layout.
const VERSION_OF_ONE: u64 = 1;
const CHECKSUM_BYTES: usize = 8;
/// Seeds the checksum of spans. Frozen.
const SPANS_SEED: u64 = 0x6d69_6c6c_7374_7265;

/// Which records of a partition a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) topic: u32,
    pub(super) partition: Partition,
    pub(super) first: Offset,
    pub(super) count: u32,
    place: usize,
}

impl Span {
    pub(super) fn end(&self) -> Offset {
        self.first + u64::from(self.count)
    }
}

/// The two columns of a row.
pub(super) struct Row {
    pub(super) spans: Vec<u8>,
    pub(super) records: Vec<u8>,
}

/// Packs records into a row, partition by partition.
pub(super) struct Packer {
    base: i64,
    spans: Vec<Span>,
    records: Vec<u8>,
    names: Dictionary,
}

impl Packer {
    /// `bytes` is about what the records will take.
    pub(super) fn new(base: i64, bytes: usize) -> Self {
        Packer { base, spans: Vec::new(), records: Vec::with_capacity(bytes), names: Dictionary::default() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Adds the record at `offset`; those of one partition must come one after another.
    pub(super) fn push(&mut self, topic: u32, partition: Partition, offset: Offset, timestamp: i64, record: &Record) {
        match self.spans.last_mut() {
            Some(span) if span.topic == topic && span.partition == partition && span.end() == offset => span.count += 1,
            _ => self.spans.push(Span { topic, partition, first: offset, count: 1, place: self.records.len() }),
        }
        put_signed(&mut self.records, timestamp.wrapping_sub(self.base));
        put_record(&mut self.records, record, &mut self.names);
    }

    pub(super) fn finish(mut self) -> Row {
        let dictionary = self.records.len();
        self.names.put(&mut self.records);

        let mut spans = Vec::with_capacity(32 + self.spans.len() * 12);
        put(&mut spans, VERSION);
        put_signed(&mut spans, self.base);
        put(&mut spans, dictionary as u64);
        put(&mut spans, self.spans.len() as u64);
        for span in &self.spans {
            put(&mut spans, u64::from(span.topic));
            put(&mut spans, u64::from(span.partition));
            put(&mut spans, span.first);
            put(&mut spans, u64::from(span.count));
            put(&mut spans, span.place as u64);
        }
        let (length, mut records) = compress(self.records);
        put(&mut spans, length as u64);
        let seal = seal(&mut spans, SPANS_SEED);
        self::seal(&mut records, seal);
        Row { spans, records }
    }
}

/// The parsed spans of a row.
pub(super) struct Index {
    pub(super) spans: Vec<Span>,
    base: i64,
    dictionary: usize,
    /// Of the records before they were compressed; 0 where they are not.
    length: usize,
    checksum: u64,
}

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let (body, checksum) = unseal(bytes, SPANS_SEED)?;
        let mut cursor = Cursor::new(body, 0);
        let version = cursor.number()?;
        if ![VERSION, VERSION_WITHOUT_LENGTH].contains(&version) {
            return Err(Failure::Damage(format!("a row has version {version}, which this binary can't read")));
        }
        let base = cursor.signed()?;
        let dictionary = cursor.number()? as usize;
        let count = cursor.number()?;
        let mut spans = Vec::new();
        for _ in 0..count {
            spans.push(Span {
                topic: cursor.small()?,
                partition: cursor.small()?,
                first: cursor.number()?,
                count: cursor.small()?,
                place: cursor.number()? as usize,
            });
        }
        let length = if version == VERSION_WITHOUT_LENGTH { 0 } else { cursor.number()? as usize };
        Ok(Index { spans, base, dictionary, length, checksum })
    }

    /// Hands over the records of a partition at or above `from`, until `take` says no.
    pub(super) fn unpack(
        &self,
        records: &[u8],
        topic: u32,
        partition: Partition,
        from: Offset,
        mut take: impl FnMut(Offset, i64, Record) -> bool,
    ) -> Result<(), Failure> {
        let (body, _) = unseal(records, self.checksum)?;
        let body = &*self.decompress(body)?;
        let names = self.names(body)?;
        for (at, span) in self.spans.iter().enumerate() {
            if span.topic != topic || span.partition != partition || span.end() <= from {
                continue;
            }
            let end = self.spans.get(at + 1).map_or(self.dictionary, |next| next.place);
            let section = body.get(span.place..end).ok_or_else(|| Failure::Damage("a section lies outside".into()))?;
            // One copy for the section: what a reader keeps of it must not keep the whole row.
            let section = Bytes::copy_from_slice(section);
            let mut cursor = Cursor::new(&section, 0);
            for offset in span.first..span.end() {
                let timestamp = self.base.wrapping_add(cursor.signed()?);
                let record = read_record(&section, &mut cursor, |number| names.get(number as usize).cloned())?;
                if offset >= from && !take(offset, timestamp, record) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn decompress<'a>(&self, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Failure> {
        if self.length == 0 {
            return Ok(Cow::Borrowed(body));
        }
        let body = lz4_flex::block::decompress(body, self.length);
        body.map(Cow::Owned).map_err(|error| Failure::Damage(format!("a stored row can't be decompressed: {error}")))
    }

    fn names(&self, body: &[u8]) -> Result<Vec<Arc<str>>, Failure> {
        let mut cursor = Cursor::new(body, self.dictionary);
        let count = cursor.number()?;
        (0..count).map(|_| cursor.text().map(Arc::from)).collect()
    }
}

/// A record on its own, as compacted topics keep it: the same framing, names written out.
pub(super) fn pack_one(record: &Record) -> Vec<u8> {
    let mut names = Dictionary::default();
    let mut body = Vec::with_capacity(record.size() + 32);
    put_record(&mut body, record, &mut names);
    let mut out = Vec::with_capacity(body.len() + 32);
    put(&mut out, VERSION_OF_ONE);
    names.put(&mut out);
    out.extend_from_slice(&body);
    seal(&mut out, SPANS_SEED);
    out
}

pub(super) fn unpack_one(bytes: &[u8]) -> Result<Record, Failure> {
    let (body, _) = unseal(bytes, SPANS_SEED)?;
    let mut cursor = Cursor::new(body, 0);
    let version = cursor.number()?;
    if version != VERSION_OF_ONE {
        return Err(Failure::Damage(format!("a record has version {version}, which this binary can't read")));
    }
    let count = cursor.number()?;
    let names = (0..count).map(|_| cursor.text().map(Arc::from)).collect::<Result<Vec<Arc<str>>, _>>()?;
    let rest = Bytes::copy_from_slice(&body[cursor.at()..]);
    read_record(&rest, &mut Cursor::new(&rest, 0), |number| names.get(number as usize).cloned())
}

/// The length before, and what is smaller; a length of 0 where the bytes stay as they were.
fn compress(bytes: Vec<u8>) -> (usize, Vec<u8>) {
    if bytes.len() < COMPRESSED_BYTES_MIN {
        return (0, bytes);
    }
    let compressed = lz4_flex::block::compress(&bytes);
    if compressed.len() < bytes.len() { (bytes.len(), compressed) } else { (0, bytes) }
}

/// Ends `bytes` with their checksum, and returns it.
pub(super) fn seal(bytes: &mut Vec<u8>, seed: u64) -> u64 {
    let checksum = xxh3_64_with_seed(bytes, seed);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    checksum
}

/// What [`seal`] was given, where it is unchanged.
pub(super) fn unseal(bytes: &[u8], seed: u64) -> Result<(&[u8], u64), Failure> {
    let (body, checksum) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| Failure::Damage("a stored row is too short to have a checksum".into()))?;
    let checksum = u64::from_le_bytes(*checksum);
    if xxh3_64_with_seed(body, seed) != checksum {
        return Err(Failure::Damage("a stored row does not match its checksum".into()));
    }
    Ok((body, checksum))
}

/// The names of a row's headers, each once, in the order of their numbers.
#[derive(Default)]
struct Dictionary {
    names: Vec<HeaderName>,
    by_name: BTreeMap<Arc<str>, u64>,
}

impl Dictionary {
    /// `place` is the header's among its record's: records mostly have the same headers in the same order.
    fn number_of(&mut self, place: usize, name: &HeaderName) -> u64 {
        if self.names.get(place).is_some_and(|known| known == name) {
            return place as u64;
        }
        if let Some(number) = self.by_name.get(&**name) {
            return *number;
        }
        let number = self.names.len() as u64;
        self.names.push(name.clone());
        self.by_name.insert(Arc::from(&**name), number);
        number
    }

    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.names.len() as u64);
        for name in &self.names {
            put_bytes(out, name.as_bytes());
        }
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record, names: &mut Dictionary) {
    put_bytes(out, &record.key);
    put(out, record.headers.len() as u64);
    for (place, (name, value)) in record.headers.pairs().iter().enumerate() {
        put(out, names.number_of(place, name));
        put_bytes(out, value);
    }
    put_bytes(out, &record.payload);
}

fn read_record(
    bytes: &Bytes,
    cursor: &mut Cursor<'_>,
    name: impl Fn(u64) -> Option<Arc<str>>,
) -> Result<Record, Failure> {
    let key = bytes.slice(cursor.range()?);
    let mut headers = Headers::default();
    for _ in 0..cursor.number()? {
        let name = name(cursor.number()?).ok_or_else(|| Failure::Damage("a header has no name".into()))?;
        headers.push(name, bytes.slice(cursor.range()?));
    }
    let payload = bytes.slice(cursor.range()?);
    Ok(Record { key, headers, payload, local: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Vec<(u32, Record)>> {
        let header = ("[a-z]{0,6}", prop::collection::vec(any::<u8>(), 0..20));
        let record = (
            prop::collection::vec(any::<u8>(), 0..20),
            prop::collection::vec(header, 0..4),
            prop_oneof![prop::collection::vec(any::<u8>(), 0..300), Just(b"the same again, ".repeat(40))],
        )
            .prop_map(|(key, headers, payload)| {
                let mut record = Record::new(key, payload);
                for (name, value) in headers {
                    record.headers.push(Arc::from(name), value);
                }
                record
            });
        prop::collection::vec((0..5u32, record), 1..40).prop_map(|mut records| {
            records.sort_by_key(|(partition, _)| *partition);
            records
        })
    }

    fn pack(records: &[(u32, Record)], timestamps: &[i64]) -> Row {
        let mut next = [7u64; 5];
        let mut packer = Packer::new(1_000, 0);
        for ((partition, record), timestamp) in records.iter().zip(timestamps.iter().cycle()) {
            packer.push(3, *partition, next[*partition as usize], *timestamp, record);
            next[*partition as usize] += 1;
        }
        packer.finish()
    }

    fn unpack(row: &Row, partition: u32, from: Offset) -> Result<Vec<(Offset, i64, Record)>, Failure> {
        let mut found = Vec::new();
        Index::parse(&row.spans)?.unpack(&row.records, 3, partition, from, |offset, timestamp, record| {
            found.push((offset, timestamp, record));
            true
        })?;
        Ok(found)
    }

    fn same(a: &Record, b: &Record) -> bool {
        a.key == b.key && a.headers == b.headers && a.payload == b.payload
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            records in records(),
            timestamps in prop::collection::vec(any::<i64>(), 1..5),
            from in 0..12u64,
        ) {
            let row = pack(&records, &timestamps);
            for partition in 0..5 {
                let stamped = records.iter().zip(timestamps.iter().cycle()).filter(|((p, _), _)| *p == partition);
                let expected: Vec<_> = (7..).zip(stamped).filter(|(offset, _)| *offset >= from).collect();
                let found = unpack(&row, partition, from).unwrap();
                prop_assert_eq!(found.len(), expected.len());
                for ((offset, timestamp, record), (expected_offset, ((_, expected), expected_timestamp))) in
                    found.iter().zip(expected)
                {
                    prop_assert_eq!(*offset, expected_offset);
                    prop_assert_eq!(timestamp, expected_timestamp);
                    prop_assert!(same(record, expected));
                }
            }
        }

        #[test]
        fn a_changed_byte_is_found(records in records(), at in any::<prop::sample::Index>(), change in 1..=255u8) {
            let mut row = pack(&records, &[0]);
            let at = at.index(row.spans.len() + row.records.len());
            match row.spans.len() {
                spans if at < spans => row.spans[at] ^= change,
                spans => row.records[at - spans] ^= change,
            }
            prop_assert!((0..5).any(|partition| unpack(&row, partition, 0).is_err()));
        }

        #[test]
        fn a_single_record_is_packed_and_unpacked(records in records(), at in any::<prop::sample::Index>()) {
            let record = &records[0].1;
            let mut bytes = pack_one(record);
            prop_assert!(same(record, &unpack_one(&bytes).unwrap()));
            let at = at.index(bytes.len());
            bytes[at] ^= 1;
            prop_assert!(unpack_one(&bytes).is_err());
        }

        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(unpack_one(&bytes).is_err());
            prop_assert!(Index::parse(&bytes).is_err());
        }
    }

    #[test]
    fn records_that_are_alike_take_little() {
        let record = Record::new("a", "what a group's records have in common ".repeat(20));
        let row = pack(&vec![(0, record.clone()); 50], &[0]);
        assert!(row.records.len() < 2 * record.payload.len(), "{} bytes", row.records.len());
    }

    /// `a` at offset 7 of partition 0 of topic 3, as version 1 wrote it.
    const SPANS_1: &[u8] = &[1, 208, 15, 10, 1, 3, 0, 7, 1, 0, 254, 59, 57, 247, 109, 120, 157, 223];
    const RECORDS_1: &[u8] =
        &[10, 1, 97, 1, 0, 1, 120, 2, 123, 125, 1, 5, 99, 101, 95, 105, 100, 231, 245, 84, 226, 47, 52, 65, 66];

    #[test]
    fn rows_of_version_1_are_read() {
        let row = Row { spans: SPANS_1.to_vec(), records: RECORDS_1.to_vec() };
        let found = unpack(&row, 0, 0).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1), (7, 1_005));
        let mut expect = Record::new("a", "{}");
        expect.headers.push(Arc::from("ce_id"), "x");
        assert!(same(&found[0].2, &expect));
    }

    #[test]
    fn halves_of_two_rows_do_not_fit() {
        let a = pack(&[(0, Record::new("a", "1"))], &[0]);
        let b = pack(&[(0, Record::new("b", "2")), (1, Record::new("b", "3"))], &[0]);
        let mixed = Row { spans: a.spans, records: b.records };
        assert!(unpack(&mixed, 0, 0).is_err());
    }
}
