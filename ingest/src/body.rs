//! Bodies: read within bounds, and parsed with errors that say where and what instead.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemas::error::Code;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{config::Config, refusal::Refusal};

/// Names further apart than this are no misspelling of each other.
const NEAREST_DISTANCE_MAX: usize = 3;

/// Bytes of a refused body that are still taken, and for how long.
const DISCARD_BYTES_MAX: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A whole JSON body.
pub(crate) async fn read_json(config: &Config, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    check_json(headers)?;
    read(config, headers, body, config.body_bytes_max).await
}

/// A whole body of at most `bytes_max`.
pub(crate) async fn read(config: &Config, headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::RequestTooLarge, format!("the body is over the limit of {bytes_max} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        discard(body).await;
        return Err(too_large());
    }
    let mut body = body;
    let collected = tokio::time::timeout(config.body_timeout, Limited::new(&mut body, bytes_max).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            discard(body).await;
            Err(too_large())
        }
        Ok(Err(_)) => Err(Refusal::new(Code::BadJson, "the body ended before it was whole")),
        Err(_) => Err(Refusal::new(Code::RequestTimeout, "the body did not arrive in time")),
    }
}

/// A client that is still sending when the connection closes never reads why: so what it has under way is taken, within
/// bounds, and dropped.
async fn discard(mut body: Body) {
    let mut left = DISCARD_BYTES_MAX;
    let discarded = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discarded).await;
}

/// A form or a plain text is what a page of another origin can send without asking: only JSON is taken for JSON.
fn check_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "application/json" || (media.starts_with("application/") && media.ends_with("+json")) {
        return Ok(());
    }
    let message = format!("the body has the content type {given}; send JSON with `content-type: application/json`");
    Err(Refusal::new(Code::UnsupportedMediaType, message))
}

/// For our own addresses: unknown fields are refused by the types themselves.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    // A struct could be read from a list too, field by field: nobody means that.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => Refusal::new(Code::InvalidValue, "the body is no JSON object"),
            Err(error) => Refusal::new(Code::BadJson, format!("the body is no JSON: {error}")),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))
}

/// As [`parse`], where no body at all means the defaults.
pub(crate) fn parse_or_default<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.trim_ascii().is_empty() { Ok(T::default()) } else { parse(bytes) }
}

/// Reads a body as [`parse_or_default`] does.
pub(crate) async fn optional<T: DeserializeOwned + Default>(
    config: &Config,
    request: http::Request<Body>,
) -> Result<T, Refusal> {
    let (parts, body) = request.into_parts();
    parse_or_default(&read(config, &parts.headers, body, config.body_bytes_max).await?)
}

/// For LangGraph's addresses: its words for what is no JSON, 422 for what doesn't fit.
pub(crate) fn parse_compatible<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Refusal> {
    parse_or_default(bytes).map_err(|refusal| {
        let refusal = match refusal.code() {
            Code::BadJson => Refusal::new(Code::BadJson, "Invalid JSON in request body"),
            _ => refusal,
        };
        refusal.detail_status(StatusCode::UNPROCESSABLE_ENTITY)
    })
}

/// Reads a body as [`parse_compatible`] does.
pub(crate) async fn compatible<T: DeserializeOwned + Default>(
    config: &Config,
    request: http::Request<Body>,
) -> Result<T, Refusal> {
    let (parts, body) = request.into_parts();
    parse_compatible(&read(config, &parts.headers, body, config.body_bytes_max).await?)
}

/// Reads the bytes a second time, which only a mistake pays for, to find the field at fault.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Refusal {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            Refusal::new(Code::BadJson, format!("the body is no JSON: {error}"))
        }
        Category::Data => {
            let mut deserializer = serde_json::Deserializer::from_slice(bytes);
            let path = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
                Ok(_) => String::new(),
                Err(error) => error.path().to_string(),
            };
            data_error(&error.to_string(), path)
        }
    }
}

pub(crate) fn data_error(text: &str, path: String) -> Refusal {
    let param = if path == "." { String::new() } else { path };
    let Some((field, known)) = unknown_field(text) else {
        let refusal = Refusal::new(Code::InvalidValue, text.to_owned());
        return if param.is_empty() { refusal } else { refusal.param(param) };
    };
    unknown(field, &param, known.iter().copied())
}

/// Names the nearest of the known fields, or all of them.
pub(crate) fn unknown<'a>(field: &str, path: &str, known: impl Iterator<Item = &'a str>) -> Refusal {
    let known: Vec<&str> = known.collect();
    let hint = match nearest(field, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "nothing may stand here".to_owned(),
        None => format!("known are {}", known.join(", ")),
    };
    let param = match path.strip_suffix(field).unwrap_or(path).trim_end_matches('.') {
        "" => field.to_owned(),
        parent => format!("{parent}.{field}"),
    };
    Refusal::new(Code::UnknownField, format!("unknown field `{field}`; {hint}")).param(param)
}

pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    known
        .min_by_key(|known| distance(known))
        .filter(|known| distance(known) <= NEAREST_DISTANCE_MAX.min(known.len() / 2))
}

/// Takes serde's sentence apart: the field and what was expected in its place.
fn unknown_field(text: &str) -> Option<(&str, Vec<&str>)> {
    let rest = text.strip_prefix("unknown field `")?;
    let (field, rest) = rest.split_once('`')?;
    Some((field, rest.split('`').skip(1).step_by(2).collect()))
}

#[cfg(test)]
mod tests {
    use schemas::client::CreateRun;

    use super::*;

    fn refusal(body: &str) -> (Code, String) {
        let refusal = parse::<CreateRun>(body.as_bytes()).unwrap_err();
        let response = serde_json::from_slice::<serde_json::Value>(&refusal.body("r").unwrap()).unwrap();
        let text = |name: &str| response["error"][name].as_str().unwrap_or("-").to_owned();
        (refusal.code(), format!("{} | {}", text("param"), text("message")))
    }

    #[test]
    fn mistakes_are_named() {
        let check = |body: &str, code: Code, expect: &str| {
            let (found, text) = refusal(body);
            assert_eq!(found, code, "{body}");
            assert!(text.contains(expect), "{body}: {text}");
        };
        check("{", Code::BadJson, "line 1 column 1");
        check(r#"{"input": {"a": 1},}"#, Code::BadJson, "line 1 column 20");
        check(r#"{"inputs": {}}"#, Code::UnknownField, "inputs | unknown field `inputs`; did you mean `input`?");
        check(r#"{"xyzzy": {}}"#, Code::UnknownField, "known are input, command");
        check(
            r#"{"config": {"tag": []}}"#,
            Code::UnknownField,
            "config.tag | unknown field `tag`; did you mean `tags`?",
        );
        check(r#"{"thread_id": 5}"#, Code::InvalidValue, "thread_id | invalid type: integer `5`, expected a string");
        check(r#"{"config": {"tags": [1]}}"#, Code::InvalidValue, "config.tags[0] |");
        check(r#"{"mode": "waits"}"#, Code::InvalidValue, "mode | unknown variant `waits`");
        check("[]", Code::InvalidValue, "no JSON object");
        check(&"[".repeat(500), Code::BadJson, "line 1 column 500");
        check(&format!(r#"{{"input": {{"a": {}1"#, "[".repeat(500)), Code::BadJson, "recursion limit");
    }
}
