//! How facts become bytes: one file and one pure function each. Nothing else knows the name of an event.

mod events;
mod text;

use schemas::stream::Dialect;

use crate::{facts::Shown, position::Position};

/// Appends the frames that say `shown`; a fact that the dialect has no word for adds nothing.
pub fn render(dialect: Dialect, shown: &Shown, out: &mut Vec<u8>) {
    match dialect {
        Dialect::Events => events::render(shown, out),
        Dialect::Text => text::render(shown, out),
    }
}

/// `id`, `event` and `data` lines of one frame; none of the three may hold a line break, and JSON has none.
fn frame(position: Option<Position>, event: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
    if let Some(position) = position {
        out.extend_from_slice(format!("id: {position}\n").as_bytes());
    }
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

const DONE: &[u8] = b"[DONE]";

#[cfg(test)]
mod tests;
