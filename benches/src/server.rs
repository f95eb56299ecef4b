//! A release build of `millstream` as a process of its own, on a port and in a folder of its own.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::load::Client;

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Server {
    /// Starts `millstream dev` with graph files and environment, and waits until it is ready.
    pub async fn start(graphs: &[PathBuf], environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let folder = tempfile::tempdir()?;
        let log = std::fs::File::create(folder.path().join("server.log"))?;
        let mut command = Command::new(binary()?);
        command.arg("dev").arg("--listen").arg(address.to_string()).arg("--data-dir").arg(folder.path().join("data"));
        for graph in graphs {
            command.arg("--graph").arg(graph);
        }
        command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("the binary does not start")?;
        let server = Server { child, address, folder };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        for _ in 0..600 {
            if let Ok(mut client) = Client::connect(self.address).await
                && let Ok((200, _)) = client.get("/ready").await
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        bail!("the server was not ready within a minute; it said:\n{log}")
    }

    /// Resident memory in MiB, as the kernel counts it.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("the kernel tells no resident size")?;
        Ok(kib.trim().parse::<f64>()? / 1024.0)
    }

    /// User and system seconds so far.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 =
            fields.get(11).context("no utime")?.parse::<f64>()? + fields.get(12).context("no stime")?.parse::<f64>()?;
        Ok(ticks / 100.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The binary beside this one: `cargo xtask bench` builds both with the same profile.
fn binary() -> anyhow::Result<PathBuf> {
    let mut path = std::env::current_exe()?;
    path.set_file_name("millstream");
    if !path.exists() {
        bail!("{} is not built; run `cargo xtask bench NAME`, which builds it", path.display());
    }
    Ok(path)
}
