//! The binary `millstream`: everything in one process, each role apart, and the verbs of a client.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    server::command_line()
}
