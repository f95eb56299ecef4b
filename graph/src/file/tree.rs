//! YAML to a tree in which every value knows its place. JSON is YAML too.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::Number;

use super::{Code, Diagnostic, Place, places::Style, scalar};

/// Bytes of one graph file.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Levels of lists and mappings.
pub const DEPTH_MAX: usize = 64;
/// Values of one file, those that aliases repeat counted each time.
pub const NODES_MAX: usize = 100_000;

const SMALLER: &str = "split the graph into smaller ones";

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Yaml,
    pub place: Place,
    pub style: Style,
}

#[derive(Clone, Debug)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub name: String,
    pub place: Place,
}

impl Node {
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "true or false",
            Yaml::Number(_) => "a number",
            Yaml::Text(_) => "a text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a mapping",
        }
    }
}

type Failure = Box<Diagnostic>;

pub(super) fn parse(text: &str) -> Result<Node, Failure> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", text.len());
        return Err(Box::new(Diagnostic::error(Code::TooLarge, Place::START, message).hint(SMALLER)));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = event.map_err(|error| syntax(place(error.marker()), error.info()))?;
        builder.take(event, span)?;
    }
    builder.root.ok_or_else(|| Box::new(empty()))
}

fn empty() -> Diagnostic {
    let hint = "begin with `version: 1`, or let `millstream init` write a file";
    Diagnostic::error(Code::YamlSyntax, Place::START, "the file is empty").hint(hint)
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next, in a mapping.
    key: Option<Key>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let at = place(&span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => Err(syntax(at, "a second document begins here")),
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(syntax(at, "this alias names a value that it is part of"));
                };
                self.count(weight(&node), at)?;
                self.add(Node { place: at, ..node })
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let node = scalar_node(text.into_owned(), style, tag.as_deref(), at)?;
                self.remember(anchor, &node);
                self.add(node)
            }
            Event::SequenceStart(anchor, _) => self.open(Yaml::List(Vec::new()), anchor, at),
            Event::MappingStart(anchor, _) => self.open(Yaml::Map(Vec::new()), anchor, at),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, .. }) => {
                    self.remember(anchor, &node);
                    self.add(node)
                }
                None => Ok(()),
            },
        }
    }

    fn open(&mut self, value: Yaml, anchor: usize, at: Place) -> Result<(), Failure> {
        self.count(1, at)?;
        if self.open.len() >= DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} lists and mappings stand inside each other");
            return Err(Box::new(Diagnostic::error(Code::TooLarge, at, message).hint(SMALLER)));
        }
        self.open.push(Open { node: Node { value, place: at, style: Style::Plain }, anchor, key: None });
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Failure> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Yaml::Map(fields), Some(key)) => fields.push((key, node)),
            (Yaml::Map(fields), None) => {
                let key = Key { place: node.place, name: key_name(node)? };
                if fields.iter().any(|(known, _)| known.name == key.name) {
                    let message = format!("`{}` stands here a second time", key.name);
                    let hint = "keep one of them; a later one would silently win";
                    return Err(Box::new(Diagnostic::error(Code::DuplicateKey, key.place, message).hint(hint)));
                }
                open.key = Some(key);
            }
            (Yaml::List(items), _) => items.push(node),
            (Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_), _) => {}
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Failure> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let message = format!("the file holds more than {NODES_MAX} values");
            return Err(Box::new(
                Diagnostic::error(Code::TooLarge, at, message).hint("what an alias repeats counts each time"),
            ));
        }
        Ok(())
    }
}

fn scalar_node(text: String, style: ScalarStyle, tag: Option<&Tag>, at: Place) -> Result<Node, Failure> {
    let (value, style) = match style {
        ScalarStyle::Plain => (scalar::resolve(text), Style::Plain),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (Yaml::Text(text), Style::Quoted),
        ScalarStyle::Literal => (Yaml::Text(text), Style::Literal),
        ScalarStyle::Folded => (Yaml::Text(text), Style::Folded),
    };
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            let message = "a text that begins with `!` is a YAML tag";
            Err(Box::new(Diagnostic::error(Code::YamlSyntax, at, message).hint("put quotes around the text")))
        }
        _ => Ok(Node { value, place: at, style }),
    }
}

fn key_name(node: Node) -> Result<String, Failure> {
    match node.value {
        Yaml::Text(text) => Ok(text),
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Bool(value) => Ok(value.to_string()),
        Yaml::Null => Err(syntax(node.place, "a key is missing")),
        Yaml::List(_) | Yaml::Map(_) => Err(Box::new(
            Diagnostic::error(Code::YamlSyntax, node.place, "a key must be a name")
                .hint("put quotes around a text that holds `{{ … }}` or begins with `{` or `[`"),
        )),
    }
}

fn weight(node: &Node) -> usize {
    match &node.value {
        Yaml::List(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Yaml::Map(fields) => 1 + fields.iter().map(|(_, value)| weight(value)).sum::<usize>(),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) => 1,
    }
}

fn syntax(at: Place, what: &str) -> Failure {
    let hint = "check the indentation, and put quotes around texts with `: `, ` #`, `{`, `[` or `, ` in them";
    Box::new(Diagnostic::error(Code::YamlSyntax, at, what.to_lowercase()).hint(hint))
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}
