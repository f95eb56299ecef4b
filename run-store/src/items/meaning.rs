//! Search by meaning: texts of an item become vectors when it is put, and lie before its value; a search asks which of
//! them are nearest to its own.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::{ItemsError, Result, paths::add_texts_at};
use crate::rows::ItemRow;

/// Texts of one item.
const TEXTS_MAX: usize = 256;
/// Of a path to texts.
const FIELD_BYTES_MAX: usize = 1024;
/// Before the vectors of an item that has some. A JSON object begins otherwise. Frozen.
const WITH_VECTORS: u8 = 1;

/// Makes vectors of texts.
#[async_trait]
pub trait Embedder: Send + Sync + 'static {
    /// One vector for each text, in order.
    async fn embed(&self, texts: &[String]) -> std::result::Result<Vec<Vec<f32>>, EmbedError>;
}

/// Why there are no vectors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct EmbedError {
    pub message: String,
    /// The same texts may get vectors later.
    pub retryable: bool,
}

/// How a store searches by meaning.
#[derive(Clone)]
pub struct Index {
    embedder: Arc<dyn Embedder>,
    dims: usize,
    fields: Arc<[String]>,
}

impl Index {
    /// Vectors have `dims` numbers; `fields` are the paths of items that say nothing else.
    pub fn new(embedder: Arc<dyn Embedder>, dims: usize, fields: Vec<String>) -> Self {
        Index { embedder, dims, fields: fields.into() }
    }

    /// The vectors of an item, of length 1, for the texts at the paths of `fields`; at the store's own unless told.
    pub(super) async fn vectors(&self, fields: Option<&[String]>, value: &Value) -> Result<Vec<Vec<f32>>> {
        let refused = |says: String| Err(ItemsError::Refused(says));
        let fields: BTreeSet<&String> = fields.unwrap_or(&self.fields).iter().collect();
        if fields.len() > TEXTS_MAX {
            return refused(format!("index: {} fields, and {TEXTS_MAX} are the most", fields.len()));
        }
        let mut texts = BTreeSet::new();
        for field in fields {
            if field.len() > FIELD_BYTES_MAX {
                return refused(format!(
                    "index: a field has {} bytes, and {FIELD_BYTES_MAX} are the most",
                    field.len()
                ));
            }
            add_texts_at(value, field, TEXTS_MAX, &mut texts);
            if texts.len() > TEXTS_MAX {
                return refused(format!("index: leads to more than {TEXTS_MAX} texts; name fewer fields"));
            }
        }
        match texts.is_empty() {
            true => Ok(Vec::new()),
            false => self.embed(&texts.into_iter().collect::<Vec<_>>()).await,
        }
    }

    pub(super) async fn vector(&self, query: &str) -> Result<Vec<f32>> {
        Ok(self.embed(&[query.to_owned()]).await?.pop().unwrap_or_default())
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = self.embedder.embed(texts).await?;
        let wrong = |says: String| ItemsError::Embedding(EmbedError { message: says, retryable: false });
        if vectors.len() != texts.len() {
            return Err(wrong(format!("it made {} vectors of {} texts", vectors.len(), texts.len())));
        }
        if let Some(other) = vectors.iter().find(|vector| vector.len() != self.dims) {
            let says = format!("its vectors have {} numbers, and embedding.dims says {}", other.len(), self.dims);
            return Err(wrong(says));
        }
        vectors.iter_mut().for_each(|vector| to_length_one(vector));
        Ok(vectors)
    }
}

fn to_length_one(vector: &mut [f32]) {
    let length = vector.iter().map(|n| f64::from(*n) * f64::from(*n)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|n| *n = (f64::from(*n) / length) as f32);
    }
}

/// The bytes of an item: how many vectors there are and of how many numbers, all numbers, and its JSON.
pub(super) fn packed(value: &Value, vectors: &[Vec<f32>]) -> Bytes {
    let json = value.to_string();
    let Some(first) = vectors.first() else { return json.into() };
    let mut bytes = Vec::with_capacity(9 + 4 * vectors.len() * first.len() + json.len());
    bytes.push(WITH_VECTORS);
    bytes.extend((vectors.len() as u32).to_le_bytes());
    bytes.extend((first.len() as u32).to_le_bytes());
    vectors.iter().flatten().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes.extend(json.as_bytes());
    bytes.into()
}

/// An item's numbers, how many of them a vector has, and its JSON.
fn unpacked(bytes: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let Some((&WITH_VECTORS, rest)) = bytes.split_first() else { return Some((&[], 1, bytes)) };
    let (count, rest) = rest.split_first_chunk()?;
    let (dims, rest) = rest.split_first_chunk()?;
    let (count, dims) = (u32::from_le_bytes(*count) as usize, u32::from_le_bytes(*dims) as usize);
    let (numbers, json) = rest.split_at_checked(count.checked_mul(dims)?.checked_mul(4)?)?;
    (dims > 0).then_some((numbers, dims, json))
}

pub(super) fn read_value(bytes: &[u8]) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_slice(unpacked(bytes).map_or(bytes, |(_, _, json)| json))
}

/// The cosine of the item's nearest vector; None where it has none of this length.
fn score(row: &ItemRow, query: &[f32]) -> Option<f64> {
    let (numbers, dims, _) = unpacked(&row.value)?;
    let vectors = numbers.chunks_exact(4 * dims).filter(|_| dims == query.len());
    let product = |vector: &[u8]| {
        let numbers = vector.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
        numbers.zip(query).map(|(a, b)| a * f64::from(*b)).sum()
    };
    vectors.map(product).max_by(f64::total_cmp)
}

/// The items that are nearest to a query: no more is kept than is asked for.
pub(super) struct Nearest {
    query: Vec<f32>,
    most: usize,
    /// The nearest first, of equals the older.
    found: Vec<(f64, ItemRow)>,
    /// Of all values that are kept.
    bytes: usize,
}

impl Nearest {
    pub fn new(query: Vec<f32>, most: usize) -> Self {
        Nearest { query, most, found: Vec::new(), bytes: 0 }
    }

    /// Whether the item has a score.
    pub fn add(&mut self, row: &ItemRow) -> bool {
        let Some(score) = score(row, &self.query) else { return false };
        let is_before = |(of_kept, kept): &(f64, ItemRow)| {
            let nearer = of_kept.total_cmp(&score).reverse();
            let older = || (kept.created_at, &kept.item).cmp(&(row.created_at, &row.item));
            nearer.then_with(older) == Ordering::Less
        };
        let place = self.found.partition_point(is_before);
        if place < self.most {
            self.bytes += row.value.len();
            self.found.insert(place, (score, row.clone()));
        }
        if self.found.len() > self.most
            && let Some((_, last)) = self.found.pop()
        {
            self.bytes -= last.value.len();
        }
        true
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn rows(self) -> impl Iterator<Item = (f64, ItemRow)> {
        self.found.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_is_read_and_what_is_cut_is_no_item() {
        let value = json!({"text": "é"});
        for vectors in [vec![], vec![vec![1.0, 0.0]], vec![vec![0.5; 3]; 4]] {
            let bytes = packed(&value, &vectors);
            assert_eq!(Value::Object(read_value(&bytes).unwrap()), value);
            for cut in 0..bytes.len() {
                assert!(read_value(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
            }
        }
        assert_eq!(packed(&value, &[]), r#"{"text":"é"}"#, "as it was stored before there were vectors");
    }
}
