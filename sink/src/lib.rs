//! The sink: turns `updates` into rows of the store, and pushes them and `tokens` to whoever watches a run.

mod config;
mod error;
mod metrics;
mod sink;

// From the log into memory and to the store.
mod copy;
mod intake;
mod load;
mod materialize;
mod prune;
mod remove;
mod rewrite;
mod tokens;
mod values;
mod write;

// What is known of runs and threads.
mod live;
mod outcome;
mod run;
mod run_error;
mod thread;

// From memory to clients.
mod answer;
mod dialects;
mod facts;
mod position;
mod routes;
mod seek;
mod sequence;
mod snapshot;
mod sse;

mod shared;
mod time;

#[cfg(test)]
#[path = "../tests/stage/run.rs"]
#[expect(dead_code, reason = "tests of the whole sink use the rest")]
mod sample;

#[cfg(test)]
mod recorded;

pub use config::{Config, Deps};
pub use error::Error;
pub use sink::{Sink, run};
