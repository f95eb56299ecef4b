//! Takes out of a JSON text what is too large for it.

use std::ops::Range;

use bytes::Bytes;
use graph::envelope::Key;

use super::{
    RECORD_BYTES_INLINE, Reference, References, VALUE_BYTES_INLINE, VERSION, Values,
    scan::{Enter, Step, Visit, pointer, scan},
};

/// Values taken out one by one; of more the rest goes with the part that holds them.
const VALUES_MAX: usize = 256;
/// Parts of a text that are of no use outside: taking them out would save little more than their reference costs.
const PART_BYTES_MIN: usize = 1024;
/// Nodes deeper than this are only looked at as a whole.
const DEPTH_MAX: usize = 12;

/// Where values stand in a kind of text. Below a value everything is the caller's own.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Fields that hold a value each.
    leaves: &'static [&'static str],
    /// Fields that hold values by name, or in a list.
    maps: &'static [&'static str],
    /// Steps from the root that are never one of these.
    values_from: usize,
    /// Steps from the root below which any part may be taken out.
    parts_from: usize,
}

const LEAVES: &[&str] = &[
    "answer",
    "argument",
    "configurable",
    "context",
    "model",
    "model_config",
    "prompt",
    "response_schema",
    "resume",
    "thread_state",
    "value",
];
const MAPS: &[&str] = &["answers", "channels", "input", "output", "result", "untracked", "update", "values"];
/// What a subgraph shows, and the answers that a task was given.
const STATE_MAPS: &[&str] = &["input", "answers", "update", "shown", "given"];
/// Pairs of a channel and its value.
const WRITES: &str = "writes";

impl Layout {
    /// Of an event the type and the short fields stay, so that a result can be told from others without its values.
    pub const RUNS: Layout = Layout { leaves: LEAVES, maps: MAPS, values_from: 1, parts_from: 3 };
    pub const TASK: Layout = Layout { leaves: LEAVES, maps: MAPS, values_from: 1, parts_from: 2 };
    pub const UPDATE: Layout = Layout { leaves: LEAVES, maps: MAPS, values_from: 1, parts_from: 2 };
    /// A row that the sink lays out.
    pub const ROW: Layout = Layout { leaves: LEAVES, maps: MAPS, values_from: 0, parts_from: 1 };
    /// A key's state, in which a channel holds more than its value.
    pub const STATE: Layout = Layout { leaves: LEAVES, maps: STATE_MAPS, values_from: 0, parts_from: 1 };

    /// Whether a value stands at the end of this path; None inside of one.
    fn is_value(&self, path: &[Step<'_>]) -> Option<bool> {
        let names = path.iter().enumerate().skip(self.values_from);
        for (at, step) in names {
            let Step::Key(key) = step else { continue };
            let below = path.len() - at - 1;
            let named = |names: &[&str]| names.iter().any(|name| name.as_bytes() == *key);
            let depth = match () {
                () if named(self.leaves) => 0,
                () if named(self.maps) => 1,
                () if *key == WRITES.as_bytes() => 2,
                () => continue,
            };
            return (below <= depth).then(|| below == depth && (depth < 2 || path.last() == Some(&Step::Index(1))));
        }
        Some(false)
    }
}

/// A text without what was taken out of it.
#[derive(Debug)]
pub struct PutAway {
    /// With the table in front.
    pub json: Bytes,
    pub references: References,
    /// What has to stand in the store before anybody reads the text.
    pub values: Values,
}

/// Takes values above [`VALUE_BYTES_INLINE`] out of an object's text, and then whatever parts keep it above
/// [`RECORD_BYTES_INLINE`]. None where it can stay as it is.
pub fn put_away(json: &[u8], owner: &Key, layout: &Layout) -> Option<PutAway> {
    if json.len() <= VALUE_BYTES_INLINE {
        return None;
    }
    let mut nodes = Nodes { layout, found: Vec::new() };
    scan(json, &mut nodes).ok()?;
    let chosen = choose(nodes.found, json.len());
    (!chosen.is_empty()).then(|| cut(json, owner, chosen))
}

struct Nodes<'l> {
    layout: &'l Layout,
    found: Vec<Node>,
}

/// A node that may be taken out.
#[derive(Clone, Debug)]
struct Node {
    at: String,
    span: Range<usize>,
    is_value: bool,
    is_part: bool,
}

impl<'a> Visit<'a> for Nodes<'_> {
    fn enter(&mut self, path: &[Step<'a>]) -> Enter {
        let outside = path.first() == Some(&Step::Key(b"envelope"));
        if outside || path.len() >= DEPTH_MAX { Enter::Over } else { Enter::Inside }
    }

    fn node(&mut self, path: &[Step<'a>], span: Range<usize>) {
        if span.len() < PART_BYTES_MIN || path.is_empty() || path[0] == Step::Key(b"envelope") {
            return;
        }
        let is_value = self.layout.is_value(path);
        // What lies inside of a caller's value is taken out with it or not at all.
        let is_part = is_value.is_some() && path.len() >= self.layout.parts_from;
        if is_part || is_value == Some(true) {
            self.found.push(Node { at: pointer(path), span, is_value: is_value == Some(true), is_part });
        }
    }
}

/// What to take out. `nodes` are sorted by where they end, children before parents.
fn choose(nodes: Vec<Node>, bytes: usize) -> Vec<Node> {
    let mut chosen: Vec<Node> =
        nodes.iter().filter(|node| node.is_value && node.span.len() > VALUE_BYTES_INLINE).cloned().collect();
    chosen.sort_by_key(|node| std::cmp::Reverse(node.span.len()));
    chosen.truncate(VALUES_MAX);
    let mut left = bytes - chosen.iter().map(|node| node.span.len()).sum::<usize>();
    while left > RECORD_BYTES_INLINE {
        // Inline bytes of each part that is still there: without what was taken out of it.
        let open = nodes.iter().filter(|node| node.is_part && !chosen.iter().any(|taken| holds(taken, node)));
        let inline = |node: &Node| {
            let inside = outermost(&chosen).filter(|taken| holds(node, taken));
            node.span.len() - inside.map(|taken| taken.span.len()).sum::<usize>()
        };
        let open: Vec<(usize, &Node)> =
            open.map(|node| (inline(node), node)).filter(|(size, _)| *size >= PART_BYTES_MIN).collect();
        let enough = open.iter().filter(|(size, _)| left - size <= RECORD_BYTES_INLINE);
        let smallest = enough.min_by_key(|(size, _)| *size);
        // Where no single one suffices, the largest, but not more around it than need be.
        let largest = open.iter().map(|(size, _)| *size).max().unwrap_or_default();
        let core = open.iter().filter(|(size, _)| size * 10 >= largest * 9).min_by_key(|(size, _)| *size);
        let Some((size, node)) = smallest.or(core) else { break };
        left -= size;
        let node = Node::clone(node);
        chosen.push(node);
    }
    chosen
}

fn holds(outer: &Node, inner: &Node) -> bool {
    outer.span.start <= inner.span.start && inner.span.end <= outer.span.end
}

/// Those that lie in no other.
fn outermost(chosen: &[Node]) -> impl Iterator<Item = &Node> {
    let inside = |node: &Node| chosen.iter().any(|other| other.span != node.span && holds(other, node));
    chosen.iter().filter(move |node| !inside(node))
}

fn cut(json: &[u8], owner: &Key, mut chosen: Vec<Node>) -> PutAway {
    // An outer part before what was taken out of it.
    chosen.sort_by_key(|node| (node.span.start, std::cmp::Reverse(node.span.end)));
    let mut values = Values::new();
    let mut table = Vec::with_capacity(chosen.len());
    for (index, node) in chosen.iter().enumerate() {
        let inside = &chosen[index + 1..];
        let text = Bytes::from(without(json, node.span.clone(), inside));
        let hash = blake3::hash(&text).to_hex().to_string();
        table.push(Reference { at: node.at.clone(), hash: hash.clone(), bytes: text.len() as u64 });
        values.insert(hash, text);
    }
    let references = References { version: VERSION, owner: owner.clone(), values: table };
    let rest = without(json, 0..json.len(), &chosen);
    let mut text = b"{\"references\":".to_vec();
    serde_json::to_writer(&mut text, &references).expect("a table has a JSON form");
    text.push(b',');
    // A record is an object, and never an empty one.
    text.extend_from_slice(&rest[1..]);
    PutAway { json: text.into(), references, values }
}

/// A part of the text, with an empty value of its kind where one of `holes` lies in it.
fn without(json: &[u8], part: Range<usize>, holes: &[Node]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut at = part.start;
    for hole in holes {
        if hole.span.start < at || hole.span.end > part.end {
            continue;
        }
        text.extend_from_slice(&json[at..hole.span.start]);
        text.extend_from_slice(match json[hole.span.start] {
            b'[' => b"[]",
            b'{' => b"{}",
            _ => b"\"\"",
        });
        at = hole.span.end;
    }
    text.extend_from_slice(&json[at..part.end]);
    text
}
