//! End-to-end tests: the real binary as real processes, asked over HTTP like any client asks it.

mod backends;
#[path = "../dashboard_file/mod.rs"]
mod dashboard_file;
mod deployment;
mod model;
mod models;
mod process;
mod programs;
mod runs;

mod admission;
mod answers;
mod bad_input;
mod budgets;
mod edits;
mod embedded;
mod garbage;
mod keys;
mod kills;
mod langgraph;
mod large;
mod leaving;
mod openai;
mod outages;
mod page;
mod ready;
mod roles;
mod secrets;
mod shared_budgets;
mod telemetry;
mod tenants;
mod threads;
mod tiers;
mod tokens;
mod traces;
mod usage;
