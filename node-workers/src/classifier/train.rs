//! Training: the same lines give the same classifier, whatever their order, wherever and whenever it is made.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    About, Classifier, HeldOut,
    features::{BUCKETS, Features, features},
    labelled::Line,
    softmax,
};

/// How often each line is looked at.
const EPOCHS: u64 = 20;
/// How far a line moves weights that no line has moved before; AdaGrad moves them less each time.
const STEP: f32 = 0.02;
const HASHES: u64 = 1 << 32;

/// What came of it, on lines that training never saw.
pub struct Report {
    pub trained_on: usize,
    /// By what it is and what it was said to be, as numbers of labels.
    pub confusion: Vec<Vec<usize>>,
}

/// Trains on all but the share `held_out` of the lines, which shows what came of it. Which these are is up to their texts.
pub fn train(name: &str, lines: &[Line], held_out: f64) -> (Classifier, Report) {
    let labels: BTreeSet<&str> = lines.iter().map(|line| line.label.as_str()).collect();
    let numbers: BTreeMap<&str, usize> = labels.iter().enumerate().map(|(number, label)| (*label, number)).collect();
    let (held, kept): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| is_held_out(&line.text, held_out));
    let known: Vec<Example<'_>> = kept
        .iter()
        .map(|line| Example { text: &line.text, features: features(&line.text), label: numbers[line.label.as_str()] })
        .collect();
    let weights = weights(known, labels.len());
    let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    let about = About { trained_on: kept.len(), held_out: HeldOut::default() };
    let mut classifier = Classifier::quantised(name, labels, &weights, about);
    let mut confusion = vec![vec![0; numbers.len()]; numbers.len()];
    for line in &held {
        let said = classifier.classify(&line.text).number;
        confusion[numbers[line.label.as_str()]][said] += 1;
    }
    let right = (0..numbers.len()).map(|label| confusion[label][label]).sum();
    classifier.about.held_out = HeldOut { lines: held.len(), right };
    (classifier, Report { trained_on: kept.len(), confusion })
}

struct Example<'l> {
    text: &'l str,
    features: Features,
    label: usize,
}

pub(super) fn is_held_out(text: &str, share: f64) -> bool {
    ((xxh3_64(text.as_bytes()) % HASHES) as f64) < share * HASHES as f64
}

/// Of each label, a weight for each bucket and one that always counts.
fn weights(mut examples: Vec<Example<'_>>, labels: usize) -> Vec<Vec<f32>> {
    let mut weights = vec![vec![0.0_f32; BUCKETS + 1]; labels];
    let mut moved = vec![vec![0.0_f32; BUCKETS + 1]; labels];
    for epoch in 0..EPOCHS {
        examples.sort_by_key(|example| (xxh3_64_with_seed(example.text.as_bytes(), epoch), example.text));
        for Example { features, label, .. } in &examples {
            let scores = softmax(weights.iter().map(|weights| dot(weights, features)).collect());
            for (of, score) in scores.into_iter().enumerate() {
                let error = score - f32::from(u8::from(of == *label));
                for (bucket, value) in features.iter().copied().chain([(BUCKETS as u32, 1.0)]) {
                    let bucket = bucket as usize;
                    let slope = error * value;
                    moved[of][bucket] += slope * slope;
                    weights[of][bucket] -= STEP * slope / (moved[of][bucket] + 1e-8).sqrt();
                }
            }
        }
    }
    weights
}

fn dot(weights: &[f32], features: &Features) -> f32 {
    weights[BUCKETS] + features.iter().map(|(bucket, value)| weights[*bucket as usize] * value).sum::<f32>()
}
