//! When a failed attempt is made again: LangGraph's retry policy.

use crate::{spec::RetryPolicy, task::TaskError};

/// The most that jitter adds, in milliseconds.
pub const JITTER_MS_MAX: u64 = 1_000;

/// How long to wait before the attempt after `attempt` (from 1), or None where the task has failed.
///
/// `drawn` is chance; a node that says when to come back is never asked earlier.
pub fn delay_ms(policy: Option<&RetryPolicy>, attempt: u32, error: &TaskError, drawn: u64) -> Option<u64> {
    let policy = policy?;
    if attempt >= policy.max_attempts || !is_retried(policy, error) {
        return None;
    }
    let grown = policy.initial_interval_ms as f64 * policy.backoff_factor.powi(attempt.saturating_sub(1) as i32);
    let capped =
        if grown.is_finite() { grown.min(policy.max_interval_ms as f64) } else { policy.max_interval_ms as f64 };
    let jitter = if policy.jitter { drawn % (JITTER_MS_MAX + 1) } else { 0 };
    Some((capped as u64 + jitter).max(error.retry_after_ms.unwrap_or(0)))
}

fn is_retried(policy: &RetryPolicy, error: &TaskError) -> bool {
    if policy.retry_on.is_empty() {
        return error.retryable;
    }
    policy.retry_on.iter().any(|name| *name == error.class || Some(name) == error.kind.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(retry_on: &[&str]) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_interval_ms: 20,
            backoff_factor: 3.0,
            max_interval_ms: 100,
            jitter: false,
            retry_on: retry_on.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn error(kind: &str) -> TaskError {
        TaskError {
            class: "node_failed".to_owned(),
            message: "busy".to_owned(),
            kind: Some(kind.to_owned()),
            retryable: false,
            ..TaskError::default()
        }
    }

    /// The waits after each attempt, as LangGraph 1.2.22 makes them, and that the last attempt is the last.
    #[test]
    fn waits_grow_up_to_their_bound() {
        let policy = policy(&["Busy"]);
        let waits: Vec<Option<u64>> = (1..=5).map(|made| delay_ms(Some(&policy), made, &error("Busy"), 7)).collect();
        assert_eq!(waits, [Some(20), Some(60), Some(100), Some(100), None]);
        assert_eq!(delay_ms(None, 1, &error("Busy"), 7), None, "no policy");
    }

    #[test]
    fn a_policy_says_which_errors_are_retried() {
        let retryable = TaskError { retryable: true, ..error("Busy") };
        for (retry_on, error, retried) in [
            (&["Busy"][..], error("Busy"), true),
            (&["node_failed"], error("Busy"), true),
            (&["Busy"], error("Wrong"), false),
            (&["Other"], retryable.clone(), false),
            (&[], retryable, true),
            (&[], error("Busy"), false),
        ] {
            let delay = delay_ms(Some(&policy(retry_on)), 1, &error, 7);
            assert_eq!(delay.is_some(), retried, "{retry_on:?} of {error:?}");
        }
    }

    #[test]
    fn jitter_and_what_the_node_says_make_a_wait_longer() {
        let jitter = RetryPolicy { jitter: true, ..policy(&["Busy"]) };
        let later = |ms| TaskError { retry_after_ms: Some(ms), ..error("Busy") };
        for (policy, error, drawn, wait) in [
            (policy(&["Busy"]), error("Busy"), 7, 20),
            (jitter.clone(), error("Busy"), 7, 27),
            (jitter.clone(), error("Busy"), JITTER_MS_MAX + 1, 20),
            (policy(&["Busy"]), later(5_000), 7, 5_000),
            (policy(&["Busy"]), later(5), 7, 20),
        ] {
            assert_eq!(delay_ms(Some(&policy), 1, &error, drawn), Some(wait), "{error:?} with {drawn}");
        }
    }
}
