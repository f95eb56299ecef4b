//! End-to-end tests: the real binary as real processes, asked over HTTP like any client asks it.

#[path = "../dashboard_file/mod.rs"]
mod dashboard_file;
mod process;

mod admission;
mod bad_input;
mod embedded;
mod kills;
mod page;
mod roles;
mod telemetry;
