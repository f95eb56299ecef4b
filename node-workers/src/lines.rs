//! Splits a streamed body into lines and server-sent events, whatever pieces it comes in. Pure and bounded.

/// Bytes of one line or event; a longer one is a broken peer.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the streamed answer is over {LINE_BYTES_MAX} bytes")]
pub struct LineTooLong;

/// Whole lines of what was pushed; CR, LF and CRLF all end one.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// A CR ended the last line: an LF right behind it belongs to it.
    after_cr: bool,
}

impl Lines {
    /// Adds a piece and gives the lines that it completes.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, LineTooLong> {
        let mut lines = Vec::new();
        for &byte in piece {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    lines.push(self.take());
                }
                _ => {
                    self.after_cr = false;
                    self.buffer.push(byte);
                }
            }
        }
        if self.buffer.len() > LINE_BYTES_MAX { Err(LineTooLong) } else { Ok(lines) }
    }

    /// The last line, where the body ended without a line's end.
    pub fn finish(&mut self) -> Option<String> {
        (!self.buffer.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        line
    }
}

/// One server-sent event; fields other than these are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    pub event: String,
    pub data: String,
}

/// Whole events of what was pushed. One that the body's end cuts off is never given out.
#[derive(Debug, Default)]
pub struct SseEvents {
    lines: Lines,
    event: SseEvent,
    has_data: bool,
}

impl SseEvents {
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<SseEvent>, LineTooLong> {
        let mut events = Vec::new();
        for line in self.lines.push(piece)? {
            self.line(&line, &mut events);
        }
        if self.event.data.len() > LINE_BYTES_MAX { Err(LineTooLong) } else { Ok(events) }
    }

    fn line(&mut self, line: &str, events: &mut Vec<SseEvent>) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                events.push(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.event),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = ": hello\r\nevent: token\r\ndata: {\"a\":1}\r\n\r\ndata: zwei\ndata:\u{fc}ber\n\ndata: cut";

    #[test]
    fn events_are_the_same_in_any_pieces() {
        let expect = [
            SseEvent { event: "token".to_owned(), data: "{\"a\":1}".to_owned() },
            SseEvent { event: String::new(), data: "zwei\n\u{fc}ber".to_owned() },
        ];
        for size in 1..BODY.len() {
            let mut events = SseEvents::default();
            let got: Vec<SseEvent> =
                BODY.as_bytes().chunks(size).flat_map(|piece| events.push(piece).unwrap()).collect();
            assert_eq!(got, expect, "pieces of {size}");
        }
    }

    #[test]
    fn lines_without_an_end_are_kept_for_finish() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\nb").unwrap(), ["a"]);
        assert_eq!(lines.push(b"c\r").unwrap(), ["bc"]);
        assert_eq!(lines.push(b"\nd").unwrap(), Vec::<String>::new());
        assert_eq!(lines.finish().as_deref(), Some("d"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LINE_BYTES_MAX / 2];
        assert!(lines.push(&piece).is_ok());
        assert!(lines.push(&piece).is_ok());
        assert_eq!(lines.push(b"x"), Err(LineTooLong));
    }
}
