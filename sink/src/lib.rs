//! The sink: turns `updates` into rows of the store, and pushes them and `tokens` to whoever watches a run.

mod config;
mod error;
mod sink;

pub use config::{Config, Deps};
pub use error::Error;
pub use sink::{Sink, run};
