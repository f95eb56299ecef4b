//! A text classifier: multinomial logistic regression over hashed words and pieces of words. It is small enough to stand in
//! every worker's memory, and quick enough to be asked before each call.

mod features;
mod file;
mod labelled;
mod train;

use serde::{Deserialize, Serialize};

use self::features::{BUCKETS, Features, features};
pub use self::{
    file::NoClassifier,
    labelled::{Labelled, Line, Mistake, labelled},
    train::{Report, train},
};

/// Labels, and for each of them what every bucket speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    pub name: String,
    pub about: About,
    labels: Vec<String>,
    /// What one step of a weight is worth, and what the label has before anything is read.
    scales: Vec<f32>,
    biases: Vec<f32>,
    /// `BUCKETS` of each label.
    weights: Vec<i8>,
}

/// Where a classifier comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Lines.
    pub trained_on: usize,
    pub held_out: HeldOut,
}

/// What it said of lines that it was not trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    pub lines: usize,
    pub right: usize,
}

/// What a classifier says of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said<'c> {
    pub label: &'c str,
    /// Which of the labels.
    pub number: usize,
    /// How probable it is, as far as the classifier knows.
    pub score: f32,
}

impl Classifier {
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The most probable label; of equal ones the first.
    pub fn classify(&self, text: &str) -> Said<'_> {
        let scores = self.scores(text);
        let (mut number, mut score) = (0, f32::MIN);
        for (at, of) in scores.into_iter().enumerate().filter(|(_, of)| !of.is_nan()) {
            if of > score {
                (number, score) = (at, of);
            }
        }
        Said { label: &self.labels[number], number, score }
    }

    /// How probable each label is, in their order.
    pub fn scores(&self, text: &str) -> Vec<f32> {
        let features = features(text);
        softmax((0..self.labels.len()).map(|label| self.speaks_for(label, &features)).collect())
    }

    fn speaks_for(&self, label: usize, features: &Features) -> f32 {
        let weights = &self.weights[label * BUCKETS..][..BUCKETS];
        let sum: f32 = features.iter().map(|(bucket, value)| f32::from(weights[*bucket as usize]) * value).sum();
        self.biases[label] + self.scales[label] * sum
    }

    /// Weights in 255 steps are as good, in a quarter of the space.
    fn quantised(name: &str, labels: Vec<String>, weights: &[Vec<f32>], about: About) -> Self {
        let largest = |weights: &[f32]| weights.iter().fold(f32::MIN_POSITIVE, |most, weight| most.max(weight.abs()));
        let scales: Vec<f32> = weights.iter().map(|of| largest(&of[..BUCKETS]) / f32::from(i8::MAX)).collect();
        let steps = weights.iter().zip(&scales).flat_map(|(of, scale)| {
            of[..BUCKETS].iter().map(move |weight| (weight / scale).round().clamp(-127.0, 127.0) as i8)
        });
        Classifier {
            name: name.to_owned(),
            about,
            weights: steps.collect(),
            biases: weights.iter().map(|of| of[BUCKETS]).collect(),
            scales,
            labels,
        }
    }
}

fn softmax(scores: Vec<f32>) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests;
