//! Keys: before anything else, and on every route that is not for everybody. Those that are made over HTTP, too.

use std::time::Duration;

use axum::body::Body;
use event_log::Start;
use http::Request;
use run_store::Keys;
use schemas::{
    record::{ControlFact, ControlRecord},
    topic::CONTROL,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    document::operations,
    stage::{ACME, ROOT, Reply, Stage},
};

/// Everywhere, however it was told.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

async fn as_root(stage: &Stage, method: &str, path: &str, body: Option<Value>) -> Reply {
    stage.ask(ROOT, method, path, body).await
}

/// The secret of a new key.
async fn made(stage: &Stage, key: Value) -> String {
    secret(&as_root(stage, "POST", "/keys", Some(key)).await.expect(201))
}

fn secret(reply: &Reply) -> String {
    reply.json()["secret"].as_str().unwrap_or_else(|| panic!("no secret: {}", reply.text)).to_owned()
}

async fn status(stage: &Stage, key: &str) -> u16 {
    stage.ask(key, "GET", "/graphs", None).await.status.as_u16()
}

/// How long a key was still taken.
async fn refused_after(stage: &Stage, key: &str) -> Duration {
    let began = Instant::now();
    while status(stage, key).await != 401 {
        assert!(began.elapsed() < REVOKED_WITHIN, "the key is still taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_key_that_is_made_lets_its_tenant_in_and_only_where_it_may() {
    let stage = Stage::new().await;
    let body = json!({"name": "web", "tenant": "acme", "scopes": ["run", "read"], "graphs": ["support"]});
    let reply = as_root(&stage, "POST", "/keys", Some(body)).await.expect(201);
    let web = secret(&reply);
    assert!(web.starts_with("ms_") && web.len() == 67, "256 bits: {web}");
    assert_eq!((&reply.json()["tenant"], &reply.json()["scopes"]), (&json!("acme"), &json!(["read", "run"])));

    let run = json!({"input": {"messages": "x"}});
    stage.ask(&web, "POST", "/graphs/support/runs", Some(run.clone())).await.expect(202);
    let (_, record) = stage.records().await.pop().unwrap();
    assert_eq!((&*record.envelope.tenant, record.envelope.principal.key.as_deref()), ("acme", Some("web")));
    let other = json!({"input": {"left": 1, "right": 2}});
    let other = stage.ask(&web, "POST", "/graphs/sum/runs", Some(other)).await.expect(403);
    assert!(other.text.contains("for other graphs than `sum`: support"), "{}", other.text);
    stage.ask(&web, "POST", "/sum", Some(json!({"left": 1, "right": 2}))).await.expect(403);
    stage.ask(&web, "POST", "/runs", Some(json!({"assistant_id": "sum", "input": {}}))).await.expect(403);
    assert_eq!(stage.ask(&web, "PUT", "/graphs/support", Some(run)).await.expect(403).code(), "permission_denied");
    stage.ask(&web, "GET", "/keys", None).await.expect(403);

    let all = made(&stage, json!({"name": "all"})).await;
    assert_eq!(status(&stage, &all).await, 200);
    stage.ask(&all, "GET", "/keys", None).await.expect(403);
}

#[tokio::test]
async fn only_an_admin_makes_keys() {
    let stage = Stage::new().await;
    let key = json!({"name": "mine", "tenant": "beta"});
    // A key without scopes may do everything else.
    for (method, path) in [("POST", "/keys"), ("GET", "/keys"), ("POST", "/keys/root/rotate"), ("DELETE", "/keys/root")]
    {
        assert_eq!(stage.ask(ACME, method, path, Some(key.clone())).await.expect(403).code(), "permission_denied");
    }
    assert_eq!(status(&stage, ROOT).await, 403, "an admin that is nothing else reads nothing");
    let open = Stage::with(|config| config.auth = ingest::Auth::Open).await;
    let refused = open.ask("any", "POST", "/keys", Some(key)).await.expect(403);
    assert!(refused.text.contains("millstream key root --scopes admin"), "{}", refused.text);
}

#[tokio::test]
async fn secrets_are_shown_once_and_stored_nowhere() {
    let stage = Stage::new().await;
    let first = made(&stage, json!({"name": "web"})).await;
    let second = secret(&as_root(&stage, "POST", "/keys/web/rotate", Some(json!({"grace_seconds": 60}))).await);
    let listed = as_root(&stage, "GET", "/keys", None).await.expect(200).text;
    let rows = format!("{:?}", stage.store.keys().await.unwrap());
    let mut told = String::new();
    let (start, end) = stage.log.bounds(CONTROL, 0).await.unwrap();
    let mut reader = stage.log.read(CONTROL, 0, Start::At(start)).await.unwrap();
    let mut at = start;
    while at < end {
        for fetched in reader.next().await.unwrap() {
            at = fetched.offset + 1;
            told.push_str(&String::from_utf8_lossy(&fetched.record.payload));
        }
    }
    assert!(told.contains("key_changed"), "{told}");
    for secret in [&first, &second, &ROOT.to_owned()] {
        for text in [&listed, &rows, &told] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
    }
    let name = |key: &Value| format!("{} {}", key["name"].as_str().unwrap(), key["made_by"].as_str().unwrap());
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let names: Vec<String> = listed["data"].as_array().unwrap().iter().map(name).collect();
    let configured = ["acme-app", "acme-eyes", "beta-app", "root"].map(|name| format!("{name} configuration"));
    assert_eq!(names, [&configured[..], &["web api".to_owned()]].concat());
}

#[tokio::test]
async fn a_rotated_secret_holds_for_its_grace() {
    let stage = Stage::new().await;
    let first = made(&stage, json!({"name": "web"})).await;
    let reply = as_root(&stage, "POST", "/keys/web/rotate", Some(json!({"grace_seconds": 3600}))).await.expect(200);
    let second = secret(&reply);
    assert!(reply.json()["former_until"].is_string(), "{}", reply.text);
    assert_eq!((status(&stage, &first).await, status(&stage, &second).await), (200, 200));
    stage.skip_ms(3_600_000);
    assert_eq!((status(&stage, &first).await, status(&stage, &second).await), (401, 200));
    let third = secret(&as_root(&stage, "POST", "/keys/web/rotate", None).await.expect(200));
    assert_eq!((status(&stage, &second).await, status(&stage, &third).await), (401, 200));
    let refused = as_root(&stage, "POST", "/keys/web/rotate", Some(json!({"grace_seconds": 604_801}))).await;
    assert_eq!(refused.expect(400).json()["error"]["param"], "grace_seconds");
}

#[tokio::test]
async fn a_revocation_holds_in_every_ingest() {
    let stage = Stage::new().await;
    let other = stage.another().await;
    let web = made(&stage, json!({"name": "web"})).await;
    assert_eq!(status(&stage, &web).await, 200);
    let began = Instant::now();
    while status(&other, &web).await != 200 {
        assert!(began.elapsed() < REVOKED_WITHIN, "the other ingest knows no such key");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    as_root(&stage, "DELETE", "/keys/web", None).await.expect(204);
    assert_eq!(status(&stage, &web).await, 401);
    refused_after(&other, &web).await;
    as_root(&stage, "DELETE", "/keys/web", None).await.expect(404);
}

#[tokio::test]
async fn a_revocation_that_nobody_tells_holds_too() {
    let stage = Stage::new().await;
    let web = made(&stage, json!({"name": "web"})).await;
    assert_eq!(status(&stage, &web).await, 200);
    assert!(stage.store.delete_key("web").await.unwrap());
    refused_after(&stage, &web).await;
}

/// An ingest that can't read the store heeds what the log says.
#[tokio::test]
async fn a_revocation_is_heeded_without_the_store() {
    let stage = Stage::new().await;
    let web = made(&stage, json!({"name": "web"})).await;
    stage.store.close().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(status(&stage, &web).await, 200, "what was known holds");
    let record = ControlRecord { at: 1, fact: ControlFact::KeyRevoked { key: "web".into() } };
    stage
        .log
        .append(CONTROL, 0, event_log::Record::new("key/web", serde_json::to_vec(&record).unwrap()))
        .await
        .unwrap();
    refused_after(&stage, &web).await;
}

#[tokio::test]
async fn names_are_taken_once() {
    let stage = Stage::new().await;
    made(&stage, json!({"name": "web"})).await;
    for name in ["web", "acme-app"] {
        let refused = as_root(&stage, "POST", "/keys", Some(json!({"name": name}))).await.expect(409);
        assert_eq!(refused.code(), "key_conflict");
    }
    for (method, path) in [("POST", "/keys/acme-app/rotate"), ("DELETE", "/keys/acme-app")] {
        let refused = as_root(&stage, method, path, None).await.expect(409);
        assert!(refused.text.contains("stands in the configuration"), "{}", refused.text);
    }
    let bad = [
        json!({"name": ""}),
        json!({"name": "a/b"}),
        json!({"name": "x".repeat(65)}),
        json!({"name": "x", "tenant": "a/b"}),
        json!({"name": "x", "graphs": [""]}),
        json!({"name": "x", "scopes": ["everything"]}),
        json!({"tenant": "acme"}),
    ];
    for body in bad {
        let refused = as_root(&stage, "POST", "/keys", Some(body.clone())).await.expect(400);
        assert_eq!(refused.code(), "invalid_value", "{body}");
    }
}

#[tokio::test]
async fn a_list_of_keys_pages_completely() {
    let stage = Stage::new().await;
    for number in 0..7 {
        made(&stage, json!({"name": format!("web-{number}"), "tenant": "acme"})).await;
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = as_root(&stage, "GET", &format!("/keys?limit=2&tenant=acme{cursor}"), None).await.expect(200).json();
        let keys = page["data"].as_array().unwrap();
        assert!(keys.len() <= 2);
        names.extend(keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let made = (0..7).map(|number| format!("web-{number}"));
    assert_eq!(names, ["acme-app", "acme-eyes"].map(str::to_owned).into_iter().chain(made).collect::<Vec<_>>());
    as_root(&stage, "GET", "/keys?limit=0", None).await.expect(400);
}

#[tokio::test]
async fn every_route_that_needs_a_key_refuses_a_wrong_one_before_it_reads_the_body() {
    let stage = Stage::new().await;
    for operation in operations() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
        let request = Request::builder()
            .method(operation.method.as_str())
            .uri(operation.path_with(|_| "x".to_owned()))
            .header("authorization", "Bearer a-key-that-nobody-has");
        let reply = stage.send(request.body(never).unwrap()).await;
        if operation.is_open {
            assert_ne!(reply.status, 401, "{operation:?}");
        } else {
            assert_eq!(reply.status, 401, "{operation:?}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
        assert!(!reply.header("x-request-id").is_empty(), "{operation:?}");
    }
}

#[tokio::test]
async fn a_clients_request_id_is_kept_where_it_is_one() {
    let stage = Stage::new().await;
    for (sent, kept) in [("mine-1", true), (&"x".repeat(200), false), ("two words", false)] {
        let request = Request::get("/health").header("x-request-id", sent).body(Body::empty());
        let reply = stage.send(request.unwrap()).await.expect(200);
        assert_eq!(reply.header("x-request-id") == sent, kept, "{sent}");
    }
}
