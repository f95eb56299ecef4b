//! A labelled file: JSON lines of `{text, label}`, or CSV with columns of these names.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::Deserialize;

/// Fewer tell too little of a label.
pub const LINES_OF_A_LABEL_MIN: usize = 10;

/// A text, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub label: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    pub lines: Vec<Line>,
    /// Lines that say again what one before them said; they count once.
    pub repeated: usize,
}

/// What is wrong with a line, or with all of them, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: Option<usize>,
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(to, "line {line}: {}", self.what),
            None => to.write_str(&self.what),
        }
    }
}

#[derive(Deserialize)]
struct Written {
    text: String,
    label: String,
}

/// Reads all lines, or finds every mistake.
pub fn labelled(file: &str) -> Result<Labelled, Vec<Mistake>> {
    let file = file.trim_start_matches('\u{feff}');
    let rows = if file.trim_start().starts_with('{') { json_lines(file) } else { csv_lines(file)? };
    let mut reading = Reading::default();
    for (number, row) in rows {
        match row {
            Ok(written) => reading.take(number, written),
            Err(what) => reading.mistake(Some(number), what),
        }
    }
    reading.end()
}

type Row = (usize, Result<Written, String>);

fn json_lines(file: &str) -> Vec<Row> {
    let lines = file.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |line: &str| {
        serde_json::from_str(line)
            .map_err(|error| format!("{error}; write {{\"text\": \"…\", \"label\": \"…\"}} on a line of its own"))
    };
    lines.map(|(index, line)| (index + 1, read(line))).collect()
}

fn csv_lines(file: &str) -> Result<Vec<Row>, Vec<Mistake>> {
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let columns = reader.headers().cloned().unwrap_or_default();
    let at = |name: &str| columns.iter().position(|column| column.trim() == name);
    let (Some(text), Some(label)) = (at("text"), at("label")) else {
        let what = "the file is neither JSON lines nor CSV with the columns `text` and `label`; begin it with the line \
                    `text,label`, or write {\"text\": \"…\", \"label\": \"…\"} on each line";
        return Err(vec![Mistake { line: Some(1), what: what.to_owned() }]);
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        rows.push(match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line) as usize;
                let field = |at: usize| record.get(at).unwrap_or_default().to_owned();
                (line, Ok(Written { text: field(text), label: field(label) }))
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line) as usize;
                let columns = columns.len();
                (line, Err(format!("it hasn't {columns} columns: put a text that holds a comma into \"quotes\"")))
            }
        });
    }
    Ok(rows)
}

#[derive(Default)]
struct Reading {
    lines: Vec<Line>,
    repeated: usize,
    mistakes: Vec<Mistake>,
    /// By text: the line that has it, and its label.
    known: BTreeMap<String, (usize, String)>,
}

impl Reading {
    fn take(&mut self, number: usize, Written { text, label }: Written) {
        let (text, label) = (text.trim().to_owned(), label.trim().to_owned());
        if text.is_empty() || label.is_empty() {
            let field = if text.is_empty() { "text" } else { "label" };
            return self.mistake(Some(number), format!("`{field}` is empty: fill it, or take the line out"));
        }
        match self.known.entry(text.to_lowercase()) {
            Entry::Occupied(known) => {
                let (first, before) = known.get();
                if *before == label {
                    self.repeated += 1;
                } else {
                    let what =
                        format!("it says {label} of a text that line {first} says {before} of: keep one of them");
                    self.mistakes.push(Mistake { line: Some(number), what });
                }
            }
            Entry::Vacant(new) => {
                new.insert((number, label.clone()));
                self.lines.push(Line { text, label });
            }
        }
    }

    fn mistake(&mut self, line: Option<usize>, what: String) {
        self.mistakes.push(Mistake { line, what });
    }

    fn end(mut self) -> Result<Labelled, Vec<Mistake>> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for Line { label, .. } in &self.lines {
            *counts.entry(label).or_default() += 1;
        }
        let mut wrong: Vec<String> = Vec::new();
        for (label, count) in counts.iter().filter(|(_, count)| **count < LINES_OF_A_LABEL_MIN) {
            let lines = if *count == 1 { "line" } else { "lines" };
            wrong.push(format!(
                "the label {label} has {count} {lines}, and needs {LINES_OF_A_LABEL_MIN}: add some, or take it out"
            ));
        }
        if counts.len() < 2 {
            wrong.push(
                "there must be two labels at least, for nothing can be told apart by one: add lines of another"
                    .to_owned(),
            );
        }
        wrong.into_iter().for_each(|what| self.mistake(None, what));
        match self.mistakes.is_empty() {
            true => Ok(Labelled { lines: self.lines, repeated: self.repeated }),
            false => Err(self.mistakes),
        }
    }
}
