//! Where in the log the record stands that caused a row: the newest wins, whoever writes last.

use serde::{Deserialize, Serialize};

/// generation x 2^40 + offset of a record of `runs`.
///
/// A row that can change is written at its position and never replaced by an older one (protocol: a zombie's late
/// write must lose). CQL writes it `USING TIMESTAMP`, SQLite compares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

const OFFSET_BITS: u32 = 40;
/// Keeps 2 x position + 1 below today's microseconds, which Scylla demands of a timestamp.
const GENERATIONS: u64 = 800;

impl Position {
    /// None where the generation is 800 or more, or the offset 2^40 or more.
    pub fn new(generation: u32, offset: u64) -> Option<Self> {
        let generation = u64::from(generation);
        (generation < GENERATIONS && offset < 1 << OFFSET_BITS).then(|| Position((generation << OFFSET_BITS) + offset))
    }

    pub fn generation(self) -> u32 {
        (self.0 >> OFFSET_BITS) as u32
    }

    pub fn offset(self) -> u64 {
        self.0 & ((1 << OFFSET_BITS) - 1)
    }

    pub fn as_u64(self) -> u64 {
        self.0
    }

    pub fn from_u64(raw: u64) -> Self {
        Position(raw)
    }

    /// The CQL timestamp of a write at this position; a delete at the same position loses to it.
    pub fn write_timestamp(self) -> i64 {
        (2 * self.0 + 1) as i64
    }

    /// The CQL timestamp of a delete at this position.
    pub fn delete_timestamp(self) -> i64 {
        (2 * self.0) as i64
    }
}
