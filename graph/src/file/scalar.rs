//! What a plain scalar means: the core schema of YAML 1.2, in which `yes`, `no`, `on` and `off` are texts.

use serde_json::Number;

use super::tree::Yaml;

pub(super) fn resolve(text: String) -> Yaml {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Yaml::Null,
        "true" | "True" | "TRUE" => Yaml::Bool(true),
        "false" | "False" | "FALSE" => Yaml::Bool(false),
        plain => match number(plain) {
            Some(number) => Yaml::Number(number),
            None => Yaml::Text(text),
        },
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    let is_numeric = |char: char| char.is_ascii_digit() || matches!(char, '.' | 'e' | 'E' | '+' | '-');
    if !unsigned.chars().all(is_numeric) {
        return None;
    }
    let signed = text.strip_prefix('+').unwrap_or(text);
    if let Ok(integer) = signed.parse::<i64>() {
        return Some(Number::from(integer));
    }
    if let Ok(integer) = signed.parse::<u64>() {
        return Some(Number::from(integer));
    }
    signed.parse::<f64>().ok().and_then(Number::from_f64)
}
