use std::sync::Arc;

use serde_json::json;

use super::*;

fn evaluate(text: &str, state: Value) -> Result<Value, TaskError> {
    let Value::Object(state) = state else { panic!("a state is an object") };
    let state = state.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
    let context = json!({"locale": "en"});
    Expression::compile(text).unwrap().evaluate(&Scope::new(&state, &context))
}

fn check(text: &str, state: Value, expect: Value) {
    assert_eq!(evaluate(text, state), Ok(expect), "{text}");
}

#[test]
fn evaluates_on_the_state() {
    check("state.n + 1", json!({"n": 2}), json!(3));
    check("state.topic == 'billing' && context.locale == 'en'", json!({"topic": "billing"}), json!(true));
    check("{'b': state.x, 'a': [1.5, null, true]}", json!({"x": "y"}), json!({"a": [1.5, null, true], "b": "y"}));
    check("state.big", json!({"big": u64::MAX}), json!(u64::MAX));
    check("state['odd name'].size()", json!({"odd name": [1, 2]}), json!(2));
    check("has(state.x)", json!({}), json!(false));
    check("state.xs.filter(x, x > 1).map(x, x * 2)", json!({"xs": [1, 2, 3]}), json!([4, 6]));
    check("state == {'a': 1}", json!({"a": 1}), json!(true));
    check("2 in state.xs", json!({"xs": [1, 2]}), json!(true));
    check("'k' in state.m", json!({"m": {"k": 1}}), json!(true));
}

#[test]
fn helpers_read_messages() {
    let messages = json!({"messages": [{"content": "a"}, {"content": "b", "tool_calls": [{"name": "x"}]}]});
    check("last(state.messages).content", messages.clone(), json!("b"));
    check("has_tool_calls(state.messages)", messages, json!(true));
    check("has_tool_calls(state.messages)", json!({"messages": [{"tool_calls": []}]}), json!(false));
    check("has_tool_calls([])", json!({}), json!(false));
    check("last([]) == null", json!({}), json!(true));
    check("tokens('hello')", json!({}), json!(2));
    check("tokens('')", json!({}), json!(0));
}

#[test]
fn maps_are_walked_in_the_order_of_their_keys() {
    let m: serde_json::Map<String, Value> = (0..50).rev().map(|n| (format!("k{n:02}"), json!(n))).collect();
    let keys: Vec<String> = (0..50).map(|n| format!("k{n:02}")).collect();
    check("state.m.map(k, k)", json!({"m": m}), json!(keys));
}

#[test]
fn results_are_the_same_bytes_each_time() {
    let text = format!("{{{}}}", (0..30).rev().map(|n| format!("'k{n:02}': {n}")).collect::<Vec<_>>().join(", "));
    let sorted = format!("{{{}}}", (0..30).map(|n| format!("\"k{n:02}\":{n}")).collect::<Vec<_>>().join(","));
    assert_eq!(evaluate(&text, json!({})).unwrap().to_string(), sorted);
}

#[test]
fn an_unset_channel_is_named() {
    let error = evaluate("state.topic == 'x'", json!({})).unwrap_err();
    assert_eq!(error.class, "node_failed");
    assert!(error.message.contains("state.topic has no value yet"), "{}", error.message);
    let error = evaluate("state.a.b == 'x'", json!({"a": {}})).unwrap_err();
    assert!(error.message.contains("there is no field `b`"), "{}", error.message);
}

#[test]
fn an_argument_takes_the_place_of_the_state() {
    let state = ChannelValues::from_iter([("s", Arc::new(json!("channel")))]);
    let argument = json!({"s": "sent"});
    let item = json!(7);
    let items = [("item", &item)];
    let scope = Scope { argument: Some(&argument), items: &items, ..Scope::new(&state, &Value::Null) };
    assert_eq!(Expression::compile("state.s").unwrap().evaluate(&scope), Ok(json!("sent")));
    assert_eq!(Expression::compile("item + 1").unwrap().evaluate(&scope), Ok(json!(8)));
}

#[test]
fn a_condition_is_true_or_false() {
    let state = ChannelValues::new();
    let scope = Scope::new(&state, &Value::Null);
    assert_eq!(Expression::compile("1 < 2").unwrap().holds(&scope), Ok(true));
    let error = Expression::compile("'yes'").unwrap().holds(&scope).unwrap_err();
    assert_eq!(error.message, "the condition `'yes'` gave a string, not true or false");
}

#[test]
fn says_what_it_reads() {
    let reads = |text: &str| Expression::compile(text).unwrap().references().clone();
    let found = reads("state.a + state['b'] + answer.x + item.y + context.z");
    assert_eq!(found.channels.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found.names.iter().map(String::as_str).collect::<Vec<_>>(), ["item"]);
    assert!(found.answer && found.context && !found.out && !found.whole_state);
    assert!(reads("state[answer.name]").whole_state);
    assert!(reads("state").whole_state);
    let found = reads("state.xs.map(x, x + y)");
    assert_eq!(found.names.iter().map(String::as_str).collect::<Vec<_>>(), ["y"]);
    assert_eq!(reads("type(state.a) == int").names.len(), 0);
}

#[test]
fn says_where_a_text_is_wrong() {
    let error = |text: &str| Expression::compile(text).unwrap_err();
    assert_eq!((error("state.a ==").line, error("state.a ==").column), (1, 11));
    let unknown = error("1 + lst([])");
    assert_eq!((unknown.message.as_str(), unknown.column), ("there is no function `lst`", 5));
    assert_eq!(unknown.kind, ExpressionErrorKind::UnknownFunction { name: "lst".to_owned() });
    assert_eq!(error("'é🦀' + lst([])").column, 8);
    assert_eq!((error("1 +\n 'é' + lst([])").line, error("1 +\n 'é' + lst([])").column), (2, 8));
    assert_eq!(error("'é🦀' ==").column, 8);
    assert_eq!(error(&"1+".repeat(3_000)).kind, ExpressionErrorKind::TooCostly);
}

#[test]
fn comprehensions_are_bounded() {
    let three_deep = "[1].map(a, [1].map(b, [1].map(c, c)))";
    assert_eq!(Expression::compile(three_deep).unwrap_err().kind, ExpressionErrorKind::TooCostly);
    check("[1].map(a, [2].map(b, a + b))", json!({}), json!([[3]]));
    check("[1].map(a, a).map(b, b).map(c, c)", json!({}), json!([1]));

    let list = |length: usize| json!({"xs": vec![0; length]});
    check("state.xs.all(a, state.xs.all(b, a == b))", list(100), json!(true));
    for text in [
        "state.xs.all(a, state.xs.all(b, a == b))",
        "true || state.xs.exists(a, state.xs.exists(b, b == 1))",
        "state.xs.all(a, a in state.xs)",
        "state.xs.map(a, state.xs.map(b, b)).size() == 0",
    ] {
        let result = evaluate(text, list(1_001));
        match text.starts_with("true") {
            true => assert_eq!(result, Ok(json!(true))),
            false => assert_eq!(result.unwrap_err().class, "cel_too_costly", "{text}"),
        }
    }
}

#[test]
fn what_is_no_json_is_an_error() {
    assert!(evaluate("1.0 / 0.0", json!({})).unwrap_err().message.contains("infinite"));
    assert!(evaluate("b'x'", json!({})).unwrap_err().message.contains("bytes"));
    assert!(evaluate("1 / 0", json!({})).is_err());
}

/// Debug frames on a test's 2 MiB stack are the worst case.
#[test]
fn deep_texts_neither_panic_nor_overflow() {
    let shapes: [fn(usize) -> String; 11] = [
        |n| format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("{}1{}", "[".repeat(n), "]".repeat(n)),
        |n| format!("{}1{}", "{1:".repeat(n), "}".repeat(n)),
        |n| format!("{}true", "!".repeat(n)),
        |n| format!("{}1", "-".repeat(n)),
        |n| format!("1{}", "+1".repeat(n)),
        |n| format!("true{}", "&&true".repeat(n)),
        |n| format!("{}1", "true?1:".repeat(n)),
        |n| format!("state{}", ".a".repeat(n)),
        |n| format!("[1]{}", ".map(x,x)".repeat(n)),
        |n| format!("{}1", "a[".repeat(n)),
    ];
    for shape in shapes {
        for depth in (30..42).chain([1, 10, 60, 100, 500, 2_000]) {
            if let Ok(expression) = Expression::compile(&shape(depth)) {
                let _ = expression.evaluate(&Scope::new(&ChannelValues::new(), &Value::Null));
            }
        }
    }
}
