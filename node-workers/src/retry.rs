//! When a failed attempt is made again: as the graph's policy says.

pub use graph::retry::delay_ms;

#[cfg(test)]
mod tests {
    use graph::spec::RetryPolicy;

    use super::*;
    use crate::failure;

    fn policy() -> RetryPolicy {
        RetryPolicy { max_attempts: 20, jitter: false, ..RetryPolicy::default() }
    }

    #[test]
    fn delays_grow_to_the_cap() {
        let error = failure::retryable("busy");
        let table = [(1, 500), (2, 1_000), (3, 2_000), (8, 64_000), (9, 128_000), (10, 128_000), (19, 128_000)];
        for (attempt, expect) in table {
            assert_eq!(delay_ms(Some(&policy()), attempt, &error, 0), Some(expect), "after attempt {attempt}");
        }
        assert_eq!(delay_ms(Some(&policy()), 20, &error, 0), None);
        assert_eq!(delay_ms(None, 1, &error, 0), None, "no policy, no retry");
    }

    #[test]
    fn jitter_adds_up_to_a_second() {
        let error = failure::retryable("busy");
        let policy = RetryPolicy { jitter: true, ..policy() };
        for (drawn, expect) in [(0, 500), (1_000, 1_500), (1_001, 500), (u64::MAX, 500 + u64::MAX % 1_001)] {
            assert_eq!(delay_ms(Some(&policy), 1, &error, drawn), Some(expect));
        }
    }

    #[test]
    fn retry_after_is_the_least() {
        let mut error = failure::retryable("busy");
        error.retry_after_ms = Some(7_000);
        assert_eq!(delay_ms(Some(&policy()), 1, &error, 0), Some(7_000));
        error.retry_after_ms = Some(1);
        assert_eq!(delay_ms(Some(&policy()), 1, &error, 0), Some(500));
    }

    #[test]
    fn what_is_retried() {
        let fatal = failure::node_failed("wrong");
        let mut named = failure::node_failed("wrong");
        named.kind = Some("ValueError".to_owned());
        let on = |names: &[&str]| RetryPolicy {
            retry_on: names.iter().map(|name| (*name).to_owned()).collect(),
            ..policy()
        };
        let table = [
            (on(&[]), &fatal, false),
            (on(&[]), &failure::retryable("busy"), true),
            (on(&["ValueError"]), &named, true),
            (on(&["ValueError"]), &fatal, false),
            (on(&["node_failed"]), &fatal, true),
            (on(&["ValueError"]), &failure::retryable("busy"), false),
        ];
        for (policy, error, expect) in table {
            assert_eq!(delay_ms(Some(&policy), 1, error, 0).is_some(), expect, "{:?} {error:?}", policy.retry_on);
        }
    }
}
