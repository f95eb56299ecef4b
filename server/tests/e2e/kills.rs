//! kill -9 at seeded moments in the middle of runs: every run finishes, each task advances its state once, model calls
//! are counted, and a stream that comes back misses nothing.
//!
//! `MILLSTREAM_KILLS` sets the number of kills (5 unless told), `MILLSTREAM_SEED` the first seed.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    model::CountingModel,
    process::{Event, Process, folder, free_address, get, post, read_events},
    runs::{AtRisk, Seeded, begin_runs, check_run},
};

pub fn kills() -> u64 {
    std::env::var("MILLSTREAM_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

pub fn seed() -> u64 {
    std::env::var("MILLSTREAM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// `millstream dev` on that model, ready.
async fn dev_with(model: &CountingModel, options: &str, folder: &Path) -> Process {
    let data = folder.join("data");
    let arguments = ["dev", "--data-dir", data.to_str().expect("a path in UTF-8")];
    let mut server = Process::start(&arguments, &model.environment(options), free_address(), folder);
    server.wait_until_ready().await;
    server
}

#[tokio::test]
async fn an_embedded_server_survives_kills_at_any_moment() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=60&tokens=8&interval=5", folder.path()).await;
    let mut random = Seeded::new(seed());
    let (mut runs, mut at_risk) = (Vec::new(), AtRisk::default());
    for kill in 0..kills() {
        at_risk.settle(&server).await;
        let begun = begin_runs(&server, kill, 8).await;
        at_risk.take(&begun);
        runs.extend(begun);
        tokio::time::sleep(Duration::from_millis(random.below(250))).await;
        server.restart();
        server.wait_until_ready().await;
    }
    for run in &runs {
        check_run(&server, run).await;
    }
    at_risk.check(model.calls(), runs.len() as u64);
}

#[tokio::test]
async fn a_stream_that_comes_back_after_a_kill_misses_nothing() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=150&tokens=20&interval=10", folder.path()).await;
    let body = json!({"input": {"messages": [{"role": "user", "content": "a b c d"}]}, "mode": "background"});
    let (status, run) = post(&server, "/graphs/chat/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    let address = format!("/graphs/chat/runs/{}/stream", run["run_id"].as_str().unwrap());
    let seen = {
        let response = reqwest::get(server.url(&address)).await.unwrap();
        let reading = tokio::time::timeout(Duration::from_millis(200), collect(response)).await;
        reading.unwrap_or_default()
    };
    server.restart();
    server.wait_until_ready().await;
    let last = seen.last().map(|event| event.id.clone()).unwrap_or_default();
    let response = reqwest::Client::new().get(server.url(&address)).header("last-event-id", last).send().await.unwrap();
    let (rest, done) = read_events(response).await;
    assert!(done, "{rest:?}");
    let finished: Vec<String> = seen
        .iter()
        .chain(&rest)
        .filter(|event| event.name == "node_finished")
        .map(|event| event.json()["node"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(finished, ["prepare", "answer", "finish"], "each node once, none missing");
    assert_eq!(rest.last().map(|event| event.name.as_str()), Some("final"));
}

#[tokio::test]
async fn a_run_that_was_asked_for_with_a_delay_begins_after_a_kill_once() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=10&tokens=4", folder.path()).await;
    let input = json!({"messages": [{"role": "user", "content": "a b"}]});
    let mut addresses = Vec::new();
    // One falls due while the server is away, one long after it is back.
    for after_seconds in [2.0, 9.0] {
        let body = json!({"input": input, "mode": "background", "after_seconds": after_seconds});
        let (status, run) = post(&server, "/graphs/chat/runs", &body).await;
        assert_eq!((status, run["status"].as_str()), (202, Some("pending")), "{run}");
        addresses.push(format!("/graphs/chat/runs/{}", run["run_id"].as_str().unwrap()));
    }
    server.restart();
    server.wait_until_ready().await;
    let pending: Value = reqwest::get(server.url(&addresses[1])).await.unwrap().json().await.unwrap();
    assert_eq!(pending["status"], "pending", "{pending}");
    for address in &addresses {
        let response = reqwest::get(server.url(&format!("{address}/stream"))).await.unwrap();
        let (events, done) = read_events(response).await;
        assert!(done, "{events:?}");
        let ended: Value = reqwest::get(server.url(address)).await.unwrap().json().await.unwrap();
        assert_eq!(ended["status"], "success", "{ended}");
    }
    for address in &addresses {
        let updates = reqwest::get(server.url(&format!("{address}/updates"))).await.unwrap().text().await.unwrap();
        assert_eq!(updates.matches(r#""type":"started""#).count(), 1, "it began once: {updates}");
    }
}

#[tokio::test]
async fn a_thread_ends_in_its_time_after_a_kill() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=10&tokens=4", folder.path()).await;
    let said = json!({"messages": [{"role": "user", "content": "a b"}]});
    let run = |thread: &str| json!({"input": said, "mode": "wait", "thread_id": thread});
    // One falls due while the server is away, one after it is back, without a run and with one; one stays.
    for (thread, seconds) in [("soon", 2.0), ("made", 8.0), ("ran", 8.0), ("stays", 3_600.0)] {
        let (status, made) = post(&server, "/threads", &json!({"thread_id": thread, "ttl": seconds / 60.0})).await;
        assert_eq!(status, 200, "{made}");
    }
    for thread in ["soon", "ran", "stays"] {
        let (status, ran) = post(&server, "/graphs/chat/runs", &run(thread)).await;
        assert_eq!(status, 200, "{ran}");
    }
    let used_at = tokio::time::Instant::now();
    server.restart();
    server.wait_until_ready().await;
    for (thread, seconds) in [("soon", 2), ("ran", 8), ("made", 8)] {
        let path = format!("/threads/{thread}");
        while get(&server, &path).await.0 == 200 {
            assert!(used_at.elapsed() < Duration::from_secs(60), "{thread} doesn't end: {}", server.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // It was made a little before, but used not.
        let lived = used_at.elapsed() + Duration::from_millis(500);
        assert!(thread == "made" || lived >= Duration::from_secs(seconds), "{thread} ended after {lived:?}");
        assert_eq!(get(&server, &path).await.0, 404);
    }
    server.restart();
    server.wait_until_ready().await;
    for thread in ["soon", "made", "ran"] {
        assert_eq!(get(&server, &format!("/threads/{thread}")).await.0, 404, "{thread} stays away");
        let (status, ran) = post(&server, "/graphs/chat/runs", &run(thread)).await;
        assert_eq!((status, ran["output"]["messages"].as_array().map(Vec::len)), (200, Some(2)), "{thread}: {ran}");
    }
    let (status, stays) = get(&server, "/threads/stays?include=ttl").await;
    assert_eq!((status, &stays["ttl"]["ttl_minutes"]), (200, &json!(60.0)), "{stays}");
    let (_, ran) = post(&server, "/graphs/chat/runs", &run("stays")).await;
    assert_eq!(ran["output"]["messages"].as_array().map(Vec::len), Some(4), "{ran}");
}

#[tokio::test]
async fn a_kill_leaves_a_whole_copy_of_a_thread_or_none() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=10&tokens=4", folder.path()).await;
    let mut random = Seeded::new(seed());
    let said = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
    let run = |text: &str| json!({"input": said(text), "mode": "wait", "thread_id": "first"});
    for n in 0..4 {
        // Values that stand beside the log, in the archive too.
        let (status, ran) = post(&server, "/graphs/chat/runs", &run(&format!("{n} {}", "x ".repeat(20_000)))).await;
        assert_eq!(status, 200, "{ran}");
    }
    let history = async |server: &Process, thread: &str| {
        let (status, shown) = get(server, &format!("/threads/{thread}/history?limit=100")).await;
        assert_eq!(status, 200, "{thread}: {shown}");
        shown.to_string().replace(&format!("{thread:?}"), "\"the thread\"")
    };
    let whole = history(&server, "first").await;
    for _ in 0..kills() {
        let copying = reqwest::Client::new().post(server.url("/threads/first/copy")).send();
        // It is cut off, or not.
        let _ = tokio::time::timeout(Duration::from_millis(random.below(60)), copying).await;
        server.restart();
        server.wait_until_ready().await;
    }
    let (status, copy) = post(&server, "/threads/first/copy", &json!({})).await;
    assert_eq!(status, 200, "{copy}");
    let (_, found) = post(&server, "/threads/search", &json!({"limit": 100})).await;
    let threads: Vec<&str> = found.as_array().unwrap().iter().filter_map(|one| one["thread_id"].as_str()).collect();
    assert!(threads.len() > 1 && threads.contains(&copy["thread_id"].as_str().unwrap()), "{threads:?}");
    let first = serde_json::from_str::<Value>(&whole).unwrap().as_array().unwrap().last().unwrap().clone();
    for thread in threads {
        assert_eq!(history(&server, thread).await, whole, "{thread} is whole");
        // It goes on, and back to where it began.
        let body = json!({"input": said("on"), "mode": "wait", "thread_id": thread});
        let (status, ran) = post(&server, "/graphs/chat/runs", &body).await;
        assert_eq!((status, &ran["status"]), (200, &json!("success")), "{thread}: {ran}");
        let body = json!({"assistant_id": "chat", "input": null, "checkpoint_id": first["checkpoint_id"]});
        let (status, ran) = post(&server, &format!("/threads/{thread}/runs/wait"), &body).await;
        assert!(
            status == 200 && ran["messages"].as_array().is_some_and(|all| all.len() == 2),
            "{thread}: {status} {ran}"
        );
    }
}

/// Reads events without waiting for the end.
async fn collect(response: reqwest::Response) -> Vec<Event> {
    read_events(response).await.0
}

#[tokio::test]
async fn a_kill_leaves_the_history_of_a_thread_or_where_it_stands() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut server = dev_with(&model, "?latency=10&tokens=4", folder.path()).await;
    let mut random = Seeded::new(seed());
    let run = |text: &str| {
        // Values that stand beside the log.
        let said = format!("{text} {}", "x ".repeat(20_000));
        json!({"input": {"messages": [{"role": "user", "content": said}]}, "mode": "wait", "thread_id": "t"})
    };
    let history = async |server: &Process| {
        let (status, shown) = get(server, "/threads/t/history?limit=100").await;
        assert_eq!(status, 200, "{shown}");
        shown.as_array().expect("a list").clone()
    };
    let prune = json!({"thread_ids": ["t"], "strategy": "keep_latest"});
    let mut said = 0;
    for n in 0..kills() {
        let (status, ran) = post(&server, "/graphs/chat/runs", &run(&n.to_string())).await;
        assert_eq!(status, 200, "{ran}");
        said += 2;
        let whole = history(&server).await;
        let (_, before) = get(&server, "/threads/t/state").await;
        assert_eq!(before["values"]["messages"].as_array().map(Vec::len), Some(said), "{before}");
        let pruning = reqwest::Client::new().post(server.url("/threads/prune")).json(&prune).send();
        // It is cut off, or not: it waits until the state is stored, which takes a second or so.
        let told = tokio::time::timeout(Duration::from_millis(random.below(2_000)), pruning).await;
        server.restart();
        server.wait_until_ready().await;
        for _ in 0..5 {
            let (_, state) = get(&server, "/threads/t/state").await;
            assert_eq!(state, before, "kill {n}");
            let left = history(&server).await;
            assert!(left == whole || left == whole[..1], "kill {n}: {} of {}", left.len(), whole.len());
            assert!(told.is_err() || left.len() == 1, "kill {n}: what was pruned comes back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (status, pruned) = post(&server, "/threads/prune", &prune).await;
        assert_eq!((status, &pruned), (200, &json!({"pruned_count": 1})));
        assert_eq!(history(&server).await, whole[..1], "kill {n}");
    }
    let (_, runs) = get(&server, "/threads/t/runs?limit=100").await;
    assert_eq!(runs.as_array().map(Vec::len), Some(kills() as usize), "{runs}");
}
