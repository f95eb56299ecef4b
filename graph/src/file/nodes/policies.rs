//! When a node's attempts end, are made again, or aren't needed.

use super::super::{
    reader::Reader,
    tree::{Node, Yaml},
};
use crate::spec::{CacheKey, CachePolicy, RetryPolicy};

pub(super) fn retry(reader: &mut Reader, node: &Node, what: &str) -> Option<RetryPolicy> {
    let known = ["max_attempts", "initial_interval", "backoff_factor", "max_interval", "jitter", "retry_on"];
    let fields = reader.fields(node, what, &known)?;
    let defaults = RetryPolicy::default();
    let of = |field: &str| format!("`{field}` of {what}");
    let mut duration = |field: &str| fields.get(field).and_then(|node| reader.duration(node, &of(field)));
    let (initial, longest) = (duration("initial_interval"), duration("max_interval"));
    Some(RetryPolicy {
        max_attempts: fields
            .get("max_attempts")
            .and_then(|node| reader.integer(node, &of("max_attempts"), 1..=ATTEMPTS_MAX))
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(defaults.max_attempts),
        initial_interval_ms: initial.unwrap_or(defaults.initial_interval_ms),
        backoff_factor: fields
            .get("backoff_factor")
            .and_then(|node| reader.number(node, &of("backoff_factor"), 1.0..=100.0))
            .unwrap_or(defaults.backoff_factor),
        max_interval_ms: longest.unwrap_or(defaults.max_interval_ms),
        jitter: fields.get("jitter").and_then(|node| reader.boolean(node, &of("jitter"))).unwrap_or(defaults.jitter),
        retry_on: fields.get("retry_on").and_then(|node| reader.texts(node, &of("retry_on"))).unwrap_or_default(),
    })
}

/// Attempts of one task: what fails this often needs a person.
const ATTEMPTS_MAX: i64 = 100;

/// One duration for the attempt, or `{run, idle}`. What runs in a graph has idle timeouts of its own.
pub(super) fn timeout(reader: &mut Reader, node: &Node, what: &str, of_graph: bool) -> (Option<u64>, Option<u64>) {
    let Yaml::Map(_) = &node.value else { return (reader.duration(node, what), None) };
    let Some(fields) = reader.fields(node, what, if of_graph { &["run"] } else { &["run", "idle"] }) else {
        return (None, None);
    };
    let mut of =
        |field: &str| fields.get(field).and_then(|node| reader.duration(node, &format!("`{field}` of {what}")));
    (of("run"), of("idle"))
}

/// `true`, or `{ttl, key}`.
pub(super) fn cache(reader: &mut Reader, node: &Node, what: &str, path: &str) -> Option<CachePolicy> {
    if let Yaml::Bool(wanted) = &node.value {
        return wanted.then(CachePolicy::default);
    }
    let fields = reader.fields(node, what, &["ttl", "key"])?;
    let key = fields.get("key").and_then(|key| match &key.value {
        Yaml::Map(_) => {
            let what = format!("`key` of {what}");
            let by = reader.fields(key, &what, &["http"])?;
            let Some(http) = by.get("http") else {
                reader.missing(key.place, &what, "http", "write `{http: {url: ...}}`, or CEL in quotes");
                return None;
            };
            let known = reader.fields(http, &format!("`http` of {what}"), &["url", "headers"])?;
            reader.call(&known, &what, http.place, &format!("{path}/key")).map(CacheKey::Http)
        }
        _ => {
            reader.mark(format!("{path}/key"), key);
            reader.cel(key, &format!("`key` of {what}")).map(CacheKey::Cel)
        }
    });
    Some(CachePolicy {
        ttl_ms: fields.get("ttl").and_then(|ttl| reader.duration(ttl, &format!("`ttl` of {what}"))),
        key,
    })
}
