//! A classifier as a file: a line of JSON that people may read, then a byte for each weight. The format is frozen by its number.

use serde::{Deserialize, Serialize};

use super::{About, Classifier, features::BUCKETS};

const VERSION: u32 = 1;
/// Of the line.
const HEAD_BYTES_MAX: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    millstream_classifier: u32,
    name: String,
    labels: Vec<String>,
    #[serde(flatten)]
    about: About,
    scales: Vec<f32>,
    biases: Vec<f32>,
    /// blake3 of the weights.
    weights: String,
}

/// Just what tells a file of a later version.
#[derive(Deserialize)]
struct Version {
    millstream_classifier: u32,
}

/// Why bytes are no classifier that this version can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoClassifier {
    #[error("it is no classifier: name a file that `millstream classifier train` wrote")]
    Foreign,
    #[error(
        "it is a classifier of version {0}, and this is version {VERSION}: train it again, or take a newer Millstream"
    )]
    Version(u32),
    #[error("it is a classifier, but damaged: copy it again, or train it again")]
    Damaged,
}

impl Classifier {
    pub fn to_bytes(&self) -> Vec<u8> {
        let Classifier { name, about, labels, scales, biases, weights } = self;
        let weights: Vec<u8> = weights.iter().map(|weight| weight.cast_unsigned()).collect();
        let head = Head {
            millstream_classifier: VERSION,
            name: name.clone(),
            labels: labels.clone(),
            about: about.clone(),
            scales: scales.clone(),
            biases: biases.clone(),
            weights: blake3::hash(&weights).to_hex().to_string(),
        };
        let mut bytes = serde_json::to_vec(&head).expect("a head holds only JSON values");
        bytes.push(b'\n');
        bytes.extend(weights);
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoClassifier> {
        let end = bytes.iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n').ok_or(NoClassifier::Foreign)?;
        let (head, weights) = (&bytes[..end], &bytes[end + 1..]);
        let Version { millstream_classifier: version } =
            serde_json::from_slice(head).map_err(|_| NoClassifier::Foreign)?;
        if version != VERSION {
            return Err(NoClassifier::Version(version));
        }
        let head: Head = serde_json::from_slice(head).map_err(|_| NoClassifier::Damaged)?;
        let labels = head.labels.len();
        let fits = labels > 0 && head.scales.len() == labels && head.biases.len() == labels;
        if !fits || weights.len() != labels * BUCKETS || blake3::hash(weights).to_hex().as_str() != head.weights {
            return Err(NoClassifier::Damaged);
        }
        Ok(Classifier {
            name: head.name,
            about: head.about,
            labels: head.labels,
            scales: head.scales,
            biases: head.biases,
            weights: weights.iter().map(|weight| weight.cast_signed()).collect(),
        })
    }
}
