//! Who is answered from whom, and how often that is wrong on 200 pairs of turns.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use graph::task::Usage;
use quota::QuotaError;
use run_store::items::Words;
use serde_json::{Value, json};

use super::*;
use crate::models::{
    Answer, Answers, ModelSettings, StopReason, ToolCall,
    answers::{Asking, Turn},
};

const PAIRS: &str = include_str!("pairs.jsonl");
const THRESHOLD: f64 = 0.95;

fn semantic(mode: Mode) -> Semantic {
    Semantic::new(mode, THRESHOLD, Arc::new(Phrases), "scripted/phrases")
}

fn answers(mode: Mode) -> Answers {
    Answers::new(Duration::from_secs(60), []).with_semantic(semantic(mode))
}

fn asked(messages: Value) -> ModelRequest {
    let Value::Array(messages) = messages else { panic!("a list") };
    ModelRequest { messages: messages.into_iter().map(Arc::new).collect(), ..ModelRequest::default() }
}

fn turn(text: &str) -> ModelRequest {
    asked(json!([{"type": "system", "content": "be brief"}, {"type": "human", "content": text}]))
}

const PLACE: Place<'static> =
    Place { tenant: "t", graph_hash: "g", node: "n", alias: "default", target: "scripted/echo" };

async fn ask<'a>(answers: &'a Answers, place: &Place<'_>, request: &ModelRequest) -> Turn<'a> {
    let asking = match answers.turn(key(place.tenant, place.target, request)).await {
        Turn::Ask(asking) => asking,
        known => return known,
    };
    let Some(text) = last_turn(request) else { return Turn::Ask(asking) };
    let semantic = answers.semantic().expect("it is there");
    let vector = semantic.vectors(std::slice::from_ref(&text)).await.expect("vectors").remove(0);
    asking.alike(Meant { scope: semantic.scope(place, request), text, vector }).await
}

fn said(text: &str) -> Answer {
    Answer { text: text.to_owned(), stop_reason: Some(StopReason::Stop), ..Answer::default() }
}

fn must_ask(turn: Turn<'_>) -> Asking<'_> {
    match turn {
        Turn::Ask(asking) => asking,
        Turn::Take(known) => panic!("{} was taken", known.answer.text),
    }
}

fn taken(turn: Turn<'_>) -> Option<String> {
    match turn {
        Turn::Take(known) => known.alike.map(|alike| alike.text),
        Turn::Ask(_) => None,
    }
}

#[tokio::test]
async fn at_most_one_in_a_hundred_pairs_that_differ_is_taken_for_the_same() {
    let pairs = read_pairs(PAIRS).expect("pairs");
    assert_eq!(pairs.len(), 200);
    // For comparison: words alone are no embedder of turns, whatever the guard does.
    for (name, embedder) in [("phrases", &Phrases as &dyn Embedder), ("words", &Words { dims: 256 })] {
        for guarded in [true, false] {
            for at in measure(embedder, &pairs, &[0.8, 0.9, THRESHOLD], guarded).await.expect("vectors") {
                let Measured { threshold, same, hits, different, false_hits } = &at;
                let wrong = false_hits.len();
                println!(
                    "{name}, guarded {guarded}, {threshold}: {hits} of {same}, and {wrong} of {different} wrongly"
                );
            }
        }
    }
    let at = measure(&Phrases, &pairs, &[THRESHOLD], true).await.expect("vectors").remove(0);
    assert!(at.different >= 100 && at.false_hits.len() * 100 <= at.different, "{:#?}", at.false_hits);
    assert!(at.hits * 100 >= at.same * 50, "{} of {} are found: it is of no use", at.hits, at.same);
}

#[tokio::test]
async fn another_way_to_ask_is_answered_and_labelled() {
    let answers = answers(Mode::On);
    must_ask(ask(&answers, &PLACE, &turn("How do I reset my password?")).await).keep(&said("Click it.")).await;
    let Turn::Take(known) = ask(&answers, &PLACE, &turn("how can I reset my password")).await else {
        panic!("it is known")
    };
    assert_eq!((known.kind(), &*known.answer.text), ("semantic", "Click it."));
    let alike = known.alike.expect("which");
    assert_eq!((&*alike.text, alike.similarity > 0.99), ("How do I reset my password?", true));
    let Turn::Take(known) = ask(&answers, &PLACE, &turn("How do I reset my password?")).await else {
        panic!("it is known")
    };
    assert_eq!(known.kind(), "exact");
}

#[tokio::test]
async fn nothing_is_answered_at_another_place() {
    let answers = answers(Mode::On);
    let known = "How do I reset my password?";
    must_ask(ask(&answers, &PLACE, &turn(known)).await).keep(&said("Click it.")).await;
    let other = "how can I reset my password";
    for (what, place) in [
        ("tenant", Place { tenant: "u", ..PLACE }),
        ("graph", Place { graph_hash: "h", ..PLACE }),
        ("node", Place { node: "m", ..PLACE }),
        ("alias", Place { alias: "small", ..PLACE }),
        ("target", Place { target: "scripted/other", ..PLACE }),
    ] {
        assert_eq!(taken(ask(&answers, &place, &turn(other)).await), None, "{what}");
    }
    let turns = |before: &str| {
        asked(json!([{"type": "human", "content": before}, {"type": "ai", "content": "?"},
        {"type": "human", "content": "yes"}]))
    };
    must_ask(ask(&answers, &PLACE, &turns("Shall I book it?")).await).keep(&said("Booked.")).await;
    let warm = ModelSettings { temperature: Some(1.0), ..ModelSettings::default() };
    for (what, request) in [
        (
            "system prompt",
            asked(json!([{"type": "system", "content": "be rude"}, {"type": "human", "content": other}])),
        ),
        ("settings", ModelRequest { settings: warm, ..turn(other) }),
        ("schema", ModelRequest { answer: Some(Arc::new(json!({"type": "object"}))), ..turn(other) }),
        ("earlier turn", turns("Shall I cancel it?")),
    ] {
        assert_eq!(taken(ask(&answers, &PLACE, &request).await), None, "{what}");
    }
    assert_eq!(taken(ask(&answers, &PLACE, &turn(other)).await).as_deref(), Some(known));
}

#[test]
fn only_short_turns_of_text_are_looked_for() {
    let image = json!({"type": "image", "url": "https://a/b.png"});
    let block = json!({"type": "text", "text": "hi"});
    for (messages, expect) in [
        (json!([{"type": "human", "content": "hi"}]), true),
        (json!([{"role": "user", "content": [block]}]), true),
        (json!([{"type": "human", "content": [block, image]}]), false),
        (json!([{"type": "human", "content": [image]}, {"type": "human", "content": "hi"}]), false),
        (json!([{"type": "ai", "content": "hi"}]), false),
        (json!([{"type": "tool", "content": "5"}, {"type": "human", "content": "hi"}]), false),
        (
            json!([{"type": "ai", "content": "", "tool_calls": [{"name": "f"}]}, {"type": "human", "content": "hi"}]),
            false,
        ),
        (json!([{"type": "human", "content": " "}]), false),
        (json!([{"type": "human", "content": "a ".repeat(TURN_CHARS_MAX / 2)}]), true),
        (json!([{"type": "human", "content": "a ".repeat(TURN_CHARS_MAX)}]), false),
        (json!([]), false),
    ] {
        assert_eq!(last_turn(&asked(messages.clone())).is_some(), expect, "{messages}");
    }
}

#[tokio::test]
async fn answers_that_call_tools_or_were_cut_are_not_given() {
    let call = ToolCall { name: "f".to_owned(), ..ToolCall::default() };
    for answer in [
        Answer { tool_calls: vec![call], stop_reason: Some(StopReason::ToolCalls), ..said("I look.") },
        Answer { stop_reason: Some(StopReason::Length), ..said("I lo") },
        said(""),
    ] {
        let answers = answers(Mode::On);
        must_ask(ask(&answers, &PLACE, &turn("How do I pay?")).await).keep(&answer).await;
        assert_eq!(taken(ask(&answers, &PLACE, &turn("how can I pay")).await), None, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_lives_for_its_time() {
    let answers = answers(Mode::On);
    must_ask(ask(&answers, &PLACE, &turn("How do I pay?")).await).keep(&said("By card.")).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(taken(ask(&answers, &PLACE, &turn("how can I pay")).await).is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(taken(ask(&answers, &PLACE, &turn("how can I pay")).await), None);
}

#[tokio::test]
async fn in_the_shadow_the_model_is_always_asked() {
    let answers = answers(Mode::Shadow).without_exact();
    let answer = Answer { usage: Some(Usage::default()), ..said("By card.") };
    for (text, shadowed) in
        [("How do I pay?", None), ("How do I pay?", Some("By card.")), ("how can I pay", Some("By card."))]
    {
        let asking = must_ask(ask(&answers, &PLACE, &turn(text)).await);
        let known = asking.shadowed().expect("it was looked for");
        assert_eq!(known.map(|known| &*known.answer.text), shadowed, "{text}");
        asking.keep(&answer).await;
    }
}

#[test]
fn which_answers_say_the_same() {
    assert!(are_equal(r#"{"a": 1, "b": 2}"#, r#"{"b":2,"a":1}"#, true));
    assert!(!are_equal(r#"{"a": 1}"#, r#"{"a": 2}"#, true));
    assert!(!are_equal("no JSON", "no JSON", true));
    assert!(are_equal("It's 5 km, I think.", "it's 5 km – I think", false));
    assert!(!are_equal("It's 5 km.", "It's 6 km.", false));
    assert!(same_numbers("5 of 6", "of 6, 5 are") && !same_numbers("5 km", "6 km"));
}

/// What two processes share, or what never answers.
#[derive(Default)]
struct Shared {
    hangs: bool,
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    lists: Mutex<BTreeMap<String, Vec<Vec<u8>>>>,
}

impl Shared {
    async fn answers(&self) {
        if self.hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl quota::Cache for Shared {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, QuotaError> {
        self.answers().await;
        Ok(self.values.lock().unwrap().get(name).cloned())
    }

    async fn put(&self, name: &str, value: &[u8], _: Duration) -> Result<(), QuotaError> {
        self.answers().await;
        self.values.lock().unwrap().insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    async fn items(&self, name: &str) -> Result<Vec<Vec<u8>>, QuotaError> {
        self.answers().await;
        Ok(self.lists.lock().unwrap().get(name).cloned().unwrap_or_default())
    }

    async fn push(&self, name: &str, value: &[u8], _: usize, _: Duration) -> Result<(), QuotaError> {
        self.answers().await;
        self.lists.lock().unwrap().entry(name.to_owned()).or_default().insert(0, value.to_vec());
        Ok(())
    }
}

#[tokio::test]
async fn a_turn_whose_answer_is_forgotten_gives_way_to_the_next() {
    let shared = Arc::new(Shared::default());
    let process = || answers(Mode::On).shared_by(Arc::clone(&shared) as _);
    let one = process();
    for (text, answer) in [("How do I pay?", "By card."), ("How can we pay?", "In cash.")] {
        must_ask(one.turn(key(PLACE.tenant, PLACE.target, &turn(text))).await).keep(&said(answer)).await;
        let vector = Phrases.vector("How do I pay?");
        let scope = one.semantic().expect("it is there").scope(&PLACE, &turn(text));
        let answer = key(PLACE.tenant, PLACE.target, &turn(text));
        let kept = super::Turn { text: text.to_owned(), vector, answer };
        quota::Cache::push(&*shared, &scope.to_hex(), &kept.to_bytes(), 32, Duration::ZERO).await.expect("a list");
    }
    shared.values.lock().unwrap().retain(|_, value| !String::from_utf8_lossy(value).contains("In cash."));
    let Turn::Take(known) = ask(&process(), &PLACE, &turn("how to pay")).await else { panic!("one is known") };
    assert_eq!(&*known.answer.text, "By card.");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_is_not_waited_for() {
    let shared = Arc::new(Shared { hangs: true, ..Shared::default() });
    let answers = answers(Mode::On).shared_by(shared);
    let began = tokio::time::Instant::now();
    let asking = must_ask(ask(&answers, &PLACE, &turn("How do I pay?")).await);
    assert!(began.elapsed() <= Duration::from_millis(210), "{:?}", began.elapsed());
    asking.keep(&said("By card.")).await;
    assert!(taken(ask(&answers, &PLACE, &turn("how can I pay")).await).is_some(), "it has its own");
}
