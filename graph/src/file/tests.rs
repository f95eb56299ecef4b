use super::*;

const CHAT: &str = include_str!("../../../examples/chat.yaml");

fn codes(text: &str) -> Vec<&'static str> {
    read(text, None).diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect()
}

#[test]
fn reads_a_graph() {
    let checked = read(CHAT, None);
    assert_eq!(checked.report("chat.yaml"), "");
    let spec = checked.spec.unwrap();
    assert_eq!(spec.name, "chat");
    assert_eq!(spec.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["prepare", "answer", "finish"]);
    assert_eq!(spec.limits.deadline_ms, Some(300_000));
    assert_eq!(spec.node("finish").unwrap().update.as_ref().unwrap()["turns"], "1");
}

#[test]
fn an_alias_is_unknown_only_where_the_configuration_is_known() {
    assert_eq!(read(CHAT, Some(&["default".to_owned()])).report("chat.yaml"), "");
    let report = read(CHAT, Some(&["defualt".to_owned()])).report("chat.yaml");
    assert_eq!(
        report,
        "chat.yaml:19:12: error[unknown-model]: there is no model `default`\n  = help: did you mean `defualt`?\n"
    );
}

#[test]
fn words_of_other_yaml_versions_are_texts() {
    let text = CHAT.replace("description: Answers", "description: no");
    assert_eq!(codes(&text), Vec::<&str>::new());
    let text = CHAT.replace("update: {turns: 1}", "update: {turns: 1}\n    defer: yes");
    assert_eq!(codes(&text), ["wrong-type"]);
}

#[test]
fn json_is_read_too() {
    let text = r#"{"version": 1, "name": "j", "state": {"x": "string"}, "nodes": {"a": {"kind": "transform", "update": {"x": "'y'"}}}, "edges": ["START -> a", "a -> END"]}"#;
    let checked = read(text, None);
    assert_eq!(checked.report("j.json"), "");
    assert_eq!(checked.spec.unwrap().nodes.len(), 1);
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let report = read_bytes(b"version: 1\nname: \xff", None).report("f");
    assert!(report.starts_with("f:2:7: error[yaml-syntax]"), "{report}");
}

#[test]
fn sources_are_bounded() {
    assert_eq!(codes(&"[".repeat(100)), ["too-large"]);
    assert_eq!(codes(&" ".repeat(FILE_BYTES_MAX + 1)), ["too-large"]);
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for n in 1..12 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    assert_eq!(codes(&bomb), ["too-large"]);
    assert!(codes(&"x: 1\n".repeat(1_000)).contains(&"duplicate-key"));
}

/// As types of other languages are written: a set's, a secret's, a text that holds JSON.
#[test]
fn schemas_may_say_what_json_schema_says() {
    for schema in [
        "{type: array, items: string, uniqueItems: true}",
        "{type: string, format: password, writeOnly: true}",
        "{type: string, contentMediaType: application/json, contentSchema: {type: object}}",
        "{type: object, properties: {n: integer}, unevaluatedProperties: false}",
        "{type: integer, readOnly: true, $comment: counted elsewhere}",
    ] {
        let text = CHAT.replace("state:\n", &format!("state:\n  more: {schema}\n"));
        assert_ne!(text, CHAT);
        assert_eq!(codes(&text), ["unused-channel"], "{schema}");
    }
    let text = CHAT.replace("state:\n", "state:\n  more: {type: array, uniqueItem: true}\n");
    assert!(codes(&text).contains(&"unknown-field"));
}
