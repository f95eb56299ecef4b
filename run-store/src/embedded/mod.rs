//! The store of the single process: one SQLite file, one writer that commits for many callers at once, a few readers.
//!
//! Every write is synced when it returns. Another process that opens the folder is refused.

mod archive;
mod blobs;
mod checkpoints;
mod claims;
mod deletes;
mod errors;
mod items;
mod keys;
mod lists;
mod meta;
mod open;
mod readers;
mod results;
mod schema;
mod specs;
mod states;
mod sweep;
mod usage;
mod writer;

pub use open::{Config, EmbeddedStore};
pub use sweep::Swept;
