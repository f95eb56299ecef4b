//! Budgets that two processes share in a real Redis. Each has a log and a store of its own and stands for a replica: what
//! they share is Redis alone, as node-workers on one log do.
//!
//! Needs MILLSTREAM_TEST_BACKENDS (`cargo xtask test` sets it), for Redis is killed.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    backends::Backend,
    model::CountingModel,
    process::{PATIENCE, Process, folder, free_address, get},
};

/// Nano-dollars a token: 1 and 10 dollars a million.
const INPUT: u64 = 1_000;
const OUTPUT: u64 = 10_000;

/// A process whose day has that budget for everybody.
async fn replica(name: &str, folder: &Path, redis: SocketAddr, model: &CountingModel, usd: f64, is: &str) -> Process {
    let file = folder.join("millstream.toml");
    std::fs::write(&file, "[prices.openai.'*']\ninput = 1.0\noutput = 10.0\n").unwrap();
    let data = folder.join(name);
    let mut environment = model.environment(is);
    environment.extend([
        ("MILLSTREAM_CONFIG", file.display().to_string()),
        ("MILLSTREAM__SERVER__DATA_DIR", data.display().to_string()),
        ("MILLSTREAM__QUOTA__REDIS", format!("redis://{redis}")),
        ("MILLSTREAM__BUDGETS__OUTPUT_TOKENS_MAX", "20".to_owned()),
        ("MILLSTREAM__BUDGETS__GLOBAL_DAY_USD", usd.to_string()),
    ]);
    let mut process = Process::start(&["dev"], &environment, free_address(), folder);
    process.wait_until_ready().await;
    process
}

async fn chat(client: &reqwest::Client, url: String) -> (u16, Value) {
    let sent = client.post(url).timeout(PATIENCE).json(&json!({"message": "hello"})).send().await.expect("an answer");
    (sent.status().as_u16(), sent.json().await.unwrap_or_default())
}

/// What Redis answers, a word for each line.
fn redis(address: SocketAddr, command: &[&str]) -> Vec<String> {
    let mut stream = TcpStream::connect(address).expect("Redis");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let words: String = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    // The second answer ends the connection, and so the first.
    write!(stream, "*{}\r\n{words}*1\r\n$4\r\nQUIT\r\n", command.len()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.lines().filter(|line| !line.starts_with(['$', '*', '+'])).map(str::to_owned).collect()
}

/// Nano-dollars of the day's budget: spent, and set aside.
fn balance(address: SocketAddr) -> (u64, u64) {
    let accounts = redis(address, &["KEYS", "{millstream}:account:global_day*"]);
    let [account] = &accounts[..] else { return (0, 0) };
    let number = |field: &str| redis(address, &["HGET", account, field])[0].parse().unwrap();
    (number("spent_nano_usd"), number("reserved_nano_usd"))
}

/// By what the model itself has told.
fn served(model: &CountingModel) -> u64 {
    let (input, output) = model.served();
    input * INPUT + output * OUTPUT
}

async fn until_nothing_is_set_aside(address: SocketAddr) {
    let began = Instant::now();
    while balance(address).1 > 0 {
        assert!(began.elapsed() < PATIENCE, "{:?} is set aside", balance(address));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_spend_a_cent_and_no_more() {
    const CENT: u64 = 10_000_000;
    const REQUESTS: usize = 1_000;
    let folder = folder();
    let Some(store) = Backend::start("redis", folder.path()).await else { return };
    let model = CountingModel::start().await;
    let is = "?latency=50&tokens=10";
    let one = replica("one", folder.path(), store.address, &model, 0.01, is).await;
    let other = replica("other", folder.path(), store.address, &model, 0.01, is).await;
    let client = reqwest::Client::new();
    let asked = (0..REQUESTS).map(|n| chat(&client, [&one, &other][n % 2].url("/chat")));
    let answers = join_all(asked).await;
    let answered = answers.iter().filter(|(status, _)| *status == 200).count() as u64;
    let refused = answers
        .iter()
        .filter(|(status, body)| (*status, body["error"]["code"].as_str()) == (429, Some("budget_exceeded")));
    assert_eq!(
        refused.count() as u64 + answered,
        REQUESTS as u64,
        "{:?}",
        answers.iter().find(|(status, _)| { ![200, 429].contains(status) })
    );
    until_nothing_is_set_aside(store.address).await;
    let (spent, _) = balance(store.address);
    assert_eq!((served(&model), model.calls()), (spent, answered), "what was served, and what is charged");
    assert!(spent <= CENT, "{spent} of {CENT} nano-dollars");
    assert!(spent >= CENT / 10 * 9, "only {spent} of {CENT} nano-dollars, though more was wanted");
    let shares = [&one, &other].map(|process| get(process, "/usage"));
    for (_, usage) in join_all(shares).await {
        assert!(usage["data"][0]["calls"].as_u64() > Some(0), "both have made calls: {usage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_spent_unseen_where_redis_is_killed() {
    let folder = folder();
    let Some(mut store) = Backend::start("redis", folder.path()).await else { return };
    let model = CountingModel::start().await;
    let is = "?latency=300&tokens=10";
    let replicas = Arc::new([
        replica("one", folder.path(), store.address, &model, 1.0, is).await,
        replica("other", folder.path(), store.address, &model, 1.0, is).await,
    ]);
    let stop = Arc::new(AtomicBool::new(false));
    let client = reqwest::Client::new();
    let asking = (0..20).map(|n| {
        let (replicas, stop, client) = (Arc::clone(&replicas), Arc::clone(&stop), client.clone());
        async move {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                answers.push(chat(&client, replicas[n % 2].url("/chat")).await);
            }
            answers
        }
    });
    let asking = tokio::task::JoinSet::from_iter(asking);
    while model.calls() < 60 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.kill();
    // Those that have room now may still be sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (calls, before) = (model.calls(), Instant::now());
    let (status, body) = chat(&client, replicas[0].url("/chat")).await;
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("budget_store_unavailable")), "{body}");
    assert!(before.elapsed() < Duration::from_secs(20), "it took {:?} to be told", before.elapsed());
    let away = says(&replicas[1], 503, |quotas| quotas.starts_with("fail: ")).await;
    assert!(away.contains("Redis"), "{away}");
    assert_eq!(model.calls(), calls, "no call is made that nothing is set aside for");
    store.restart().await;
    says(&replicas[1], 200, |quotas| quotas == "ok").await;
    let again = Instant::now();
    while model.calls() < calls + 20 {
        assert!(again.elapsed() < PATIENCE, "no calls are made though Redis is there again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let answers: Vec<(u16, Value)> = asking.join_all().await.into_iter().flatten().collect();
    for (status, body) in &answers {
        assert!([200, 503].contains(status), "{status}: {body}");
    }
    until_nothing_is_set_aside(store.address).await;
    assert_eq!(balance(store.address).0, served(&model), "what is charged, and what was served");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count() as u64, model.calls());
}

/// What `/ready` says of Redis, once it says it.
async fn says(process: &Process, status: u16, wanted: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let (found, body) = get(process, "/ready").await;
        let quotas = body["checks"]["quotas"].as_str().unwrap_or_default();
        if found == status && wanted(quotas) {
            return quotas.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "{found}: {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_lost_is_brought_back() {
    let folder = folder();
    let Some(mut store) = Backend::start("redis", folder.path()).await else { return };
    let model = CountingModel::start().await;
    // Room for some calls, and not for some more.
    let mut process = replica("one", folder.path(), store.address, &model, 0.001, "?tokens=10").await;
    let client = reqwest::Client::new();
    while chat(&client, process.url("/chat")).await.0 == 200 {}
    let spent = balance(store.address);
    assert_eq!(spent, (served(&model), 0));
    let began = Instant::now();
    while get(&process, "/usage").await.1["data"][0]["calls"].as_u64() != Some(model.calls()) {
        assert!(began.elapsed() < PATIENCE, "the calls are not in the store");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    store.kill();
    std::fs::remove_dir_all(folder.path().join("redis/appendonlydir")).expect("its data");
    store.restart().await;
    let (status, body) = chat(&client, process.url("/chat")).await;
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("budget_store_unavailable")), "{body}");
    let lost = says(&process, 503, |quotas| quotas.contains("lost its data")).await;
    assert!(lost.contains("millstream budgets restore"), "{lost}");

    process.kill();
    let calls = model.calls();
    let said = process.once(&["budgets", "restore"]);
    assert!(said.contains("1 budgets are as the calls in the store say"), "{said}");
    assert_eq!(balance(store.address), spent);
    process.restart();
    process.wait_until_ready().await;
    let (status, body) = chat(&client, process.url("/chat")).await;
    assert_eq!((status, body["error"]["code"].as_str()), (429, Some("budget_exceeded")), "{body}");
    assert_eq!(model.calls(), calls);
    process.kill();
    assert!(process.once(&["budgets", "restore"]).contains("nothing is changed"));
}
