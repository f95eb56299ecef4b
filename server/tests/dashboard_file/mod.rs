//! The dashboard as a file, for the tests that hold it to the code and to what a process says.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::Value;

/// What Prometheus adds to a histogram's name.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn dashboard() -> Value {
    let path = workspace().join("dashboards/pipeline.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Panels that show something: all but rows.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("a list of panels");
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

pub fn expressions<'a>(panels: &[&'a Value]) -> Vec<&'a str> {
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().expect("every target has an expr")).collect()
}

/// Millstream's metrics in an expression, with a histogram's suffix taken off.
pub fn families(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("millstream_"));
    names.map(|name| SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)).collect()
}
