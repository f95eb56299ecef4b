//! Kafka, Cassandra and Redis as processes of this machine: on free ports, with data of their own, gone when dropped. A test
//! that wants to kill one starts its own by `xtask backends run`.

mod cassandra;
mod kafka;
mod redis;

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::cassandra::CommitLog;
use crate::{command, jars, packages};

/// What `backends up` keeps running, under the names that its files have.
const BACKENDS: &[Backend] = &[Backend::Kafka, Backend::Cassandra, Backend::Redis];

const START_TIMEOUT: Duration = Duration::from_secs(120);
const LOG_TAIL_LINES: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Kafka,
    Cassandra,
    Redis,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Backend::Kafka => "kafka",
            Backend::Cassandra => "cassandra",
            Backend::Redis => "redis",
        }
    }

    /// The variable by which tests and benches learn the address.
    pub fn variable(self) -> &'static str {
        match self {
            Backend::Kafka => "MILLSTREAM_TEST_KAFKA",
            Backend::Cassandra => "MILLSTREAM_TEST_CQL",
            Backend::Redis => "MILLSTREAM_TEST_REDIS",
        }
    }

    /// Starts it and returns when it answers.
    pub fn start(self) -> Result<Server> {
        let dir = jars::cache_dir()?.join("run").join(format!("{}-{}", self.name(), std::process::id()));
        self.start_in(&dir, Lifetime::OfThisProcess)
    }

    fn start_in(self, dir: &Path, lifetime: Lifetime) -> Result<Server> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let (address, arguments) = self.prepare(dir, CommitLog::Periodic)?;
        let child = self.spawn(dir, lifetime, &arguments)?;
        let mut server = Server { backend: self, address, child, dir: dir.to_path_buf(), lifetime };
        server.wait(match self {
            Backend::Kafka => kafka::answers,
            Backend::Cassandra => cassandra::answers,
            Backend::Redis => redis::answers,
        })?;
        Ok(server)
    }

    /// Where it will be, and the arguments of its program.
    fn prepare(self, dir: &Path, sync: CommitLog) -> Result<(SocketAddr, Vec<String>)> {
        match self {
            Backend::Kafka => kafka::prepare(&jars::fetch(self.name())?, dir),
            Backend::Cassandra => cassandra::prepare(&jars::fetch(self.name())?, dir, sync),
            Backend::Redis => {
                packages::require_redis()?;
                redis::prepare(dir)
            }
        }
    }

    /// Starts it with its output in the file `log` in `dir`.
    fn spawn(self, dir: &Path, lifetime: Lifetime, arguments: &[String]) -> Result<Child> {
        let log = File::create(dir.join("log"))?;
        let mut command = self.command(lifetime);
        command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("{} did not start", self.program()))
    }

    fn command(self, lifetime: Lifetime) -> Command {
        let program = self.program();
        match lifetime {
            // The kernel ends it with this process, however that ends: also by a signal that runs no destructor.
            Lifetime::OfThisProcess if command::is_installed("setpriv") => {
                wrapped("setpriv", &["--pdeathsig", "KILL", program])
            }
            Lifetime::UntilDown if command::is_installed("setsid") => wrapped("setsid", &[program]),
            _ => Command::new(program),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Backend::Kafka | Backend::Cassandra => "java",
            Backend::Redis => "redis-server",
        }
    }
}

/// `cargo xtask backends up|down|run`.
pub fn verb(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up"] => up(),
        ["down"] => down(),
        ["run", name, dir] => run(name, Path::new(dir)),
        _ => bail!("say `backends up`, `backends down` or `backends run kafka|cassandra|redis DIR`"),
    }
}

/// Becomes a backend that lives in `dir`: killed and run on the same folder, it comes back at its address with its data.
/// The file `address` in it says where.
fn run(name: &str, dir: &Path) -> Result<()> {
    let Some(backend) = BACKENDS.iter().find(|backend| backend.name() == name) else {
        bail!("there is no backend {name}: say kafka, cassandra or redis")
    };
    fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    let (_, arguments) = backend.prepare(&dir, CommitLog::Batch)?;
    let mut command = backend.command(Lifetime::OfThisProcess);
    command.args(arguments).current_dir(&dir).stdin(Stdio::null());
    Err(command.exec()).with_context(|| format!("{} did not start", backend.program()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    OfThisProcess,
    UntilDown,
}

/// A running backend. Dropping it ends the process and removes its data.
pub struct Server {
    backend: Backend,
    pub address: SocketAddr,
    child: Child,
    dir: PathBuf,
    lifetime: Lifetime,
}

impl Server {
    fn wait(&mut self, answers: fn(SocketAddr) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended while it started ({status})\n{}", self.backend.name(), self.log_tail());
            }
            if answers(self.address).unwrap_or(false) {
                let seconds = begun.elapsed().as_secs_f32();
                println!("{} answers on {} after {seconds:.1} s", self.backend.name(), self.address);
                return Ok(());
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("{} did not answer within {START_TIMEOUT:?}\n{}", self.backend.name(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The end of what it wrote, for a person who asks why something failed.
    pub fn log_tail(&self) -> String {
        let log = self.dir.join("log");
        let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!("the end of {}:\n{}", log.display(), tail.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::UntilDown {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The address of a backend in `dir`; `lay_out` writes its configuration the first time, and gives the port.
fn laid_out(dir: &Path, lay_out: impl FnOnce() -> Result<u16>) -> Result<SocketAddr> {
    let known = dir.join("address");
    if let Ok(text) = fs::read_to_string(&known) {
        return text.trim().parse().with_context(|| format!("{} holds no address", known.display()));
    }
    let address = SocketAddr::from(([127, 0, 0, 1], lay_out()?));
    fs::write(&known, address.to_string())?;
    Ok(address)
}

fn wrapped(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are known, so that none is given twice.
    let held: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>().context("no free port")?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Sends a request and reads the first bytes of the answer.
fn ask<const N: usize>(address: SocketAddr, request: &[u8]) -> Result<[u8; N]> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request)?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn up() -> Result<()> {
    let home = jars::cache_dir()?.join("run");
    for backend in BACKENDS {
        let dir = home.join(backend.name());
        if let Some((_, address)) = running(&dir) {
            println!("export {}={address}", backend.variable());
            continue;
        }
        let server = backend.start_in(&dir, Lifetime::UntilDown)?;
        fs::write(dir.join("pid"), server.child.id().to_string())?;
        println!("export {}={}", backend.variable(), server.address);
    }
    println!("logs lie in {}/*/log; `cargo xtask backends down` stops them", home.display());
    Ok(())
}

fn down() -> Result<()> {
    let home = jars::cache_dir()?.join("run");
    for backend in BACKENDS {
        let dir = home.join(backend.name());
        let Some((pid, _)) = running(&dir) else {
            println!("{} is not running", backend.name());
            continue;
        };
        command::program("kill", &["-KILL", &pid.to_string()]).run()?;
        fs::remove_dir_all(&dir).with_context(|| format!("{} can't be removed", dir.display()))?;
        println!("{} is stopped", backend.name());
    }
    Ok(())
}

/// The process and address of what `up` started in `dir`, while that process lives.
fn running(dir: &Path) -> Option<(u32, String)> {
    let pid: u32 = fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()?;
    let address = fs::read_to_string(dir.join("address")).ok()?;
    // A number is given again to others: only a process that was started on this folder is ours.
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy()).then_some((pid, address))
}
