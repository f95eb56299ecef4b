//! What a request under a key that nobody has costs: CPU of the server for each, its HTTP included. A page that everybody may
//! read, beside it, is what HTTP costs alone.
//!
//! `cargo xtask bench wrong_key [smoke] [seconds=N]`

use std::time::Duration;

use anyhow::ensure;
use benches::{
    figures,
    load::{Client, Measured, closed_loop},
    options::Options,
    process::{Process, free_address},
};

const CLIENTS: usize = 8;
/// Keys that the server knows: looking one up is part of the figure.
const KEYS: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::read(10)?;
    figures::print_machine();
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("millstream.toml");
    let key = |n| format!("[[auth.keys]]\nname = 'key-{n}'\nhash = '{n:064x}'\n");
    std::fs::write(&config, (0..KEYS).map(key).collect::<String>())?;
    let (config, data) = (config.to_string_lossy(), folder.path().join("data"));
    let arguments = ["dev", "--config", &config, "--data-dir", &data.to_string_lossy()];
    let mut server = Process::start(&arguments, &[], free_address()?, folder.path())?;
    server.wait_until("/ready").await?;

    let open = async |client: &mut Client, _, _| {
        let (status, _) = client.get("/health").await?;
        ensure!(status == 200, "{status}");
        Ok(())
    };
    let wrong = async |client: &mut Client, number, count: u64| {
        let status = client.post_under("/graphs/chat/runs", &format!("a-key-that-nobody-has-{number}-{count}")).await?;
        ensure!(status == 401, "{status}");
        Ok(())
    };
    let seconds = Duration::from_secs(options.seconds);
    let before = server.cpu_seconds()?;
    let measured = closed_loop(CLIENTS, seconds, server.address, open).await?;
    let health = say("/health, for everybody", &measured, server.cpu_seconds()? - before);
    let before = server.cpu_seconds()?;
    let measured = closed_loop(CLIENTS, seconds, server.address, wrong).await?;
    let refused = say("a wrong key", &measured, server.cpu_seconds()? - before);
    println!("a wrong key beyond /health: {:.1} us of CPU", refused - health);
    Ok(())
}

/// Prints a load, and gives the server's CPU for each answer in microseconds.
fn say(name: &str, measured: &Measured, cpu_seconds: f64) -> f64 {
    figures::print(name, measured);
    let each = cpu_seconds * 1e6 / measured.latency.len() as f64;
    println!("{name}: {each:.1} us of the server's CPU each");
    each
}
