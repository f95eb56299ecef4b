//! A file, in waves: the cases of a wave are played side by side on one pipeline. An embedded one is made anew for the next
//! wave, so that the number of live graphs stays bounded. On Kafka it stays, for a start costs seconds: there the cases of
//! the next wave are new versions of the same graphs, so that they have the same topics and consumers.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Context;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use semantics::random::Random;
use semantics::{
    case::Case,
    tally::{self, Tally},
};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    arguments::{On, Play},
    client::Api,
    kills::Kills,
    play,
    process::Pipeline,
    report,
};

const WAVE_EMBEDDED: usize = 48;
const WAVE_SHARED: usize = 24;

/// Whether every case passed.
pub async fn play_file(play: &Play) -> anyhow::Result<bool> {
    let (cases, excluded) = chosen(play);
    let begun = Instant::now();
    let (mut tally, mut failed, mut crashes) = (Tally { excluded, ..Tally::default() }, Vec::new(), Crashes::default());
    let wave_max = play.wave.unwrap_or(if play.on == On::Embedded { WAVE_EMBEDDED } else { WAVE_SHARED });
    let (mut random, mut stage) = (Random(play.seed), None);
    for wave in cases.chunks(wave_max.max(1)) {
        let mut on = match stage.take() {
            Some(stage) => stage,
            None => Stage::start(play.on).await?,
        };
        let outcomes = play_wave(play, wave, &mut on.pipeline, &mut random, &mut crashes).await?;
        for (case, outcome) in wave.iter().zip(outcomes) {
            match outcome {
                Ok(()) => tally.passed += 1,
                Err(why) => {
                    tally.failures.push(why);
                    failed.push(case);
                }
            }
        }
        let seconds = begun.elapsed().as_secs();
        eprintln!("{} of {} cases, {} failed, {seconds} s", tally.passed + failed.len(), cases.len(), failed.len());
        stage = (play.on != On::Embedded).then_some(on);
    }
    report::print(&tally, &failed, &cases, play.show);
    if play.crash {
        println!("killed {} times; {} of {} cases lived through a kill", crashes.kills, crashes.hit, cases.len());
    }
    Ok(failed.is_empty())
}

/// The cases of the file that are asked for, and how many a named difference leaves out.
fn chosen(play: &Play) -> (Vec<Case>, usize) {
    let (mut cases, excluded) = tally::load(&play.file);
    let has = |case: &Case, word: &String| case.id == *word || case.flags.contains(word);
    cases.retain(|case| play.only.is_empty() || play.only.iter().any(|word| has(case, word)));
    cases.retain(|case| !play.without.iter().any(|word| has(case, word)));
    if let Some(count) = play.sample {
        let mut random = Random(play.seed);
        cases.sort_by_cached_key(|_| random.draw());
        cases.truncate(count);
    }
    cases.truncate(play.first.unwrap_or(usize::MAX));
    (cases, excluded)
}

/// A pipeline and its folder.
struct Stage {
    pipeline: Pipeline,
    _folder: TempDir,
}

impl Stage {
    async fn start(on: On) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the pipeline")?;
        Ok(Stage { pipeline: Pipeline::start(on, folder.path()).await?, _folder: folder })
    }
}

#[derive(Default)]
struct Crashes {
    kills: usize,
    /// Cases that were under way at a kill.
    hit: usize,
}

async fn play_wave(
    play: &Play,
    wave: &[Case],
    pipeline: &mut Pipeline,
    random: &mut Random,
    crashes: &mut Crashes,
) -> anyhow::Result<Vec<Result<(), String>>> {
    let mut outcomes: Vec<Result<(), String>> = wave.iter().map(|_| Ok(())).collect();
    let api = Api::new(pipeline.address(), play.crash)?;
    let kills_made = AtomicUsize::new(0);
    let mut running = FuturesUnordered::new();
    for (place, case) in wave.iter().enumerate() {
        if let Err(error) = pipeline.publish(&case.graph.compile(&graph_name(place)).specs).await {
            outcomes[place] = Err(format!("{}: {error:#}", case.id));
        }
    }
    for (place, case) in wave.iter().enumerate().filter(|(place, _)| outcomes[*place].is_ok()) {
        let (api, kills_made) = (&api, &kills_made);
        running.push(async move {
            let before = kills_made.load(Ordering::Relaxed);
            let graph = graph_name(place);
            let outcome = AssertUnwindSafe(play::check(api, case, &graph, play.wait)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("{}: panic", case.id)));
            (place, outcome, kills_made.load(Ordering::Relaxed) > before)
        });
    }
    let mut kills = if play.crash { Kills::on(play.on, random) } else { Kills::none() };
    loop {
        tokio::select! {
            ended = running.next() => match ended {
                Some((place, outcome, hit)) => {
                    outcomes[place] = outcome;
                    crashes.hit += usize::from(hit);
                }
                None => break,
            },
            () = tokio::time::sleep_until(kills.next), if !kills.is_over() => {
                kills_made.fetch_add(1, Ordering::Relaxed);
                crashes.kills += 1;
                pipeline.crash(random.draw()).await?;
                kills.made(random);
            }
        }
    }
    if outcomes.iter().any(Result::is_err) && std::env::var_os("RUST_LOG").is_some() {
        eprintln!("{}", pipeline.log_tail());
    }
    Ok(outcomes)
}

/// Of the case at that place of its wave.
fn graph_name(place: usize) -> String {
    format!("case-{place}")
}
