//! A service's answer: one JSON value, JSON lines, or server-sent events. Pure.

use graph::task::TaskError;
use schemas::node_api::{NodeAnswer, NodeError, NodeLine};
use serde_json::Value;

use crate::{
    failure,
    lines::{LineTooLong, Lines, SseEvents},
    nodes::kind_of,
};

#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Something to show before the answer.
    Line(NodeLine),
    Answer(Box<NodeAnswer>),
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
            Pieces::Whole(body) if body.iter().all(u8::is_ascii_whitespace) => Ok(Piece::Answer(Box::default())),
            Pieces::Whole(body) => piece_of(body),
            Pieces::Lines(lines) => match lines.finish() {
                Some(line) => piece_of(line.as_bytes()),
                None => Err(cut_off("it ended without an answer")),
            },
            Pieces::Events(_) => Err(cut_off("it ended without an answer")),
        }
    }
}

pub fn cut_off(why: &str) -> TaskError {
    failure::of_kind(failure::retryable(format!("the node's answer was cut off: {why}")), "truncated")
}

/// `{"message", "type", "retryable", "retry_after_ms"}`, or a text; None where there is no message.
pub fn error_of(error: &Value) -> Option<TaskError> {
    match error.as_str() {
        Some(message) => Some(failure::node_failed(message)),
        None => serde_json::from_value(error.clone()).ok().map(error_from),
    }
}

pub fn error_from(error: NodeError) -> TaskError {
    let NodeError { message, r#type, retryable, retry_after_ms } = error;
    TaskError { kind: r#type, retryable, retry_after_ms, ..failure::node_failed(message) }
}

fn piece_of(json: &[u8]) -> Result<Piece, TaskError> {
    let value: Value = serde_json::from_slice(json).map_err(|_| bad("a piece of it is no JSON"))?;
    let Value::Object(fields) = &value else {
        return Err(bad(&format!("it is {}, not an object with `update`, `interrupts` or `error`", kind_of(&value))));
    };
    if fields.contains_key("token") || fields.contains_key("custom") {
        let line = serde_json::from_value(value).map_err(|_| bad("its `token` is no text"))?;
        return Ok(Piece::Line(line));
    }
    serde_json::from_value(value).map(|answer| Piece::Answer(Box::new(answer))).map_err(|error| bad(&error.to_string()))
}

fn too_long(error: LineTooLong) -> TaskError {
    bad(&error.to_string())
}

pub fn bad(why: &str) -> TaskError {
    failure::of_kind(failure::node_failed(format!("the node's answer can't be read: {why}")), "bad_answer")
}

#[cfg(test)]
mod tests {
    use schemas::node_api::NodeToken;
    use serde_json::json;

    use super::*;

    fn read(media: &str, body: &str, size: usize) -> Result<Vec<Piece>, TaskError> {
        let mut pieces = Pieces::of(media);
        let mut read = Vec::new();
        for bytes in body.as_bytes().chunks(size) {
            read.extend(pieces.push(bytes)?);
        }
        if !read.iter().any(|piece| matches!(piece, Piece::Answer(_))) {
            read.push(pieces.finish()?);
        }
        Ok(read)
    }

    fn answer(answer: Value) -> Piece {
        Piece::Answer(Box::new(serde_json::from_value(answer).unwrap()))
    }

    #[test]
    fn the_same_pieces_in_every_form() {
        let token = || Piece::Line(NodeLine::Token(NodeToken::Text("hi".to_owned())));
        let update = || answer(json!({"update": {"a": 1}}));
        let lines = "{\"token\":\"hi\"}\n\n{\"update\":{\"a\":1}}";
        let events = "data: {\"token\":\"hi\"}\n\nevent: x\ndata: {\"update\":{\"a\":1}}\n\ndata: [DONE]\n\n";
        for size in 1..30 {
            assert_eq!(read("application/x-ndjson; charset=utf-8", lines, size).unwrap(), [token(), update()]);
            assert_eq!(read("text/event-stream", events, size).unwrap(), [token(), update()]);
            assert_eq!(read("application/json", "{\"update\":{\"a\":1}}", size).unwrap(), [update()]);
        }
        assert_eq!(read("", " \n", 1).unwrap(), [answer(json!({}))]);
        assert_eq!(read("application/json", "{}", 1).unwrap(), [answer(json!({}))], "each field may be left out");
    }

    #[test]
    fn errors_say_what_the_service_said() {
        let said = json!({"message": "no", "type": "ValueError", "retryable": true, "retry_after_ms": 9});
        let expect = TaskError {
            class: "node_failed".to_owned(),
            message: "no".to_owned(),
            kind: Some("ValueError".to_owned()),
            retryable: true,
            retry_after_ms: Some(9),
            budget: None,
        };
        assert_eq!(error_of(&said), Some(expect));
        assert_eq!(error_of(&json!("no")).unwrap().message, "no");
        assert_eq!(error_of(&json!({})), None);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let table = [
            ("application/json", "[]", "a list"),
            ("application/json", "{\"update\":", "no JSON"),
            ("application/json", "{\"updat\":{}}", "unknown field `updat`"),
            ("application/json", "{\"goto\":\"x\"}", "expected a sequence"),
            ("application/json", "{\"error\":{}}", "missing field `message`"),
            ("application/x-ndjson", "{\"token\":\"a\"}\n", "cut off"),
            ("text/event-stream", "data: {\"update\":{}}", "cut off"),
        ];
        for (media, body, expect) in table {
            let error = read(media, body, 7).unwrap_err();
            assert!(error.message.contains(expect), "{body}: {}", error.message);
        }
    }
}
