//! The pipeline as child processes: started, given graphs, killed and started again on what they left.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use graph::spec::GraphSpec;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    arguments::{On, Part},
    serve::{PUBLISHED, READY},
};

/// Lines of each process's log that are shown.
const LOG_TAIL_LINES: usize = 20;

pub struct Pipeline {
    /// The first serves clients.
    members: Vec<Member>,
}

impl Pipeline {
    pub async fn start(on: On, folder: &Path) -> anyhow::Result<Self> {
        let parts: &[Part] = match on {
            On::Embedded | On::Kafka => &[Part::All],
            On::Roles => &[Part::Ingest, Part::Orchestrator, Part::Sink, Part::NodeWorker],
        };
        let mut members = Vec::new();
        for part in parts {
            members.push(Member::start(Place::new(on, *part, folder, members.first())?).await?);
        }
        Ok(Pipeline { members })
    }

    /// Where clients are served.
    pub fn address(&self) -> SocketAddr {
        self.members[0].place.address
    }

    pub async fn publish(&mut self, specs: &[GraphSpec]) -> anyhow::Result<()> {
        self.members[0].publish(specs).await
    }

    /// Ends one of its processes in the middle of whatever it does, and starts it again on what it left.
    pub async fn crash(&mut self, chosen: u64) -> anyhow::Result<()> {
        let which = (chosen % self.members.len() as u64) as usize;
        self.members[which].crash().await
    }

    /// The last lines that each of them logged.
    pub fn log_tail(&self) -> String {
        self.members.iter().map(|member| member.place.log_tail()).collect::<Vec<_>>().join("\n")
    }
}

/// A process: what it is and where.
#[derive(Clone)]
struct Place {
    part: Part,
    folder: PathBuf,
    address: SocketAddr,
    /// See [`crate::arguments::Serve`].
    shared: Option<String>,
}

impl Place {
    /// A name that nobody else has on Kafka and the CQL store is made of the first one's port.
    fn new(on: On, part: Part, folder: &Path, first: Option<&Member>) -> anyhow::Result<Self> {
        // Nobody takes it before the child does, or the child says so.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let name = || match first {
            Some(first) => first.place.shared.clone(),
            None => Some(format!("semantics_{}_{}", std::process::id(), address.port())),
        };
        let shared = if on == On::Embedded { None } else { name() };
        Ok(Place { part, folder: folder.to_owned(), address, shared })
    }

    fn name(&self) -> String {
        self.part.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name()))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(&self.folder).arg(self.address.to_string()).args(["--part", &self.name()]);
        command.args(self.shared.iter().flat_map(|name| ["--shared", name]));
        command
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(self.log())?)
            .kill_on_drop(true);
        Ok(command)
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}:\n{}", self.name(), lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
    }
}

struct Member {
    place: Place,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Member {
    async fn start(place: Place) -> anyhow::Result<Self> {
        let mut child = place.command()?.spawn().context("the pipeline can't be started")?;
        let stdin = child.stdin.take().context("a pipe")?;
        let mut stdout = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let said = stdout.next_line().await?;
        if said.as_deref() != Some(READY) {
            bail!("the pipeline did not start; {}", place.log_tail());
        }
        Ok(Member { place, child, stdin, stdout })
    }

    async fn publish(&mut self, specs: &[GraphSpec]) -> anyhow::Result<()> {
        let line = serde_json::to_string(specs)? + "\n";
        self.stdin.write_all(line.as_bytes()).await?;
        match self.stdout.next_line().await?.as_deref() {
            Some(PUBLISHED) => Ok(()),
            Some(why) => bail!("{why}"),
            None => bail!("the pipeline ended"),
        }
    }

    async fn crash(&mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        *self = Member::start(self.place.clone()).await?;
        Ok(())
    }
}
