//! An embedding without a model, for demos and tests: texts are near that share words.

use async_trait::async_trait;

use super::meaning::{EmbedError, Embedder};

/// Counts words in as many places as a vector has numbers.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub dims: usize,
}

impl Words {
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dims];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            vector[fnv1a(word.to_lowercase().as_bytes()) as usize % self.dims] += 1.0;
        }
        vector
    }
}

#[async_trait]
impl Embedder for Words {
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
