//! A graph's hash tells meaning: not how the file is written.

use graph::file::read;

const EXAMPLES: [&str; 4] = [
    include_str!("../../examples/chat.yaml"),
    include_str!("../../examples/support.yaml"),
    include_str!("../../examples/three-nodes.yaml"),
    include_str!("../../examples/parallel.yaml"),
];

const WRITTEN_ONE_WAY: &str = r#"
version: 1
name: same
state:
  text: string
  notes: {type: array, items: string, reducer: append}
  settings: {type: object, default: {b: 1, a: [1, 2]}}
context: {locale: {type: string, default: en}}
nodes:
  ask:
    kind: model
    model: default
    prompt: "About {{ text }}"
    update: {text: answer.text, notes: "[answer.text]"}
    retry: {max_attempts: 3}
    timeout: 1m
edges:
  - START -> ask
  - {from: ask, when: [{if: "state.text == 'x'", to: ask}, {else: END}]}
"#;

const WRITTEN_ANOTHER: &str = r#"{
  "nodes": {"ask": {
    "timeout": "60s", "retry": {"initial_interval": "500ms"},
    "update": {"notes": "[answer.text]", "text": "answer.text"},
    "prompt": "About {{ text }}", "model": "default", "kind": "model", "defer": false}},
  "edges": ["START  ->  ask", {"when": [{"to": ["ask"], "if": "state.text == 'x'"}, {"else": "END"}], "from": "ask"}],
  "context": {"locale": {"default": "en", "type": "string"}},
  "state": {
    "settings": {"default": {"a": [1, 2], "b": 1}, "type": "object"},
    "notes": {"reducer": "append", "items": {"type": "string"}, "type": "array"},
    "text": {"type": "string"}},
  "name": "same", "version": 1}"#;

fn hash(text: &str) -> String {
    let checked = read(text, None);
    assert_eq!(checked.report("graph"), "");
    checked.spec.unwrap().hash()
}

#[test]
fn the_form_of_a_file_is_no_part_of_it() {
    assert_eq!(hash(WRITTEN_ONE_WAY), hash(WRITTEN_ANOTHER));
    for text in EXAMPLES {
        let commented: String = text.lines().map(|line| format!("{line}\n")).collect::<String>();
        let commented = commented.replace("\nnodes:\n", "\n# a comment\n\nnodes:   # another\n\n");
        assert_ne!(commented, *text);
        assert_eq!(hash(&commented), hash(text));
        assert_eq!(hash(&reversed_top_level(text)), hash(text));
    }
}

/// The blocks of the top level in the opposite order.
fn reversed_top_level(text: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') || line.is_empty() => block.push_str(&format!("{line}\n")),
            _ => blocks.push(format!("{line}\n")),
        }
    }
    blocks.reverse();
    blocks.concat()
}

#[test]
fn a_change_of_meaning_changes_the_hash() {
    let changes = [
        ("name: same", "name: other"),
        ("text: string", "text: {type: [string, 'null']}"),
        ("reducer: append", "reducer: topic"),
        ("b: 1", "b: 2"),
        ("default: en", "default: de"),
        ("model: default", "model: large"),
        ("About", "On"),
        ("notes: \"[answer.text]\"", "notes: \"[answer.text, answer.text]\""),
        ("max_attempts: 3", "max_attempts: 4"),
        ("timeout: 1m", "timeout: 2m"),
        ("== 'x'", "== 'y'"),
        ("to: ask", "to: [ask, END]"),
        ("kind: model", "kind: model\n    temperature: 0"),
        ("edges:\n", "limits: {recursion_limit: 5}\nedges:\n"),
    ];
    let mut hashes = vec![hash(WRITTEN_ONE_WAY)];
    for (one, other) in changes {
        assert!(WRITTEN_ONE_WAY.contains(one), "{one}");
        hashes.push(hash(&WRITTEN_ONE_WAY.replacen(one, other, 1)));
    }
    let different: std::collections::BTreeSet<&String> = hashes.iter().collect();
    assert_eq!(different.len(), hashes.len());
}

/// The order of nodes is that of tasks in snapshots, and a model fills an answer's fields in their order.
#[test]
fn two_orders_are_meaning() {
    let text = |answer: &str| {
        format!(
            "version: 1\nname: o\nstate: {{t: string}}\nnodes:\n  a: {{kind: model, model: m, prompt: '{{{{ t }}}}', answer: {answer}, update: {{t: answer.why}}}}\nedges: [START -> a, a -> END]\n"
        )
    };
    assert_ne!(hash(&text("{why: string, what: string}")), hash(&text("{what: string, why: string}")));
}
