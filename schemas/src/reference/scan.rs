//! Where the nodes of a JSON text begin and end. The text has been written or read by serde_json before: it is JSON.

use std::ops::Range;

/// A step from a node to one of its children; keys as they are escaped in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Key(&'a [u8]),
    Index(usize),
}

/// The text ends where a value should go on, or is nested deeper than anybody writes.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// What to do with a node that begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// Look at its children first.
    Inside,
    /// Only at where it ends.
    Over,
}

/// Told of nodes, children before their parent.
pub trait Visit<'a> {
    /// Whether the children of a node are of interest.
    fn enter(&mut self, path: &[Step<'a>]) -> Enter;
    fn node(&mut self, path: &[Step<'a>], span: Range<usize>);
}

pub fn scan<'a>(text: &'a [u8], visit: &mut impl Visit<'a>) -> Result<(), Malformed> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.node(&mut Vec::new(), visit)
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn node(&mut self, path: &mut Vec<Step<'a>>, visit: &mut impl Visit<'a>) -> Result<(), Malformed> {
        self.blank();
        let begin = self.at;
        let first = self.peek()?;
        match first {
            b'{' | b'[' if visit.enter(path) == Enter::Inside => self.children(first == b'{', path, visit)?,
            _ => self.over()?,
        }
        visit.node(path, begin..self.at);
        Ok(())
    }

    fn children(&mut self, keyed: bool, path: &mut Vec<Step<'a>>, visit: &mut impl Visit<'a>) -> Result<(), Malformed> {
        self.at += 1;
        let mut index = 0;
        loop {
            self.blank();
            match self.peek()? {
                b'}' | b']' => {
                    self.at += 1;
                    return Ok(());
                }
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            if keyed {
                let begin = self.at;
                self.string()?;
                path.push(Step::Key(&self.text[begin + 1..self.at - 1]));
                self.blank();
                if self.peek()? != b':' {
                    return Err(Malformed);
                }
                self.at += 1;
            } else {
                path.push(Step::Index(index));
                index += 1;
            }
            self.node(path, visit)?;
            path.pop();
        }
    }

    /// Passes a whole value.
    fn over(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(Malformed)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                byte if byte.is_ascii_whitespace() && depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.word()?,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<(), Malformed> {
        let rest = &self.text[self.at..];
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().take_while(|byte| part(byte)).count();
        self.at += length;
        if length == 0 { Err(Malformed) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), Malformed> {
        if self.peek()? != b'"' {
            return Err(Malformed);
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.at += 2,
                _ => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Malformed)?;
                }
            }
        }
    }

    fn blank(&mut self) {
        self.at += self.text[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }

    fn peek(&self) -> Result<u8, Malformed> {
        self.text.get(self.at).copied().ok_or(Malformed)
    }
}

/// RFC 6901.
pub fn pointer(path: &[Step<'_>]) -> String {
    let mut pointer = String::new();
    for step in path {
        pointer.push('/');
        match step {
            Step::Key(key) => {
                pointer.push_str(&unescaped(key).replace('~', "~0").replace('/', "~1"));
            }
            Step::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    pointer
}

/// The key that an escaped one stands for.
fn unescaped(key: &[u8]) -> String {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(key).into_owned())
}
