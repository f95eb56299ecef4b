//! Keys: before anything else, and on every route that is not for everybody.

use axum::body::Body;
use http::Request;

use crate::{document::operations, stage::Stage};

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
