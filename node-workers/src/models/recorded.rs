//! Streams of the shapes that real servers send, in `tests/streams/`: read whole, cut at every byte, and split at every
//! byte. What is expected of each stands beside it; the vendors' own clients are held to the same
//! (clients/python/tests/test_model_streams.py).

use std::{collections::BTreeMap, convert::Infallible, fs, path::Path, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Path as Place,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use graph::task::Usage;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Answer, Cause, ModelError, ModelProvider, ModelRequest, anthropic,
    http::{Dialect, Event, ServerSettings, events},
    openai,
};

#[derive(Deserialize)]
struct Expect {
    text: String,
    reasoning: String,
    tool_calls: Vec<Call>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Usage>,
    /// In the frame that makes the answer whole.
    #[serde(default)]
    terminal: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Call {
    id: String,
    name: String,
    /// Text where it is cut.
    arguments: Value,
}

type Read = (Answer, Option<ModelError>);

async fn collect(mut events: BoxStream<'static, Event>) -> Read {
    let mut answer = Answer::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => answer.take(event),
            Err(error) => return (answer, Some(error)),
        }
    }
    (answer, None)
}

async fn read<D: Dialect>(pieces: &[&[u8]]) -> Read {
    let pieces: Vec<Result<Bytes, Infallible>> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    collect(events::<D, _, _>(stream::iter(pieces), Duration::from_secs(1))).await
}

fn recorded(dialect: &str) -> BTreeMap<String, (Vec<u8>, Expect)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams").join(dialect);
    let streams = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    streams
        .filter(|path| path.extension().is_some_and(|extension| extension == "sse"))
        .map(|path| {
            let name = format!("{dialect}/{}", path.file_stem().unwrap().to_str().unwrap());
            let expect = fs::read(path.with_extension("json")).unwrap();
            let expect = serde_json::from_slice(&expect).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, (fs::read(&path).unwrap(), expect))
        })
        .collect()
}

fn as_expected(name: &str, (answer, error): &Read, expect: &Expect) {
    let calls: Vec<Call> = answer
        .tool_calls
        .iter()
        .map(|call| Call {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: match call.arguments.as_str() {
                "" => Value::Object(Default::default()),
                text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            },
        })
        .collect();
    assert_eq!(
        (&answer.text, &answer.reasoning, &calls),
        (&expect.text, &expect.reasoning, &expect.tool_calls),
        "{name}"
    );
    assert_eq!(error.as_ref().map(|error| error.cause.as_str()), expect.error.as_deref(), "{name}: {error:?}");
    let stop_reason = answer.stop_reason.map(|reason| reason.as_str());
    assert_eq!((stop_reason, answer.usage), (expect.stop_reason.as_deref(), expect.usage), "{name}");
}

/// Where the frame ends that makes the answer whole.
fn whole_from(body: &[u8], expect: &Expect) -> Option<usize> {
    let body = std::str::from_utf8(body).unwrap();
    let at = body.find(expect.terminal.as_deref()?).expect("the stream has its terminal frame");
    Some(at + body[at..].find("\n\n").expect("a frame ends in a blank line") + 2)
}

async fn check<D: Dialect>(dialect: &str, count: usize) {
    let streams = recorded(dialect);
    assert!(streams.len() >= count, "{} streams of {dialect}", streams.len());
    for (name, (body, expect)) in &streams {
        let whole = read::<D>(&[body]).await;
        as_expected(name, &whole, expect);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(read::<D>(&bytes).await, whole, "{name} in single bytes");
        let whole_from = whole_from(body, expect);
        for at in 0..body.len() {
            let (head, tail) = body.split_at(at);
            assert_eq!(read::<D>(&[head, tail]).await, whole, "{name} split at {at}");
            let (answer, error) = read::<D>(&[head]).await;
            match error {
                None => {
                    assert!(whole_from.is_some_and(|from| at >= from), "{name} cut at {at} was taken for whole");
                    let seen = Answer { usage: whole.0.usage, ..answer };
                    assert_eq!(seen, whole.0, "{name} cut at {at}");
                }
                Some(error) => {
                    assert!(whole_from.is_none_or(|from| at < from), "{name} cut at {at}, behind its end: {error:?}");
                    let expected = expect.error.as_deref();
                    assert!(
                        error.cause == Cause::Truncated || Some(error.cause.as_str()) == expected,
                        "{name} cut at {at}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn openais_streams_whole_cut_and_split() {
    check::<openai::Chunks>("openai", 25).await;
}

#[tokio::test]
async fn anthropics_streams_whole_cut_and_split() {
    check::<anthropic::Blocks>("anthropic", 20).await;
}

/// A connection that breaks where the path says how: in the middle, or not at all.
async fn serve(Place((how, dialect, name)): Place<(String, String, String)>) -> Response {
    let (body, _) = recorded(&dialect).remove(&format!("{dialect}/{name}")).unwrap();
    let body = match how.as_str() {
        "whole" => Body::from(body),
        _ => {
            let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
            let gone = stream::once(async {
                // The head and the half are on their way by then.
                tokio::time::sleep(Duration::from_millis(10)).await;
                Err(std::io::Error::other("gone"))
            });
            Body::from_stream(stream::iter([Ok(half)]).chain(gone))
        }
    };
    ([("content-type", "text/event-stream")], body).into_response()
}

fn provider(dialect: &str, base_url: String) -> Box<dyn ModelProvider> {
    let settings = ServerSettings::new(dialect, base_url, Some("key".into()));
    match dialect {
        "openai" => Box::new(openai::OpenAi::new(settings, reqwest::Client::new())),
        _ => Box::new(anthropic::Anthropic::new(settings, reqwest::Client::new())),
    }
}

#[tokio::test]
async fn streams_over_http_whole_and_broken_off() {
    let router = Router::new()
        .route("/{how}/{dialect}/{name}/v1/chat/completions", post(serve))
        .route("/{how}/{dialect}/{name}/v1/messages", post(serve));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio_util::task::TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    for dialect in ["openai", "anthropic"] {
        for (name, (_, expect)) in &recorded(dialect) {
            let ask = |how: &str| {
                let provider = provider(dialect, format!("http://{address}/{how}/{name}/v1"));
                collect(provider.stream(ModelRequest::default()))
            };
            as_expected(name, &ask("whole").await, expect);
            let (_, error) = ask("broken").await;
            let cause = error.expect("half of an answer is no answer").cause;
            assert!(cause == Cause::Truncated || Some(cause.as_str()) == expect.error.as_deref(), "{name}: {cause:?}");
        }
    }
}
