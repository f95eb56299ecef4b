//! Reads a graph file: text to a spec, or to everything that is wrong with it, each with its place and a way out.
//!
//! No text makes this panic or run long: size, depth and the number of diagnostics are bounded.

mod channels;
mod code;
mod diagnostic;
mod duration;
mod edges;
mod editor_schema;
mod graph;
mod nodes;
mod places;
mod reader;
mod route;
mod scalar;
mod schema;
mod tree;

use std::collections::BTreeMap;

use crate::{check, spec::GraphSpec};

pub use self::code::Code;
pub(crate) use self::diagnostic::nearest;
pub use self::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Severity};
pub use self::editor_schema::graph_file_schema;
pub(crate) use self::places::{Place, Places, UNREADABLE_CHANNELS, UNREADABLE_NODES};
pub use self::tree::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX};

/// What came of reading a file. The spec is there when nothing is an error.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub spec: Option<GraphSpec>,
    /// The graphs that stand in its nodes, innermost first: a run of it needs them all.
    pub subgraphs: Vec<GraphSpec>,
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Every diagnostic as it is printed, with the file's name before its place.
    pub fn report(&self, file: &str) -> String {
        self.diagnostics.iter().map(|diagnostic| format!("{}\n", diagnostic.in_file(file))).collect()
    }
}

/// Reads and checks a graph file in YAML or JSON. `models` are the aliases that the configuration knows; without them
/// an alias that the file doesn't declare is taken to be one of the configuration.
pub fn read(text: &str, models: Option<&[String]>) -> Checked {
    let mut reader = reader::Reader::new(text);
    let spec = match tree::parse(text) {
        Ok(root) => graph::read(&mut reader, &root),
        Err(diagnostic) => {
            reader.diagnostics.push(*diagnostic);
            None
        }
    };
    let reader::Reader { mut diagnostics, places, inner, .. } = reader;
    let subgraphs: BTreeMap<String, &GraphSpec> = inner.iter().map(|(spec, _)| (spec.hash(), spec)).collect();
    let graphs = inner.iter().map(|(spec, places)| (spec, places)).chain(spec.iter().map(|spec| (spec, &places)));
    for (spec, places) in graphs {
        check::all(&check::Subject { spec, text, places, models, subgraphs: &subgraphs }, &mut diagnostics);
    }
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    diagnostics.dedup();
    diagnostics.truncate(DIAGNOSTICS_MAX);
    let checked = Checked { spec, subgraphs: inner.into_iter().map(|(spec, _)| spec).collect(), diagnostics };
    match checked.has_errors() {
        true => Checked { spec: None, subgraphs: Vec::new(), ..checked },
        false => checked,
    }
}

/// A YAML or JSON text as a value, within the bounds of a graph file: for what stands beside one.
pub fn value(text: &str) -> Result<serde_json::Value, Diagnostic> {
    tree::parse(text).map(|root| reader::json(&root)).map_err(|diagnostic| *diagnostic)
}

/// As [`read`], for bytes that may not be text at all.
pub fn read_bytes(bytes: &[u8], models: Option<&[String]>) -> Checked {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text, models),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let diagnostic = Diagnostic::error(Code::YamlSyntax, Place { line, column }, "this byte is not UTF-8")
                .hint("save the file as UTF-8");
            Checked { diagnostics: vec![diagnostic], ..Checked::default() }
        }
    }
}

#[cfg(test)]
mod tests;
