//! Which texts of an item a search by meaning looks at: LangGraph's paths, such as `$`, `text`, `notes[*].text`, `*` and
//! `{title,body}`.

use std::collections::BTreeSet;

use serde_json::Value;

/// Adds the texts at `path`, up to one more than `most`; what is no text is taken as JSON.
pub(super) fn add_texts_at(value: &Value, path: &str, most: usize, texts: &mut BTreeSet<String>) {
    match path {
        "" | "$" => drop(texts.insert(as_json(value))),
        path => below(value, &parts(path), most, texts),
    }
}

fn below(value: &Value, path: &[String], most: usize, texts: &mut BTreeSet<String>) {
    if texts.len() > most {
        return;
    }
    let Some((part, rest)) = path.split_first() else { return texts.extend(text_of(value)) };
    if let Some(place) = part.strip_prefix('[').and_then(|part| part.strip_suffix(']')) {
        let Value::Array(items) = value else { return };
        match (place, place.parse::<i64>()) {
            ("*", _) => items.iter().for_each(|item| below(item, rest, most, texts)),
            (_, Ok(place)) => {
                let place = if place < 0 { items.len() as i64 + place } else { place };
                if let Some(item) = usize::try_from(place).ok().and_then(|place| items.get(place)) {
                    below(item, rest, most, texts);
                }
            }
            (_, Err(_)) => {}
        }
    } else if let Some(names) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        for name in names.split(',') {
            let field = parts(name.trim());
            let found = field.iter().try_fold(value, |value, part| value.as_object()?.get(part));
            texts.extend(found.filter(|_| !field.is_empty()).and_then(text_of));
        }
    } else if part == "*" {
        match value {
            Value::Object(fields) => fields.values().for_each(|field| below(field, rest, most, texts)),
            Value::Array(items) => items.iter().for_each(|item| below(item, rest, most, texts)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    } else if let Some(field) = value.get(part) {
        below(field, rest, most, texts);
    }
}

/// Names between dots; what stands in brackets or braces is one part.
fn parts(path: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut open: Option<(char, char, u32)> = None;
    for c in path.chars() {
        if let Some((opens, closes, depth)) = &mut open {
            *depth = if c == *opens {
                *depth + 1
            } else if c == *closes {
                *depth - 1
            } else {
                *depth
            };
            part.push(c);
            if *depth == 0 {
                open = None;
                parts.push(std::mem::take(&mut part));
            }
            continue;
        }
        if matches!(c, '[' | '{' | '.') && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        match c {
            '[' => open = Some(('[', ']', 1)),
            '{' => open = Some(('{', '}', 1)),
            '.' => continue,
            _ => {}
        }
        part.push(c);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// As Python prints it.
fn text_of(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => as_json(value),
    })
}

/// As Python's `json.dumps` writes it with sorted keys: every process gives the model the same text.
fn as_json(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(as_json).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            let field =
                |(name, value): (&String, &Value)| format!("{}: {}", Value::from(name.as_str()), as_json(value));
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts_at(value: &Value, path: &str) -> BTreeSet<String> {
        let mut texts = BTreeSet::new();
        add_texts_at(value, path, 20, &mut texts);
        texts
    }

    #[test]
    fn no_more_are_gathered_than_are_asked_for() {
        let item = json!({"many": (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>()});
        assert_eq!(texts_at(&item, "many[*]").len(), 21);
    }

    #[test]
    fn paths_lead_where_langgraphs_lead() {
        let item = json!({
            "text": "hello", "n": 1.0, "yes": true, "none": null,
            "notes": [{"text": "a", "by": {"name": "x"}}, {"text": "b"}, {"other": 1}],
            "deep": {"z": [1, "two"], "a": {"b": "c"}},
        });
        // As LangGraph 1.2.22's get_text_at_path gives them.
        for (path, expected) in [
            ("text", json!(["hello"])),
            ("n", json!(["1.0"])),
            ("yes", json!(["True"])),
            ("none", json!([])),
            ("absent.text", json!([])),
            ("notes[*].text", json!(["a", "b"])),
            ("notes[0].by.name", json!(["x"])),
            ("notes[-1]", json!([r#"{"other": 1}"#])),
            ("notes[7].text", json!([])),
            ("text[0]", json!([])),
            ("deep.*", json!([r#"[1, "two"]"#, r#"{"b": "c"}"#])),
            ("notes.*.text", json!(["a", "b"])),
            ("{text,deep.a.b}", json!(["c", "hello"])),
            ("{text, n}", json!(["1.0", "hello"])),
            ("deep", json!([r#"{"a": {"b": "c"}, "z": [1, "two"]}"#])),
        ] {
            assert_eq!(json!(texts_at(&item, path)), expected, "{path}");
        }
        assert_eq!(texts_at(&json!({"b": "é", "a": [null]}), "$"), [r#"{"a": [null], "b": "é"}"#.to_owned()].into());
    }
}
