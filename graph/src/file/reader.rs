//! Takes values out of the tree and collects what is wrong with them; reading goes on, so that one pass finds it all.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Code, Diagnostic, Place, Places,
    diagnostic::{DIAGNOSTICS_MAX, nearest},
    duration,
    tree::{Key, Node, Yaml},
};
use crate::spec::{GraphSpec, HttpCall, ModelAlias};

pub(super) struct Reader {
    pub diagnostics: Vec<Diagnostic>,
    pub places: Places,
    /// The file's own models so far: graphs inside it know them too.
    pub models: BTreeMap<String, ModelAlias>,
    /// The name of the graph that is read, once it is known.
    pub graph: String,
    /// Graphs that nodes of this one are, innermost first, each with its places.
    pub inner: Vec<(GraphSpec, Places)>,
}

/// The fields of a mapping whose names have been checked.
pub(super) struct Fields<'n> {
    fields: &'n [(Key, Node)],
    pub place: Place,
}

impl<'n> Fields<'n> {
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.fields.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The place of a field's name.
    pub fn key_place(&self, name: &str) -> Place {
        self.fields.iter().find(|(key, _)| key.name == name).map_or(self.place, |(key, _)| key.place)
    }

    pub fn names(&self) -> impl Iterator<Item = &'n Key> + use<'n> {
        self.fields.iter().map(|(key, _)| key)
    }
}

impl Reader {
    pub fn new(text: &str) -> Reader {
        Reader {
            diagnostics: Vec::new(),
            places: Places::new(text),
            models: BTreeMap::new(),
            graph: String::new(),
            inner: Vec::new(),
        }
    }

    /// For a graph that stands in this file: its parts have places of their own.
    pub fn inside(&self) -> Reader {
        Reader {
            diagnostics: Vec::new(),
            places: self.places.of_the_same_text(),
            models: self.models.clone(),
            graph: String::new(),
            inner: Vec::new(),
        }
    }

    pub fn report(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    pub fn mark(&mut self, path: impl Into<String>, node: &Node) {
        self.places.insert(path.into(), node.place, node.style);
    }

    /// A form of the language that this version doesn't execute.
    pub fn not_built_yet(&mut self, place: Place, what: &str) {
        let message = format!("{what} is not built yet");
        let hint = "this version of Millstream can't run it; take it out, or wait for a later version";
        self.report(Diagnostic::error(Code::NotBuiltYet, place, message).hint(hint));
    }

    pub fn wrong_type(&mut self, node: &Node, what: &str, expected: &str) {
        let message = format!("{what} must be {expected}, and this is {}", node.kind());
        let hint = match expected {
            "true or false" => "write true or false, without quotes".to_owned(),
            "a list" => "write it as `[one, two]`, or each item on its own line after `- `".to_owned(),
            "a mapping" => "write it as `{name: value}`, or each name on its own line".to_owned(),
            "a text" => "put quotes around it".to_owned(),
            "a number" | "a whole number" => "write a number, without quotes".to_owned(),
            expected => format!("write {expected}"),
        };
        self.report(Diagnostic::error(Code::WrongType, node.place, message).hint(hint));
    }

    pub fn missing(&mut self, place: Place, what: &str, field: &str, hint: &str) {
        let message = format!("{what} has no `{field}`");
        self.report(Diagnostic::error(Code::MissingField, place, message).hint(hint));
    }

    /// A mapping with none but known fields.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let fields = self.map(node, what)?;
        for (key, _) in fields {
            if !known.contains(&key.name.as_str()) {
                self.unknown_field(key, what, known);
            }
        }
        Some(Fields { fields, place: node.place })
    }

    pub fn unknown_field(&mut self, key: &Key, what: &str, known: &[&str]) {
        let hint = match nearest(&key.name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{what} may have {}", list(known)),
        };
        let message = format!("{what} has no field `{}`", key.name);
        self.report(Diagnostic::error(Code::UnknownField, key.place, message).hint(hint));
    }

    pub fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Key, Node)]> {
        match &node.value {
            Yaml::Map(fields) => Some(fields),
            _ => {
                self.wrong_type(node, what, "a mapping");
                None
            }
        }
    }

    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Yaml::List(items) => Some(items),
            _ => {
                self.wrong_type(node, what, "a list");
                None
            }
        }
    }

    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Yaml::Text(text) => Some(text.clone()),
            _ => {
                self.wrong_type(node, what, "a text");
                None
            }
        }
    }

    pub fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        let items = self.list(node, what)?;
        Some(items.iter().filter_map(|item| self.text(item, &format!("each of {what}"))).collect())
    }

    pub fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            Yaml::Bool(value) => Some(*value),
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    pub fn number(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let Yaml::Number(number) = &node.value else {
            self.wrong_type(node, what, "a number");
            return None;
        };
        let value = number.as_f64().filter(|value| range.contains(value));
        if value.is_none() {
            self.out_of_range(node, what, &format!("between {} and {}", range.start(), range.end()));
        }
        value
    }

    pub fn integer(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let Yaml::Number(number) = &node.value else {
            self.wrong_type(node, what, "a whole number");
            return None;
        };
        let value = number.as_i64().filter(|value| range.contains(value));
        if value.is_none() {
            self.out_of_range(node, what, &format!("a whole number between {} and {}", range.start(), range.end()));
        }
        value
    }

    /// A whole number from 1.
    pub fn count(&mut self, node: &Node, what: &str) -> Option<u32> {
        self.integer(node, what, 1..=i64::from(u32::MAX)).and_then(|value| u32::try_from(value).ok())
    }

    fn out_of_range(&mut self, node: &Node, what: &str, expected: &str) {
        let message = format!("{what} must be {expected}");
        let hint = "choose a value in that range, or leave the field out";
        self.report(Diagnostic::error(Code::OutOfRange, node.place, message).hint(hint));
    }

    /// Milliseconds.
    pub fn duration(&mut self, node: &Node, what: &str) -> Option<u64> {
        let hint = "write a number and a unit: 500ms, 30s, 10m, 2h, 1d";
        let message = match &node.value {
            Yaml::Text(text) => match duration::parse(text) {
                Some(milliseconds) => return Some(milliseconds),
                None => format!("{what} is a duration, and `{text}` is none"),
            },
            Yaml::Number(number) => format!("{what} is a duration, and {number} has no unit"),
            _ => {
                self.wrong_type(node, what, "a duration");
                return None;
            }
        };
        self.report(Diagnostic::error(Code::BadDuration, node.place, message).hint(hint));
        None
    }

    /// `url` and `headers`, each marked below `path`.
    pub fn call(&mut self, fields: &Fields<'_>, what: &str, named_at: Place, path: &str) -> Option<HttpCall> {
        let Some(url) = fields.get("url") else {
            self.missing(named_at, what, "url", "give the address that is asked: `url: http://host/path`");
            return None;
        };
        self.mark(format!("{path}/url"), url);
        let url = self.text(url, &format!("`url` of {what}"))?;
        let mut headers = BTreeMap::new();
        if let Some(node) = fields.get("headers") {
            for (key, value) in self.map(node, &format!("`headers` of {what}")).unwrap_or_default() {
                if let Some(text) = self.text(value, &format!("the header `{}` of {what}", key.name)) {
                    self.mark(format!("{path}/headers/{}", key.name), value);
                    headers.insert(key.name.clone(), text);
                }
            }
        }
        Some(HttpCall { url, headers })
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.unknown_value(node.place, what, &text, &known);
        }
        found
    }

    pub fn unknown_value(&mut self, place: Place, what: &str, value: &str, known: &[&str]) {
        let hint = match nearest(value, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it may be {}", list(known)),
        };
        let message = format!("{what} can't be `{value}`");
        self.report(Diagnostic::error(Code::UnknownValue, place, message).hint(hint));
    }

    /// CEL text; a bare number, `true`, `false` or `null` is CEL too.
    pub fn cel(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Yaml::Text(text) => Some(text.clone()),
            Yaml::Bool(value) => Some(value.to_string()),
            Yaml::Number(number) => Some(number.to_string()),
            Yaml::Null => {
                self.wrong_type(node, what, "a CEL expression");
                None
            }
            Yaml::List(_) | Yaml::Map(_) => {
                let message = format!("{what} must be a CEL expression, and this is {}", node.kind());
                let hint = "put quotes around it: \"[answer.text]\" is CEL, [answer.text] is a YAML list";
                self.report(Diagnostic::error(Code::WrongType, node.place, message).hint(hint));
                None
            }
        }
    }

    /// CEL by name.
    pub fn cel_map(&mut self, node: &Node, what: &str, path: &str) -> Option<BTreeMap<String, String>> {
        let fields = self.map(node, what)?;
        self.mark(path, node);
        let mut map = BTreeMap::new();
        for (key, value) in fields {
            if let Some(text) = self.cel(value, &format!("`{}` of {what}", key.name)) {
                self.mark(format!("{path}/{}", key.name), value);
                self.places.insert(format!("{path}/{}/@key", key.name), key.place, super::places::Style::Plain);
                map.insert(key.name.clone(), text);
            }
        }
        Some(map)
    }
}

/// Any value as JSON. Keys are sorted: their order in the file means nothing, and must not change a hash.
pub(super) fn json(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(*value),
        Yaml::Number(number) => Value::Number(number.clone()),
        Yaml::Text(text) => Value::String(text.clone()),
        Yaml::List(items) => Value::Array(items.iter().map(json).collect()),
        Yaml::Map(fields) => {
            let sorted: BTreeMap<String, Value> =
                fields.iter().map(|(key, value)| (key.name.clone(), json(value))).collect();
            Value::Object(Map::from_iter(sorted))
        }
    }
}

/// `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
