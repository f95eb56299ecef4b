//! What keys, rates, budgets and the cache of answers take of P1: the same load on a server without any of them and on one
//! with all, in turns. Every input is different, so that the cache never has an answer.
//!
//! `cargo xtask bench guarded [smoke] [seconds=N] [model=http]`: N seconds of load on each, in five turns.

use std::{path::Path, rc::Rc, time::Duration};

use benches::{
    deployment::Deployment,
    figures, guards,
    load::{Measured, closed_loop},
    options::Options,
    three_nodes::ask,
};

const CLIENTS: usize = 512;
const TURNS: u32 = 5;

struct Side {
    name: &'static str,
    deployment: Deployment,
    measured: Measured,
    cpu: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::read(20)?;
    let clients = if options.smoke { 16 } else { CLIENTS };
    figures::print_machine();
    let folder = tempfile::tempdir()?;
    let config = guards::write(folder.path())?;
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
            side.measured.add(&loaded)?;
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
    Ok(Side { name, deployment, measured: Measured::nothing()?, cpu: 0.0 })
}

impl Side {
    /// Prints its figures, and gives its runs a second.
    fn told(self, options: &Options) -> f64 {
        let Side { name, deployment: _, measured, cpu } = self;
        figures::print(&format!("{name}, {options}"), &measured);
        println!("{name}: {:.0} us of the server's CPU a run", measured.microseconds_each(cpu));
        measured.per_second()
    }
}
