//! A file, in waves: the cases of a wave are played side by side on one pipeline, and the next wave has a new one, so that
//! the number of live graphs stays bounded.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Context;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use semantics::{
    case::Case,
    tally::{self, Tally},
};
use tokio::time::Instant;

use crate::{arguments::Play, client::Api, play, process::Pipeline, report};

/// After a start the pipeline is killed within this time.
const KILLED_AFTER_MS: std::ops::Range<u64> = 20..700;
/// Then it is left to end what it has.
const KILLS_MAX: usize = 6;

/// Whether every case passed.
pub async fn play_file(play: &Play) -> anyhow::Result<bool> {
    let (mut cases, excluded) = tally::load(&play.file);
    let has = |case: &Case, word: &String| case.id == *word || case.flags.contains(word);
    cases.retain(|case| play.only.is_empty() || play.only.iter().any(|word| has(case, word)));
    cases.retain(|case| !play.without.iter().any(|word| has(case, word)));
    cases.truncate(play.first.unwrap_or(usize::MAX));
    let begun = Instant::now();
    let mut random = Random(play.seed);
    let (mut tally, mut failed, mut crashes) = (Tally { excluded, ..Tally::default() }, Vec::new(), Crashes::default());
    for wave in cases.chunks(play.wave.max(1)) {
        let outcomes = play_wave(play, wave, &mut random, &mut crashes).await?;
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
    }
    report::print(&tally, &failed, &cases, play.show);
    if play.crash {
        println!("killed {} times; {} of {} cases lived through a kill", crashes.kills, crashes.hit, cases.len());
    }
    Ok(failed.is_empty())
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
    random: &mut Random,
    crashes: &mut Crashes,
) -> anyhow::Result<Vec<Result<(), String>>> {
    let folder = tempfile::tempdir().context("a folder for the pipeline")?;
    let mut pipeline = Pipeline::start(folder.path()).await?;
    let mut outcomes: Vec<Result<(), String>> = wave.iter().map(|_| Ok(())).collect();
    let api = Api::new(pipeline.address, play.crash)?;
    let kills = AtomicUsize::new(0);
    let mut running = FuturesUnordered::new();
    for (place, case) in wave.iter().enumerate() {
        if let Err(error) = pipeline.publish(&case.graph.compile(&case.id).specs).await {
            outcomes[place] = Err(format!("{}: {error:#}", case.id));
        }
    }
    for (place, case) in wave.iter().enumerate().filter(|(place, _)| outcomes[*place].is_ok()) {
        let (api, kills) = (&api, &kills);
        running.push(async move {
            let before = kills.load(Ordering::Relaxed);
            let outcome = AssertUnwindSafe(play::check(api, case, play.wait)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("{}: panic", case.id)));
            (place, outcome, kills.load(Ordering::Relaxed) > before)
        });
    }
    let mut left = if play.crash { KILLS_MAX } else { 0 };
    let mut kill_at = Instant::now() + random.within(KILLED_AFTER_MS);
    loop {
        tokio::select! {
            ended = running.next() => match ended {
                Some((place, outcome, hit)) => {
                    outcomes[place] = outcome;
                    crashes.hit += usize::from(hit);
                }
                None => break,
            },
            () = tokio::time::sleep_until(kill_at), if left > 0 => {
                left -= 1;
                kills.fetch_add(1, Ordering::Relaxed);
                crashes.kills += 1;
                pipeline.crash().await?;
                kill_at = Instant::now() + random.within(KILLED_AFTER_MS);
            }
        }
    }
    if outcomes.iter().any(Result::is_err) && std::env::var_os("RUST_LOG").is_some() {
        eprintln!("{}", pipeline.log_tail());
    }
    Ok(outcomes)
}

/// The same points from the same seed.
struct Random(u64);

impl Random {
    fn within(&mut self, range: std::ops::Range<u64>) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis(range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start))
    }
}
