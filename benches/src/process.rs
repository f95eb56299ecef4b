//! Programs as processes of their own, `millstream` above all, and what they cost.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::Instant;

use crate::load::Client;

/// What takes longer to begin is stuck.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// One process and its children; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts `millstream ARGUMENTS`, which listens at `address`; its log lies in `folder`.
    pub fn start(
        arguments: &[&str],
        environment: &[(&str, String)],
        address: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut environment = environment.to_vec();
        environment.push(("MILLSTREAM__SERVER__LISTEN", address.to_string()));
        Self::start_program(&binary()?, arguments, &environment, address, folder)
    }

    /// Starts another program.
    pub fn start_program(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, String)],
        address: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{}.log", address.port()));
        let file = std::fs::File::create(&log)?;
        // A shell, for it can raise what a process may open to what the machine allows: sockets are what benches need.
        let child = Command::new("sh")
            .args(["-c", r#"ulimit -n "$(ulimit -H -n)"; exec "$@""#, "sh"])
            .arg(program)
            .args(arguments)
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .env("RUST_LOG", "warn")
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        Ok(Process { child, address, log })
    }

    /// Waits until `path` answers 200.
    pub async fn wait_until(&mut self, path: &str) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended with {status}; it said:\n{}", self.said());
            }
            if let Ok(mut client) = Client::connect(self.address).await
                && let Ok((200, _)) = client.get(path).await
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the process was not ready within {PATIENCE:?}; it said:\n{}", self.said())
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in MiB now, and the most that it ever was, as the kernel counts them.
    pub fn resident_mib(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mib = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).context("the kernel tells no size")?;
            Ok(kib.trim().parse::<f64>()? / 1024.0)
        };
        Ok((mib("VmRSS:")?, mib("VmHWM:")?))
    }

    /// User and system seconds so far.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let children = self.children();
        std::iter::once(self.child.id().to_string()).chain(children).map(|id| cpu_seconds(&id)).sum()
    }

    fn children(&self) -> Vec<String> {
        let id = self.child.id();
        let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        listed.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.children();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !children.is_empty() {
            let _ = Command::new("kill").arg("-KILL").args(children).stderr(Stdio::null()).status();
        }
    }
}

/// User and system seconds of a process so far: of this one where `id` is `self`.
pub fn cpu_seconds(id: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 =
        fields.get(11).context("no utime")?.parse::<f64>()? + fields.get(12).context("no stime")?.parse::<f64>()?;
    Ok(ticks / 100.0)
}

pub fn free_address() -> anyhow::Result<SocketAddr> {
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
