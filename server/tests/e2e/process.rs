//! Starts, kills and asks processes of the binary.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One process of the binary; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `millstream ARGUMENTS`, serving at `address`.
    pub fn start(arguments: &[&str], environment: &[(&str, String)], address: SocketAddr, folder: &Path) -> Self {
        let name = arguments.first().copied().unwrap_or("millstream");
        let log = folder.join(format!("{name}-{}.log", address.port()));
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>();
        let mut environment: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        environment.insert("MILLSTREAM__SERVER__LISTEN".to_owned(), address.to_string());
        let child = spawn(&arguments, &environment, &log);
        Process { child, address, arguments, environment, log }
    }

    /// The verb that it was started with.
    pub fn name(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP and SIGCONT: it stands still, as on a machine that is paused, and goes on.
    pub fn stand_still(&self, still: bool) {
        let signal = if still { "-STOP" } else { "-CONT" };
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "{} can't be sent {signal}", self.name());
    }

    /// What the binary says to other arguments, in the same environment.
    pub fn once(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let output = command.args(arguments).envs(&self.environment).output().expect("the binary starts");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Starts the same process again.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.arguments, &self.environment, &self.log);
    }

    pub async fn wait_until_ready(&mut self) {
        let client = reqwest::Client::new();
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("the process ended with {status} before it was ready; it said:\n{}", self.said());
            }
            if let Ok(response) = client.get(self.url("/ready")).send().await
                && response.status().is_success()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the process was not ready within a minute; it said:\n{}", self.said());
    }

    /// The end of what it logged.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let skip = text.lines().count().saturating_sub(60);
        text.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}\n---", self.log.display(), self.said());
        }
    }
}

fn spawn(arguments: &[String], environment: &BTreeMap<String, String>, log: &Path) -> Child {
    let output = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log file opens");
    Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(arguments)
        .env_remove("OPENAI_API_KEY")
        .env_remove("OPENAI_BASE_URL")
        .env("RUST_LOG", "info")
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("the log file clones"))
        .stderr(output)
        .spawn()
        .expect("the binary starts")
}

/// An address whose port is below those that the system gives to connections: of them one that is free now may be somebody's
/// when a process begins to listen.
pub fn free_address() -> SocketAddr {
    const PORTS: Range<u32> = 20_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Another run of tests beside this one begins elsewhere.
        let next = (std::process::id() * 100).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + next % PORTS.len() as u32;
        let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A folder for a test's processes.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// `millstream dev` in `folder`, ready.
pub async fn dev(folder: &Path, extra: &[&str]) -> Process {
    dev_with(folder, extra, &[]).await
}

pub async fn dev_with(folder: &Path, extra: &[&str], environment: &[(&str, String)]) -> Process {
    let address = free_address();
    let data = folder.join("data");
    let mut arguments = vec!["dev", "--data-dir", data.to_str().expect("a path in UTF-8")];
    arguments.extend_from_slice(extra);
    let mut process = Process::start(&arguments, environment, address, folder);
    process.wait_until_ready().await;
    process
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("not JSON: {}", self.data))
    }
}

/// Reads events until `[DONE]` or the stream ends; whether it was done.
pub async fn read_events(response: reqwest::Response) -> (Vec<Event>, bool) {
    let mut stream = response.bytes_stream().eventsource();
    let mut events = Vec::new();
    while let Ok(Some(Ok(event))) = tokio::time::timeout(PATIENCE, stream.next()).await {
        if event.data == "[DONE]" {
            return (events, true);
        }
        events.push(Event { id: event.id, name: event.event, data: event.data });
    }
    (events, false)
}

/// Posts JSON and reads JSON.
pub async fn post(process: &Process, path: &str, body: &Value) -> (u16, Value) {
    let response = reqwest::Client::new()
        .post(process.url(path))
        .timeout(PATIENCE)
        .json(body)
        .send()
        .await
        .unwrap_or_else(|error| panic!("POST {path}: {error}; it said:\n{}", process.said()));
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

pub async fn get(process: &Process, path: &str) -> (u16, Value) {
    let response = reqwest::Client::new()
        .get(process.url(path))
        .timeout(PATIENCE)
        .send()
        .await
        .unwrap_or_else(|error| panic!("GET {path}: {error}; it said:\n{}", process.said()));
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}
