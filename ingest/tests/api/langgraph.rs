//! LangGraph's addresses, as its SDKs use them.

use std::sync::Arc;

use graph::{
    event::{CommandInput, Edit, Event, Multitask, Request, StateUpdate},
    task::Destination,
};
use serde_json::{Value, json};

use crate::stage::{ACME, PARTITIONS, Stage};

fn run(text: &str) -> Value {
    // With the fields that the SDK sends unasked.
    json!({
        "assistant_id": "support", "input": {"messages": [{"role": "user", "content": text}], "unknown": 1},
        "stream_mode": ["values"], "stream_subgraphs": false, "on_disconnect": null, "durability": "async",
    })
}

async fn thread(stage: &Stage) -> String {
    let thread = stage.post("/threads", json!({"metadata": {"owner": "ann"}})).await.expect(200).json();
    assert_eq!((&thread["status"], &thread["metadata"]["owner"]), (&json!("idle"), &json!("ann")));
    thread["thread_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_thread_is_there_before_its_first_run() {
    let stage = Stage::new().await;
    let id = thread(&stage).await;
    let found = stage.get(&format!("/threads/{id}")).await.expect(200).json();
    assert_eq!((&found["thread_id"], &found["metadata"]["owner"]), (&json!(id), &json!("ann")));
    assert_eq!(stage.get(&format!("/threads/{id}/state")).await.expect(200).json()["values"], json!({}));
    assert_eq!(stage.get(&format!("/threads/{id}/history")).await.expect(200).json(), json!([]));
    assert_eq!(stage.get(&format!("/threads/{id}/runs")).await.expect(200).json(), json!([]));
    let again = stage.post("/threads", json!({"thread_id": id})).await.expect(409);
    assert_eq!(again.json(), json!({"detail": format!("Thread with ID {id} already exists")}));
    stage.post("/threads", json!({"thread_id": id, "if_exists": "do_nothing"})).await.expect(200);
    let missing = stage.get("/threads/nobody").await.expect(404).json();
    assert_eq!(missing, json!({"detail": "Thread with ID nobody not found"}));
}

#[tokio::test]
async fn a_run_on_a_thread() {
    let stage = Stage::new().await;
    let id = thread(&stage).await;
    let reply = stage.post(&format!("/threads/{id}/runs"), run("hi")).await.expect(200);
    let made = reply.json();
    let address = format!("/threads/{id}/runs/{}", made["run_id"].as_str().unwrap());
    assert_eq!((reply.header("content-location"), &made["status"]), (&*address, &json!("pending")));
    let found = stage.get(&address).await.expect(200).json();
    assert_eq!((&found["status"], &found["assistant_id"]), (&json!("success"), &made["assistant_id"]));
    assert_eq!(stage.get(&format!("/threads/{id}/runs")).await.expect(200).json()[0]["run_id"], made["run_id"]);
    let values = stage.get(&format!("{address}/join")).await.expect(200).json();
    assert_eq!(values["messages"][1]["content"], "you said hi");
    assert_eq!(stage.get(&format!("/threads/{id}/state")).await.expect(200).json()["values"], json!({"topic": "x"}));

    let Event::Requested(request) = stage.records().await[0].1.event.clone() else { panic!() };
    assert_eq!(request.input.as_deref().unwrap()["unknown"], Value::Null, "unknown channels are left out");
    stage.post(&format!("{address}/cancel"), json!({})).await.expect(404);
    stage.get(&format!("/threads/other/runs/{}", made["run_id"].as_str().unwrap())).await.expect(404);
    stage.get(&format!("/threads/{id}/runs/no-uuid")).await.expect(422);
}

#[tokio::test]
async fn a_run_that_is_cancelled_is_shown_as_interrupted() {
    let stage = Stage::new().await;
    let id = thread(&stage).await;
    let reply = stage.post(&format!("/threads/{id}/runs"), run("slow")).await.expect(200);
    let address = reply.header("content-location").to_owned();
    let cancel = stage.post(&format!("{address}/cancel?wait=true"), json!({})).await.expect(200);
    assert_eq!(cancel.json(), json!({}));
    assert_eq!(stage.get(&address).await.expect(200).json()["status"], "interrupted");
    stage.post(&format!("{address}/cancel?action=undo"), json!({})).await.expect(422);
}

#[tokio::test]
async fn a_run_is_undone_by_its_client_or_by_the_next() {
    let stage = Stage::new().await;
    let id = thread(&stage).await;
    let reply = stage.post(&format!("/threads/{id}/runs"), run("slow")).await.expect(200);
    let address = reply.header("content-location").to_owned();
    stage.post(&format!("{address}/cancel?wait=true&action=rollback"), json!({})).await.expect(200);
    let (_, last) = stage.records().await.pop().unwrap();
    assert!(matches!(last.event, Event::Cancelled { rollback: true, .. }), "{last:?}");
    let mut instead = run("x");
    instead["multitask_strategy"] = json!("rollback");
    stage.post(&format!("/threads/{id}/runs"), instead).await.expect(200);
    assert_eq!(last_request(&stage).await.multitask, Multitask::Rollback);
}

#[tokio::test]
async fn waiting_answers_with_values_errors_and_questions() {
    let stage = Stage::new().await;
    let values = stage.post("/runs/wait", run("hi")).await.expect(200).json();
    assert_eq!(values["messages"][1]["content"], "you said hi");
    let failed = stage.post("/runs/wait", run("fail")).await.expect(200).json();
    assert_eq!(failed["__error__"]["message"], "node answer failed: boom");
    let id = thread(&stage).await;
    let asked = stage.post(&format!("/threads/{id}/runs/wait"), run("ask")).await.expect(200).json();
    assert_eq!(asked["__interrupt__"], json!([{"id": "i", "value": "sure?", "response_schema": null}]));
    assert_eq!(asked["messages"][0]["content"], "ask");
}

#[tokio::test]
async fn a_run_may_keep_only_its_last_checkpoint() {
    let stage = Stage::new().await;
    let path = format!("/threads/{}/runs", thread(&stage).await);
    let keeps_last = async || match &stage.records().await.last().expect("a record").1.event {
        Event::Requested(request) => request.keeps_last,
        other => panic!("{other:?}"),
    };
    for (option, value, expected) in [
        ("durability", json!("exit"), true),
        ("durability", json!("sync"), false),
        ("checkpoint_during", json!(false), true),
        ("checkpoint_during", json!(true), false),
    ] {
        let mut body = run("hi");
        body["durability"] = Value::Null;
        body[option] = value;
        stage.post(&path, body).await.expect(200);
        assert_eq!(keeps_last().await, expected, "{option}");
    }
    let own = json!({"input": {"topic": "x"}, "thread_id": "t", "durability": "exit"});
    stage.post("/graphs/support/runs", own).await.expect(202);
    assert!(keeps_last().await);
}

#[tokio::test]
async fn mistakes_have_langgraphs_words() {
    let stage = Stage::new().await;
    let id = thread(&stage).await;
    let path = format!("/threads/{id}/runs");
    let check = async |path: &str, body: Value, status: u16, says: &str| {
        let reply = stage.post(path, body).await.expect(status);
        let detail = reply.json()["detail"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned();
        assert!(detail.contains(says), "{detail}");
    };
    check(&path, json!({"input": {}}), 422, "'assistant_id' is a required property").await;
    check(&path, json!({"assistant_id": "nobody", "input": {}}), 422, "Invalid assistant: 'nobody'").await;
    check(&path, json!({"assistant_id": "support", "input": {"topic": 5}}), 422, "topic").await;
    check(&path, json!({"assistant_id": "support", "input": [1]}), 422, "object").await;
    check("/threads/nobody/runs", run("x"), 404, "Thread or assistant not found.").await;
    check("/runs/wait", json!({"assistant_id": "support"}), 422, "input").await;
    for (option, value) in [
        ("webhook", json!("http://x")),
        ("stream_mode", json!(["values", "events"])),
        ("checkpoint", json!({"checkpoint_ns": "sub:1"})),
    ] {
        let mut body = run("x");
        body[option] = value;
        check(&path, body, 501, option).await;
    }
    for (option, value) in [
        ("checkpoint_id", json!("x")),
        ("stream_mode", json!("valuse")),
        ("command", json!({"goto": 5})),
        ("after_seconds", json!(1e9)),
    ] {
        let mut body = run("x");
        body[option] = value;
        check(&path, body, 422, option).await;
    }
    let request = http::Request::post(&path).header("x-api-key", ACME).body("{".to_owned().into());
    let malformed = stage.send(request.unwrap()).await.expect(422).json();
    assert_eq!(malformed, json!({"detail": "Invalid JSON in request body"}));
    let mut body = run("busy");
    body["multitask_strategy"] = json!("reject");
    check(&path, body, 409, "Thread is already running a task.").await;
    let mut body = run("x");
    body["if_not_exists"] = json!("create");
    stage.post("/threads/new-one/runs", body).await.expect(200);
}

/// The request of the last record.
async fn last_request(stage: &Stage) -> Request {
    let (_, last) = stage.records().await.pop().expect("a record");
    match last.event {
        Event::Requested(request) => *request,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_run_carries_what_langgraphs_clients_say() {
    let stage = Stage::new().await;
    let path = format!("/threads/{}/runs", thread(&stage).await);
    let id = uuid::Uuid::from_u128(7);
    let check = async |options: Value, expect: Request| {
        let mut body = json!({"assistant_id": "support"});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        stage.post(&path, body).await.expect(200);
        let Request { input, command, checkpoint_id, interrupt_before, interrupt_after, .. } =
            last_request(&stage).await;
        let found = Request { input, command, checkpoint_id, interrupt_before, interrupt_after, ..Request::default() };
        assert_eq!(found, expect, "{options}");
    };
    let of = |command: CommandInput| Request { command: Some(command), ..Request::default() };
    let answer = CommandInput { resume: Some(Arc::new(json!("yes"))), ..CommandInput::default() };
    check(json!({"command": {"resume": "yes"}}), of(answer.clone())).await;
    check(json!({"command": {"resume": "yes"}, "input": {"messages": "x"}}), of(answer)).await;
    let question = "c1d2e3f4a5b60718293a4b5c6d7e8f90";
    let answers = Some([(question.to_owned(), Arc::new(json!(1)))].into());
    check(json!({"command": {"resume": {question: 1}}}), of(CommandInput { answers, ..CommandInput::default() })).await;
    let goto = vec![Destination::Node("answer".to_owned())];
    let update = Some(Arc::new(json!({"topic": "x"})));
    let command = CommandInput { update, goto, ..CommandInput::default() };
    check(json!({"command": {"update": {"topic": "x"}, "goto": "answer"}}), of(command)).await;
    for place in [
        json!({"checkpoint_id": id}),
        json!({"checkpoint": {"checkpoint_id": id, "checkpoint_ns": ""}}),
        json!({"config": {"configurable": {"checkpoint_id": id}}}),
    ] {
        check(place, Request { checkpoint_id: Some(id), ..Request::default() }).await;
    }
    let stops = Request {
        interrupt_before: vec!["*".to_owned()],
        interrupt_after: vec!["answer".to_owned()],
        ..Request::default()
    };
    check(json!({"interrupt_before": "*", "interrupt_after": ["answer"]}), stops).await;
}

#[tokio::test]
async fn a_run_that_asked_is_answered_by_its_address() {
    let stage = Stage::new().await;
    let ask = json!({"input": {"messages": "ask"}, "mode": "wait", "thread_id": "t"});
    let asked = stage.post("/graphs/support/runs", ask).await.expect(200).json();
    let path = format!("/graphs/support/runs/{}/resume", asked["run_id"].as_str().unwrap());
    let answered = stage.post(&path, json!({"answer": "yes", "mode": "wait"})).await.expect(200).json();
    assert_eq!((&answered["thread_id"], &answered["status"]), (&json!("t"), &json!("success")));
    let request = last_request(&stage).await;
    assert_eq!(request.command.unwrap().resume.as_deref(), Some(&json!("yes")));
    assert_eq!(request.resumes.map(|run| run.to_string()).as_deref(), asked["run_id"].as_str());
    for bad in [json!({}), json!({"answer": 1, "answers": {}}), json!({"answers": {"x": 1}})] {
        assert_eq!(stage.post(&path, bad).await.expect(400).code(), "invalid_value");
    }
    let ended = format!("/graphs/support/runs/{}/resume", answered["run_id"].as_str().unwrap());
    let refused = stage.post(&ended, json!({"answer": 1})).await.expect(400);
    assert!(refused.text.contains("asks nothing"), "{}", refused.text);
}

#[tokio::test]
async fn a_run_begins_after_a_delay_and_has_its_time_from_then_on() {
    let stage = Stage::new().await;
    let id = thread(&stage).await;
    let at_once = stage.post(&format!("/threads/{id}/runs"), run("x")).await.expect(200).json();
    assert_eq!(at_once["status"], "pending");
    let begins = last_request(&stage).await;
    assert_eq!(begins.after_ms, None);
    for path in [format!("/threads/{id}/runs"), "/runs".to_owned()] {
        let mut body = run("x");
        body["after_seconds"] = json!(2.5);
        stage.post(&path, body).await.expect(200);
        let (_, record) = stage.records().await.pop().unwrap();
        let Event::Requested(request) = &record.event else { panic!("{record:?}") };
        assert_eq!(request.after_ms, Some(2_500));
        assert_eq!(record.envelope.deadline - record.at, 24 * 3_600 * 1_000 + 2_500);
    }
    let body = json!({"input": {"messages": "x"}, "after_seconds": 1});
    stage.post("/graphs/support/runs", body).await.expect(202);
    assert_eq!(last_request(&stage).await.after_ms, Some(1_000));
}

#[tokio::test]
async fn threads_are_pruned_one_by_one() {
    let stage = Stage::new().await;
    for thread in ["t", "u", "kept"] {
        let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": thread});
        stage.post("/graphs/support/runs", run).await.expect(200);
    }
    let prune = json!({"thread_ids": ["t", "nobody", "u"]});
    assert_eq!(stage.post("/threads/prune", prune.clone()).await.expect(200).json(), json!({"pruned_count": 2}));
    for (thread, status) in [("t", 404), ("u", 404), ("kept", 200)] {
        stage.get(&format!("/threads/{thread}")).await.expect(status);
    }
    assert_eq!(stage.post("/threads/prune", prune).await.expect(200).json(), json!({"pruned_count": 0}));
    let many: Vec<String> = (0..1_001).map(|n| format!("t{n}")).collect();
    stage.post("/threads/prune", json!({"thread_ids": many})).await.expect(422);
}

#[tokio::test]
async fn histories_are_forgotten_by_a_record_of_each_thread() {
    let stage = Stage::new().await;
    let run =
        |said: &str, mode: &str, thread: &str| json!({"input": {"messages": said}, "mode": mode, "thread_id": thread});
    for thread in ["t", "u"] {
        stage.post("/graphs/support/runs", run("x", "wait", thread)).await.expect(200);
    }
    stage.post("/threads", json!({"thread_id": "made"})).await.expect(200);
    let prune = |threads: &[&str]| json!({"thread_ids": threads, "strategy": "keep_latest"});
    let answer = stage.post("/threads/prune", prune(&["t", "nobody", "made", "u"])).await.expect(200).json();
    assert_eq!(answer, json!({"pruned_count": 3}));
    let mut records = stage.records().await;
    records.retain(|(_, record)| record.event == Event::ThreadPruned);
    let mut pruned: Vec<_> = records.iter().filter_map(|(_, record)| record.envelope.thread_id.as_deref()).collect();
    pruned.sort_unstable();
    assert_eq!(pruned, ["t", "u"], "a thread without a run has no history");
    for (partition, record) in &records {
        assert_eq!(u32::from(graph::ids::partition_of(record.envelope.run_id)), *partition);
    }
    stage.get("/threads/t").await.expect(200);
    stage.post("/graphs/support/runs", run("slow", "background", "b")).await.expect(202);
    let busy = stage.post("/threads/prune", prune(&["b"])).await.expect(409);
    assert!(busy.text.contains("in-flight"), "{}", busy.text);
}

#[tokio::test]
async fn a_states_edit_is_a_record_of_its_thread() {
    let stage = Stage::new().await;
    let path = "/threads/t/state";
    stage.post(path, json!({"values": {"topic": "x"}})).await.expect(404);
    let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": "t"});
    stage.post("/graphs/support/runs", run).await.expect(200);
    let id = uuid::Uuid::from_u128(7);
    let edit =
        json!({"values": {"messages": {"role": "user", "content": "hi"}}, "as_node": "answer", "checkpoint_id": id});
    let made = stage.post(path, edit).await.expect(200).json();
    assert_eq!(made["checkpoint"], made["configurable"]);
    assert_eq!(made["checkpoint"]["thread_id"], "t");
    let (_, last) = stage.records().await.pop().unwrap();
    let Event::StateEdited(edit) = &last.event else { panic!("{last:?}") };
    let values = Some(Arc::new(json!({"messages": [{"type": "human", "content": "hi"}]})));
    let update = StateUpdate { values, as_node: Some("answer".to_owned()) };
    assert_eq!(**edit, Edit { checkpoint_id: Some(id), supersteps: vec![vec![update]], ..Edit::default() });
    let busy = json!({"values": {"topic": "busy"}});
    assert!(stage.post(path, busy).await.expect(409).text.contains("in-flight"));
    let two =
        json!({"supersteps": [{"updates": [{"values": null, "as_node": "__end__"}]}, {"updates": [{"values": {}}]}]});
    stage.post(path, two).await.expect(200);
    let inside = json!({"values": {}, "checkpoint": {"checkpoint_ns": "sub:1"}});
    let made = stage.post(path, inside).await.expect(200).json();
    assert_eq!(made["checkpoint"]["checkpoint_ns"], "sub:1");
    let (_, last) = stage.records().await.pop().expect("a record");
    assert!(matches!(&last.event, Event::StateEdited(edit) if edit.checkpoint_ns == "sub:1"), "{last:?}");
}

#[tokio::test]
async fn a_thread_is_deleted_by_a_record_of_its_own() {
    let stage = Stage::new().await;
    let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": "t"});
    stage.post("/graphs/support/runs", run).await.expect(200);
    let deleted = stage.ask(ACME, "DELETE", "/threads/t", None).await.expect(204);
    assert_eq!(deleted.text, "");
    let (partition, last) = stage.records().await.pop().unwrap();
    assert_eq!((&last.event, last.envelope.thread_id.as_deref()), (&Event::ThreadDeleted, Some("t")));
    assert_eq!(u32::from(graph::ids::partition_of(last.envelope.run_id)), partition);
    stage.get("/threads/t").await.expect(404);
    let again = stage.ask(ACME, "DELETE", "/threads/t", None).await.expect(404).json();
    assert_eq!(again, json!({"detail": "Thread with ID t not found"}));
}

#[tokio::test]
async fn a_thread_is_copied_by_a_record_of_its_own() {
    let stage = Stage::new().await;
    let run =
        |said: &str, mode: &str, thread: &str| json!({"input": {"messages": said}, "mode": mode, "thread_id": thread});
    stage.post("/graphs/support/runs", run("x", "wait", "t")).await.expect(200);
    let copy = stage.ask(ACME, "POST", "/threads/t/copy", None).await.expect(200).json();
    let to = copy["thread_id"].as_str().unwrap().to_owned();
    let (partition, last) = stage.records().await.pop().unwrap();
    assert_eq!(last.event, Event::ThreadCopied { to: to.clone() });
    assert_eq!(last.envelope.thread_id.as_deref(), Some("t"));
    assert_eq!(u32::from(graph::ids::partition_of(last.envelope.run_id)), partition);
    let key = |thread: &str| graph::envelope::Key::thread("acme", thread);
    let of = |thread: &str| event_log::partition_for(key(thread).as_str().as_bytes(), PARTITIONS);
    assert_eq!((of(&to), of("t")), (partition, partition), "one owner has both");
    stage.post("/graphs/support/runs", run("slow", "background", "b")).await.expect(202);
    let busy = stage.ask(ACME, "POST", "/threads/b/copy", None).await.expect(409);
    assert!(busy.text.contains("in-flight"), "{}", busy.text);
    stage.ask(ACME, "POST", "/threads/nobody/copy", None).await.expect(404);
    let made = stage.post("/threads", json!({"thread_id": "m", "metadata": {"owner": "ann"}})).await.expect(200);
    let copy = stage.ask(ACME, "POST", "/threads/m/copy", None).await.expect(200).json();
    assert_eq!((&copy["metadata"], &copy["status"]), (&made.json()["metadata"], &json!("idle")));
    assert_eq!(stage.get(&format!("/threads/{}", copy["thread_id"].as_str().unwrap())).await.expect(200).json(), copy);
}

#[tokio::test]
async fn threads_are_searched_counted_and_their_metadata_changed() {
    let stage = Stage::new().await;
    let begin = async |thread: &str| {
        let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": thread});
        stage.post("/graphs/support/runs", run).await.expect(200);
    };
    for thread in ["a", "b", "c"] {
        begin(thread).await;
    }
    let patch = async |body: Value| stage.ask(ACME, "PATCH", "/threads/b", Some(body)).await.expect(200).json();
    patch(json!({"metadata": {"owner": "ann"}})).await;
    let patched = patch(json!({"metadata": {"team": "red"}})).await;
    assert_eq!(patched["metadata"], json!({"graph_id": "support", "owner": "ann", "team": "red"}));
    let ids = async |body: Value| {
        let found = stage.post("/threads/search", body).await.expect(200).json();
        let ids = found.as_array().unwrap().iter().map(|thread| thread["thread_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(json!({})).await, "a b c");
    assert_eq!(ids(json!({"limit": 1, "offset": 1})).await, "b");
    assert_eq!(ids(json!({"metadata": {"owner": "ann"}})).await, "b");
    assert_eq!(ids(json!({"metadata": {"owner": "bob"}})).await, "");
    assert_eq!(ids(json!({"ids": ["c", "x"]})).await, "c");
    assert_eq!(ids(json!({"status": "busy"})).await, "");
    let page = stage.post("/threads/search", json!({"limit": 2})).await.expect(200);
    assert_eq!(page.header("x-pagination-next"), "2");
    assert_eq!(stage.post("/threads/count", json!({})).await.expect(200).json(), json!(3));
    assert_eq!(stage.post("/threads/count", json!({"metadata": {"team": "red"}})).await.expect(200).json(), json!(1));
    stage.post("/threads/search", json!({"sort_by": "status"})).await.expect(501);
    stage.ask(ACME, "PATCH", "/threads/nobody", Some(json!({"metadata": {}}))).await.expect(404);
}

#[tokio::test]
async fn an_assistants_schemas_and_drawing_are_its_graphs() {
    let stage = Stage::new().await;
    let schemas = stage.get("/assistants/sum/schemas").await.expect(200).json();
    assert_eq!(schemas["graph_id"], "sum");
    let names = |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&schemas["input_schema"]), ["left", "right"]);
    assert_eq!(names(&schemas["output_schema"]), ["total"]);
    let drawn = stage.get("/assistants/sum/graph").await.expect(200).json();
    let nodes = drawn["nodes"].as_array().unwrap();
    assert_eq!((&nodes[0]["id"], &nodes[nodes.len() - 1]["id"]), (&json!("__start__"), &json!("__end__")));
    assert!(drawn["edges"].as_array().unwrap().iter().any(|edge| edge["source"] == "__start__"), "{drawn}");
    assert_eq!(stage.post("/assistants/count", json!({})).await.expect(200).json(), json!(2));
    stage.get("/assistants/nobody/graph").await.expect(404);
}

#[tokio::test]
async fn assistants_are_the_graphs() {
    let stage = Stage::new().await;
    let all = stage.post("/assistants/search", json!({})).await.expect(200).json();
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|one| one["graph_id"].clone()).collect();
    assert_eq!(ids, [json!("sum"), json!("support")]);
    let found = stage.post("/assistants/search", json!({"graph_id": "sum", "limit": 5})).await.expect(200).json();
    assert_eq!(found.as_array().unwrap().len(), 1);
    let id = found[0]["assistant_id"].as_str().unwrap();
    assert_eq!(stage.get(&format!("/assistants/{id}")).await.expect(200).json()["name"], "sum");
    stage.get("/assistants/sum").await.expect(200);
    stage.get("/assistants/nobody").await.expect(404);
    let body = json!({"assistant_id": id, "input": {"left": 1, "right": 1}});
    assert_eq!(stage.post("/runs/wait", body).await.expect(200).json(), json!({"total": 2}));
}
