//! Values by reference: what is too large for a record or a row stands in the store, and a table names it.
//!
//! The table is a field of the record itself, `references`, beside what callers wrote and never within it: no value of
//! a caller can be taken for a reference. Where a value was taken out, an empty one of its kind is left. All of it is
//! done on the text, so that a value comes back byte for byte.

mod fill;
mod put_away;
mod scan;

use std::collections::BTreeMap;

use bytes::Bytes;
use graph::envelope::Key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::{
    fill::{FillError, fill, without_table},
    put_away::{Layout, PutAway, put_away},
};
use crate::record::{RunsRecord, TaskRecord, UpdateRecord, Wire};

/// A larger value travels as a reference.
pub const VALUE_BYTES_INLINE: usize = 32 * 1024;
/// A larger record puts parts of itself behind references until it fits.
pub const RECORD_BYTES_INLINE: usize = 256 * 1024;
/// The form of the table that this binary writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Header of a record with references: its bytes with every value in its place, for budgets.
pub const BYTES_HEADER: &str = "millstream-bytes";

/// Values by content hash.
pub type Values = BTreeMap<String, Bytes>;

/// Which values of a record or row stand in the store, and under whose key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct References {
    /// 1. A reader stops at a number that it doesn't know: it would take holes for values.
    pub version: u32,
    /// The thread, or the run without one, that the values belong to and go with.
    pub owner: Key,
    /// An outer one before what was taken out of it.
    pub values: Vec<Reference>,
}

/// One value that stands in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Where it belongs: a JSON pointer into the record without its table.
    pub at: String,
    /// blake3 of its JSON text, as hex.
    pub hash: String,
    /// Length of that text.
    pub bytes: u64,
}

impl References {
    /// Each value once: hash and length.
    pub fn wanted(&self) -> BTreeMap<&str, u64> {
        self.values.iter().map(|value| (value.hash.as_str(), value.bytes)).collect()
    }

    /// Bytes that the values add to a record.
    pub fn bytes(&self) -> u64 {
        self.values.iter().map(|value| value.bytes).sum()
    }

    pub fn names(&self, hash: &str) -> bool {
        self.values.iter().any(|value| value.hash == hash)
    }
}

/// A record that may have references.
pub trait Referring: Wire + DeserializeOwned {
    const LAYOUT: Layout;

    fn references(&self) -> Option<&References>;
    fn references_mut(&mut self) -> &mut Option<References>;

    /// Whose values they are.
    fn owner(&self) -> Key;

    /// The record as it was before values were put away.
    fn filled(payload: &[u8], references: &References, values: &Values) -> Result<Self, FillError> {
        let text = fill(payload, references, values)?;
        let mut whole: Self = serde_json::from_slice(&text)?;
        *whole.references_mut() = None;
        Ok(whole)
    }

    /// Why the references can't be followed: a newer form, or another owner's values.
    fn check_references(&self) -> Result<(), FillError> {
        let Some(references) = self.references() else { return Ok(()) };
        if references.version > VERSION {
            return Err(FillError::Newer { version: references.version });
        }
        // A record that names another's values was not written by us.
        if references.owner != self.owner() {
            return Err(FillError::Foreign);
        }
        Ok(())
    }
}

/// The table of a row that [`put_away`] made: there it is the first field, and no row of ours begins with that name.
pub fn references_of_row(row: &[u8]) -> Option<References> {
    #[derive(Deserialize)]
    struct Table {
        references: References,
    }
    row.starts_with(b"{\"references\":").then(|| serde_json::from_slice::<Table>(row).ok())?.map(|row| row.references)
}

macro_rules! referring {
    ($record:ty, $layout:expr) => {
        impl Referring for $record {
            const LAYOUT: Layout = $layout;

            fn references(&self) -> Option<&References> {
                self.references.as_ref()
            }

            fn references_mut(&mut self) -> &mut Option<References> {
                &mut self.references
            }

            fn owner(&self) -> Key {
                self.envelope.key()
            }
        }
    };
}

referring!(RunsRecord, Layout::RUNS);
referring!(TaskRecord, Layout::TASK);
referring!(UpdateRecord, Layout::UPDATE);

#[cfg(test)]
mod tests;
