//! A model whose answers are decided beforehand, with the latencies and failures of a real one: for demos and tests.
//!
//! Its model string says how it behaves: `echo`, or `echo?latency=200&tokens=20&interval=10&fail=1&status=429`.
//!
//! | directive | meaning |
//! |---|---|
//! | `latency` | milliseconds before the first token |
//! | `tokens` | words of the answer: it is repeated or cut to that many |
//! | `interval` | milliseconds between tokens; 0 gives the whole answer at once |
//! | `fail` | the first n calls for the same last message fail |
//! | `status` | with this HTTP status (503 unless told) |
//! | `retry_after` | and this many seconds of Retry-After |
//! | `truncate` | the stream breaks off after n tokens, each time |
//! | `text` | what is answered, instead of an echo |
//!
//! The same directives may stand in the last message as `{{latency=200&tokens=3}}`: they are left out of the echo.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream, stream::BoxStream};
use graph::{message, task::Usage};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::{Cause, ModelError, ModelEvent, ModelProvider, ModelRequest, StopReason};

pub const NAME: &str = "scripted";

/// Conversations whose failures are counted; beyond it counting starts anew.
const COUNTED_MAX: usize = 10_000;

/// The provider `scripted`.
#[derive(Default)]
pub struct Scripted {
    /// Calls that failed on purpose, by hash of model and last message.
    failed: Mutex<BTreeMap<u64, u32>>,
}

/// How one call behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub latency: Duration,
    pub interval: Duration,
    pub tokens: Option<usize>,
    pub fail: u32,
    pub status: Option<u16>,
    pub retry_after: Option<Duration>,
    pub truncate: Option<usize>,
    pub text: Option<String>,
}

impl Script {
    /// Reads `a=1&b=2`; what it doesn't know is left out, for a model's name is free text.
    pub fn parse(directives: &str) -> Self {
        let mut script = Script::default();
        script.add(directives);
        script
    }

    fn add(&mut self, directives: &str) {
        for (name, value) in directives.split('&').filter_map(|directive| directive.split_once('=')) {
            let number = value.parse::<u64>().ok();
            match name.trim() {
                "latency" => self.latency = Duration::from_millis(number.unwrap_or(0)),
                "interval" => self.interval = Duration::from_millis(number.unwrap_or(0)),
                "tokens" => self.tokens = number.map(|count| count as usize),
                "fail" => self.fail = number.unwrap_or(0) as u32,
                "status" => self.status = number.map(|status| status as u16),
                "retry_after" => self.retry_after = number.map(Duration::from_secs),
                "truncate" => self.truncate = number.map(|count| count as usize),
                "text" => self.text = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}

impl ModelProvider for Scripted {
    fn name(&self) -> &str {
        NAME
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let reply = match self.reply(&request) {
            Ok(reply) => reply,
            Err((error, latency)) => return after(latency, vec![Err(error)]),
        };
        let Reply { script, pieces, whole, usage } = reply;
        let end = [
            Ok(ModelEvent::Usage(usage)),
            Ok(ModelEvent::Done { stop_reason: if whole { StopReason::Stop } else { StopReason::Length } }),
        ];
        let texts = pieces.into_iter().map(|piece| Ok(ModelEvent::Text(piece)));
        let events: Vec<_> = match script.truncate {
            Some(kept) => texts.take(kept).collect(),
            None => texts.chain(end).collect(),
        };
        if script.interval.is_zero() {
            return after(script.latency, events);
        }
        let Script { latency, interval, .. } = script;
        stream::iter(events.into_iter().enumerate())
            .then(move |(n, event)| async move {
                tokio::time::sleep(if n == 0 { latency } else { interval }).await;
                event
            })
            .boxed()
    }
}

/// All events at once, without a timer where there is no latency.
fn after(
    latency: Duration,
    events: Vec<Result<ModelEvent, ModelError>>,
) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
    if latency.is_zero() {
        return stream::iter(events).boxed();
    }
    stream::once(tokio::time::sleep(latency)).flat_map(move |()| stream::iter(events.clone())).boxed()
}

struct Reply {
    script: Script,
    pieces: Vec<String>,
    /// Not cut by `max_tokens`.
    whole: bool,
    usage: Usage,
}

impl Scripted {
    fn reply(&self, request: &ModelRequest) -> Result<Reply, (ModelError, Duration)> {
        let last = request.messages.last().map(|message| message::text(message)).unwrap_or_default();
        let (asked, inline) = split_directives(&last);
        let mut script = Script::parse(request.model.split_once('?').map_or("", |(_, directives)| directives));
        script.add(inline);
        if script.fail > 0 && self.fails_again(&request.model, &last, script.fail) {
            return Err((failure(&script), script.latency));
        }
        let text = match &request.answer {
            Some(schema) => instance(schema, &asked).to_string(),
            None => script.text.clone().unwrap_or_else(|| format!("You said: {asked}")),
        };
        let (text, whole) = shaped(text, &script, request);
        let usage = Usage {
            input_tokens: request.messages.iter().map(|message| words(&message::text(message))).sum(),
            output_tokens: words(&text),
            ..Usage::default()
        };
        let pieces =
            if script.interval.is_zero() && script.truncate.is_none() { vec![text] } else { split_words(&text) };
        Ok(Reply { script, pieces, whole, usage })
    }

    fn fails_again(&self, model: &str, last: &str, times: u32) -> bool {
        let key = xxh3_64(format!("{model}\n{last}").as_bytes());
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= COUNTED_MAX {
            failed.clear();
        }
        let count = failed.entry(key).or_default();
        *count += 1;
        *count <= times
    }
}

fn failure(script: &Script) -> ModelError {
    let status = script.status.unwrap_or(503);
    let cause = match status {
        429 => Cause::RateLimited,
        401 | 403 => Cause::Denied,
        404 => Cause::NotFound,
        408 | 504 => Cause::Timeout,
        400..500 => Cause::BadRequest,
        _ => Cause::ServerError,
    };
    ModelError { retry_after: script.retry_after, ..ModelError::new(cause, format!("scripted to fail with {status}")) }
}

/// The text without its `{{…}}`, and what stood in there.
fn split_directives(text: &str) -> (String, &str) {
    let Some((before, rest)) = text.split_once("{{") else { return (text.to_owned(), "") };
    let Some((directives, behind)) = rest.split_once("}}") else { return (text.to_owned(), "") };
    (format!("{before}{behind}").trim().to_owned(), directives)
}

/// The text with as many words as the script and `max_tokens` want; false where `max_tokens` cut it.
fn shaped(text: String, script: &Script, request: &ModelRequest) -> (String, bool) {
    let has = words(&text) as usize;
    let wanted = script.tokens.unwrap_or(has);
    let limit = request.settings.max_tokens.map_or(usize::MAX, |limit| limit as usize);
    let count = wanted.min(limit);
    if count == has || request.answer.is_some() {
        return (text, true);
    }
    let repeated: Vec<&str> = text.split_whitespace().cycle().take(count).collect();
    (repeated.join(" "), wanted <= limit)
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// Words with the space that follows: joined they are the text.
fn split_words(text: &str) -> Vec<String> {
    text.split_inclusive(char::is_whitespace).map(str::to_owned).collect()
}

/// A value that fits a JSON Schema of the kinds that graph files use.
fn instance(schema: &Value, asked: &str) -> Value {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let named = values.iter().find(|value| value.as_str().is_some_and(|name| asked.contains(name)));
        return named.or(values.first()).cloned().unwrap_or(Value::Null);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => {
            let item = schema.get("items").map_or_else(|| asked.into(), |items| instance(items, asked));
            vec![item; schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 16) as usize].into()
        }
        Some("integer") => words(asked).into(),
        Some("number") => (words(asked) as f64).into(),
        Some("boolean") => true.into(),
        Some("null") => Value::Null,
        Some("string") => asked.into(),
        _ => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => properties
                .iter()
                .map(|(name, schema)| (name.clone(), instance(schema, asked)))
                .collect::<Map<_, _>>()
                .into(),
            None => asked.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::models::Answer;

    fn ask(model: &str, text: &str) -> ModelRequest {
        ModelRequest {
            model: model.to_owned(),
            messages: [Arc::new(json!({"type": "human", "content": text}))].into(),
            ..ModelRequest::default()
        }
    }

    async fn answer(scripted: &Scripted, request: ModelRequest) -> Result<Answer, ModelError> {
        let mut events = scripted.stream(request);
        let mut answer = Answer::default();
        while let Some(event) = events.next().await {
            answer.take(event?);
        }
        Ok(answer)
    }

    #[tokio::test(start_paused = true)]
    async fn texts() {
        let table = [
            ("echo", "hello there", "You said: hello there"),
            ("echo?text=fixed", "hello", "fixed"),
            ("echo?tokens=5", "a b", "You said: a b You"),
            ("echo?tokens=1", "a b", "You"),
            ("echo?latency=50&interval=10", "a", "You said: a"),
            ("echo", "a {{tokens=2}}", "You said:"),
        ];
        for (model, text, expect) in table {
            let answer = answer(&Scripted::default(), ask(model, text)).await.unwrap();
            assert_eq!((answer.text.as_str(), answer.stop_reason), (expect, Some(StopReason::Stop)), "{model} {text}");
        }
    }

    #[tokio::test]
    async fn the_first_calls_fail_and_then_it_answers() {
        let scripted = Scripted::default();
        for _ in 0..2 {
            let error = answer(&scripted, ask("echo?fail=2&status=429&retry_after=3", "x")).await.unwrap_err();
            assert_eq!((error.cause, error.retry_after), (Cause::RateLimited, Some(Duration::from_secs(3))));
        }
        assert!(answer(&scripted, ask("echo?fail=2&status=429", "y")).await.is_err(), "another message counts apart");
        assert!(answer(&scripted, ask("echo?fail=2&status=429&retry_after=3", "x")).await.is_ok());
    }

    #[tokio::test]
    async fn a_truncated_answer_has_no_end() {
        let answer = answer(&Scripted::default(), ask("echo?truncate=1", "x")).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.stop_reason), ("You ", None));
    }

    #[tokio::test]
    async fn a_structured_answer_fits_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "topic": {"enum": ["billing", "order"]}, "tags": {"type": "array", "items": {"type": "string"}},
            "count": {"type": "integer"}}});
        let request = ModelRequest { answer: Some(Arc::new(schema)), ..ask("echo", "my order") };
        let answer = answer(&Scripted::default(), request).await.unwrap();
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(value, json!({"topic": "order", "tags": ["my order"], "count": 2}));
    }

    #[tokio::test]
    async fn max_tokens_cuts() {
        let mut request = ask("echo", "a b c");
        request.settings.max_tokens = Some(3);
        let answer = answer(&Scripted::default(), request).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.stop_reason), ("You said: a", Some(StopReason::Length)));
        assert_eq!(answer.usage.unwrap(), Usage { input_tokens: 3, output_tokens: 3, ..Usage::default() });
    }
}
