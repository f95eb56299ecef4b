//! What a run takes when nothing else does: one client, with a pause between its runs.
//!
//! `cargo xtask bench idle [smoke] [seconds=N] [kafka=HOST:PORT] [cql=HOST:PORT] [model=http]`

use std::{rc::Rc, time::Duration};

use benches::{
    deployment::Deployment,
    figures,
    load::{Client, closed_loop_with_pause},
    options::Options,
    three_nodes::ask,
};

const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::read(20)?;
    figures::print_machine();
    let deployment = Deployment::start(&options, &[]).await?;
    let address = deployment.server.address;
    // The first runs open files and caches.
    let mut client = Client::connect(address).await?;
    let asked = ask(0, Rc::default());
    for count in 0..20 {
        asked(&mut client, usize::MAX, count).await?;
    }
    let measured = closed_loop_with_pause(1, Duration::from_secs(options.seconds), PAUSE, address, asked).await?;
    figures::print(&format!("idle, {options}"), &measured);
    Ok(())
}
