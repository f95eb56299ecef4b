//! The errors of tasks: each says whether the same task may succeed later.

use graph::task::{BudgetExceeded, TaskError};
use schemas::error::Code;

/// The node's own doing; the same again would fail the same.
pub fn node_failed(message: impl Into<String>) -> TaskError {
    of(Code::NodeFailed, message)
}

/// The node's own doing; later it may succeed.
pub fn retryable(message: impl Into<String>) -> TaskError {
    TaskError { retryable: true, ..of(Code::NodeFailed, message) }
}

/// What the node wrote is no update of this graph's state.
pub fn invalid_update(message: impl Into<String>) -> TaskError {
    TaskError { kind: Some("InvalidUpdateError".to_owned()), ..of(Code::InvalidUpdate, message) }
}

/// A value that the task was given as a reference is not in the store.
pub fn value_missing(message: impl Into<String>) -> TaskError {
    of(Code::ValueMissing, message)
}

/// A mistake of Millstream or of its set-up.
pub fn internal(message: impl Into<String>) -> TaskError {
    of(Code::Internal, message)
}

/// There is no room for what a call may cost: the same again would be refused the same.
pub fn budget_exceeded(message: impl Into<String>, budget: BudgetExceeded) -> TaskError {
    TaskError { budget: Some(Box::new(budget)), ..of(Code::BudgetExceeded, message) }
}

/// Nobody can say whether there is room: later somebody may.
pub fn budget_store_unavailable(message: impl Into<String>) -> TaskError {
    TaskError { retryable: true, ..of(Code::BudgetStoreUnavailable, message) }
}

/// Every target of an alias fails too often to be asked: later one may answer.
pub fn all_providers_open(message: impl Into<String>, wait_ms: u64) -> TaskError {
    TaskError { retryable: true, retry_after_ms: Some(wait_ms), ..of(Code::AllProvidersOpen, message) }
}

pub fn of_kind(mut error: TaskError, kind: impl Into<String>) -> TaskError {
    error.kind = Some(kind.into());
    error
}

fn of(code: Code, message: impl Into<String>) -> TaskError {
    TaskError { class: code.as_str().to_owned(), message: message.into(), ..TaskError::default() }
}
