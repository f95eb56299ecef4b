//! `millstream graph check|test|show|schema`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use graph::file;

use crate::{cli::GraphCommand, graph_test};

/// Fails where a file has errors, so that a pipeline stops.
pub async fn graph(command: GraphCommand, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    match command {
        GraphCommand::Check { files } => {
            let mut failed = false;
            for path in files {
                let checked = file::read(&read(&path)?, None);
                print!("{}", checked.report(&path.display().to_string()));
                match &checked.spec {
                    Some(spec) if !checked.has_errors() => {
                        println!("{}: {} is fine (version {})", path.display(), spec.name, spec.hash());
                    }
                    _ => failed = true,
                }
            }
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        GraphCommand::Test { files } => {
            let mut passed = true;
            for path in files {
                passed &= graph_test::test(&path, config.as_deref()).await?;
            }
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        GraphCommand::Show { file: path } => {
            let checked = file::read(&read(&path)?, None);
            eprint!("{}", checked.report(&path.display().to_string()));
            let Some(spec) = checked.spec else { return Ok(ExitCode::FAILURE) };
            print!("{}", graph::mermaid::mermaid(&spec, &checked.subgraphs));
            Ok(ExitCode::SUCCESS)
        }
        GraphCommand::Schema => {
            println!("{}", serde_json::to_string_pretty(&file::graph_file_schema())?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))
}
