//! Puts values back where they belong.

use std::{collections::BTreeMap, ops::Range};

use super::{
    References, VERSION, Values,
    scan::{Enter, Step, Visit, pointer, scan},
};

/// Why a text can't be made whole.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error("the values of {at} are missing: {hash}")]
    Missing { at: String, hash: String },
    #[error("the table of references has the form {version}, which a newer version writes")]
    Newer { version: u32 },
    #[error("the references name values of another thread or run")]
    Foreign,
    #[error("a reference leads to {at}, where nothing is")]
    Astray { at: String },
    #[error("the text is no JSON of this version")]
    Text(#[from] serde_json::Error),
}

/// The text with every value in its place, and without the table where that stands in front.
pub fn fill(json: &[u8], references: &References, values: &Values) -> Result<Vec<u8>, FillError> {
    if references.version > VERSION {
        return Err(FillError::Newer { version: references.version });
    }
    let mut text = without_table(json);
    let mut left: Vec<_> = references.values.iter().collect();
    // A round for each level of values that hold values.
    while !left.is_empty() {
        let outer =
            |at: &str| left.iter().any(|other| at.strip_prefix(&*other.at).is_some_and(|rest| rest.starts_with('/')));
        let (now, later): (Vec<_>, Vec<_>) = left.iter().copied().partition(|value| !outer(&value.at));
        let mut places = Places { wanted: BTreeMap::new(), within: Vec::new() };
        for value in &now {
            places.wanted.insert(value.at.clone(), None);
        }
        places.within = places.wanted.keys().cloned().collect();
        let astray = |at: &str| FillError::Astray { at: at.to_owned() };
        scan(&text, &mut places).map_err(|_| astray(""))?;
        let mut holes = Vec::with_capacity(now.len());
        for value in now {
            let span = places.wanted.get(&value.at).cloned().flatten().ok_or_else(|| astray(&value.at))?;
            let content = values
                .get(&value.hash)
                .ok_or_else(|| FillError::Missing { at: value.at.clone(), hash: value.hash.clone() })?;
            holes.push((span, content));
        }
        holes.sort_by_key(|(span, _)| span.start);
        let mut filled = Vec::with_capacity(text.len() + holes.iter().map(|(_, content)| content.len()).sum::<usize>());
        let mut at = 0;
        for (span, content) in holes {
            filled.extend_from_slice(&text[at..span.start]);
            filled.extend_from_slice(content);
            at = span.end;
        }
        filled.extend_from_slice(&text[at..]);
        text = filled;
        left = later;
    }
    Ok(text)
}

/// Where wanted pointers lead.
struct Places {
    wanted: BTreeMap<String, Option<Range<usize>>>,
    /// The same, in order.
    within: Vec<String>,
}

impl<'a> Visit<'a> for Places {
    fn enter(&mut self, path: &[Step<'a>]) -> Enter {
        if path.is_empty() {
            return Enter::Inside;
        }
        let mut prefix = pointer(path);
        prefix.push('/');
        let next = self.within.partition_point(|at| *at < prefix);
        let leads = self.within.get(next).is_some_and(|at| at.starts_with(&prefix));
        if leads { Enter::Inside } else { Enter::Over }
    }

    fn node(&mut self, path: &[Step<'a>], span: Range<usize>) {
        if let Some(place) = self.wanted.get_mut(&pointer(path)) {
            *place = Some(span);
        }
    }
}

/// The text without a table in front: with holes where values were.
pub fn without_table(json: &[u8]) -> Vec<u8> {
    let mut table = Table(None);
    if json.starts_with(b"{\"references\":")
        && scan(json, &mut table).is_ok()
        && let Some(end) = table.0
        && json.get(end) == Some(&b',')
    {
        return [b"{", &json[end + 1..]].concat();
    }
    json.to_vec()
}

/// Where the table ends.
struct Table(Option<usize>);

impl<'a> Visit<'a> for Table {
    fn enter(&mut self, path: &[Step<'a>]) -> Enter {
        if path.is_empty() { Enter::Inside } else { Enter::Over }
    }

    fn node(&mut self, path: &[Step<'a>], span: Range<usize>) {
        if path == [Step::Key(b"references")] && self.0.is_none() {
            self.0 = Some(span.end);
        }
    }
}
