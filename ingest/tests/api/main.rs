//! The API over the embedded log and store: bodies in, answers and records out. One file for each group of routes.

mod bad_input;
mod bound;
mod connections;
mod document;
mod graphs;
mod idempotency;
mod keys;
mod langgraph;
mod models;
mod pages;
mod rates;
mod runs;
mod sinks;
mod stage;
mod store;
mod tenants;
mod tokens;
mod ttl;
mod usage;
