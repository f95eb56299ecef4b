//! Millstream as a gateway beside LiteLLM's proxy: one model call a request, the same body and the same model over HTTP, in
//! turns; and the model asked directly, which shows that nobody waits for it. Millstream keeps what it keeps by default, and
//! looks at keys, rates, budgets and the cache of answers.
//!
//! `cargo xtask bench peers [smoke] [seconds=N]`: N seconds of load on each, of many clients and then of one, in five turns.

mod litellm;

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use benches::{
    deployment::{start_model, start_server, with_model},
    figures, guards,
    load::{Client, Measured, closed_loop},
    options::Options,
    process::Process,
};
use litellm::Installed;
use serde::Deserialize;

const CLIENTS: usize = 32;
const TURNS: u32 = 5;
const WARM_UP: Duration = Duration::from_secs(3);

struct Side {
    name: String,
    server: Process,
    many: Measured,
    one: Measured,
    /// Seconds under many clients: its own, and the model's for it.
    cpu: [f64; 2],
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: [Choice<'a>; 1],
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    content: &'a str,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options { http_model: true, ..Options::read(20)? };
    figures::print_machine();
    let folder = tempfile::tempdir()?;
    // Asked by the others, and by nobody while it is measured alone.
    let model = start_model(folder.path()).await?;
    let mut sides = vec![Side::new("the model alone", start_model(folder.path()).await?)?];
    sides.push(Side::new("Millstream", start_millstream(&options, &model, folder.path()).await?)?);
    match installed(&options)? {
        Some(installed) => {
            let proxy = installed.start(model.address, folder.path()).await?;
            sides.push(Side::new(&format!("LiteLLM {}", litellm::VERSION), proxy)?);
        }
        None => println!("LiteLLM is left out, for it is not installed: `cargo xtask bench peers` installs it"),
    }
    let turn = Duration::from_secs(options.seconds) / TURNS;
    for side in &sides {
        closed_loop(CLIENTS, turn.min(WARM_UP), side.server.address, ask(0)).await?;
    }
    for number in 1..=TURNS {
        for side in &mut sides {
            side.load(number, turn, &model).await?;
        }
    }
    tell(&sides, &options);
    Ok(())
}

/// Asks what no other request of any turn does, and compares the answer.
fn ask(turn: u32) -> impl AsyncFn(&mut Client, usize, u64) -> anyhow::Result<()> + Clone {
    async move |client: &mut Client, number: usize, count: u64| {
        let text = format!("turn {turn} client {number} request {count}");
        let body = format!(r#"{{"model":"echo","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let (status, answer) = client.post("/v1/chat/completions", &body).await?;
        let said = || String::from_utf8_lossy(&answer).into_owned();
        ensure!(status == 200, "{status}: {}", said());
        let Answer { choices: [choice] } = serde_json::from_slice(&answer).with_context(said)?;
        ensure!(choice.message.content == format!("You said: {text}"), "asked {text:?}, got {}", said());
        Ok(())
    }
}

/// A smoke installs nothing.
fn installed(options: &Options) -> anyhow::Result<Option<Installed>> {
    if options.smoke { Installed::find() } else { Installed::find_or_install().map(Some) }
}

async fn start_millstream(options: &Options, model: &Process, folder: &Path) -> anyhow::Result<Process> {
    let graph = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/peers/echo.yaml"));
    let mut environment = options.environment();
    environment.extend(with_model(model));
    environment.push(("MILLSTREAM_CONFIG", guards::write(folder)?.to_string_lossy().into_owned()));
    start_server(graph, &environment, folder).await
}

impl Side {
    fn new(name: &str, server: Process) -> anyhow::Result<Self> {
        let (many, one) = (Measured::nothing()?, Measured::nothing()?);
        Ok(Side { name: name.to_owned(), server, many, one, cpu: [0.0; 2] })
    }

    async fn load(&mut self, turn: u32, duration: Duration, model: &Process) -> anyhow::Result<()> {
        let spent = || -> anyhow::Result<[f64; 2]> { Ok([self.server.cpu_seconds()?, model.cpu_seconds()?]) };
        let before = spent()?;
        self.many.add(&closed_loop(CLIENTS, duration, self.server.address, ask(turn)).await?)?;
        let after = spent()?;
        for at in 0..2 {
            self.cpu[at] += after[at] - before[at];
        }
        self.one.add(&closed_loop(1, duration, self.server.address, ask(TURNS + turn)).await?)
    }
}

fn tell(sides: &[Side], options: &Options) {
    println!("{options}; {CLIENTS} clients, and one\n");
    println!("| | requests/s | p50 | p99 | CPU a request: its own, the model's | p50 of one client |");
    println!("|---|---|---|---|---|---|");
    for Side { name, server: _, many, one, cpu } in sides {
        println!(
            "| {name} | {:.0} | {:.1} ms | {:.1} ms | {:.0} us, {:.0} us | {:.2} ms |",
            many.per_second(),
            many.milliseconds(0.5),
            many.milliseconds(0.99),
            many.microseconds_each(cpu[0]),
            many.microseconds_each(cpu[1]),
            one.milliseconds(0.5)
        );
    }
    if let [_, ours, theirs] = sides {
        println!(
            "\nMillstream answers {:.1} times the requests/s of LiteLLM (aim: at least 10), and one client at p50 in {:.2} \
             of its time (aim: below 1)",
            ours.many.per_second() / theirs.many.per_second(),
            ours.one.milliseconds(0.5) / theirs.one.milliseconds(0.5)
        );
    }
}
