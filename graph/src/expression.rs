//! CEL: conditions and mappings, compiled once and evaluated on the values that they name.
//!
//! CEL has no cost limit of its own: text, nesting, steps and the size of a result are bounded here.
//! Results depend on nothing but the scope: no clock, no chance, and maps are walked in the order of their keys.

mod cost;
mod functions;
mod json;
mod parse;
mod references;

use cel::{Context, ExecutionError, common::ast::IdedExpr, common::ast::SourceInfo};
use serde_json::Value;

pub use self::functions::{FUNCTIONS, estimated_tokens, has_tool_calls};
pub use self::references::References;
pub(crate) use self::references::{channel_of, each_part};
use crate::{by_name::ChannelValues, deep_stack::on_a_deep_stack, task::TaskError};

/// Bytes of one expression's text.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Steps that nested comprehensions may take together.
pub const COMPREHENSION_STEPS_MAX: u64 = 1_000_000;
/// Bytes that a result may hold, counted as it is turned into JSON.
pub const RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A compiled expression. Compiling costs some 40 µs: keep it.
pub struct Expression {
    text: String,
    tree: IdedExpr,
    source: SourceInfo,
    references: References,
}

/// What an expression may name.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The step's channels with the task's own writes; an unset channel is absent.
    pub state: &'a ChannelValues,
    /// The argument of a Send: it is the state of the task that it made.
    pub argument: Option<&'a Value>,
    /// A model's answer.
    pub answer: Option<&'a Value>,
    /// What a service, a Rust node or a tool returned.
    pub out: Option<&'a Value>,
    pub context: &'a Value,
    /// Names of the place: the item of an `each`, `left` and `right` of a reducer.
    pub items: &'a [(&'a str, &'a Value)],
}

impl<'a> Scope<'a> {
    pub fn new(state: &'a ChannelValues, context: &'a Value) -> Self {
        Scope { state, argument: None, answer: None, out: None, context, items: &[] }
    }
}

/// Why a text is no expression. `column` counts characters from 1, `line` lines of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    pub kind: ExpressionErrorKind,
    pub message: String,
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpressionErrorKind {
    Syntax,
    UnknownFunction { name: String },
    TooCostly,
}

impl Expression {
    pub fn compile(text: &str) -> Result<Expression, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError {
                kind: ExpressionErrorKind::TooCostly,
                message: format!("the expression has {} bytes, more than {EXPRESSION_BYTES_MAX}", text.len()),
                line: 1,
                column: 1,
            });
        }
        on_a_deep_stack(|| Expression::parse(text))
    }

    fn parse(text: &str) -> Result<Expression, ExpressionError> {
        let (tree, source) = parse::tree(text)?;
        let at = |id: u64, kind, message| {
            let (line, column) = parse::position(text, source.offset_for(id).map_or(0, |(start, _)| start as usize));
            ExpressionError { kind, message, line, column }
        };
        if let Some((name, id)) = functions::first_unknown(&tree) {
            let message = format!("there is no function `{name}`");
            let mut error = at(id, ExpressionErrorKind::UnknownFunction { name: name.to_owned() }, message);
            // A call's place is its bracket.
            error.column = error.column.saturating_sub(name.chars().count()).max(1);
            return Err(error);
        }
        if let Some(id) = cost::too_deep(&tree) {
            let message = "only one comprehension may stand inside another".to_owned();
            return Err(at(id, ExpressionErrorKind::TooCostly, message));
        }
        let references = References::of(&tree);
        Ok(Expression { text: text.to_owned(), tree: cost::guarded(tree), source, references })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the expression reads, so that a task carries no more than that.
    pub fn references(&self) -> &References {
        &self.references
    }

    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, TaskError> {
        functions::with_root(|root| {
            let mut inner = root.new_inner_scope();
            json::bind(&mut inner, &self.references, scope);
            self.run(&inner).map_err(|failure| self.task_error(failure, scope))
        })
    }

    /// A condition: anything but `true` or `false` is an error.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, TaskError> {
        match self.evaluate(scope)? {
            Value::Bool(holds) => Ok(holds),
            other => {
                Err(failed(format!("the condition `{}` gave {}, not true or false", self.text, json::kind(&other))))
            }
        }
    }

    /// The parsed tree, with the cost guards in it.
    pub(crate) fn tree(&self) -> &IdedExpr {
        &self.tree
    }

    /// Line and column (characters from 1) of a node of the tree.
    pub(crate) fn position_of(&self, id: u64) -> (usize, usize) {
        parse::position(&self.text, self.source.offset_for(id).map_or(0, |(start, _)| start as usize))
    }

    /// Line and column of the field that a selection names: its own place is the dot.
    pub(crate) fn position_of_field(&self, id: u64) -> (usize, usize) {
        let (line, column) = self.position_of(id);
        (line, column + 1)
    }

    /// Where a name first stands.
    pub(crate) fn position_of_name(&self, name: &str) -> Option<(usize, usize)> {
        let mut found = None;
        references::each_name(&self.tree, &mut |id, ident| {
            if ident == name {
                found = found.or(Some(self.position_of(id)));
            }
        });
        found
    }

    fn run<'v>(&self, context: &Context<'_, 'v>) -> Result<Value, Failure> {
        cost::begin();
        let value = cel::Value::resolve_val(&self.tree, context);
        if cost::exceeded() {
            return Err(Failure::TooCostly);
        }
        json::from_cel(&*value.map_err(Failure::Cel)?)
    }

    fn task_error(&self, failure: Failure, scope: &Scope<'_>) -> TaskError {
        let why = match failure {
            Failure::TooCostly => {
                return TaskError {
                    class: "cel_too_costly".to_owned(),
                    ..failed(format!(
                        "`{}` would take more than {COMPREHENSION_STEPS_MAX} steps, or make more than \
                         {RESULT_BYTES_MAX} bytes",
                        self.text
                    ))
                };
            }
            Failure::NoJson(what) => format!("{what} is no JSON value"),
            Failure::Cel(ExecutionError::NoSuchKey(name)) if self.names_unset_channel(&name, scope) => {
                format!("state.{name} has no value yet: give the channel a default, or ask has(state.{name}) first")
            }
            Failure::Cel(ExecutionError::NoSuchKey(name)) => format!("there is no field `{name}`"),
            Failure::Cel(ExecutionError::UndeclaredReference(name)) => format!("there is no `{name}` here"),
            Failure::Cel(error) => bounded(error.to_string()),
        };
        failed(format!("`{}` failed: {why}", self.text))
    }

    fn names_unset_channel(&self, name: &str, scope: &Scope<'_>) -> bool {
        scope.argument.is_none()
            && !scope.state.contains_key(name)
            && (self.references.whole_state || self.references.channels.contains(name))
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

pub(crate) enum Failure {
    Cel(ExecutionError),
    TooCostly,
    NoJson(&'static str),
}

fn failed(message: String) -> TaskError {
    TaskError {
        class: "node_failed".to_owned(),
        message,
        kind: Some("ExpressionError".to_owned()),
        retryable: false,
        ..TaskError::default()
    }
}

/// CEL's own messages print whole values: a message is for people.
fn bounded(mut message: String) -> String {
    const MESSAGE_CHARS_MAX: usize = 300;
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests;
