//! `millstream dev` with the graph of three nodes, and the scripted model in process or beside it.

use std::path::PathBuf;

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
            let address = free_address()?;
            let mut process =
                Process::start(&["mock-model", "--listen", &address.to_string()], &[], address, folder.path())?;
            process.wait_until("/v1/models").await?;
            environment.extend([
                ("OPENAI_BASE_URL", format!("http://{address}/v1")),
                ("OPENAI_API_KEY", "none".to_owned()),
                ("OPENAI_MODEL", "echo".to_owned()),
            ]);
            model = Some(process);
        }
        let graph = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/three-nodes.yaml"));
        let data = folder.path().join("data");
        let (graph, data) = (graph.to_string_lossy(), data.to_string_lossy());
        let arguments = ["dev", "--data-dir", &data, "--graph", &graph];
        let mut server = Process::start(&arguments, &environment, free_address()?, folder.path())?;
        server.wait_until("/ready").await?;
        Ok(Deployment { server, model, _folder: folder })
    }
}
