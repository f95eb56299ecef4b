//! The log in the binary: segment files of SQLite, one committer, the tail in memory.
//!
//! ```text
//! append -> queue -> committer: pack a group into a row, sync -> partitions in memory -> readers, consumers
//!                        |                                            ^ behind the tail: reading threads
//!                 durable-*.segment, compacted.db                     |
//!                        +--------------------------------------------+
//! groups in memory <-> meta.db (topics, groups' offsets, blocks of ephemeral offsets)
//! ```
//! One process opens a folder; `lock` in it says who.

mod balance;
mod chain;
mod committer;
mod compacted;
mod config;
mod consumer;
mod ephemeral;
mod feed;
mod frame;
mod group;
mod jobs;
mod log;
mod meta;
mod open;
mod partition;
mod queue;
mod reader;
mod reads;
mod segment;
mod status;
mod topics;
mod varint;
mod window;

pub use config::{Clock, Config};
pub use log::{EmbeddedLog, Lag};
