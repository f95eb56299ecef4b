//! The names of topics and groups. Frozen: a renamed topic is an empty one.

use graph::envelope::Lane;

/// Everything that may change a run.
pub const RUNS: &str = "runs";
/// What became of runs.
pub const UPDATES: &str = "updates";
/// Deltas of answers being made.
pub const TOKENS: &str = "tokens";
/// Hints to workers.
pub const SIGNALS: &str = "signals";
/// What roles tell each other (compacted).
pub const CONTROL: &str = "control";
/// Bytes that no version can read, and tasks after their last attempt.
pub const DEAD_LETTERS: &str = "dead-letters";

/// Consumer groups of the stages that are not a node's.
pub const ORCHESTRATOR_GROUP: &str = "orchestrator";
pub const SINK_GROUP: &str = "sink";

const PART_BYTES_MAX: usize = 80;

/// Names of one deployment: every topic and group behind the same prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Put before every name as it is, such as `prod-`.
    pub prefix: String,
}

impl Names {
    pub fn new(prefix: impl Into<String>) -> Self {
        Names { prefix: prefix.into() }
    }

    /// A topic or group of the deployment, such as [`RUNS`].
    pub fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// `node.<graph>.<node>`, with `.batch` behind it for that lane.
    pub fn node(&self, graph: &str, node: &str, lane: Lane) -> String {
        let lane = match lane {
            Lane::Interactive => "",
            Lane::Batch => ".batch",
        };
        format!("{}node.{}.{}{lane}", self.prefix, part(graph), part(node))
    }

    /// A node's lanes are one group, named as the interactive topic.
    pub fn node_group(&self, graph: &str, node: &str) -> String {
        self.node(graph, node, Lane::Interactive)
    }
}

/// Bytes outside of [A-Za-z0-9-] as `_hh`; a part over 80 bytes is cut and ends in 8 hex digits of its hash.
fn part(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("_{byte:02x}"));
        }
    }
    if escaped.len() > PART_BYTES_MAX {
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
        escaped.truncate(PART_BYTES_MAX - 9);
        escaped.push_str(&format!("-{:08x}", hash >> 32));
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let names = Names::new("prod-");
        assert_eq!(names.of(RUNS), "prod-runs");
        assert_eq!(names.node("support", "answer", Lane::Interactive), "prod-node.support.answer");
        assert_eq!(names.node("a b", "é", Lane::Batch), "prod-node.a_20b._c3_a9.batch");
        let long = names.node("g", &"n".repeat(200), Lane::Interactive);
        assert_eq!(long.len(), "prod-node.g.".len() + PART_BYTES_MAX);
    }
}
