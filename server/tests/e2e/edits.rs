//! Edits that wait for programs, while whoever carries them out is killed: each is made once, its client hears what came of
//! it, and its thread goes on.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    kills::{kills, seed},
    process::{PATIENCE, Process, dev, folder, get, post},
    programs::Programs,
    runs::Seeded,
};

/// Makes a thread of the graph whose edits wait, and runs it once.
pub async fn begin(ingest: &Process, thread: &str) {
    let (status, made) = post(ingest, "/threads", &json!({"thread_id": thread, "graph_id": "joined"})).await;
    assert_eq!(status, 200, "{made}");
    let input = json!({"assistant_id": "joined", "input": {"log": ["in"]}});
    let (_, ran) = post(ingest, &format!("/threads/{thread}/runs/wait"), &input).await;
    assert_eq!(ran["log"], json!(["in", "a", "b"]), "{ran}");
}

/// Edits a thread as its node `a`, under a key: whatever happens to the answer, the client asks again until it has one. Gives
/// the checkpoint, and how often it had to ask.
pub async fn edit(base: &str, thread: &str, said: &str) -> (String, u32) {
    let url = format!("{base}/threads/{thread}/state");
    let body = json!({"values": {"log": [said]}, "as_node": "a"});
    let until = tokio::time::Instant::now() + PATIENCE;
    for asked in 1.. {
        assert!(tokio::time::Instant::now() < until, "nobody answers the edit {said}");
        let request = reqwest::Client::new().post(&url).header("idempotency-key", said).json(&body);
        let Ok(response) = request.timeout(PATIENCE).send().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let status = response.status().as_u16();
        let Ok(answer) = response.json::<Value>().await else { continue };
        match status {
            200 => return (answer["checkpoint_id"].as_str().expect("a checkpoint").to_owned(), asked),
            503 | 504 => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => panic!("the edit {said}: {status} {answer}"),
        }
    }
    unreachable!("it asks until its patience ends")
}

/// The edit was made once, where its client was told, and the thread goes on from there.
pub async fn check(ingest: &Process, thread: &str, expected: &mut Vec<String>, (made, said): (&str, &str)) {
    assert_eq!(edit(&ingest.url(""), thread, said).await, (made.to_owned(), 1), "a repeat finds the first");
    expected.push(said.to_owned());
    let (_, state) = get(ingest, &format!("/threads/{thread}/state")).await;
    assert_eq!((&state["values"]["log"], &state["next"]), (&json!(expected), &json!(["b"])), "{said}: {state}");
    assert_eq!((&state["checkpoint_id"], &state["metadata"]["source"]), (&json!(made), &json!("update")), "{state}");
    let (_, ran) =
        post(ingest, &format!("/threads/{thread}/runs/wait"), &json!({"assistant_id": "joined", "input": null})).await;
    expected.push("b".to_owned());
    assert_eq!(ran["log"], json!(expected), "{said}");
}

/// How many checkpoints of a thread are edits'.
pub async fn made(ingest: &Process, thread: &str) -> usize {
    let (_, history) = get(ingest, &format!("/threads/{thread}/history?limit=1000")).await;
    let history = history.as_array().expect("a list");
    history.iter().filter(|one| one["metadata"]["source"] == json!("update")).count()
}

#[tokio::test]
async fn an_edit_that_waits_for_programs_is_made_once_whenever_the_server_dies() {
    let folder = folder();
    let programs = Programs::start().await;
    let mut server = dev(folder.path(), &[]).await;
    let put = reqwest::Client::new().put(server.url("/graphs/joined")).body(programs.joined()).send().await.unwrap();
    assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    begin(&server, "kept").await;
    begin(&server, "left").await;
    let mut random = Seeded::new(seed());
    let mut expected: Vec<String> = ["in", "a", "b"].map(str::to_owned).into();
    let (mut asked, mut left) = (0, 0);
    let before = programs.asked();
    for kill in 0..kills() {
        let said = format!("edit {kill}");
        let base = server.url("");
        let kept = edit(&base, "kept", &said);
        // Without a key nobody can ask again: it was made or not.
        let body = json!({"values": {"log": [said]}, "as_node": "a"});
        let at_once = reqwest::Client::new().post(server.url("/threads/left/state")).json(&body).send();
        let moment = Duration::from_millis(random.below(250));
        let killed = async {
            tokio::time::sleep(moment).await;
            server.restart();
            server.wait_until_ready().await;
        };
        let ((made, times), at_once, ()) = tokio::join!(kept, at_once, killed);
        asked += u64::from(times);
        check(&server, "kept", &mut expected, (&made, &said)).await;

        let body = json!({"assistant_id": "joined", "input": null});
        let (_, ran) = post(&server, "/threads/left/runs/wait", &body).await;
        let times = ran["log"].as_array().expect("a log").iter().filter(|one| **one == json!(said)).count();
        let told = at_once.is_ok_and(|response| response.status() == 200);
        assert!(times == 1 || (times == 0 && !told), "{said} was made {times} times, and its client told: {told}");
        left += times;
    }
    assert_eq!((made(&server, "kept").await, made(&server, "left").await), (kills() as usize, left));
    println!("{} kills: edits asked {asked} times, programs {}", kills(), programs.asked() - before);
}
