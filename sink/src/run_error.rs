//! The error of a run as clients see it.

use graph::{
    task::BudgetExceeded,
    update::{Ended, RunError, RunStatus},
};
use schemas::error::{BudgetFields, Code, ErrorBody, ErrorFields};
use uuid::Uuid;

use crate::time::rfc3339;

/// LangGraph's word for the error of a run that did not succeed: the type of what was raised.
pub fn exception(ended: &Ended) -> Option<String> {
    match (&ended.error, ended.status) {
        (Some(error), _) => Some(exception_of(error)),
        (None, RunStatus::Timeout) => Some("TimeoutError".to_owned()),
        (None, RunStatus::Error) => Some("Exception".to_owned()),
        (None, _) => None,
    }
}

/// The type of what was raised, where the program gave one; else what LangGraph raises in such a case.
pub fn exception_of(error: &RunError) -> String {
    if let Some(kind) = &error.kind {
        return kind.clone();
    }
    match Code::parse(&error.code) {
        Some(Code::RecursionLimit) => "GraphRecursionError",
        Some(Code::InvalidUpdate) => "InvalidUpdateError",
        Some(Code::RunTimeout) => "TimeoutError",
        Some(_) | None => "Exception",
    }
    .to_owned()
}

/// Why an edit was refused.
pub fn of_edit(error: &RunError, edit_id: Uuid) -> ErrorFields {
    ErrorFields { run_id: Some(edit_id.to_string()), ..fields(error) }
}

/// Why the run did not succeed; None where it did, or asked, or was cancelled on purpose.
pub fn of(ended: &Ended, run_id: Uuid) -> Option<ErrorFields> {
    let fields = match (&ended.error, ended.status) {
        (Some(error), _) => fields(error),
        (None, RunStatus::Timeout) => ErrorBody::new(Code::RunTimeout, "the run did not end by its deadline").error,
        (None, RunStatus::Error) => ErrorBody::new(Code::Internal, "the run failed").error,
        (None, _) => return None,
    };
    Some(ErrorFields { run_id: Some(run_id.to_string()), ..fields })
}

fn fields(error: &RunError) -> ErrorFields {
    let RunError { code, message, node, kind: _, retryable, budget } = error;
    let known = Code::parse(code).unwrap_or(Code::Internal);
    let message = match node {
        Some(node) if !message.contains(node.as_str()) => format!("node {node} failed: {message}"),
        _ => message.clone(),
    };
    let mut fields = ErrorBody::new(known, message).error;
    fields.code.clone_from(code);
    fields.retryable = *retryable;
    fields.param.clone_from(node);
    fields.budget = budget.as_deref().map(shown);
    fields
}

fn shown(budget: &BudgetExceeded) -> BudgetFields {
    let BudgetExceeded { scope, unit, limit, spent, reserved, wanted, resets_at } = budget.clone();
    BudgetFields { scope, unit, limit, spent, reserved, wanted, resets_at: resets_at.map(rfc3339) }
}
