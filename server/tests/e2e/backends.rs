//! A Kafka, a Cassandra or a Redis of a test's own, which it may kill and start again at the same address, with the same data.
//!
//! `$MILLSTREAM_TEST_BACKENDS`, which `cargo xtask test` sets, names the program that becomes one.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::Instant;

/// How long a JVM may take until it listens, on a machine that does much else.
const LISTENS_WITHIN: Duration = Duration::from_secs(120);

pub struct Backend {
    name: &'static str,
    program: String,
    dir: PathBuf,
    child: Option<Child>,
    pub address: SocketAddr,
}

impl Backend {
    /// None where there is no program for it, which CI counts as a failure.
    pub async fn start(name: &'static str, folder: &Path) -> Option<Self> {
        let Ok(program) = std::env::var("MILLSTREAM_TEST_BACKENDS") else {
            assert!(std::env::var_os("CI").is_none(), "under CI a test gets a {name} of its own");
            println!("skipped: {name} killed and started again: MILLSTREAM_TEST_BACKENDS is not set");
            return None;
        };
        let dir = folder.join(name);
        std::fs::create_dir_all(&dir).expect("the folder can be made");
        let mut backend = Backend { name, program, dir, child: None, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        backend.restart().await;
        Some(backend)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it where it was, and returns when it listens.
    pub async fn restart(&mut self) {
        self.kill();
        let path = self.dir.join("said");
        let said = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("its output's file opens");
        let mut command = Command::new(&self.program);
        command.args(["backends", "run", self.name]).arg(&self.dir).stdin(Stdio::null());
        command.stdout(said.try_clone().expect("a file clones")).stderr(said);
        self.child = Some(command.spawn().expect("the program of backends starts"));
        let begun = Instant::now();
        while !self.listens() {
            assert!(begun.elapsed() < LISTENS_WITHIN, "{} does not listen; it said:\n{}", self.name, self.said());
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                panic!("{} ended with {status}; it said:\n{}", self.name, self.said());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn listens(&mut self) -> bool {
        let Ok(text) = std::fs::read_to_string(self.dir.join("address")) else { return false };
        let Ok(address) = text.trim().parse() else { return false };
        self.address = address;
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("said")).unwrap_or_default();
        let skip = text.lines().count().saturating_sub(40);
        text.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}\n---", self.name, self.said());
        }
    }
}
