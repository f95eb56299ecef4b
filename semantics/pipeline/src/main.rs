//! Plays cases of LangGraph's semantics on the whole pipeline, over HTTP: `semantics-pipeline FILE`. The pipeline is a
//! child process, or one for each role, so that it can be killed; `cargo xtask semantics` starts this.

mod arguments;
mod calls;
mod client;
mod kills;
mod node;
mod play;
mod process;
mod report;
mod serve;
mod steps;
mod wave;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Verb};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match arguments.verb {
                Verb::Play(play) => wave::play_file(&play).await,
                Verb::Serve(serve) => serve::serve(serve).await.map(|()| true),
            }
        })
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
