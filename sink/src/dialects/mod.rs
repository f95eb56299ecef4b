//! How facts become bytes: one file and one pure function each. Nothing else knows the name of an event.

mod events;
mod langgraph;
mod openai;
mod text;

use std::borrow::Cow;

use schemas::{
    error::{Code, ErrorBody},
    openai::error_frame,
    stream::{Dialect, Rendering},
};

use crate::{facts::Shown, position::Position};

/// One client's stream in the words that it asked for.
pub enum Stream {
    Ours(Dialect),
    LangGraph(Box<langgraph::Stream>),
    Completions(Box<openai::Stream>),
}

impl Stream {
    pub fn new(rendering: Rendering) -> Self {
        match rendering {
            Rendering::Ours(dialect) => Stream::Ours(dialect),
            Rendering::LangGraph(asked) => Stream::LangGraph(Box::new(langgraph::Stream::new(asked))),
            Rendering::Completions { usage } => Stream::Completions(Box::new(openai::Stream::new(usage))),
        }
    }

    /// Takes in a fact that the client may have had before: later events may name it again.
    pub fn see(&mut self, shown: &Shown) {
        match self {
            Stream::Ours(_) | Stream::Completions(_) => {}
            Stream::LangGraph(stream) => stream.see(shown),
        }
    }

    /// Appends the frames that say `shown`; a fact that the dialect has no word for adds nothing.
    pub fn render(&mut self, shown: &Shown, out: &mut Vec<u8>) {
        match self {
            Stream::Ours(Dialect::Events) => events::render(shown, out),
            Stream::Ours(Dialect::Text) => text::render(shown, out),
            Stream::LangGraph(stream) => stream.render(shown, out),
            Stream::Completions(stream) => stream.render(shown, out),
        }
    }

    /// What a silent stream says, so that nobody takes it for dead.
    pub fn heartbeat(&self) -> Cow<'static, [u8]> {
        match self {
            Stream::Ours(_) => Cow::Borrowed(b": keep-alive\n\n"),
            Stream::LangGraph(_) => Cow::Borrowed(b": heartbeat\r\n\r\n"),
            Stream::Completions(stream) => stream.heartbeat(),
        }
    }

    /// What a stream says that ends before its run: a comment, which clients ignore and then miss the end; but to OpenAI's,
    /// which don't miss it, an error.
    pub fn cut(&self, why: String) -> Vec<u8> {
        match self {
            Stream::Ours(_) | Stream::LangGraph(_) => format!(": cut: {why}\n\n").into_bytes(),
            Stream::Completions(_) => error_frame(&ErrorBody::new(Code::StreamCut, why)),
        }
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
