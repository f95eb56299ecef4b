//! What a replay reads of a thread's past: what there was when the record was first applied, and nothing that came later.

use std::{sync::atomic::Ordering, time::Duration};

use graph::envelope::Key;
use run_store::{Archive, Position};
use semantics::case::{Call, Case};
use serde_json::{Value, json};

use crate::{
    player::Player,
    stage::{Faults, PATIENCE, Stage},
};

/// One node, which asks twice and writes both answers.
fn asks_twice() -> Case {
    let ask = |question: &str, name: &str| json!({"do": "interrupt", "value": ["lit", question], "as": name});
    let write = json!({"do": "write", "to": "log", "value": ["list", ["var", "x"], ["var", "y"]]});
    let graph = json!({
        "channels": {"log": "append"}, "nodes": {"a": {"do": [ask("one", "x"), ask("two", "y"), write]}},
        "edges": [["START", "a"], ["a", "END"]], "branches": [],
    });
    serde_json::from_value(json!({"id": "again", "flags": [], "graph": graph, "calls": [], "expect": []}))
        .expect("a case")
}

fn call(fields: Value) -> Call {
    serde_json::from_value(fields).expect("a call")
}

/// A run answers at an earlier checkpoint and asks again: the checkpoint is put away a second time, with the answer. The
/// process dies when the archive has that and no state is stored: the replay begins before the answer, and must not find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_reads_the_past_as_it_was() {
    let (stage, case) = (Stage::open(Faults::default()).await, asks_twice());
    let mut player = Player::new(&stage, &case).await;
    for _ in 0..2 {
        player.call(&call(json!({"call": "invoke", "input": {}}))).await.expect("it asks");
    }
    stage.store.takes_no_states.store(true, Ordering::Relaxed);
    player.call(&call(json!({"call": "resume", "value": "A", "at": 1}))).await.expect("it asks again");
    let (key, all) = (Key::thread("default", &case.id), Position::new(0, 1 << 30).expect("a position"));
    tokio::time::timeout(PATIENCE, async {
        loop {
            let rows = stage.store.inner.archived_before(&key, "", None, all, 100).await.expect("the store lives");
            if rows.iter().any(|row| String::from_utf8_lossy(&row.checkpoint).contains(r#""answers":["A"]"#)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the checkpoint is put away with its answer");
    stage.log.kill.notify_one();
    while stage.kills() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.store.takes_no_states.store(false, Ordering::Relaxed);

    let called = player.call(&call(json!({"call": "resume", "value": "B", "at": 1}))).await.expect("it goes on");
    assert_eq!((called.error, &called.state["values"]["log"]), (None, &json!(["A", "B"])));
    stage.close().await;
}
