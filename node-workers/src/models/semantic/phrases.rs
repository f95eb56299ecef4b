//! The embedding of turns that is in the binary. It is no language model: it takes for the same what is asked in the same
//! words, whatever is said around them.

use std::sync::LazyLock;

use async_trait::async_trait;
use run_store::items::{EmbedError, Embedder};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::words::words;

const DIMS: usize = 256;
/// Words that are counted together: so one that differs tells also in a long turn.
const RUN_MAX: usize = 4;
/// Numbers of a vector that one run changes: two runs are never at the same places.
const PLACES: u64 = 4;

/// Counts runs of up to four words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phrases;

/// Said for politeness, wherever it stands.
const DROPPED: &str = "a an the please pls kindly just actually my our of";
/// Said before what is asked.
const BEFORE: [&str; 34] = [
    "can you tell me",
    "could you tell me",
    "would you tell me",
    "will you tell me",
    "can you explain to me",
    "could you explain to me",
    "can you explain",
    "could you explain",
    "explain to me",
    "explain",
    "can you help me understand",
    "help me understand",
    "can someone tell me",
    "do you know",
    "i want to know",
    "i would like to know",
    "i would love to know",
    "i need to know",
    "i am trying to find out",
    "i was wondering",
    "i am wondering",
    "i wonder",
    "can i ask",
    "may i ask",
    "let me know",
    "tell me",
    "quick question",
    "hi there",
    "hi",
    "hello",
    "hey",
    "good morning",
    "good evening",
    "ok so",
];
/// Said behind it.
const BEHIND: [&str; 5] = ["thank you", "thanks", "many thanks", "thanks in advance", "thank you in advance"];
/// Asked in the one way, and in the other.
const ALIKE: [(&str, &str); 20] = [
    ("which", "what"),
    ("how can i", "how"),
    ("how could i", "how"),
    ("how would i", "how"),
    ("how should i", "how"),
    ("how can we", "how"),
    ("how can you", "how"),
    ("how can one", "how"),
    ("how i can", "how"),
    ("how i", "how"),
    ("how we", "how"),
    ("how you", "how"),
    ("how one", "how"),
    ("how to", "how"),
    ("what way to", "how"),
    ("what step to", "how"),
    ("e mail", "email"),
    ("log in", "login"),
    ("sign up", "signup"),
    ("sign in", "signin"),
];
const ASKING: [&str; 7] = ["what", "how", "where", "when", "why", "who", "whose"];
/// They say nothing where one of those asks.
const SAID_BY_IT: [&str; 5] = ["is", "are", "am", "do", "does"];

static PHRASES_BEFORE: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| BEFORE.map(texts).to_vec());
static PHRASES_BEHIND: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| BEHIND.map(texts).to_vec());
static PHRASES_ALIKE: LazyLock<Vec<(Vec<String>, Vec<String>)>> =
    LazyLock::new(|| ALIKE.map(|(one, other)| (texts(one), texts(other))).to_vec());

impl Phrases {
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let (mut vector, asked) = (vec![0.0; DIMS], asked(text));
        for run in (1..=RUN_MAX).flat_map(|length| asked.windows(length)) {
            let run = run.join(" ");
            for seed in 0..PLACES {
                let hash = xxh3_64_with_seed(run.as_bytes(), seed);
                vector[hash as usize % DIMS] += if hash >> 63 == 0 { 1.0 } else { -1.0 };
            }
        }
        vector
    }
}

#[async_trait]
impl Embedder for Phrases {
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }
}

fn texts(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.text).collect()
}

/// The words of what is asked, without what is said around it.
fn asked(text: &str) -> Vec<String> {
    let mut words = texts(text);
    words.retain(|word| !DROPPED.split(' ').any(|dropped| dropped == word));
    let whole = words.clone();
    while let Some(said) = PHRASES_BEFORE.iter().find(|said| words.starts_with(said)) {
        words.drain(..said.len());
        let goes_on = |word: &String| is_asking(word) || ["if", "whether", "is", "are"].contains(&word.as_str());
        if !words.first().is_some_and(goes_on)
            && said.last().is_some_and(|word| ["me", "know", "explain", "understand"].contains(&word.as_str()))
        {
            words.insert(0, "what".to_owned());
        }
    }
    while let Some(said) = PHRASES_BEHIND.iter().find(|said| words.ends_with(said)) {
        words.truncate(words.len() - said.len());
    }
    if words.iter().any(|word| is_asking(word)) {
        words.retain(|word| !SAID_BY_IT.contains(&word.as_str()));
    }
    for (one, other) in &*PHRASES_ALIKE {
        while let Some(place) = words.windows(one.len()).position(|run| run == one) {
            words.splice(place..place + one.len(), other.iter().cloned());
        }
    }
    if words.is_empty() { whole } else { words }
}

fn is_asking(word: &str) -> bool {
    ASKING.contains(&word) || word == "which"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_around_a_question_is_left_out() {
        for (text, expect) in [
            ("Hi there, could you please tell me how to reset my password? Thanks!", "how reset password"),
            ("How do I reset my password?", "how reset password"),
            ("tell me the capital of France", "what capital france"),
            ("What's the capital of France?", "what capital france"),
            ("Do you know where my order is?", "where order"),
            ("Where is my order?", "where order"),
            ("Do you sell in Rome?", "do you sell in rome"),
            ("Hello", "hello"),
            ("yes", "yes"),
            ("…", ""),
        ] {
            assert_eq!(asked(text).join(" "), expect, "{text}");
        }
    }
}
