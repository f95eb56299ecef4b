//! Over real connections: bounds in time and size, and shutdown.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::stage::{ACME, Stage};

struct Served {
    stage: Stage,
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), ingest::Error>>,
}

async fn serve() -> Served {
    let stage = Stage::with(|config| config.head_timeout = Duration::from_millis(100)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    #[allow(clippy::disallowed_methods, reason = "the test waits for the handle itself")]
    let running = tokio::spawn(ingest::run(stage.ingest.clone(), axum::Router::new(), listener, shutdown.clone()));
    Served { stage, address, shutdown, running }
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {ACME}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn ten_megabytes_are_413_and_the_client_can_read_it() {
    let served = serve().await;
    let answer = send(served.address, &request("/graphs/support/runs", &" ".repeat(10 << 20))).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("request_too_large"), "{answer}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_while_half_the_body_is_still_to_come() {
    let served = serve().await;
    let whole = request("/graphs/support/runs", &json!({"input": {"messages": "x"}}).to_string());
    let half = &whole[..whole.len() - 10];
    let wrong = half.replace(ACME, "a-key-that-nobody-has");
    let answer = tokio::time::timeout(Duration::from_secs(5), head(served.address, &wrong)).await;
    let answer = answer.expect("an answer before the body is whole");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // The same half under a good key is waited for.
    let waited = tokio::time::timeout(Duration::from_millis(300), head(served.address, half)).await;
    assert!(waited.is_err(), "{waited:?}");
}

/// An answer up to its headers' end, on a connection that stays open.
async fn head(address: SocketAddr, sent: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection was closed");
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let served = serve().await;
    let answer = send(served.address, "POST /graphs HTTP/1.1\r\nhost: x\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn a_shutdown_lets_a_wait_end() {
    let served = serve().await;
    let body = json!({"input": {"messages": "slow"}, "mode": "wait"}).to_string();
    let (address, text) = (served.address, request("/graphs/support/runs", &body));
    let waiting = async {
        let answer = send(address, &text).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    };
    let stopping = async {
        while served.stage.fetched().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served.shutdown.cancel();
    };
    tokio::join!(waiting, stopping);
    served.running.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}
