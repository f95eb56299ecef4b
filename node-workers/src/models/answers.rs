//! Answers that are given again for the same request of the same tenant: nobody asks twice while an answer lives, nor at
//! the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use super::{
    Answer, ModelRequest, ModelSettings, StopReason,
    semantic::{self, Meant, Mode, Nearest, SHARED_MOST, Semantic},
};
use crate::{
    cache::{Cache, Key, add_length, add_text},
    metrics::{self, Looked},
};

/// A cache is no reason to wait.
const SHARED_WITHIN: Duration = Duration::from_millis(100);
/// Shared turns that mean the same and whose answers are looked for, the nearest first.
const LOOKED_AT_MAX: usize = 3;
/// Kinds of what is given again.
pub const EXACT: &str = "exact";
pub const SEMANTIC: &str = "semantic";
/// What of a message never reaches a provider.
const NOT_ASKED: [&str; 3] = ["id", "response_metadata", "usage_metadata"];

pub struct Answers {
    kept: Cache<Arc<Answer>>,
    ttl: Duration,
    /// The same request is answered again.
    exact: bool,
    semantic: Option<Semantic>,
    /// All of them where empty.
    aliases: BTreeSet<String>,
    /// By what is asked; true when the answer is kept.
    in_flight: Mutex<BTreeMap<Key, watch::Receiver<bool>>>,
    /// What other processes know, too.
    shared: Option<Arc<dyn quota::Cache>>,
}

/// What a caller is to do.
pub enum Turn<'a> {
    Take(Known),
    Ask(Asking<'a>),
}

/// An answer that was given before.
pub struct Known {
    pub answer: Arc<Answer>,
    /// None where the same was asked.
    pub alike: Option<Alike>,
}

/// The turn that it was given to, and how near that is.
pub struct Alike {
    pub text: String,
    pub similarity: f64,
}

impl Known {
    pub fn kind(&self) -> &'static str {
        if self.alike.is_some() { SEMANTIC } else { EXACT }
    }
}

impl Nearest {
    fn with(&self, answer: Arc<Answer>) -> Known {
        Known { answer, alike: Some(Alike { text: self.turn.text.clone(), similarity: self.similarity }) }
    }
}

/// Who asks, while others wait for the same answer. Dropped without [`Asking::keep`], each of them asks for itself.
pub struct Asking<'a> {
    answers: &'a Answers,
    key: Key,
    /// None for one of those.
    waiting: Option<watch::Sender<bool>>,
    /// For turns that mean the same.
    meant: Option<Meant>,
    /// What would be given in place of the model's answer, where that is only watched.
    shadowed: Option<Known>,
}

impl Answers {
    pub fn new(ttl: Duration, aliases: impl IntoIterator<Item = String>) -> Self {
        let aliases = aliases.into_iter().collect();
        let in_flight = Mutex::default();
        Answers { kept: Cache::default(), ttl, exact: true, semantic: None, aliases, in_flight, shared: None }
    }

    /// Answers are given to turns that mean the same, too.
    pub fn with_semantic(self, semantic: Semantic) -> Self {
        Answers { semantic: Some(semantic), ..self }
    }

    /// Never to the same request: only for a semantic cache that watches.
    pub fn without_exact(self) -> Self {
        Answers { exact: false, ..self }
    }

    pub fn semantic(&self) -> Option<&Semantic> {
        self.semantic.as_ref()
    }

    pub fn shared_by(self, shared: Arc<dyn quota::Cache>) -> Self {
        Answers { shared: Some(shared), ..self }
    }

    pub fn are_kept_of(&self, alias: &str) -> bool {
        self.aliases.is_empty() || self.aliases.contains(alias)
    }

    /// The answer, where there is one or somebody gets it meanwhile; else the caller asks.
    pub async fn turn(&self, key: Key) -> Turn<'_> {
        let looked_up = |looked| metrics::looked_up(EXACT, looked);
        let asking = |waiting| Asking { answers: self, key, waiting, meant: None, shadowed: None };
        if !self.exact {
            return Turn::Ask(asking(None));
        }
        if let Some(answer) = self.kept.get(key) {
            looked_up(Looked::Hit);
            return Turn::Take(Known { answer, alike: None });
        }
        let waiting = {
            let mut in_flight = self.lock();
            match in_flight.get(&key) {
                Some(waiting) => Ok(waiting.clone()),
                None => {
                    let (told, waiting) = watch::channel(false);
                    in_flight.insert(key, waiting);
                    Err(asking(Some(told)))
                }
            }
        };
        match waiting {
            Ok(mut waiting) => {
                let _ = waiting.wait_for(|is_kept| *is_kept).await;
            }
            Err(asking) => {
                let Some(answer) = self.known_elsewhere(key).await else {
                    looked_up(Looked::Miss);
                    return Turn::Ask(asking);
                };
                looked_up(Looked::Hit);
                let answer = Arc::new(answer);
                asking.hand_on(&answer);
                return Turn::Take(Known { answer, alike: None });
            }
        }
        match self.kept.get(key) {
            Some(answer) => {
                looked_up(Looked::Joined);
                Turn::Take(Known { answer, alike: None })
            }
            None => {
                looked_up(Looked::Miss);
                Turn::Ask(asking(None))
            }
        }
    }

    async fn known_elsewhere(&self, key: Key) -> Option<Answer> {
        let shared = self.shared.as_ref()?;
        let name = key.to_hex();
        match tokio::time::timeout(SHARED_WITHIN, shared.get(&name)).await {
            Ok(Ok(found)) => serde_json::from_slice(&found?).ok(),
            Ok(Err(error)) => {
                tracing::debug!(%error, "answers that are shared can't be looked up: the model is asked");
                None
            }
            Err(_) => None,
        }
    }

    /// What was answered to the nearest turn of which the answer still lives, here or where processes share them.
    async fn alike(&self, semantic: &Semantic, meant: &Meant) -> Option<Known> {
        let own = semantic.nearest(meant, semantic.turns.of(meant.scope));
        let known = own.into_iter().find_map(|near| Some(near.with(self.kept.get(near.turn.answer)?)));
        if known.is_some() {
            return known;
        }
        tokio::time::timeout(SHARED_WITHIN, self.alike_elsewhere(semantic, meant)).await.ok()?
    }

    async fn alike_elsewhere(&self, semantic: &Semantic, meant: &Meant) -> Option<Known> {
        let turns = self.shared.as_ref()?.items(&meant.scope.to_hex()).await.ok()?;
        let turns = turns.iter().filter_map(|bytes| semantic::Turn::from_bytes(bytes)).map(Arc::new);
        for near in semantic.nearest(meant, turns).into_iter().take(LOOKED_AT_MAX) {
            if let Some(answer) = self.known_elsewhere(near.turn.answer).await {
                return Some(near.with(Arc::new(answer)));
            }
        }
        None
    }

    async fn remember(&self, meant: Meant, answer: Key) {
        let Some(semantic) = &self.semantic else { return };
        let Meant { scope, text, vector } = meant;
        let turn = semantic::Turn { text, vector, answer };
        if let Some(shared) = &self.shared {
            let (name, bytes) = (scope.to_hex(), turn.to_bytes());
            // One that is not shared is asked for again.
            let put = shared.push(&name, &bytes, SHARED_MOST, self.ttl);
            let _ = tokio::time::timeout(SHARED_WITHIN, put).await;
        }
        semantic.turns.add(scope, turn);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, watch::Receiver<bool>>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Asking<'a> {
    /// Takes what was answered to a turn that means the same; where that is only watched, the model is asked all the same.
    pub async fn alike(mut self, meant: Meant) -> Turn<'a> {
        let Some(semantic) = &self.answers.semantic else { return Turn::Ask(self) };
        let known = self.answers.alike(semantic, &meant).await;
        self.shadowed = match (semantic.mode, known) {
            (Mode::On, Some(known)) => {
                metrics::looked_up(SEMANTIC, Looked::Hit);
                return Turn::Take(known);
            }
            (Mode::On, None) => {
                metrics::looked_up(SEMANTIC, Looked::Miss);
                None
            }
            (Mode::Shadow, known) => known,
        };
        self.meant = Some(meant);
        Turn::Ask(self)
    }

    /// What would have been given, where it is only watched and something was looked for.
    pub fn shadowed(&self) -> Option<Option<&Known>> {
        let is_watched = self.answers.semantic.as_ref().is_some_and(|semantic| semantic.mode == Mode::Shadow);
        (is_watched && self.meant.is_some()).then_some(self.shadowed.as_ref())
    }

    /// The answer was of use. One that was cut short is not kept.
    pub async fn keep(mut self, answer: &Answer) {
        let meant = self.meant.take().filter(|_| semantic::may_be_given(answer));
        if !self.answers.exact && meant.is_none() {
            return;
        }
        if !matches!(answer.stop_reason, Some(StopReason::Stop | StopReason::ToolCalls)) {
            return;
        }
        self.hand_on(&Arc::new(answer.clone()));
        if let Some(shared) = &self.answers.shared
            && let Ok(json) = serde_json::to_vec(answer)
        {
            // One that is not shared is asked for again.
            let _ = tokio::time::timeout(SHARED_WITHIN, shared.put(&self.key.to_hex(), &json, self.answers.ttl)).await;
        }
        if let Some(meant) = meant {
            self.answers.remember(meant, self.key).await;
        }
    }

    fn hand_on(&self, answer: &Arc<Answer>) {
        self.answers.kept.put(self.key, answer, Some(self.answers.ttl));
        if let Some(waiting) = &self.waiting {
            waiting.send_replace(true);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.waiting.is_some() {
            self.answers.lock().remove(&self.key);
        }
    }
}

/// The same for requests that a provider can't tell apart.
pub fn key(tenant: &str, target: &str, request: &ModelRequest) -> Key {
    let mut hasher = blake3::Hasher::new();
    add_text(&mut hasher, tenant);
    add_text(&mut hasher, target);
    add_length(&mut hasher, request.messages.len());
    for message in &*request.messages {
        match &**message {
            Value::Object(fields) => {
                let asked = fields.iter().filter(|(name, _)| !NOT_ASKED.contains(&name.as_str()));
                object(&mut hasher, asked);
            }
            other => value(&mut hasher, other),
        }
    }
    value(&mut hasher, request.answer.as_deref().unwrap_or(&Value::Null));
    let ModelSettings { temperature, top_p, max_tokens, stop, seed } = &request.settings;
    value(&mut hasher, &serde_json::json!([temperature, top_p, max_tokens, stop, seed]));
    Key::new(hasher)
}

/// Fields in the order of their names, so that no two ways to write a value differ.
fn value(hasher: &mut blake3::Hasher, given: &Value) {
    match given {
        Value::Object(fields) => object(hasher, fields.iter()),
        Value::Array(items) => {
            hasher.update(b"[");
            add_length(hasher, items.len());
            items.iter().for_each(|item| value(hasher, item));
        }
        Value::String(string) => {
            hasher.update(b"s");
            add_text(hasher, string);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            hasher.update(b"v");
            add_text(hasher, &given.to_string());
        }
    }
}

fn object<'a>(hasher: &mut blake3::Hasher, fields: impl Iterator<Item = (&'a String, &'a Value)>) {
    let fields: BTreeMap<&String, &Value> = fields.collect();
    hasher.update(b"{");
    add_length(hasher, fields.len());
    for (name, field) in fields {
        add_text(hasher, name);
        value(hasher, field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(messages: Value, settings: ModelSettings) -> ModelRequest {
        let Value::Array(messages) = messages else { panic!("a list") };
        ModelRequest { messages: messages.into_iter().map(Arc::new).collect(), settings, ..ModelRequest::default() }
    }

    fn answer(text: &str) -> Answer {
        Answer { text: text.to_owned(), stop_reason: Some(StopReason::Stop), ..Answer::default() }
    }

    fn one() -> Key {
        key("t", "p/m", &asked(json!([{"type": "human", "content": "hi"}]), ModelSettings::default()))
    }

    #[test]
    fn what_a_provider_cannot_tell_apart_is_the_same() {
        let plain = ModelSettings::default();
        let written: Value = serde_json::from_str(
            r#"[{"content": "hi", "id": "7", "usage_metadata": {"input_tokens": 1}, "type": "human"}]"#,
        )
        .unwrap();
        assert!(one() == key("t", "p/m", &asked(written, plain.clone())));
        let message = || json!([{"type": "human", "content": "hi"}]);
        let warm = ModelSettings { temperature: Some(0.5), ..plain.clone() };
        let structured =
            ModelRequest { answer: Some(Arc::new(json!({"type": "object"}))), ..asked(message(), plain.clone()) };
        let others = [
            key("u", "p/m", &asked(message(), plain.clone())),
            key("t", "p/n", &asked(message(), plain.clone())),
            key("t", "p/m", &asked(message(), warm)),
            key("t", "p/m", &structured),
            key("t", "p/m", &asked(json!([{"type": "human", "content": ["hi"]}]), plain.clone())),
            key("t", "p/m", &asked(json!([{"type": "ai", "content": "hi"}]), plain.clone())),
            key(
                "t",
                "p/m",
                &asked(json!([{"type": "human", "content": "hi"}, {"type": "ai", "content": ""}]), plain.clone()),
            ),
            key("tp/m", "", &asked(message(), plain)),
        ];
        let different: BTreeSet<Key> = others.into_iter().chain([one()]).collect();
        assert_eq!(different.len(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_and_the_others_take_its_answer() {
        let answers = Answers::new(Duration::from_secs(60), []);
        let Turn::Ask(asking) = answers.turn(one()).await else { panic!("nothing is known") };
        let waiting = async {
            let turns = futures_util::future::join_all((0..50).map(|_| answers.turn(one()))).await;
            turns.into_iter().filter(|turn| matches!(turn, Turn::Take(known) if known.answer.text == "yes")).count()
        };
        let answering = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            asking.keep(&answer("yes")).await;
        };
        assert_eq!(tokio::join!(waiting, answering).0, 50);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(matches!(answers.turn(one()).await, Turn::Take(_)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(matches!(answers.turn(one()).await, Turn::Ask(_)), "it has lived its time");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_one_that_fails_asks_for_itself() {
        let answers = Answers::new(Duration::from_secs(60), []);
        for cut in [false, true] {
            let Turn::Ask(asking) = answers.turn(one()).await else { panic!("nothing is known") };
            let waiting = async { futures_util::future::join_all((0..9).map(|_| answers.turn(one()))).await };
            let failing = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match cut {
                    true => asking.keep(&Answer { stop_reason: Some(StopReason::Length), ..answer("ye") }).await,
                    false => drop(asking),
                }
            };
            let turns = tokio::join!(waiting, failing).0;
            assert!(turns.iter().all(|turn| matches!(turn, Turn::Ask(_))));
            drop(turns);
            assert!(answers.lock().is_empty());
        }
    }
}
