//! Prompts: Jinja, rendered on what the node sees.

use std::collections::BTreeMap;

use graph::{expression::Scope, task::TaskError};
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde_json::Value;

use crate::failure;

const NAME: &str = "prompt";
/// Instructions of one rendering.
const RENDER_FUEL_MAX: u64 = 2_000_000;

pub struct Template {
    environment: Environment<'static>,
}

impl Template {
    pub fn compile(text: &str) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(RENDER_FUEL_MAX));
        environment.add_function("last", |list: Vec<minijinja::Value>| list.last().cloned().unwrap_or_default());
        environment.add_template_owned(NAME, text.to_owned())?;
        Ok(Template { environment })
    }

    pub fn render(&self, scope: &Scope<'_>) -> Result<String, TaskError> {
        let convert = |value: &Value| minijinja::Value::from(Serde(value));
        let mut names: BTreeMap<String, minijinja::Value> = match scope.argument.and_then(Value::as_object) {
            Some(fields) => fields.iter().map(|(name, value)| (name.clone(), convert(value))).collect(),
            None => scope.state.iter().map(|(name, value)| (name.clone(), convert(value))).collect(),
        };
        let state = names.clone();
        names.extend(scope.items.iter().map(|(name, value)| ((*name).to_owned(), convert(value))));
        names.insert("state".to_owned(), state.into());
        names.insert("context".to_owned(), convert(scope.context));
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(names));
        rendered.map_err(|error| {
            let line = error.line().unwrap_or(1);
            failure::of_kind(failure::node_failed(format!("line {line} of the prompt: {error}")), "TemplateError")
        })
    }
}
