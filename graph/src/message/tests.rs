//! `add_messages`, rule by rule.

use super::*;

fn list(value: &Value, seed: u128) -> Arc<Value> {
    with_ids(&Arc::new(value.clone()), Uuid::from_u128(seed), "messages")
}

/// Adds each of `writes` to `left`; the messages that result as `id:content`, or the error's type.
fn check(left: Value, writes: Value, expected: Value) {
    let writes: Vec<Arc<Value>> =
        writes.as_array().expect("writes").iter().map(|write| Arc::new(write.clone())).collect();
    let got = match add_messages(&left, &writes.iter().collect::<Vec<_>>()) {
        Ok(slots) => {
            let mut value = Arc::new(left.clone());
            let held = value.clone();
            let mut shared = value.clone();
            fill(&mut shared, slots.clone());
            assert_eq!(*held, left, "a list that others hold stays as it is");
            drop(held);
            value = Arc::new(Value::clone(&value));
            fill(&mut value, slots);
            assert_eq!(value, shared, "in place as in a list of its own");
            let short = |message: &Value| {
                let content = message.get("content").and_then(Value::as_str).unwrap_or_default();
                json!(format!("{}:{content}", id_of(message).unwrap_or_default()))
            };
            value.as_array().expect("a list").iter().map(short).collect()
        }
        Err(error) => json!(error.kind),
    };
    assert_eq!(got, expected, "{left} + {writes:?}");
}

fn ai(id: &str, content: &str) -> Value {
    json!({"type": "ai", "id": id, "content": content})
}

fn remove(id: &str) -> Value {
    json!({"type": "remove", "id": id})
}

#[test]
fn a_new_id_is_added_at_the_end() {
    check(json!([ai("1", "a")]), json!([[ai("2", "b")], ai("3", "c")]), json!(["1:a", "2:b", "3:c"]));
}

#[test]
fn a_known_id_replaces_in_place() {
    check(json!([ai("1", "a"), ai("2", "b")]), json!([[ai("1", "x")]]), json!(["1:x", "2:b"]));
    check(json!([]), json!([[ai("1", "a"), ai("1", "b")]]), json!(["1:b"]));
    // With duplicates on the left the last one is replaced.
    check(json!([ai("1", "a"), ai("1", "b")]), json!([[ai("1", "x")]]), json!(["1:a", "1:x"]));
}

#[test]
fn a_removal_takes_its_message_out() {
    check(json!([ai("1", "a"), ai("2", "b")]), json!([[remove("1")]]), json!(["2:b"]));
    check(json!([ai("1", "a")]), json!([[ai("2", "b"), remove("2")]]), json!(["1:a"]));
    check(json!([ai("1", "a")]), json!([[remove("9")]]), json!("ValueError"));
}

#[test]
fn a_message_after_its_removal_stays_where_it_was() {
    check(json!([ai("1", "a"), ai("2", "b")]), json!([[remove("1"), ai("1", "x")]]), json!(["1:x", "2:b"]));
    // In a later write it is new.
    check(json!([ai("1", "a"), ai("2", "b")]), json!([[remove("1")], [ai("1", "x")]]), json!(["2:b", "1:x"]));
}

#[test]
fn remove_all_keeps_what_follows_as_it_is() {
    let left = json!([ai("1", "a")]);
    check(left.clone(), json!([[ai("2", "b"), remove(REMOVE_ALL), ai("3", "c")]]), json!(["3:c"]));
    check(left.clone(), json!([[remove(REMOVE_ALL), ai("2", "b"), remove(REMOVE_ALL), ai("3", "c")]]), json!(["3:c"]));
    check(left.clone(), json!([[remove(REMOVE_ALL), remove("zz")]]), json!(["zz:"]));
    check(left, json!([[remove(REMOVE_ALL)]]), json!([]));
}

#[test]
fn null_and_other_values_are_refused() {
    check(json!([]), json!([null]), json!("ValueError"));
    check(json!([]), json!([[5]]), json!("NotImplementedError"));
    check(json!([]), json!([[{"role": "pirate", "content": "arr"}]]), json!("ValueError"));
    check(json!([]), json!([[{"content": "no role"}]]), json!("ValueError"));
}

#[test]
fn every_form_becomes_langchains() {
    for (given, expected) in [
        (json!("hi"), json!({"type": "human", "content": "hi"})),
        (json!(["ai", "hi"]), json!({"type": "ai", "content": "hi"})),
        (
            json!({"role": "user", "content": "hi", "name": "jo"}),
            json!({"type": "human", "content": "hi", "name": "jo"}),
        ),
        (json!({"role": "developer", "content": "be nice"}), json!({"type": "system", "content": "be nice"})),
        (json!({"type": "AIMessageChunk", "content": "hi"}), json!({"type": "ai", "content": "hi"})),
        (
            json!({"role": "tool", "tool_call_id": "c1", "content": "3"}),
            json!({"type": "tool", "tool_call_id": "c1", "content": "3"}),
        ),
        (
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}}
            ]}),
            json!({"type": "ai", "content": "", "tool_calls": [
                {"id": "c1", "name": "add", "args": {"a": 1}, "type": "tool_call"}
            ]}),
        ),
    ] {
        assert_eq!(coerce(&given), Ok(expected), "{given}");
    }
}

#[test]
fn ids_are_derived_once() {
    let given = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "a"}, ai("7", "b")]);
    let first = list(&given, 1);
    assert_eq!(first, list(&given, 1), "a repeat gives the same ids");
    assert_ne!(first, list(&given, 2), "another task gives others");
    let ids: BTreeSet<&str> = first.as_array().expect("a list").iter().filter_map(id_of).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.contains("7") && !ids.contains(""));
    assert!(Arc::ptr_eq(&first, &with_ids(&first, Uuid::nil(), "messages")), "what has its ids isn't copied");
}

#[test]
fn what_is_no_message_is_left_for_the_reducer_to_refuse() {
    for value in [json!([5]), json!(null)] {
        assert_eq!(*list(&value, 1), value);
    }
}

#[test]
fn an_overwrite_of_messages_holds_messages() {
    let given = json!({"__overwrite__": [{"role": "user", "content": "a", "id": "1"}]});
    assert_eq!(*list(&given, 1), json!({"__overwrite__": [{"type": "human", "content": "a", "id": "1"}]}));
}
