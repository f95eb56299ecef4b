//! A Redis that does not answer: a call fails in time, and so does the next.

use std::{sync::Arc, time::Duration};

use quota::{QuotaError, Redis, redis::Config};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

use crate::server::{Drawn, Known, Shared};

/// With some patience for a busy machine.
const AT_MOST: Duration = Duration::from_secs(6);

async fn refused(address: &str) -> String {
    let config = Config { url: format!("redis://{address}"), prefix: "silent".to_owned() };
    let redis = Redis::new(&config, Arc::new(Known::default()), &Drawn).expect("an address");
    let began = Instant::now();
    let QuotaError::Unavailable { reason } = redis.check().await.expect_err("nobody answers");
    assert!(began.elapsed() < AT_MOST, "{reason} after {:?}", began.elapsed());
    let again = tokio::time::timeout(AT_MOST, redis.check()).await.expect("it is told in time again");
    assert!(again.is_err());
    reason
}

#[tokio::test]
async fn a_connection_that_nobody_answers_does_not_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let held = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            all.push(stream);
        }
    });
    let reason = refused(&address).await;
    assert!(reason.contains("Redis"), "{reason}");
    held.abort();
}

/// What becomes of the connection at hand; the next one is a new one.
enum Fate {
    /// Its other end is gone, and nothing says so.
    Stalls,
    /// As by a Redis that was restarted, or that ends what is idle.
    Ends,
}

/// The same Redis behind connections that come to an end when told to.
async fn behind_a_proxy(shared: &mut Shared) -> mpsc::Sender<Fate> {
    let server = shared.config.url.trim_start_matches("redis://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    shared.config.url = format!("redis://{}", listener.local_addr().unwrap());
    let (tell, mut told) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut redis = TcpStream::connect(&server).await.unwrap();
            let fate = tokio::select! {
                _ = copy_bidirectional(&mut client, &mut redis) => None,
                fate = told.recv() => fate,
            };
            if let Some(Fate::Stalls) = fate {
                held.push((client, redis));
            }
        }
    });
    tell
}

#[tokio::test]
async fn a_connection_whose_other_end_is_gone_is_not_used_again() {
    let Some(mut shared) = Shared::find() else { return };
    let proxy = behind_a_proxy(&mut shared).await;
    let redis = shared.redis();
    redis.check().await.expect("Redis");
    proxy.send(Fate::Stalls).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    let reason = redis.check().await.expect_err("nobody answers").to_string();
    assert!(began.elapsed() < AT_MOST && reason.contains("does not answer within"), "{reason}");
    redis.check().await.expect("a connection of its own");
}

#[tokio::test]
async fn a_connection_that_was_cut_goes_unnoticed() {
    let Some(mut shared) = Shared::find() else { return };
    let proxy = behind_a_proxy(&mut shared).await;
    let redis = shared.redis();
    for _ in 0..3 {
        redis.check().await.expect("Redis");
        proxy.send(Fate::Ends).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let reason = refused(&address).await;
    assert!(reason.contains("Redis can't be reached"), "{reason}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_its_password() {
    let config = Config { url: "nonsense://user:pass123@host".to_owned(), prefix: "x".to_owned() };
    let error = Redis::new(&config, Arc::new(Known::default()), &Drawn).err().expect("no address").to_string();
    assert!(error.contains("the address of Redis") && !error.contains("pass123"), "{error}");
}
