//! Jinja: prompts, compiled once and rendered on the values that they name.
//!
//! Time and size are bounded, nothing is loaded from anywhere, and a value that isn't there is an error: a model that
//! is asked with half a prompt answers all the same.

mod tags;

use std::{collections::BTreeMap, io};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};
use serde_json::Value;

use crate::{
    deep_stack::on_a_deep_stack,
    expression::{References, Scope, estimated_tokens, has_tool_calls},
    task::TaskError,
};

/// Bytes of one template's text.
pub const TEMPLATE_BYTES_MAX: usize = 128 * 1024;
/// Instructions of one rendering: some hundred thousand turns of a loop.
pub const RENDER_FUEL_MAX: u64 = 2_000_000;
/// Bytes of what is rendered.
pub const PROMPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls of macros inside macros.
const RECURSION_MAX: usize = 32;
const NAME: &str = "template";

/// Functions that a template may call beside Jinja's filters.
pub const FUNCTIONS: [&str; 6] = ["dict", "has_tool_calls", "last", "namespace", "range", "tokens"];

/// A compiled template: it sees channels by name, and `state`, `context` and the names of its place.
pub struct Template {
    environment: Environment<'static>,
    references: References,
}

/// Why a text is no template. `line` counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    pub message: String,
    pub line: usize,
}

impl Template {
    pub fn compile(text: &str) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("the template has {} bytes, more than {TEMPLATE_BYTES_MAX}", text.len());
            return Err(TemplateError { message, line: 1 });
        }
        on_a_deep_stack(|| Template::parse(text))
    }

    fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut environment = environment();
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|error| TemplateError { message: sentence(&error), line: error.line().unwrap_or(1) })?;
        tags::check(text, &environment)?;
        let references = references(&environment);
        Ok(Template { environment, references })
    }

    /// What the template reads. A top-level name (in `names`) is a channel, a key of a `with`, or a function.
    pub fn references(&self) -> &References {
        &self.references
    }

    pub fn render(&self, scope: &Scope<'_>) -> Result<String, TaskError> {
        let template = self.environment.get_template(NAME).map_err(|error| self.task_error(&error, scope))?;
        let mut prompt = Bounded { bytes: Vec::new() };
        template.render_captured_to(self.values(scope), &mut prompt).map_err(|error| self.task_error(&error, scope))?;
        Ok(String::from_utf8_lossy(&prompt.bytes).into_owned())
    }

    fn values(&self, scope: &Scope<'_>) -> BTreeMap<String, minijinja::Value> {
        let convert = |value: &Value| minijinja::Value::from(Serde(value));
        let mut values = BTreeMap::new();
        for name in &self.references.names {
            let item = scope.items.iter().find(|(item, _)| item == name).map(|(_, value)| *value);
            if let Some(value) = item.or_else(|| field(scope, name)) {
                values.insert(name.clone(), convert(value));
            }
        }
        if self.references.context {
            values.insert("context".to_owned(), convert(scope.context));
        }
        if self.references.whole_state {
            values.insert(
                "state".to_owned(),
                match scope.argument {
                    Some(argument) => convert(argument),
                    None => minijinja::Value::from(Serde(scope.state)),
                },
            );
        } else if !self.references.channels.is_empty() {
            let channels = self.references.channels.iter();
            let known = channels.filter_map(|name| Some((name.clone(), convert(field(scope, name)?))));
            values.insert("state".to_owned(), known.collect::<BTreeMap<_, _>>().into());
        }
        values
    }

    fn task_error(&self, error: &Error, scope: &Scope<'_>) -> TaskError {
        let line = error.line().unwrap_or(1);
        let mut message = format!("line {line} of the template: {}", sentence(error));
        if error.kind() == ErrorKind::UndefinedError {
            let named = self.references.names.iter().chain(&self.references.channels);
            let is_item = |name: &str| scope.items.iter().any(|(item, _)| *item == name);
            let unset: Vec<&str> = named
                .map(String::as_str)
                .filter(|name| !FUNCTIONS.contains(name) && !is_item(name) && field(scope, name).is_none())
                .collect();
            if !unset.is_empty() {
                message.push_str(&format!(" (without a value: {})", unset.join(", ")));
            }
        }
        TaskError {
            class: "node_failed".to_owned(),
            message,
            kind: Some("TemplateError".to_owned()),
            retryable: false,
            ..TaskError::default()
        }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("references", &self.references).finish_non_exhaustive()
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(RENDER_FUEL_MAX));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_debug(false);
    environment.remove_global("debug");
    environment.add_function("last", |list: Vec<minijinja::Value>| list.last().cloned().unwrap_or_default());
    environment.add_function("tokens", |text: &str| estimated_tokens(text));
    environment.add_function("has_tool_calls", |messages: minijinja::Value| {
        serde_json::to_value(messages).is_ok_and(|messages| has_tool_calls(&messages))
    });
    environment
}

fn references(environment: &Environment<'static>) -> References {
    let mut found = References::default();
    let Ok(template) = environment.get_template(NAME) else { return found };
    for path in template.undeclared_variables(true) {
        match path.split_once('.') {
            Some(("state", channel)) => {
                let channel = channel.split('.').next().unwrap_or(channel);
                found.channels.insert(channel.to_owned());
            }
            None if path == "state" => found.whole_state = true,
            Some(("context", _)) => found.context = true,
            None if path == "context" => found.context = true,
            Some((name, _)) => {
                found.names.insert(name.to_owned());
            }
            None => {
                found.names.insert(path);
            }
        }
    }
    found
}

fn field<'s>(scope: &Scope<'s>, name: &str) -> Option<&'s Value> {
    match scope.argument {
        Some(argument) => argument.get(name),
        None => scope.state.get(name).map(|value| &**value),
    }
}

fn sentence(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it would take more than {RENDER_FUEL_MAX} instructions"),
        (ErrorKind::WriteFailure, _) => format!("it would write more than {PROMPT_BYTES_MAX} bytes"),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

/// Refuses what goes beyond a prompt's size.
struct Bounded {
    bytes: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > PROMPT_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
