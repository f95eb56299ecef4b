//! `custom`: whatever a node gave its stream writer.

use schemas::record::TokenKind;

use super::{Event, known::Known, outer};
use crate::facts::Fact;

pub fn events(fact: &Fact, _: &Known) -> Vec<Event> {
    let Fact::Token(record) = fact else { return Vec::new() };
    let token = &record.token;
    if token.kind != TokenKind::Custom {
        return Vec::new();
    }
    // A delta that is no JSON is the worker's mistake, and not passed on.
    let data = serde_json::from_str(&token.delta).ok();
    data.map(|data| Event::new("custom", outer(&token.checkpoint_ns), data)).into_iter().collect()
}
