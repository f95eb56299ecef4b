//! Where each part of the spec stands in the file, so that a check of the spec can point at the text.

use std::collections::BTreeMap;

/// A line and a column, characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub const START: Place = Place { line: 1, column: 1 };
}

/// How a text is written: what stands between its place and its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// `|` and `>`: the text begins on the next line.
    Block,
}

/// Places by the path in the spec, such as `nodes/answer/update/topic` or `edges/2/cases/0/if`.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_path: BTreeMap<String, (Place, Style)>,
    /// The indentation of each line, for texts in blocks.
    indents: Vec<usize>,
}

impl Places {
    pub fn new(text: &str) -> Places {
        let indent = |line: &str| line.chars().take_while(|char| *char == ' ').count();
        Places { by_path: BTreeMap::new(), indents: text.lines().map(indent).collect() }
    }

    pub fn insert(&mut self, path: String, place: Place, style: Style) {
        self.by_path.insert(path, (place, style));
    }

    pub fn knows(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// The place of a path, or of the nearest part that has one.
    pub fn of(&self, path: &str) -> Place {
        self.find(path).0
    }

    /// The place inside a text, where `line` and `column` count from 1 in the text.
    pub fn within(&self, path: &str, line: usize, column: usize) -> Place {
        let (start, style) = self.find(path);
        match style {
            Style::Plain if line == 1 => Place { column: start.column + column - 1, ..start },
            Style::Quoted if line == 1 => Place { column: start.column + column, ..start },
            Style::Plain | Style::Quoted => Place { line: start.line + line - 1, column },
            Style::Block => {
                let line = start.line + line;
                Place { line, column: self.indents.get(line - 1).copied().unwrap_or(0) + column }
            }
        }
    }

    fn find(&self, path: &str) -> (Place, Style) {
        let mut path = path;
        loop {
            if let Some(found) = self.by_path.get(path) {
                return *found;
            }
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None => return (Place::START, Style::Plain),
            }
        }
    }
}
