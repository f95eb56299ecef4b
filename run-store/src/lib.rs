//! The run store, split by who calls it: nobody takes the whole.
//!
//! The embedded store and Scylla keep the contract of [`contract`]; one conformance suite proves both.

pub mod contract;
pub mod error;
pub mod position;
pub mod rows;

pub use contract::{Blobs, Claims, Meta, Results, RunStore, Specs, States};
pub use error::StoreError;
pub use position::Position;
