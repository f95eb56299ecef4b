//! Node-workers: one consumer group for each node; a task in, its result out on `runs`.
//!
//! A worker finishes out of order: what is done is the result acked on `runs`, and what a partition's next owner must
//! not repeat travels as a map in the commit's metadata.

mod alone;
mod builder;
mod config;
mod error;
mod serve;

mod consumer;
mod partition;
pub mod tracker;
pub mod window;

mod attempt;
mod cache;
mod decisions;
mod execute;
mod outbox;
mod outgoing;
mod pace;
pub mod retry;
mod spending;
mod store;

mod compiled;
mod specs;

pub mod classifier;
pub mod models;
pub mod nodes;

pub mod calls;
pub mod failure;
pub mod lines;
pub mod metrics;
pub mod tokens;
mod trace;

pub use alone::{Alone, AloneDeps};
pub use builder::{BuiltGraph, GraphBuilder, InvalidGraph};
pub use calls::CallContent;
pub use config::{Config, Serve};
pub use error::Error;
pub use models::ModelRegistry;
pub use nodes::{Environment, Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop};
pub use serve::{Deps, http_client, run};
pub use spending::Spending;
pub use store::{NodeStore, TaskStore};
