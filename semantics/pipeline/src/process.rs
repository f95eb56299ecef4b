//! The pipeline as a child process: started, given graphs, killed and started again on its folder.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use graph::spec::GraphSpec;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::serve::{PUBLISHED, READY};

pub struct Pipeline {
    folder: PathBuf,
    pub address: SocketAddr,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Pipeline {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        // Nobody takes it before the child does, or the child says so.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        Pipeline::start_at(folder, address).await
    }

    async fn start_at(folder: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let log = folder.join("log.txt");
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &folder.to_string_lossy(), &address.to_string()])
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("the pipeline can't be started")?;
        let stdin = child.stdin.take().context("a pipe")?;
        let stdout = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut pipeline = Pipeline { folder: folder.to_owned(), address, child, stdin, stdout };
        let said = pipeline.stdout.next_line().await?;
        if said.as_deref() != Some(READY) {
            bail!("the pipeline did not start:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(pipeline)
    }

    pub async fn publish(&mut self, specs: &[GraphSpec]) -> anyhow::Result<()> {
        let line = serde_json::to_string(specs)? + "\n";
        self.stdin.write_all(line.as_bytes()).await?;
        match self.stdout.next_line().await?.as_deref() {
            Some(PUBLISHED) => Ok(()),
            Some(why) => bail!("{why}"),
            None => bail!("the pipeline ended"),
        }
    }

    /// Ends it in the middle of whatever it does, and starts it again on what it left.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        *self = Pipeline::start_at(&self.folder, self.address).await?;
        Ok(())
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}
