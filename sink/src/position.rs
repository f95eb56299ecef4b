//! How far a client has come in a stream: the id of an event, which means the same on any sink.

use std::{fmt, str::FromStr};

/// `<update number>.<tokens offset>`: every update up to the number was shown, and every token below the offset (the
/// next one to read, as commits count; 0 where none was).
///
/// An update may hold several facts. Behind one that isn't its last stands how many of the update's places are done:
/// `5.120.2`; behind an `attempt_reset` that announces the token at the offset stands `r`: `5.120.r`. So a stream that
/// is cut anywhere goes on without a hole or a repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub update: u64,
    pub tokens: u64,
    pub rest: Rest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// The update was shown whole.
    #[default]
    None,
    /// So many places of the update were shown.
    Places(u32),
    /// The reset before the token at the offset was shown, the token not.
    Reset,
}

/// Which record a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Said of the stream itself, again on every connection.
    Stream,
    /// The place is counted from 0, the same whether or not the places before it have something to show.
    Update {
        number: u64,
        place: u32,
    },
    Token {
        offset: u64,
    },
    /// The reset that the token at the offset calls for.
    TokenReset {
        offset: u64,
    },
}

impl Position {
    /// Whether a client that stands here has seen what comes from `origin`.
    pub fn covers(&self, origin: Origin) -> bool {
        match origin {
            Origin::Stream => false,
            Origin::Update { number, place } => {
                number < self.update
                    || (number == self.update
                        && match self.rest {
                            Rest::None | Rest::Reset => true,
                            Rest::Places(done) => place < done,
                        })
            }
            Origin::Token { offset } => offset < self.tokens,
            Origin::TokenReset { offset } => {
                offset < self.tokens || (offset == self.tokens && self.rest == Rest::Reset)
            }
        }
    }

    /// Whether everything of a run whose last update has this number was shown.
    pub fn is_whole(&self, last_update: u64) -> bool {
        self.update > last_update || (self.update == last_update && !matches!(self.rest, Rest::Places(_)))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.update, self.tokens)?;
        match self.rest {
            Rest::None => Ok(()),
            Rest::Places(done) => write!(f, ".{done}"),
            Rest::Reset => f.write_str(".r"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is no id of an event of this stream; send the last one that was received, or none to start over")]
pub struct BadPosition;

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let mut parts = text.trim().split('.');
        let mut number =
            || parts.next().and_then(|part| part.parse().ok()).filter(|_| text.len() <= 64).ok_or(BadPosition);
        let (update, tokens) = (number()?, number()?);
        let rest = match parts.next() {
            None => Rest::None,
            Some("r") => Rest::Reset,
            Some(done) => Rest::Places(done.parse().map_err(|_| BadPosition)?),
        };
        match parts.next() {
            None => Ok(Position { update, tokens, rest }),
            Some(_) => Err(BadPosition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["0.0", "5.120", "5.120.2", "5.120.r"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in ["", "5", "5.", "-1.0", "5.1.x", "5.1.2.3", "a.b"] {
            assert_eq!(text.parse::<Position>(), Err(BadPosition), "{text}");
        }
    }

    #[test]
    fn covers() {
        let check = |position: &str, origin, expect| {
            assert_eq!(position.parse::<Position>().unwrap().covers(origin), expect, "{position} {origin:?}");
        };
        check("5.120", Origin::Update { number: 5, place: 9 }, true);
        check("5.120", Origin::Update { number: 6, place: 0 }, false);
        check("5.120.2", Origin::Update { number: 5, place: 1 }, true);
        check("5.120.2", Origin::Update { number: 5, place: 2 }, false);
        check("5.120", Origin::Token { offset: 119 }, true);
        check("5.120", Origin::Token { offset: 120 }, false);
        check("5.120.r", Origin::Token { offset: 120 }, false);
        check("5.120.r", Origin::TokenReset { offset: 120 }, true);
        check("5.120", Origin::TokenReset { offset: 120 }, false);
        check("5.120.r", Origin::Update { number: 5, place: 3 }, true);
        check("5.120", Origin::Stream, false);
    }
}
