//! The `text` dialect: the answer alone, for who reads `data:` lines and nothing else.
//!
//! What must not go unsaid (a reset, a failed run) is a named event, which such a reader skips.

use schemas::{error::ErrorBody, record::TokenKind};

use super::{DONE, frame};
use crate::{
    facts::{Fact, Shown},
    position::Position,
    run_error,
};

pub fn render(shown: &Shown, out: &mut Vec<u8>) {
    match &shown.fact {
        Fact::Token(record) if record.token.kind == TokenKind::Text => delta(shown.position, &record.token.delta, out),
        Fact::WholeText(whole) => delta(shown.position, &whole.text, out),
        Fact::AttemptReset { .. } => frame(Some(shown.position), Some("attempt_reset"), b"{}", out),
        Fact::Error(of) => {
            if let Some(error) = of.get().and_then(|ended| run_error::of(ended, of.record.envelope.run_id)) {
                let body = serde_json::to_vec(&ErrorBody { error }).unwrap_or_default();
                frame(Some(shown.position), Some("error"), &body, out);
            }
        }
        Fact::Final(_) => frame(Some(shown.position), None, DONE, out),
        Fact::Metadata { .. }
        | Fact::Happened(_)
        | Fact::NodeStarted(_)
        | Fact::Token(_)
        | Fact::NodeFinished(_)
        | Fact::Interrupt(_) => {}
    }
}

fn delta(position: Position, text: &str, out: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    if text.as_bytes() == DONE {
        // As one event it would end the stream; the first half has no id, since a cut there must send both again.
        frame(None, None, &DONE[..1], out);
        return frame(Some(position), None, &DONE[1..], out);
    }
    out.extend_from_slice(format!("id: {position}\n").as_bytes());
    for line in text.replace("\r\n", "\n").split(['\r', '\n']) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}
