//! The log: topics of partitions, appended durably, read by consumer groups or tailed.
//!
//! [`EventLog`] states the contract; the embedded log and Kafka keep it, and one conformance suite proves both.

pub mod conformance;
pub mod embedded;
pub mod error;
pub mod layer;
pub mod metrics;
pub mod record;
pub mod topic;

pub mod progress;

mod contract;
mod follow;
pub mod kafka;

pub use contract::{Ack, Assigned, Consumer, EventLog, GroupEvent, Reader, Start, Subscription};
pub use embedded::EmbeddedLog;
pub use error::LogError;
pub use follow::follow;
pub use progress::ProgressBoard;
pub use record::{Appended, Fetched, HeaderName, Headers, Local, Offset, Partition, Record, to_json};
pub use topic::{Class, TopicSpec, partition_for};
