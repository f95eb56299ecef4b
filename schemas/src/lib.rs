//! Every byte that leaves a process: the records of every topic, the HTTP types, the names of topics.

pub mod topic;

pub mod record;
pub mod reference;

pub mod client;
pub mod error;
pub mod http;
pub mod keys;
pub mod openai;
pub mod stream;

pub mod node_api;
