//! `millstream dev` with the graph of three nodes, and the scripted model in process or beside it.

use std::path::{Path, PathBuf};

use crate::{
    options::Options,
    process::{Process, free_address},
};

pub struct Deployment {
    pub server: Process,
    /// Where the model has a process of its own.
    pub model: Option<Process>,
    _folder: tempfile::TempDir,
}

impl Deployment {
    pub async fn start(options: &Options, more: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut environment = options.environment();
        environment.extend_from_slice(more);
        let mut model = None;
        if options.http_model {
            let process = start_model(folder.path()).await?;
            environment.extend(with_model(&process));
            model = Some(process);
        }
        let graph = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/three-nodes.yaml"));
        let server = start_server(&graph, &environment, folder.path()).await?;
        Ok(Deployment { server, model, _folder: folder })
    }
}

/// All of Millstream in one process, its data in `folder`.
pub async fn start_server(
    graph: &Path,
    environment: &[(&'static str, String)],
    folder: &Path,
) -> anyhow::Result<Process> {
    let data = folder.join("data");
    let (graph, data) = (graph.to_string_lossy(), data.to_string_lossy());
    let arguments = ["dev", "--data-dir", &data, "--graph", &graph];
    let mut server = Process::start(&arguments, environment, free_address()?, folder)?;
    server.wait_until("/ready").await?;
    Ok(server)
}

/// The scripted model over HTTP.
pub async fn start_model(folder: &Path) -> anyhow::Result<Process> {
    let address = free_address()?;
    let mut model = Process::start(&["mock-model", "--listen", &address.to_string()], &[], address, folder)?;
    model.wait_until("/v1/models").await?;
    Ok(model)
}

/// The environment of a process that asks this model.
pub fn with_model(model: &Process) -> [(&'static str, String); 3] {
    [
        ("OPENAI_BASE_URL", format!("http://{}/v1", model.address)),
        ("OPENAI_API_KEY", "none".to_owned()),
        ("OPENAI_MODEL", "echo".to_owned()),
    ]
}
