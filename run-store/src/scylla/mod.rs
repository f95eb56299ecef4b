//! The store on ScyllaDB, in the CQL that Cassandra shares.
//!
//! Rows that change are written at timestamps made of their position, so the newest wins on the servers themselves.
//! Lightweight transactions are for what is taken once: claims, agreements and API keys, in tables of their own.

mod archive;
mod blobs;
mod checkpoints;
mod claims;
mod connect;
mod days;
mod deletes;
mod errors;
mod items;
mod keys;
mod lists;
mod meta;
mod results;
mod schema;
mod specs;
mod statements;
mod states;
mod threads;
mod updates;
mod usage;

pub use connect::{Config, Consistency, ScyllaStore};
