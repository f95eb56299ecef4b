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

/// How a text is written: what stands between its place and its first character, and what becomes of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// `|`: lines stay lines.
    Literal,
    /// `>`: lines are joined by spaces.
    Folded,
}

/// Known where `nodes` or `state` is no mapping: then every name of them may be meant well.
pub(crate) const UNREADABLE_NODES: &str = "nodes/*";
pub(crate) const UNREADABLE_CHANNELS: &str = "channels/*";

/// Places by the path in the spec, such as `nodes/answer/update/topic` or `edges/2/cases/0/if`.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_path: BTreeMap<String, (Place, Style)>,
    lines: Vec<Line>,
}

/// A line of the file, in characters.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    indent: usize,
    /// Without spaces at the end.
    length: usize,
}

impl Places {
    pub fn new(text: &str) -> Places {
        let line = |line: &str| Line {
            indent: line.chars().take_while(|char| *char == ' ').count(),
            length: line.trim_end().chars().count(),
        };
        Places { by_path: BTreeMap::new(), lines: text.lines().map(line).collect() }
    }

    /// None yet, in the same file.
    pub fn of_the_same_text(&self) -> Places {
        Places { by_path: BTreeMap::new(), lines: self.lines.clone() }
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
            Style::Literal => {
                let line = start.line + line - 1;
                Place { line, column: self.line(line).indent + column }
            }
            Style::Folded => self.unfolded(start.line, self.line(start.line).indent + 1, column),
            Style::Plain => self.unfolded(start.line, start.column, column),
            Style::Quoted => self.unfolded(start.line, start.column + 1, column),
        }
    }

    /// The place of a character of a text whose lines were joined; `first` is the column where it begins.
    fn unfolded(&self, mut line: usize, first: usize, column: usize) -> Place {
        let (mut first, mut left) = (first, column);
        loop {
            let here = (self.line(line).length + 1).saturating_sub(first);
            if left <= here || line >= self.lines.len() {
                return Place { line, column: first + left - 1 };
            }
            // The space that joins the lines.
            left = (left - here).saturating_sub(1).max(1);
            line += 1;
            first = self.line(line).indent + 1;
        }
    }

    fn line(&self, line: usize) -> Line {
        self.lines.get(line - 1).copied().unwrap_or_default()
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
