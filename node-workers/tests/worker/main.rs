//! A whole worker over the embedded log and store: tasks in, results out.

mod bench;

mod budgets;
mod classify_node;
mod consumer;
mod executions;
mod faults;
mod handover;
mod http_node;
mod model_node;
mod questions;
mod routes;
mod store;
mod values;
