//! A service's answer: one JSON value, JSON lines, or server-sent events. Pure.

use graph::task::TaskError;
use serde_json::Value;

use crate::{
    failure,
    lines::{LineTooLong, Lines, SseEvents},
    nodes::kind_of,
};

/// What an answer may name later; until then it is refused, never left out.
const NOT_BUILT: [&str; 4] = ["command", "goto", "sends", "interrupt"];

#[derive(Debug, PartialEq)]
pub enum Piece {
    /// `{"token": "text"}` or `{"token": {"text": …, "message_id": …}}`.
    Token { text: String, message_id: Option<String> },
    /// `{"custom": …}`
    Custom(Value),
    /// `{"update": …}`
    Update(Value),
    /// `{"error": {"message": …, "type": …, "retryable": …}}`
    Error(TaskError),
}

/// Reads pieces from the body as it comes.
pub enum Pieces {
    Whole(Vec<u8>),
    Lines(Lines),
    Events(SseEvents),
}

impl Pieces {
    pub fn of(media: &str) -> Self {
        match media.split(';').next().unwrap_or("").trim() {
            "text/event-stream" => Pieces::Events(SseEvents::default()),
            "application/x-ndjson" | "application/jsonl" | "application/json-lines" | "application/x-jsonlines" => {
                Pieces::Lines(Lines::default())
            }
            _ => Pieces::Whole(Vec::new()),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, TaskError> {
        match self {
            Pieces::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(Vec::new())
            }
            Pieces::Lines(lines) => {
                let lines = lines.push(bytes).map_err(too_long)?;
                lines.iter().filter(|line| !line.trim().is_empty()).map(|line| piece_of(line.as_bytes())).collect()
            }
            Pieces::Events(events) => {
                let events = events.push(bytes).map_err(too_long)?;
                let data = events.iter().map(|event| event.data.trim());
                data.filter(|data| !data.is_empty() && *data != "[DONE]")
                    .map(|data| piece_of(data.as_bytes()))
                    .collect()
            }
        }
    }

    /// What the end of the body completes.
    pub fn finish(mut self) -> Result<Piece, TaskError> {
        match &mut self {
            Pieces::Whole(body) if body.iter().all(u8::is_ascii_whitespace) => Ok(Piece::Update(Value::Null)),
            Pieces::Whole(body) => piece_of(body),
            Pieces::Lines(lines) => match lines.finish() {
                Some(line) => piece_of(line.as_bytes()),
                None => Err(cut_off("it ended without an update or an error")),
            },
            Pieces::Events(_) => Err(cut_off("it ended without an update or an error")),
        }
    }
}

pub fn cut_off(why: &str) -> TaskError {
    failure::of_kind(failure::retryable(format!("the node's answer was cut off: {why}")), "truncated")
}

/// `{"message", "type", "retryable", "retry_after_ms"}`; None where there is no message.
pub fn error_of(error: &Value) -> Option<TaskError> {
    if let Some(message) = error.as_str() {
        return Some(failure::node_failed(message));
    }
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    Some(TaskError {
        kind: text("type").map(str::to_owned),
        retryable: error.get("retryable").and_then(Value::as_bool).unwrap_or(false),
        retry_after_ms: error.get("retry_after_ms").and_then(Value::as_u64),
        ..failure::node_failed(text("message")?)
    })
}

fn piece_of(json: &[u8]) -> Result<Piece, TaskError> {
    let value: Value = serde_json::from_slice(json).map_err(|_| bad("a piece of it is no JSON"))?;
    let Value::Object(mut fields) = value else {
        return Err(bad(&format!("it is {}, not an object with `update` or `error`", kind_of(&value))));
    };
    if let Some(name) = NOT_BUILT.iter().find(|name| fields.contains_key(**name)) {
        return Err(bad(&format!("`{name}` is not built yet")));
    }
    if let Some(error) = fields.get("error") {
        return Ok(Piece::Error(error_of(error).ok_or_else(|| bad("its `error` has no `message`"))?));
    }
    if let Some(update) = fields.remove("update") {
        return Ok(Piece::Update(update));
    }
    if let Some(token) = fields.remove("token") {
        let text = token.as_str().or_else(|| token.get("text").and_then(Value::as_str));
        let text = text.ok_or_else(|| bad("its `token` is no text"))?.to_owned();
        let message_id = token.get("message_id").and_then(Value::as_str).map(str::to_owned);
        return Ok(Piece::Token { text, message_id });
    }
    if let Some(custom) = fields.remove("custom") {
        return Ok(Piece::Custom(custom));
    }
    Err(bad("it has none of `update`, `error`, `token`, `custom`"))
}

fn too_long(error: LineTooLong) -> TaskError {
    bad(&error.to_string())
}

fn bad(why: &str) -> TaskError {
    failure::of_kind(failure::node_failed(format!("the node's answer can't be read: {why}")), "bad_answer")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(media: &str, body: &str, size: usize) -> Result<Vec<Piece>, TaskError> {
        let mut pieces = Pieces::of(media);
        let mut read = Vec::new();
        for bytes in body.as_bytes().chunks(size) {
            read.extend(pieces.push(bytes)?);
        }
        if !read.iter().any(|piece| matches!(piece, Piece::Update(_) | Piece::Error(_))) {
            read.push(pieces.finish()?);
        }
        Ok(read)
    }

    #[test]
    fn the_same_pieces_in_every_form() {
        let token = || Piece::Token { text: "hi".to_owned(), message_id: None };
        let update = || Piece::Update(json!({"a": 1}));
        let lines = "{\"token\":\"hi\"}\n\n{\"update\":{\"a\":1}}";
        let events = "data: {\"token\":\"hi\"}\n\nevent: x\ndata: {\"update\":{\"a\":1}}\n\ndata: [DONE]\n\n";
        for size in 1..30 {
            assert_eq!(read("application/x-ndjson; charset=utf-8", lines, size).unwrap(), [token(), update()]);
            assert_eq!(read("text/event-stream", events, size).unwrap(), [token(), update()]);
            assert_eq!(read("application/json", "{\"update\":{\"a\":1}}", size).unwrap(), [update()]);
        }
        assert_eq!(read("", " \n", 1).unwrap(), [Piece::Update(Value::Null)]);
    }

    #[test]
    fn errors_say_what_the_service_said() {
        let body = json!({"error": {"message": "no", "type": "ValueError", "retryable": true, "retry_after_ms": 9}});
        let expect = TaskError {
            class: "node_failed".to_owned(),
            message: "no".to_owned(),
            kind: Some("ValueError".to_owned()),
            retryable: true,
            retry_after_ms: Some(9),
        };
        assert_eq!(read("application/json", &body.to_string(), 99).unwrap(), [Piece::Error(expect)]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let table = [
            ("application/json", "[]", "a list"),
            ("application/json", "{}", "none of"),
            ("application/json", "{\"update\":", "no JSON"),
            ("application/json", "{\"goto\":\"x\"}", "not built yet"),
            ("application/json", "{\"error\":{}}", "no `message`"),
            ("application/x-ndjson", "{\"token\":\"a\"}\n", "cut off"),
            ("text/event-stream", "data: {\"update\":{}}", "cut off"),
        ];
        for (media, body, expect) in table {
            let error = read(media, body, 7).unwrap_err();
            assert!(error.message.contains(expect), "{body}: {}", error.message);
        }
    }
}
