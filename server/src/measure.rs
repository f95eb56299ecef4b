//! `millstream cache measure`: what the semantic cache would make of turns of one's own.

use std::path::Path;

use anyhow::{Context, bail};
use node_workers::models::semantic::{Measured, measure, read_pairs};

use crate::{cli::CacheCommand, client::laid_out, config::Config, models};

const THRESHOLDS: [f64; 6] = [0.8, 0.85, 0.9, 0.95, 0.98, 1.0];

pub async fn cache(config: Config, command: CacheCommand) -> anyhow::Result<()> {
    let CacheCommand::Measure { file, show } = command;
    let measured = at_all(&config, &file).await?;
    let own = config.cache.threshold;
    let mut rows = vec![["threshold", "same, and found", "not the same, and taken for it"].map(str::to_owned).to_vec()];
    rows.extend(measured.iter().map(|at| row(at, own)));
    print!("{}", laid_out(&rows, 1));
    for pair in measured.iter().filter(|at| show && at.threshold == own).flat_map(|at| &at.false_hits) {
        println!("{} | {}", pair.a, pair.b);
    }
    Ok(())
}

async fn at_all(config: &Config, file: &Path) -> anyhow::Result<Vec<Measured>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    let pairs = read_pairs(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    if pairs.is_empty() {
        bail!(
            "{} has no pairs: write a line {{\"a\": TURN, \"b\": TURN, \"same\": true or false}} for each",
            file.display()
        );
    }
    let mut thresholds = THRESHOLDS.to_vec();
    thresholds.push(config.cache.threshold);
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    let embedder = models::cache_embedder(config, &node_workers::http_client()?)?;
    let measured = measure(&*embedder, &pairs, &thresholds, true).await;
    measured.map_err(|error| anyhow::anyhow!("{} can't be measured: {error}", config.cache.embedding_model))
}

fn row(at: &Measured, own: f64) -> Vec<String> {
    let share = |part: usize, whole: usize| match whole {
        0 => "none there".to_owned(),
        _ => format!("{part} of {whole} ({:.1} %)", 100.0 * part as f64 / whole as f64),
    };
    let mark = if at.threshold == own { " (configured)" } else { "" };
    vec![format!("{:.2}{mark}", at.threshold), share(at.hits, at.same), share(at.false_hits.len(), at.different)]
}
