//! LiteLLM's proxy, installed once beside what cargo builds: two workers, no database, a key, nothing sent or fetched.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use benches::{
    load::KEY,
    process::{PATIENCE, Process, free_address},
};
use tokio::time::Instant;

pub const VERSION: &str = "1.106.2";
const WORKERS: usize = 2;
/// What a worker says when it has read its configuration.
const BEGUN: &str = "Proxy initialized";

/// A folder of Python with the proxy in it.
pub struct Installed(PathBuf);

impl Installed {
    pub fn find() -> anyhow::Result<Option<Self>> {
        let installed = Installed(folder()?);
        Ok(installed.proxy().exists().then_some(installed))
    }

    pub fn find_or_install() -> anyhow::Result<Self> {
        if let Some(installed) = Self::find()? {
            return Ok(installed);
        }
        let folder = folder()?;
        println!("installing LiteLLM {VERSION} into {}", folder.display());
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let package = format!("litellm[proxy]=={VERSION}");
        succeed(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", &package]))?;
        Self::find()?.context("the package holds no proxy")
    }

    /// Serves the model at that address under its own name.
    pub async fn start(&self, model: SocketAddr, folder: &Path) -> anyhow::Result<Process> {
        let config = folder.join("litellm.yaml");
        std::fs::write(
            &config,
            format!(
                "model_list:\n  - model_name: echo\n    litellm_params: {{model: openai/echo, api_base: \
                 \"http://{model}/v1\", api_key: none}}\n"
            ),
        )?;
        let address = free_address()?;
        let (config, port, workers) = (config.to_string_lossy(), address.port().to_string(), WORKERS.to_string());
        let mut arguments = vec!["--config", &config, "--host", "127.0.0.1", "--port", &port];
        // A worker that is slow to begin, on a busy machine, is killed and begun anew for ever unless it is given time.
        let patience = PATIENCE.as_secs().to_string();
        arguments.extend([
            "--num_workers",
            &workers,
            "--timeout_worker_healthcheck",
            &patience,
            "--telemetry",
            "False",
        ]);
        let environment = [
            ("LITELLM_MASTER_KEY", KEY.to_owned()),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True".to_owned()),
            ("LITELLM_LOG", "ERROR".to_owned()),
            // Else what a worker says may stay in its buffer.
            ("PYTHONUNBUFFERED", "1".to_owned()),
        ];
        let mut proxy = Process::start_program(&self.proxy(), &arguments, &environment, address, folder)?;
        proxy.wait_until("/health/liveliness").await?;
        let until = Instant::now() + PATIENCE;
        while proxy.said().matches(BEGUN).count() < WORKERS {
            ensure!(Instant::now() < until, "not all workers began within {PATIENCE:?}; they said:\n{}", proxy.said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(proxy)
    }

    fn proxy(&self) -> PathBuf {
        self.0.join("bin/litellm")
    }
}

/// In `target/`, whichever profile this is.
fn folder() -> anyhow::Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let target = bench.ancestors().nth(2).context("the bench lies in no folder of cargo's")?;
    Ok(target.join(format!("litellm-{VERSION}")))
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} does not start"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
