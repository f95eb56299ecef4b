//! Answers that are given again for a turn that means the same, at the same place of the same conversation. Which two turns
//! do is said by their vectors, and by words that no vector may overrule (`guard`).

mod guard;
mod measure;
mod phrases;
mod turns;
mod words;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use graph::message;
use run_store::items::Embedder;

pub use self::{
    guard::may_mean_the_same,
    measure::{Measured, Pair, measure, read_pairs},
    phrases::Phrases,
    turns::{Nearest, SHARED_MOST, Turn, Turns},
};
use super::{
    Answer, Cause, ModelRequest,
    answers::key,
    content::{self, Role},
};
use crate::cache::Key;

/// A cache is no reason to wait long.
const EMBED_WITHIN: Duration = Duration::from_secs(1);
/// Characters of a turn: in a longer one a word that changes all is too small a part of the vector.
pub const TURN_CHARS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The model is asked, and what would have been given instead is compared with what it says.
    Shadow,
    On,
}

/// How turns are compared, and those that were answered.
pub struct Semantic {
    pub mode: Mode,
    /// The least cosine of turns that mean the same.
    pub threshold: f64,
    embedder: Arc<dyn Embedder>,
    /// `<provider>/<model>`.
    name: String,
    pub(super) turns: Turns,
}

/// Where a node asks: an answer is never given at another place.
pub struct Place<'a> {
    pub tenant: &'a str,
    pub graph_hash: &'a str,
    pub node: &'a str,
    pub alias: &'a str,
    pub target: &'a str,
}

/// A turn that another's answer may do for.
#[derive(Clone, Debug)]
pub struct Meant {
    pub scope: Key,
    pub text: String,
    /// Of length 1.
    pub vector: Vec<f32>,
}

impl Semantic {
    pub fn new(mode: Mode, threshold: f64, embedder: Arc<dyn Embedder>, name: impl Into<String>) -> Self {
        Semantic { mode, threshold, embedder, name: name.into(), turns: Turns::default() }
    }

    /// Who makes the vectors: provider and model.
    pub fn embedder(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or(("", &self.name))
    }

    /// Vectors of length 1, or why there are none.
    pub async fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Cause> {
        let made = tokio::time::timeout(EMBED_WITHIN, self.embedder.embed(texts)).await.map_err(|_| Cause::Timeout)?;
        let mut vectors = made.map_err(|error| {
            tracing::debug!(%error, "there is no vector of a turn: the model is asked");
            Cause::ServerError
        })?;
        vectors.iter_mut().for_each(|vector| to_length_one(vector));
        match vectors.len() == texts.len() {
            true => Ok(vectors),
            false => Err(Cause::ServerError),
        }
    }

    /// All but the turn itself: who asks where, and the request without it. Vectors of another embedder are no match.
    pub fn scope(&self, place: &Place<'_>, request: &ModelRequest) -> Key {
        let Place { tenant, graph_hash, node, alias, target } = place;
        let mut messages = request.messages.to_vec();
        if let Some(last) = messages.last_mut()
            && let Some(fields) = Arc::make_mut(last).as_object_mut()
        {
            fields.remove("content");
        }
        let rest = key(tenant, target, &ModelRequest { messages: messages.into(), ..request.clone() });
        Key::of(tenant, graph_hash, node, &format!("{} {} {alias}", rest.to_hex(), self.name))
    }
}

/// The last turn of a request that may be answered so: a person's, and short, in a conversation of text alone.
pub fn last_turn(request: &ModelRequest) -> Option<String> {
    let is_text = |message: &serde_json::Value| {
        content::role(message) != Role::Tool
            && content::tool_calls(message).is_empty()
            && content::blocks_beside_text(message) == 0
    };
    let last = request.messages.last().filter(|last| content::role(last) == Role::User)?;
    let text = message::text(last);
    let is_short = !text.trim().is_empty() && text.chars().nth(TURN_CHARS_MAX).is_none();
    (is_short && request.messages.iter().all(|message| is_text(message))).then_some(text)
}

/// Whether an answer may be given to another turn: one of text, and whole.
pub fn may_be_given(answer: &Answer) -> bool {
    answer.tool_calls.is_empty() && answer.stop_reason == Some(super::StopReason::Stop) && !answer.text.is_empty()
}

/// Whether two answers say the same as they stand: the same values, or the same words.
pub fn are_equal(a: &str, b: &str, structured: bool) -> bool {
    if structured {
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text.trim()).ok();
        return value(a).is_some_and(|a| Some(a) == value(b));
    }
    words::words(a).iter().map(|word| &word.raw).eq(words::words(b).iter().map(|word| &word.raw))
}

/// Whether texts hold the same numbers, as often.
pub fn same_numbers(a: &str, b: &str) -> bool {
    let numbers = |text: &str| {
        let mut numbers: Vec<String> = words::words(text).into_iter().map(|word| word.raw).collect();
        numbers.retain(|word| word.contains(|c: char| c.is_numeric()));
        numbers.sort_unstable();
        numbers
    };
    numbers(a) == numbers(b)
}

/// Of vectors of length 1; None where they are not of one embedder.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum())
}

fn to_length_one(vector: &mut [f32]) {
    let length = vector.iter().map(|n| f64::from(*n) * f64::from(*n)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|n| *n = (f64::from(*n) / length) as f32);
    }
}
