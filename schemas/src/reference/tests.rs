use serde_json::{Value, json};

use super::*;

fn owner() -> Key {
    Key::thread("acme", "t")
}

fn text(bytes: usize) -> Value {
    Value::String("ü\"\\/x".repeat(bytes / 8))
}

/// Puts away, checks that it comes back byte for byte, and gives the places that were taken out.
fn check(record: &Value, layout: &Layout, expect: &[&str]) -> Option<PutAway> {
    let json = serde_json::to_vec(record).unwrap();
    let put = put_away(&json, &owner(), layout);
    let Some(put) = put else {
        assert!(expect.is_empty(), "nothing was put away, expected {expect:?}");
        return None;
    };
    let at: Vec<&str> = put.references.values.iter().map(|value| value.at.as_str()).collect();
    assert_eq!(at, expect);
    assert!(put.json.len() <= RECORD_BYTES_INLINE + 64 * 1024, "{} bytes are left", put.json.len());
    assert_eq!(references_of_row(&put.json).as_ref(), Some(&put.references));
    let back = fill(&put.json, &put.references, &put.values).unwrap();
    assert!(back == json, "it came back as something else");
    Some(put)
}

fn result(writes: Value) -> Value {
    json!({"envelope": {"tenant": "acme"}, "at": 1, "event": {"type": "task_finished", "data": {"task_id": "x",
        "writes": writes, "branches": []}}})
}

#[test]
fn small_records_stay_as_they_are() {
    check(&result(json!([["a", text(100)], ["b", text(20_000)]])), &Layout::RUNS, &[]);
}

#[test]
fn a_large_value_is_taken_out_by_itself() {
    let record = result(json!([["a", text(100)], ["b", text(40_000)], ["c", {"d": text(5_000_000)}]]));
    check(&record, &Layout::RUNS, &["/event/data/writes/1/1", "/event/data/writes/2/1"]);
}

#[test]
fn a_value_is_taken_out_whole_and_never_in_parts() {
    let record = result(json!([["a", [text(40_000), text(40_000), {"value": text(40_000)}]]]));
    check(&record, &Layout::RUNS, &["/event/data/writes/0/1"]);
}

#[test]
fn values_of_one_content_are_one() {
    let record = json!({"envelope": {}, "update": {"happened": [
        {"type": "task_done", "data": {"update": {"doc": text(50_000)}}},
        {"type": "step_done", "data": {"values": {"doc": text(50_000)}}},
    ]}});
    let at = ["/update/happened/0/data/update/doc", "/update/happened/1/data/values/doc"];
    assert_eq!(check(&record, &Layout::UPDATE, &at).unwrap().values.len(), 1);
}

#[test]
fn the_smallest_part_that_suffices_goes_when_many_small_values_are_too_much() {
    let writes: Vec<Value> = (0..20).map(|n| json!([format!("c{n}"), text(20_000)])).collect();
    check(&result(writes.into()), &Layout::RUNS, &["/event/data/writes"]);
    let below: Vec<Value> = (0..12).map(|n| json!([format!("c{n}"), text(20_000)])).collect();
    check(&result(below.into()), &Layout::RUNS, &[]);
}

#[test]
fn a_part_may_hold_what_was_taken_out_before() {
    let mut writes: Vec<Value> = (0..20).map(|n| json!([format!("c{n}"), text(20_000)])).collect();
    writes.push(json!(["large", text(100_000)]));
    check(&result(writes.into()), &Layout::RUNS, &["/event/data/writes", "/event/data/writes/20/1"]);
}

#[test]
fn whatever_a_caller_or_a_node_may_say_at_length_is_taken_out() {
    let event = |data: Value| json!({"envelope": {}, "event": {"type": "x", "data": data}});
    let runs = |data: Value, at: &[&str]| {
        let at: Vec<String> = at.iter().map(|at| format!("/event/data/{at}")).collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        check(&event(data), &Layout::RUNS, &at);
    };
    let large = || text(40_000);
    // An edit, as an object and as pairs.
    let edit =
        json!({"supersteps": [[{"values": {"a": large(), "b": 1}}], [{"values": [["a", large()]], "as_node": "n"}]]});
    runs(edit, &["supersteps/0/0/values/a", "supersteps/1/0/values/0"]);
    let goto = json!([{"node": "n"}, {"send": {"node": "n", "argument": {"a": large()}}}]);
    let command =
        json!({"command": {"resume": large(), "answers": {"id": large()}, "update": {"a": large()}, "goto": goto}});
    let at = ["command/resume", "command/answers/id", "command/update/a", "command/goto/1/send/argument"];
    runs(command, &at);
    let parent = json!({"parent": {"writes": [["a", 1], ["b", large()]], "goto": goto}});
    runs(parent, &["parent/writes/1/1", "parent/goto/1/send/argument"]);
    runs(json!({"interrupts": [{"id": "i", "value": {"q": large()}}]}), &["interrupts/0/value"]);

    let happened = |data: Value| json!({"envelope": {}, "update": {"happened": [{"type": "x", "data": data}]}});
    let at = |place: &str| format!("/update/happened/0/data/{place}");
    let shown = json!({"values": {"a": large()}, "untracked": {"b": large()}});
    check(&happened(shown), &Layout::UPDATE, &[&at("values/a"), &at("untracked/b")]);
    check(&happened(json!({"breakpoint": true, "values": {"a": large()}})), &Layout::UPDATE, &[&at("values/a")]);
    let next = json!({"next": [{"path": {"push": {"index": 0, "argument": large()}}}]});
    check(&happened(next), &Layout::UPDATE, &[&at("next/0/path/push/argument")]);

    // A loop, of the state or put away.
    let channels = json!({"channels": {"a": {"version": 3, "content": {"value": large()}}}});
    let task = json!({"answers": [large()], "given": [1, large()], "interrupts": [{"id": "i", "value": large()}],
        "stand": {"finished": {"writes": [["a", large()]]}}});
    let inside = json!({"head": channels, "progress": {"shown": {"a": large()}}, "resume": large()});
    let at = [
        "/head/channels/a/content/value",
        "/tasks/x/answers/0",
        "/tasks/x/given/1",
        "/tasks/x/interrupts/0/value",
        "/tasks/x/stand/finished/writes/0/1",
        "/tasks/x/inner/head/channels/a/content/value",
        "/tasks/x/inner/progress/shown/a",
        "/tasks/x/inner/resume",
    ];
    let mut task = task;
    task["inner"] = inside;
    check(&json!({"ns": "", "head": channels, "tasks": {"x": task}}), &Layout::STATE, &at);
    let task = json!({"task": {"answers": [large()], "channels": {"a": large()}}, "envelope": {}});
    check(&task, &Layout::TASK, &["/task/answers/0", "/task/channels/a"]);
}

#[test]
fn ten_thousand_sends_are_one_part() {
    let sends: Vec<Value> =
        (0..10_000).map(|n| json!({"send": {"node": "row", "argument": {"row": n, "text": "abc"}}})).collect();
    let mut record = result(json!([]));
    record["event"]["data"]["branches"] = sends.into();
    check(&record, &Layout::RUNS, &["/event/data/branches"]);
}

#[test]
fn lists_that_are_each_too_long_go_one_after_the_other() {
    let tasks: Vec<Value> = (0..10_000).map(|n| json!({"task_id": n, "node": "row", "ns": "row:0198c0de"})).collect();
    let record = json!({"envelope": {}, "update": {"number": 2, "issued": tasks,
        "happened": [{"type": "step_done", "data": {"step": 1, "next": tasks}}]}});
    check(&record, &Layout::UPDATE, &["/update/issued", "/update/happened/0/data/next"]);
}

#[test]
fn more_values_than_a_table_should_have_go_together() {
    let writes: Vec<Value> = (0..600).map(|n| json!([format!("c{n}"), text(33_000)])).collect();
    let put = check_whole(&result(writes.into()), &Layout::RUNS);
    assert!(put.references.values.len() <= 257, "{} references", put.references.values.len());
    assert!(put.json.len() <= RECORD_BYTES_INLINE, "{} bytes", put.json.len());
}

fn check_whole(record: &Value, layout: &Layout) -> PutAway {
    let json = serde_json::to_vec(record).unwrap();
    let put = put_away(&json, &owner(), layout).unwrap();
    assert!(fill(&put.json, &put.references, &put.values).unwrap() == json);
    put
}

#[test]
fn a_callers_value_that_looks_like_a_reference_is_a_value() {
    let table = json!({"version": 1, "owner": "acme/t/t", "values": [{"at": "/event", "hash": "00", "bytes": 3}]});
    let alike = json!({"references": table, "at": "/event/data", "hash": "00", "bytes": 1, "doc": text(40_000)});
    let record = result(json!([["references", table], ["doc", alike]]));
    check(&record, &Layout::RUNS, &["/event/data/writes/1/1"]);
    // Of a row, whose own fields are known, that it begins with a caller's text says nothing.
    assert_eq!(references_of_row(br#"{"run_id":"x","input":{"references":{"version":1}}}"#), None);
}

#[test]
fn odd_names_lead_where_they_should() {
    let record = json!({"task": {"channels": {"a/b~c": text(40_000), "q\"uote": text(40_000), "": text(40_000),
        "0": [text(40_000)], "\u{1}\n": text(40_000)}}});
    let put = check_whole(&record, &Layout::TASK);
    assert_eq!(put.references.values[0].at, "/task/channels/a~1b~0c");
    assert_eq!(put.references.values.len(), 5);
}

#[test]
fn a_states_values_are_found_in_its_channels() {
    let state = json!({"key": "acme/t/t", "head": {"channels": {"doc": {"content": {"value": text(40_000)}, "version": 3}}},
        "tasks": {"t1": {"stand": {"finished": {"writes": [["a", text(40_000)]]}}}}});
    check(&state, &Layout::STATE, &["/head/channels/doc/content/value", "/tasks/t1/stand/finished/writes/0/1"]);
}

#[test]
fn what_can_not_be_filled_says_why() {
    let json = serde_json::to_vec(&result(json!([["a", text(40_000)]]))).unwrap();
    let put = put_away(&json, &owner(), &Layout::RUNS).unwrap();
    let missing = fill(&put.json, &put.references, &Values::new()).unwrap_err();
    assert!(matches!(missing, FillError::Missing { .. }), "{missing}");
    let newer = References { version: 2, ..put.references.clone() };
    assert!(matches!(fill(&put.json, &newer, &put.values), Err(FillError::Newer { version: 2 })));
    let mut astray = put.references.clone();
    astray.values[0].at = "/event/data/writes/9/1".to_owned();
    assert!(matches!(fill(&put.json, &astray, &put.values), Err(FillError::Astray { .. })));
    for broken in [&b"{"[..], b"", b"{\"references\":", b"[1,", b"{\"a\":\"\\"] {
        let _ = fill(broken, &put.references, &put.values);
        let _ = references_of_row(broken);
    }
}

#[test]
fn numbers_come_back_as_they_were_written() {
    let list = format!("[{}]", ["0.1000000000000000055511151231257827", "1e400", "-0.0", "9007199254740993"].join(","));
    let long = format!("[{}]", vec![list.as_str(); 2_000].join(", "));
    let json = format!(r#"{{"task": {{ "channels" : {{"n": {long} , "m":1}}}} }}"#);
    let put = put_away(json.as_bytes(), &owner(), &Layout::TASK).unwrap();
    assert_eq!(fill(&put.json, &put.references, &put.values).unwrap(), json.as_bytes());
}
