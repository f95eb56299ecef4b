//! End-to-end tests: the real binary as real processes, asked over HTTP like any client asks it.

mod process;

mod bad_input;
mod embedded;
mod kills;
