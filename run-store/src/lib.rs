//! The run store, split by who calls it: nobody takes the whole.
//!
//! The embedded store and Scylla keep the contract of [`contract`]; one conformance suite proves both.

pub mod conformance;
pub mod contract;
pub mod embedded;
pub mod error;
pub mod items;
pub mod layer;
pub mod metrics;
mod namespace;
mod packed;
mod page;
pub mod position;
pub mod rows;
pub mod scylla;
mod stored;
pub mod values;

pub use self::scylla::ScyllaStore;
pub use contract::{Archive, Blobs, Claims, Deletes, Items, Keys, Meta, Results, RunStore, Specs, States};
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use items::LongTermStore;
pub use page::PAGE_ROWS_MAX;
pub use position::Position;
pub use stored::VALUE_BYTES_MAX;
