//! JSON to CEL and back. Only what the expression names goes in, and strings are borrowed.

use std::collections::HashMap;

use cel::{
    Context,
    common::types::{
        CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
        CelTimestamp, CelUInt,
    },
    common::value::Val,
};
use serde_json::{Map, Number, Value};

use super::{Failure, RESULT_BYTES_MAX, References, Scope, cost::key_text};

pub(super) fn bind<'v>(context: &mut Context<'_, 'v>, references: &References, scope: &Scope<'v>) {
    if references.reads_state() {
        context.add_variable_as_val("state", state(references, scope));
    }
    if references.context {
        context.add_variable_as_val("context", to_cel(scope.context));
    }
    for (wanted, name, value) in [(references.answer, "answer", scope.answer), (references.out, "out", scope.out)] {
        if let (true, Some(value)) = (wanted, value) {
            context.add_variable_as_val(name, to_cel(value));
        }
    }
    for (name, value) in scope.items {
        if references.names.contains(*name) {
            context.add_variable_as_val(*name, to_cel(value));
        }
    }
}

fn state<'v>(references: &References, scope: &Scope<'v>) -> Box<dyn Val + 'v> {
    let wanted = |name: &str| references.whole_state || references.channels.contains(name);
    match scope.argument {
        Some(Value::Object(fields)) => {
            map(fields.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (&**name, value)))
        }
        Some(argument) => to_cel(argument),
        None if references.whole_state => map(scope.state.iter().map(|(name, value)| (&**name, &**value))),
        None => map(references
            .channels
            .iter()
            .filter_map(|name| scope.state.get_key_value(name))
            .map(|(name, value)| (&**name, &**value))),
    }
}

fn map<'v>(fields: impl Iterator<Item = (&'v str, &'v Value)>) -> Box<dyn Val + 'v> {
    let fields: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> =
        fields.map(|(name, value)| (CelMapKey::from(name), to_cel(value))).collect();
    Box::new(CelMap::from(fields))
}

fn to_cel<'v>(value: &'v Value) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Box::new(CelInt::from(value)),
            (None, Some(value)) => Box::new(CelUInt::from(value)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(to_cel).collect::<Vec<_>>())),
        Value::Object(fields) => map(fields.iter().map(|(name, value)| (&**name, value))),
    }
}

pub(super) fn from_cel(value: &dyn Val) -> Result<Value, Failure> {
    let mut left = RESULT_BYTES_MAX;
    convert(value, &mut left)
}

fn convert(value: &dyn Val, left: &mut usize) -> Result<Value, Failure> {
    const VALUE_BYTES: usize = 16;
    spend(left, VALUE_BYTES)?;
    if let Some(text) = value.downcast_ref::<CelString>() {
        spend(left, text.inner().len())?;
        return Ok(Value::String(text.inner().to_owned()));
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().map(|item| convert(&**item, left)).collect::<Result<_, _>>().map(Value::Array);
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        let mut fields = Vec::with_capacity(map.inner().len());
        for (key, value) in map.inner() {
            let key = key_text(key);
            spend(left, key.len())?;
            fields.push((key, convert(&**value, left)?));
        }
        fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        return Ok(Value::Object(Map::from_iter(fields)));
    }
    scalar(value)
}

fn scalar(value: &dyn Val) -> Result<Value, Failure> {
    if let Some(value) = value.downcast_ref::<CelBool>() {
        return Ok(Value::Bool(*value.inner()));
    }
    if let Some(value) = value.downcast_ref::<CelInt>() {
        return Ok(Value::from(*value.inner()));
    }
    if let Some(value) = value.downcast_ref::<CelUInt>() {
        return Ok(Value::from(*value.inner()));
    }
    if let Some(value) = value.downcast_ref::<CelDouble>() {
        let number = Number::from_f64(*value.inner()).ok_or(Failure::NoJson("an infinite or undefined number"))?;
        return Ok(Value::Number(number));
    }
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok(Value::Null);
    }
    if let Some(value) = value.downcast_ref::<CelTimestamp>() {
        return Ok(Value::String(value.inner().to_rfc3339()));
    }
    if value.downcast_ref::<CelDuration>().is_some() {
        return Err(Failure::NoJson("a duration"));
    }
    if value.downcast_ref::<CelBytes>().is_some() {
        return Err(Failure::NoJson("a string of bytes"));
    }
    Err(Failure::NoJson("the result"))
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), Failure> {
    *left = left.checked_sub(bytes).ok_or(Failure::TooCostly)?;
    Ok(())
}

/// A value's kind, for a sentence.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
