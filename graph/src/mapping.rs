//! CEL by name: what a subgraph is given, and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    channel::Fields,
    expression::{Expression, Scope},
    spec::Cel,
    task::TaskError,
};

#[derive(Debug)]
pub(crate) struct Mapping(BTreeMap<String, Expression>);

impl Mapping {
    pub fn compile(mapping: &BTreeMap<String, Cel>) -> Result<Self, String> {
        let compile = |(name, text): (&String, &Cel)| match Expression::compile(text) {
            Ok(expression) => Ok((name.clone(), expression)),
            Err(error) => Err(format!("`{text}`: {error}")),
        };
        mapping.iter().map(compile).collect::<Result<_, String>>().map(Mapping)
    }

    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Fields, TaskError> {
        let one = |(name, expression): (&String, &Expression)| {
            expression.evaluate(scope).map(|value| (name.clone(), Arc::new(value)))
        };
        self.0.iter().map(one).collect()
    }
}
