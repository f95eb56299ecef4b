//! What a graph means: the spec, its channels and the pure fold that decides what runs next.
//!
//! No I/O, clock, randomness or async here, and only ordered maps: the same events give the same bytes.

pub mod spec;

pub mod alias;
pub mod envelope;
pub mod event;
pub mod task;
pub mod update;

mod deep_stack;
mod expiry;
pub mod expression;
pub mod template;

mod check;
pub mod file;
pub mod mermaid;
pub mod reads;

pub mod advance;
pub mod state;

pub mod branch;
pub mod graph;
pub mod message;
pub mod retry;

mod apply;
pub mod by_name;
pub mod channel;
pub mod checkpoint;
pub mod graph_loop;
mod mapping;
mod prepare;
mod reduce;
pub mod reducers;
mod snapshot;
mod step_task;
mod twin;

pub mod ids;
pub mod world;
pub mod writes;
