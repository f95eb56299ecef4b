//! What keys, rates, budgets and the cache of answers take of P1: the same load on a server without any of them and on one
//! with all, in turns. Every input is different, so that the cache never has an answer.
//!
//! `cargo xtask bench guarded [smoke] [seconds=N] [model=http]`: N seconds of load on each, in five turns.

use std::{path::Path, rc::Rc, time::Duration};

use benches::{
    deployment::Deployment,
    figures,
    load::{KEY, Measured, closed_loop},
    options::Options,
    three_nodes::ask,
};
use hdrhistogram::Histogram;

const CLIENTS: usize = 512;
const TURNS: u32 = 5;

/// Limits that nothing reaches, each of which is looked at.
const GUARDS: &str = r#"
[rates]
key_requests = 100000000
key_tokens = 1000000000
user_requests = 100000000
user_tokens = 1000000000

[budgets]
request_tokens = 1000000
run_tokens = 10000000
run_usd = 1000.0
user_day_tokens = 1000000000000
user_day_usd = 1000000.0
key_tokens = 1000000000000
key_usd = 1000000.0
tenant_day_tokens = 1000000000000
tenant_day_usd = 1000000.0
tenant_month_tokens = 1000000000000
tenant_month_usd = 1000000.0
global_day_tokens = 1000000000000
global_day_usd = 1000000.0

[cache]
exact = true

[[auth.keys]]
name = "bench"
"#;

struct Side {
    name: &'static str,
    deployment: Deployment,
    seconds: f64,
    cpu: f64,
    latency: Histogram<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::read(20)?;
    let clients = if options.smoke { 16 } else { CLIENTS };
    figures::print_machine();
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("millstream.toml");
    std::fs::write(&config, format!("{GUARDS}secret = \"{KEY}\"\n"))?;
    let mut sides = [start("plain", &options, None).await?, start("guarded", &options, Some(&config)).await?];
    let turn = Duration::from_secs(options.seconds) / TURNS;
    for side in &sides {
        closed_loop(clients, turn.min(Duration::from_secs(3)), side.deployment.server.address, ask(0, Rc::default()))
            .await?;
    }
    for number in 1..=TURNS {
        for side in &mut sides {
            let server = &side.deployment.server;
            let before = server.cpu_seconds()?;
            let loaded = closed_loop(clients, turn, server.address, ask(number, Rc::default())).await?;
            side.cpu += server.cpu_seconds()? - before;
            side.seconds += loaded.seconds;
            side.latency.add(loaded.latency)?;
        }
    }
    let [plain, guarded] = sides.map(|side| side.told(&options));
    println!("guarded has {:.1} % of the runs/s of plain", 100.0 * guarded / plain);
    Ok(())
}

async fn start(name: &'static str, options: &Options, config: Option<&Path>) -> anyhow::Result<Side> {
    let more: Vec<_> =
        config.map(|config| ("MILLSTREAM_CONFIG", config.to_string_lossy().into_owned())).into_iter().collect();
    let deployment = Deployment::start(options, &more).await?;
    Ok(Side { name, deployment, seconds: 0.0, cpu: 0.0, latency: Histogram::new(3)? })
}

impl Side {
    /// Prints its figures, and gives its runs a second.
    fn told(self, options: &Options) -> f64 {
        let Side { name, deployment: _, seconds, cpu, latency } = self;
        let each = cpu * 1e6 / latency.len() as f64;
        let measured = Measured { seconds, latency };
        figures::print(&format!("{name}, {options}"), &measured);
        println!("{name}: {each:.0} us of the server's CPU a run");
        measured.per_second()
    }
}
