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

    /// The waits after each attempt, as LangGraph 1.2.22 makes them, and that the last attempt is the last.
    #[test]
    fn waits_grow_up_to_their_bound() {
        let policy = RetryPolicy {
            max_attempts: 5,
            initial_interval_ms: 20,
            backoff_factor: 3.0,
            max_interval_ms: 100,
            jitter: false,
            retry_on: vec!["Busy".to_owned()],
        };
        let error = |kind: &str| TaskError {
            class: "node_failed".to_owned(),
            message: "busy".to_owned(),
            kind: Some(kind.to_owned()),
            retryable: false,
            retry_after_ms: None,
        };
        let waits: Vec<Option<u64>> = (1..=5).map(|made| delay_ms(Some(&policy), made, &error("Busy"), 7)).collect();
        assert_eq!(waits, [Some(20), Some(60), Some(100), Some(100), None]);
        assert_eq!(delay_ms(Some(&policy), 1, &error("Wrong"), 7), None, "the policy doesn't name it");
        assert_eq!(delay_ms(None, 1, &error("Busy"), 7), None, "no policy");
    }
}
