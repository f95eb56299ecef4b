//! What a template's tags hold: bounded in length, because the parser recurses over them, and no filter that isn't
//! there, because Jinja itself would say so only when the prompt is rendered.

use minijinja::{Environment, ErrorKind};

use super::TemplateError;
use crate::file::nearest;

/// Bytes of one `{{ … }}` or `{% … %}`.
const TAG_BYTES_MAX: usize = 4_096;

/// Jinja's filters that prompts use, for suggestions.
const FILTERS: [&str; 30] = [
    "abs",
    "batch",
    "capitalize",
    "default",
    "dictsort",
    "escape",
    "first",
    "float",
    "format",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "replace",
    "reverse",
    "round",
    "sort",
    "split",
    "title",
    "tojson",
    "trim",
    "upper",
];

pub(super) fn check(text: &str, environment: &Environment<'_>) -> Result<(), TemplateError> {
    let mut state = environment.empty_state();
    for (offset, tag) in tags(text) {
        let line = text[..offset].matches('\n').count() + 1;
        if tag.len() > TAG_BYTES_MAX {
            let message = format!("a tag has {} bytes, more than {TAG_BYTES_MAX}", tag.len());
            return Err(TemplateError { message, line });
        }
        for name in filters(tag) {
            let unknown = state.apply_filter(name, &[]).is_err_and(|error| error.kind() == ErrorKind::UnknownFilter);
            if unknown {
                let hint = nearest(name, FILTERS).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
                return Err(TemplateError { message: format!("there is no filter `{name}`{hint}"), line });
            }
        }
    }
    Ok(())
}

/// The insides of `{{ … }}` and `{% … %}`, with their offsets; comments and raw text are none.
fn tags(text: &str) -> Vec<(usize, &str)> {
    let mut tags = Vec::new();
    let mut at = 0;
    let mut raw = false;
    while let Some(found) = text[at..].find('{') {
        let start = at + found;
        let rest = &text[start..];
        let close = match rest.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                at = start + 1;
                continue;
            }
        };
        let end = rest[2..].find(close).map_or(text.len(), |end| start + 2 + end);
        let inside = &text[start + 2..end];
        let word = inside.trim_matches(|char: char| char.is_whitespace() || char == '-');
        if close == "%}" && (word == "raw" || word == "endraw") {
            raw = word == "raw";
        } else if close != "#}" && !raw {
            tags.push((start, inside));
        }
        at = if raw && close != "%}" { start + 2 } else { (end + 2).min(text.len()) };
        at = text.floor_char_boundary(at);
    }
    tags
}

/// Names after `|`, outside of texts.
fn filters(tag: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for (offset, char) in tag.char_indices() {
        match (quote, char) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), char) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '|') => {
                let rest = tag[offset + 1..].trim_start();
                let length = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
                if length > 0 {
                    found.push(&rest[..length]);
                }
            }
            (None, _) => {}
        }
    }
    found
}
