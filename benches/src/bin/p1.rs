//! P1: three nodes (code, one model call without latency, code), POST in, JSON out, 512 kept-alive clients; every input
//! different, every answer compared, and afterwards the store is asked for runs and their checkpoints.
//!
//! `cargo xtask bench p1 [smoke] [seconds=N] [kafka=HOST:PORT] [cql=HOST:PORT] [model=http]`

use std::{cell::RefCell, rc::Rc, time::Duration};

use benches::{
    deployment::Deployment,
    figures,
    load::closed_loop,
    options::Options,
    process::cpu_seconds,
    three_nodes::{ask, read_back},
};

const CLIENTS: usize = 512;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::read(20)?;
    let (clients, warm_up) = if options.smoke { (16, 0) } else { (CLIENTS, 3) };
    let name = format!("P1, {options}");
    figures::print_machine();
    let deployment = Deployment::start(&options, &[]).await?;
    let Deployment { server, model, .. } = &deployment;

    closed_loop(clients, Duration::from_secs(warm_up), server.address, ask(0, Rc::default())).await?;
    let runs = Rc::new(RefCell::new(Vec::new()));
    let spent = || -> anyhow::Result<[f64; 3]> {
        let of_model = model.as_ref().map_or(Ok(0.0), |model| model.cpu_seconds())?;
        Ok([server.cpu_seconds()?, cpu_seconds("self")?, of_model])
    };
    let before = spent()?;
    let load = Duration::from_secs(options.seconds);
    let loaded = closed_loop(clients, load, server.address, ask(1, Rc::clone(&runs))).await?;
    let after = spent()?;
    figures::print(&name, &loaded);
    let [of_server, of_client, of_model] =
        std::array::from_fn(|at| (after[at] - before[at]) * 1e6 / loaded.latency.len() as f64);
    let (resident, peak) = server.resident_mib()?;
    println!(
        "{name}: CPU a run: {of_server:.0} us in the server, {of_client:.0} in the clients, {of_model:.0} in the \
         model's process; {resident:.0} MiB resident, {peak:.0} at most"
    );
    read_back(server, &runs.take()).await
}
