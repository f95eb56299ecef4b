//! The binary `millstream`: everything in one process, each role apart, and the verbs of a client.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::command_line()
}
