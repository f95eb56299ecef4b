//! Which fields and variants of a schema no sample shows. It knows the shapes that our derives give, not all of JSON
//! Schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Fields and variants by where a schema declares them, such as `TaskResult.writes`.
#[derive(Default)]
pub struct Coverage {
    declared: BTreeSet<String>,
    shown: BTreeSet<String>,
}

impl Coverage {
    pub fn add<'a>(&mut self, schema: &Value, samples: impl Iterator<Item = &'a Value>) {
        let title = schema["title"].as_str().expect("a record's schema has the type's name");
        let walk = Walk { root: schema };
        walk.declared(title, schema, &mut self.declared);
        for sample in samples {
            walk.shown(title, schema, sample, &mut self.shown);
        }
    }

    /// What is declared and stands in no sample.
    pub fn absent(&self) -> Vec<&str> {
        self.declared.difference(&self.shown).map(String::as_str).collect()
    }
}

struct Walk<'a> {
    root: &'a Value,
}

impl Walk<'_> {
    fn declared(&self, place: &str, schema: &Value, declared: &mut BTreeSet<String>) {
        let Some(schema) = schema.as_object() else { return };
        for (place, inner) in self.parts(place, schema) {
            // A definition may hold itself.
            if declared.insert(place.clone()) {
                self.declared(&place, inner, declared);
            }
        }
        for word in words(schema) {
            declared.insert(format!("{place} = {word}"));
        }
    }

    fn shown(&self, place: &str, schema: &Value, value: &Value, shown: &mut BTreeSet<String>) {
        let Some(schema) = schema.as_object() else { return };
        for (place, inner) in self.parts(place, schema) {
            let values: Vec<&Value> = match Part::of(&place) {
                Part::Field(name) => value.get(name).into_iter().collect(),
                Part::Each => match value {
                    Value::Array(items) => items.iter().collect(),
                    Value::Object(fields) => fields.values().collect(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
                },
                Part::Same => Some(value).filter(|value| self.fits(inner, value)).into_iter().collect(),
            };
            for value in values {
                shown.insert(place.clone());
                self.shown(&place, inner, value, shown);
            }
        }
        shown.extend(words(schema).into_iter().filter(|word| *word == value).map(|word| format!("{place} = {word}")));
    }

    /// What `schema` is made of, each with its place. A place of a definition is the definition's name, wherever it is
    /// used.
    fn parts<'s>(&'s self, place: &str, schema: &'s Map<String, Value>) -> Vec<(String, &'s Value)> {
        let mut parts = Vec::new();
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("references stay within the file");
            let inner = self.root.pointer(pointer).expect("a reference leads somewhere");
            parts.push((pointer.rsplit('/').next().unwrap_or_default().to_owned(), inner));
        }
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            parts.push((format!("{place}.{name}"), inner));
        }
        let each = ["items", "additionalProperties"].iter().filter_map(|name| schema.get(*name));
        for inner in each.filter(|inner| **inner != Value::Bool(false)) {
            parts.push((format!("{place}[]"), inner));
        }
        for alternatives in ["oneOf", "anyOf"].iter().filter_map(|name| schema.get(*name)?.as_array()) {
            for (index, inner) in
                alternatives.iter().enumerate().filter(|(_, inner)| **inner != json!({"type": "null"}))
            {
                parts.push((format!("{place}|{index}"), inner));
            }
        }
        parts
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut whole = schema.clone();
        whole["$defs"] = self.root["$defs"].clone();
        jsonschema::is_valid(&whole, value)
    }
}

/// What the last step to a place was.
enum Part<'a> {
    Field(&'a str),
    Each,
    /// A reference or an alternative: of the same value.
    Same,
}

impl<'a> Part<'a> {
    fn of(place: &'a str) -> Self {
        match place.rfind(['.', '|', '[']) {
            Some(at) if place[at..].starts_with('.') => Part::Field(&place[at + 1..]),
            Some(at) if place[at..].starts_with('[') => Part::Each,
            Some(_) | None => Part::Same,
        }
    }
}

/// The words that an enum may be.
fn words(schema: &Map<String, Value>) -> Vec<&Value> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).collect()
}
