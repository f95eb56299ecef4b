use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::file::{graph, nodes, reader, tree};

fn validator() -> jsonschema::Validator {
    let schema = graph_file_schema();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
}

fn value(text: &str) -> Value {
    reader::json(&tree::parse(text).unwrap())
}

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| !path.to_string_lossy().ends_with(".test.yaml"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

fn check(name: &str, text: &str, expect: bool) {
    let validator = validator();
    let errors: Vec<String> = validator.iter_errors(&value(text)).map(|error| error.to_string()).collect();
    assert_eq!(errors.is_empty(), expect, "{name}: {errors:?}\n{text}");
}

#[test]
fn good_examples_are_valid() {
    for (name, text) in files("") {
        check(&name, &text, true);
    }
}

#[test]
fn what_is_not_built_yet_is_valid_too() {
    for (name, text) in files("bad").iter().filter(|(name, _)| name.starts_with("not-built-yet")) {
        check(name, text, true);
    }
    check("support", WHOLE_LANGUAGE, true);
    check("jokes", MAP_AND_REDUCE, true);
}

#[test]
fn mistakes_of_shape_are_invalid() {
    let codes = [
        "unknown-field",
        "missing-field",
        "wrong-type",
        "unknown-value",
        "out-of-range",
        "bad-duration",
        "unknown-version",
        "bad-edge",
        "bad-url",
        "bad-model-target",
        "bad-name",
    ];
    let mut seen = BTreeSet::new();
    for (name, text) in files("bad") {
        let code = name.trim_end_matches(|char: char| char.is_ascii_digit()).trim_end_matches('-');
        // A channel's name may be anything that isn't the engine's.
        if codes.contains(&code) && name != "bad-name-3" {
            seen.insert(code.to_owned());
            check(&name, &text, false);
        }
    }
    assert_eq!(seen.len(), codes.len());
}

#[test]
fn the_schema_knows_the_fields_that_the_reader_knows() {
    let schema = graph_file_schema();
    let fields = |pointer: &str| -> BTreeSet<String> {
        let properties = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        properties.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(fields("/properties"), graph::FIELDS.map(str::to_owned).into());
    assert_eq!(fields("/definitions/graph/properties"), graph::INNER_FIELDS.map(str::to_owned).into());
    for (kind, own) in nodes::KINDS {
        let common = nodes::COMMON.iter().filter(|field| kind != "subgraph" || !nodes::NOT_OF_GRAPHS.contains(field));
        let known: BTreeSet<String> = own.iter().chain(common).map(|field| (*field).to_owned()).collect();
        assert_eq!(fields(&format!("/definitions/{kind}_node/properties")), known, "{kind}");
    }
}

const WHOLE_LANGUAGE: &str = r#"
version: 1
name: support
description: Answers a customer, asks a human before it refunds.
state:
  messages: {type: messages}
  topic: string
  notes: {type: array, reducer: append}
  tries: {type: integer, reducer: sum, default: 0}
input: [messages]
output: [messages, topic]
context: {locale: {type: string, default: en}}
models:
  small: {use: openai/gpt-small}
  large: {use: anthropic/claude-large, fallback: [openai/gpt-large]}
tools:
  lookup_order: {http: {url: "${env.ORDERS_URL}/orders/{id}"}, input: {id: string}, description: Finds an order.}
  refund: {http: {method: POST, url: "${env.ORDERS_URL}/refunds"}, input: {order: string, amount: number}, effects: write}
  docs: {mcp: {url: "http://docs:3000/mcp", allow: [search]}}
nodes:
  classify:
    kind: model
    model: small
    prompt: "Which topic: billing, order, other?\n{{ last(messages).content }}"
    answer: {topic: {enum: [billing, order, other]}}
    update: {topic: answer.topic}
  agent:
    kind: model
    model: large
    system: "You help customers. Locale: {{ context.locale }}."
    messages: state.messages
    tools: [lookup_order, refund, docs]
    retry: {max_attempts: 3}
  tools: {kind: tools}
  summarize: {kind: http, url: "http://py:9000/summarize", timeout: 30s, defer: true}
edges:
  - START -> classify
  - from: classify
    when:
      - {if: 'state.topic == "other"', to: summarize}
      - {else: agent}
  - from: agent
    when:
      - {if: has_tool_calls(state.messages), to: tools}
      - {else: summarize}
  - tools -> agent
  - summarize -> END
serve: {path: /support, as: chat}
interrupt_before: []
limits: {recursion_limit: 25, deadline: 10m, cost_usd: 0.50}
"#;

const MAP_AND_REDUCE: &str = r#"
version: 1
name: jokes
state: {topic: string, subjects: array, jokes: {type: array, reducer: append}, best: string}
input: [topic]
output: [best]
nodes:
  plan: {kind: model, model: small, prompt: "Three subjects about {{ topic }}", answer: {subjects: {type: array, items: string}}, update: {subjects: answer.subjects}}
  joke: {kind: model, model: small, prompt: "A joke about {{ subject }}", update: {jokes: "[answer.text]"}}
  judge: {kind: model, model: large, prompt: "The best of:\n{% for j in jokes %}- {{ j }}\n{% endfor %}", update: {best: answer.text}}
edges:
  - START -> plan
  - {from: plan, send: {to: joke, each: state.subjects, as: s, with: {subject: s}}}
  - joke -> judge
  - judge -> END
"#;
