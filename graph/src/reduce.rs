//! The reducers that ship with Millstream, as Python's operators would have them.

use std::{cmp::Ordering, sync::Arc};

use serde_json::{Number, Value};

use crate::channel::{Change, Content, UpdateError};

/// `left + right` of lists.
pub(crate) fn append(name: &str, left: &Arc<Value>, values: &[&Arc<Value>]) -> Result<Change, UpdateError> {
    for value in std::iter::once(&left).chain(values) {
        if !value.is_array() {
            return Err(mistyped(name, "append", "a list", value));
        }
    }
    match values {
        // An empty list takes the first write as it is, without a copy.
        [only] if left.as_array().is_some_and(Vec::is_empty) => Ok(Change::Set(Content::Value((*only).clone()))),
        _ => Ok(Change::Extend(values.iter().map(|value| (*value).clone()).collect())),
    }
}

/// `{**left, **right}`.
pub(crate) fn merge(name: &str, left: &Arc<Value>, values: &[&Arc<Value>]) -> Result<Change, UpdateError> {
    for value in std::iter::once(&left).chain(values) {
        if !value.is_object() {
            return Err(mistyped(name, "merge", "an object", value));
        }
    }
    Ok(Change::Merge(values.iter().map(|value| (*value).clone()).collect()))
}

/// `left + right` of numbers, strings or lists.
pub(crate) fn sum(name: &str, left: &Value, right: &Value) -> Result<Value, UpdateError> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => add(name, a, b),
        (Value::String(a), Value::String(b)) => Ok(Value::String(format!("{a}{b}"))),
        (Value::Array(a), Value::Array(b)) => Ok(Value::Array(a.iter().chain(b).cloned().collect())),
        _ => Err(mistyped(name, "sum", "a value of the channel's type", right)),
    }
}

pub(crate) fn max(name: &str, left: &Value, right: &Value) -> Result<Value, UpdateError> {
    Ok(if compare(name, "max", left, right)? == Ordering::Less { right } else { left }.clone())
}

pub(crate) fn min(name: &str, left: &Value, right: &Value) -> Result<Value, UpdateError> {
    Ok(if compare(name, "min", left, right)? == Ordering::Greater { right } else { left }.clone())
}

fn add(name: &str, a: &Number, b: &Number) -> Result<Value, UpdateError> {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return Number::from_i128(a + b)
            .map(Value::Number)
            .ok_or_else(|| UpdateError::invalid(format!("At key '{name}': the sum leaves 64 bits")));
    }
    let sum = a.as_f64().unwrap_or(f64::NAN) + b.as_f64().unwrap_or(f64::NAN);
    Number::from_f64(sum)
        .map(Value::Number)
        .ok_or_else(|| UpdateError::invalid(format!("At key '{name}': the sum is not a finite number")))
}

fn compare(name: &str, reducer: &str, left: &Value, right: &Value) -> Result<Ordering, UpdateError> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => {
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                Ok(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
            }
        },
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err(mistyped(name, reducer, "a value that compares with the channel's", right)),
    }
}

fn mistyped(name: &str, reducer: &str, wanted: &str, value: &Value) -> UpdateError {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    UpdateError::mistyped(format!("At key '{name}': the reducer {reducer} takes {wanted}, got {got}"))
}
