//! What models took and cost, as JSON and as a table.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::stage::{ACME, Stage};

#[tokio::test]
async fn usage_is_asked_of_a_sink() {
    let stage = Stage::new().await;
    let reply = stage.get("/usage?by=graph,user&since=2025-11-21T10:40:00Z&until=1763721600001").await.expect(200);
    let sum = &reply.json()["data"][0];
    assert_eq!(
        (&sum["graph"], &sum["calls"], &sum["cost_nano_usd"]),
        (&json!("support"), &json!(2), &json!(1_500_000_001_u64))
    );
    let asked = stage.sinks.calls.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(asked, "/internal/usage?by=graph%2Cuser&since=1763721600000&until=1763721600001");
    assert_eq!(stage.get("/usage?since=yesterday").await.expect(400).code(), "invalid_value");
    assert_eq!(stage.get("/usage?per=graph").await.expect(400).code(), "unknown_field");
}

#[tokio::test]
async fn usage_is_a_table_for_who_wants_one() {
    let stage = Stage::new().await;
    let reply = stage.get("/usage?by=user,%20graph&format=csv").await.expect(200);
    assert_eq!(reply.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        reply.text,
        "user,graph,calls,calls_missing_usage,calls_unpriced,input_tokens,output_tokens,cached_tokens,cache_write_tokens,\
         reasoning_tokens,cost_usd\n\"a, \"\"b\"\"\",support,2,0,0,7,0,0,0,0,1.500000001\n"
    );
    let request = Request::get("/usage?by=graph").header("authorization", format!("Bearer {ACME}"));
    let reply = stage.send(request.header("accept", "text/csv").body(Body::empty()).unwrap()).await;
    assert_eq!(reply.header("content-type"), "text/csv; charset=utf-8");
}
