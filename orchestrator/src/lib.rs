//! Folds `runs` and decides what runs next: one owner for each partition, and nothing but the log behind it.
//!
//! A record goes: `consumer` takes it from the group, `owner` applies it to its key's state, `outputs` appends
//! what follows; state goes to the store when all that is acked, and only then may the group's offset pass it.

mod config;
mod consumer;
mod error;
mod owner;

mod decode;
mod graphs;
mod outputs;
mod poisoned;
mod watermark;

pub mod metrics;

pub use config::{Config, Deps, NodeTopics};
pub use consumer::run;
pub use error::Error;

#[cfg(test)]
mod tests;
