//! Filters over what items hold, as LangGraph's stores read them (docs/langgraph-differences.md says where they differ).

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{ItemsError, Result};
use crate::rows::ItemKey;

/// All of them hold.
#[derive(Debug)]
pub(super) struct Filter(Vec<(String, Condition)>);

#[derive(Debug)]
enum Condition {
    Is(Value),
    /// An object that has what is named.
    Has(Vec<(String, Condition)>),
    List(Vec<Condition>),
    Operators(Vec<Operator>),
}

#[derive(Debug)]
enum Operator {
    Equal(Value),
    NotEqual(Value),
    /// The orders that hold, and the number compared with.
    Compare(&'static [Ordering], f64),
}

/// A value that can't be compared with a number.
pub(super) struct NotANumber(String);

impl NotANumber {
    pub fn of(self, item: &ItemKey) -> ItemsError {
        let ItemKey { tenant: _, namespace, key } = item;
        ItemsError::Refused(format!(
            "filter: {} of the item `{key}` in {namespace:?} is not a number; narrow the search to items that have one",
            self.0
        ))
    }
}

impl Filter {
    pub fn read(filter: &Map<String, Value>) -> Result<Self> {
        Ok(Filter(fields(filter)?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn holds(&self, value: &Map<String, Value>) -> std::result::Result<bool, NotANumber> {
        has(Some(value), &self.0)
    }
}

fn fields(filter: &Map<String, Value>) -> Result<Vec<(String, Condition)>> {
    filter.iter().map(|(name, wanted)| Ok((name.clone(), Condition::read(wanted)?))).collect()
}

fn has(value: Option<&Map<String, Value>>, wanted: &[(String, Condition)]) -> std::result::Result<bool, NotANumber> {
    let Some(value) = value else { return Ok(false) };
    all(wanted.iter().map(|(name, condition)| condition.holds(value.get(name).unwrap_or(&Value::Null))))
}

/// Up to the first that doesn't hold, or can't be told.
fn all(
    mut conditions: impl Iterator<Item = std::result::Result<bool, NotANumber>>,
) -> std::result::Result<bool, NotANumber> {
    conditions.find(|holds| !matches!(holds, Ok(true))).unwrap_or(Ok(true))
}

impl Condition {
    fn read(wanted: &Value) -> Result<Self> {
        Ok(match wanted {
            Value::Object(fields) if fields.keys().any(|name| name.starts_with('$')) => Condition::Operators(
                fields.iter().map(|(name, wanted)| Operator::read(name, wanted)).collect::<Result<_>>()?,
            ),
            Value::Object(wanted) => Condition::Has(fields(wanted)?),
            Value::Array(wanted) => Condition::List(wanted.iter().map(Condition::read).collect::<Result<_>>()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Condition::Is(wanted.clone()),
        })
    }

    /// What isn't there is null.
    fn holds(&self, value: &Value) -> std::result::Result<bool, NotANumber> {
        match self {
            Condition::Is(wanted) => Ok(equal(value, wanted)),
            Condition::Has(wanted) => has(value.as_object(), wanted),
            Condition::List(wanted) => {
                let Some(values) = value.as_array().filter(|values| values.len() == wanted.len()) else {
                    return Ok(false);
                };
                all(values.iter().zip(wanted).map(|(value, condition)| condition.holds(value)))
            }
            Condition::Operators(operators) => all(operators.iter().map(|operator| operator.holds(value))),
        }
    }
}

impl Operator {
    fn read(name: &str, wanted: &Value) -> Result<Self> {
        let orders: &[Ordering] = match name {
            "$eq" => return Ok(Operator::Equal(wanted.clone())),
            "$ne" => return Ok(Operator::NotEqual(wanted.clone())),
            "$gt" => &[Ordering::Greater],
            "$gte" => &[Ordering::Greater, Ordering::Equal],
            "$lt" => &[Ordering::Less],
            "$lte" => &[Ordering::Less, Ordering::Equal],
            _ => {
                let known = "there are $eq, $ne, $gt, $gte, $lt and $lte";
                return Err(ItemsError::Refused(format!("filter: Unsupported operator: {name}; {known}")));
            }
        };
        let not_a_number = || ItemsError::Refused(format!("filter: {name} compares numbers, and {wanted} is none"));
        Ok(Operator::Compare(orders, number(wanted).ok_or_else(not_a_number)?))
    }

    fn holds(&self, value: &Value) -> std::result::Result<bool, NotANumber> {
        match self {
            Operator::Equal(wanted) => Ok(equal(value, wanted)),
            Operator::NotEqual(wanted) => Ok(!equal(value, wanted)),
            Operator::Compare(..) if value.is_null() => Ok(false),
            Operator::Compare(orders, wanted) => {
                let value = number(value).ok_or_else(|| NotANumber(value.to_string()))?;
                Ok(value.partial_cmp(wanted).is_some_and(|order| orders.contains(&order)))
            }
        }
    }
}

/// As JSON compares: 1 is 1.0, and nothing else is anything of another type.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
}

/// What Python's `float` makes of it.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
