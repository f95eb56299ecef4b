//! How often turns are taken for the same that are not, on pairs of which somebody has said it.

use run_store::items::Embedder;
use serde::Deserialize;

use super::{cosine, may_mean_the_same, to_length_one};

/// Two turns, and whether one answer does for both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    pub a: String,
    pub b: String,
    pub same: bool,
}

/// What would come of a threshold.
#[derive(Clone, Debug)]
pub struct Measured {
    pub threshold: f64,
    /// Pairs that are the same, and those of them that are found.
    pub same: usize,
    pub hits: usize,
    /// Pairs that are not, and those of them that are taken for the same.
    pub different: usize,
    pub false_hits: Vec<Pair>,
}

/// JSON lines of `{"a", "b", "same"}`.
pub fn read_pairs(text: &str) -> Result<Vec<Pair>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(n, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            format!("line {}: {error}; a line is {{\"a\": TURN, \"b\": TURN, \"same\": true or false}}", n + 1)
        })
    };
    lines.map(read).collect()
}

/// By the same vectors and words as the cache. Without words where `guarded` is false, for comparison.
pub async fn measure(
    embedder: &dyn Embedder,
    pairs: &[Pair],
    thresholds: &[f64],
    guarded: bool,
) -> Result<Vec<Measured>, String> {
    const AT_ONCE: usize = 64;
    let mut near = Vec::new();
    for pairs in pairs.chunks(AT_ONCE) {
        let texts: Vec<String> = pairs.iter().flat_map(|pair| [pair.a.clone(), pair.b.clone()]).collect();
        let mut vectors = embedder.embed(&texts).await.map_err(|error| error.to_string())?;
        if vectors.len() != texts.len() {
            return Err(format!("the embedder made {} vectors of {} turns", vectors.len(), texts.len()));
        }
        vectors.iter_mut().for_each(|vector| to_length_one(vector));
        for (pair, vectors) in pairs.iter().zip(vectors.chunks_exact(2)) {
            let may = !guarded || may_mean_the_same(&pair.a, &pair.b);
            near.push(cosine(&vectors[0], &vectors[1]).filter(|_| may));
        }
    }
    let at = |threshold: f64| {
        let found = pairs.iter().zip(&near).filter(|(_, near)| near.is_some_and(|near| near >= threshold));
        let (hits, false_hits): (Vec<&Pair>, Vec<&Pair>) = found.map(|(pair, _)| pair).partition(|pair| pair.same);
        let same = pairs.iter().filter(|pair| pair.same).count();
        let false_hits = false_hits.into_iter().cloned().collect();
        Measured { threshold, same, hits: hits.len(), different: pairs.len() - same, false_hits }
    };
    Ok(thresholds.iter().map(|threshold| at(*threshold)).collect())
}
