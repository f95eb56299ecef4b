//! Aliases of models, changed over the API and in the file while chats go on.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::{PATIENCE, Process, dev, folder, post};

/// What the chat of a thread is answered.
async fn answers(server: &Process, thread: &str) -> Value {
    let (status, answer) = post(server, "/chat", &json!({"message": "hello", "thread_id": thread})).await;
    assert_eq!(status, 200, "{answer}");
    answer["message"]["content"].clone()
}

fn models(server: &Process, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("models").args(arguments).args(["--url", &server.url("")]);
    let output = command.output().expect("the binary runs");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_takes_its_threads_and_no_others() {
    let folder = folder();
    let mut server = dev(folder.path(), &[]).await;
    let before = answers(&server, "first").await;
    let (ok, text) = models(&server, &["set", "default", "scripted/echo?text=stable"]);
    assert!(ok && text.contains("current  scripted/echo?text=stable"), "{text}");
    eventually(&server, "first", "stable").await;
    assert_ne!(before, "stable");
    let (ok, text) = models(&server, &["set", "default", "scripted/echo?text=canary", "--canary", "30"]);
    assert!(ok && text.contains("30%"), "{text}");
    let threads: Vec<String> = (0..60).map(|n| format!("thread-{n}")).collect();
    let asked = async |server: &Process| {
        let said = join_all(threads.iter().map(|thread| answers(server, thread))).await;
        let mut tried = BTreeSet::new();
        for (thread, said) in threads.iter().zip(said) {
            match said.as_str() {
                Some("canary") => assert!(tried.insert(thread.clone())),
                other => assert_eq!(other, Some("stable")),
            }
        }
        tried
    };
    // The first asks may come before the worker has heard.
    let began = Instant::now();
    while asked(&server).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "nobody was asked for the canary");
    }
    let tried = asked(&server).await;
    assert!((6..=32).contains(&tried.len()), "about 18 of 60: {}", tried.len());
    // What was said outlives a kill, and each thread stays with its model.
    server.restart();
    server.wait_until_ready().await;
    assert_eq!(asked(&server).await, tried);
    assert!(models(&server, &["promote", "default"]).0);
    eventually(&server, threads.iter().find(|thread| !tried.contains(*thread)).unwrap(), "canary").await;
    assert!(models(&server, &["rollback", "default"]).0);
    eventually(&server, tried.first().unwrap(), "stable").await;
    assert!(models(&server, &["delete", "default"]).0);
    let began = Instant::now();
    while answers(&server, "first").await == "stable" {
        assert!(began.elapsed() < PATIENCE, "the alias is still there");
    }
    let (ok, text) = models(&server, &["promote", "default"]);
    assert!(!ok && text.contains("no alias default was set"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_ends_as_it_began() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    assert!(models(&server, &["set", "default", "scripted/echo?text=slow&latency=6000"]).0);
    eventually(&server, "before", "slow").await;
    let changed = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        models(&server, &["set", "default", "scripted/echo?text=new"])
    };
    let (said, (ok, text)) = tokio::join!(answers(&server, "slow"), changed);
    assert!(ok, "{text}");
    assert_eq!(said, "slow");
    eventually(&server, "slow", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_the_file_are_read_again_when_it_is_saved() {
    let folder = folder();
    let config = folder.path().join("millstream.toml");
    fs::write(&config, "[models.default]\nuse = \"scripted/echo?text=one\"\n").unwrap();
    let server = dev(folder.path(), &["--config", config.to_str().unwrap()]).await;
    assert_eq!(answers(&server, "t").await, "one");
    fs::write(&config, "[models.default]\nuse = \"nowhere/two\"\n").unwrap();
    let began = Instant::now();
    while !server.said().contains("add [providers.nowhere]") {
        assert!(began.elapsed() < PATIENCE, "{}", server.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answers(&server, "t").await, "one", "what can't be used changes nothing");
    fs::write(&config, "[models.default]\ntargets = [{ use = \"scripted/echo?text=two\", weight = 2 }]\n").unwrap();
    eventually(&server, "t", "two").await;
}

async fn eventually(server: &Process, thread: &str, expect: &str) {
    let began = Instant::now();
    loop {
        let said = answers(server, thread).await;
        if said == expect {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{thread} is answered {said}, not {expect}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
