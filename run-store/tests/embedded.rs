//! The embedded store: what only it promises, beside the suite that both stores pass.

mod embedded_harness;

use bytes::Bytes;
use embedded_harness::EmbeddedHarness;
use graph::envelope::Key;
use run_store::{
    Claims, EmbeddedStore, Meta, Position, States, StoreError, conformance,
    embedded::{Config, Swept},
    rows::{Claim, Claimed, StateRow},
};
use uuid::Uuid;

fn claim(key: &str, expires_at: i64) -> Claim {
    Claim { tenant: "acme".into(), key: key.into(), run_id: Uuid::from_u128(1), body_hash: [7; 32], expires_at }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let failed = conformance::run_all(&EmbeddedHarness::new()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_folder_is_opened_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), Config::default()).await.unwrap();
    let Err(StoreError::Unavailable { reason }) = EmbeddedStore::open(dir.path(), Config::default()).await else {
        panic!("the folder was opened twice");
    };
    assert!(reason.contains("another process has the store"), "{reason}");

    store.set_once("generation", "1").await.unwrap();
    store.close().await;
    assert!(matches!(store.meta("generation").await, Err(StoreError::Closed)));
    assert!(matches!(store.set_once("generation", "2").await, Err(StoreError::Closed)));

    let store = EmbeddedStore::open(dir.path(), Config { create: false, ..Config::default() }).await.unwrap();
    assert_eq!(store.meta("generation").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn an_absent_store_is_not_made_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let opened = EmbeddedStore::open(dir.path(), Config { create: false, ..Config::default() }).await;
    assert!(matches!(opened, Err(StoreError::Schema { found: 0, .. })));
}

#[tokio::test]
async fn a_file_of_garbage_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.db"), vec![0x5a; 32_768]).unwrap();
    assert!(matches!(EmbeddedStore::open(dir.path(), Config::default()).await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_sweep_forgets_expired_claims_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), Config::default()).await.unwrap();
    let claims: Vec<_> = (0..5_000)
        .map(|n| claim(&format!("early-{n}"), 100))
        .chain((0..100).map(|n| claim(&format!("late-{n}"), 200)))
        .collect();
    futures_util::future::try_join_all(claims.iter().map(|claim| store.claim(claim, 0))).await.unwrap();
    assert_eq!(store.sweep(150).await.unwrap(), Swept { claims: 5_000, ..Swept::default() });
    assert!(matches!(store.claim(&claim("late-0", 300), 150).await.unwrap(), Claimed::Taken(_)));
    assert_eq!(store.claim(&claim("early-0", 300), 150).await.unwrap(), Claimed::New);
}

#[tokio::test]
async fn a_deleted_state_is_swept_when_no_old_write_can_come() {
    const MINUTE_MS: i64 = 60 * 1000;
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), Config::default()).await.unwrap();
    let key = Key::thread("acme", "t");
    let row = |at, state: Option<&'static [u8]>| StateRow {
        key: key.clone(),
        partition: 0,
        position: Position::from_u64(at),
        state: state.map(Bytes::from_static),
        wake_at: None,
        expires_at: None,
    };
    store.put_states(&[row(9, None)]).await.unwrap();
    for minute in [0, 5] {
        assert_eq!(store.sweep(minute * MINUTE_MS).await.unwrap().states, 0);
        store.put_states(&[row(7, Some(b"a zombie's"))]).await.unwrap();
        assert_eq!(store.state(0, &key).await.unwrap(), None, "after {minute} minutes");
    }
    assert_eq!(store.sweep(11 * MINUTE_MS).await.unwrap().states, 1);
}
