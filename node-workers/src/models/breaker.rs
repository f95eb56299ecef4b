//! Whether a target is asked: not for a while where it fails too often, and then by one call first. Pure; the clock is
//! outside.
//!
//! ```text
//! closed --- it fails too often ---> open --- its time is up ---> half open --- the trial succeeds ---> closed
//!                                     ^                              |
//!                                     +------- the trial fails ------+   longer each time
//! ```

use std::collections::VecDeque;

use graph::envelope::Millis;

/// Failures in a row that open it.
const IN_A_ROW: usize = 5;
/// Of so many last calls at most half may fail.
const WINDOW: usize = 20;
/// How long it stays open the first time; then twice as long each time, up to the most.
const OPEN_MS: Millis = 5_000;
const OPEN_MS_MAX: Millis = 300_000;
/// A trial of which nothing is heard counts no longer.
const TRIAL_MS: Millis = 60_000;

/// What may be told to other workers, and heard of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody asks before then. It has opened so often since it last answered.
    Opened {
        until: Millis,
        times: u32,
    },
    Closed,
}

/// How a call ended, as far as it says something of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// It asks not to be asked again before a time.
    Failed {
        retry_after_ms: Option<u64>,
    },
    /// The caller's own doing, or nobody knows.
    Nothing,
}

#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    /// Whether the last calls failed, oldest first.
    recent: VecDeque<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Millis,
        times: u32,
        /// When a call was let through to try.
        trial: Option<Millis>,
    },
}

impl Breaker {
    /// Lets a call through, or says when to come again.
    pub fn admit(&mut self, now: Millis) -> Result<(), Millis> {
        let State::Open { until, trial, .. } = &mut self.state else { return Ok(()) };
        match *trial {
            None if now < *until => Err(*until),
            // It may know any moment.
            Some(begun) if now < begun + TRIAL_MS => Err((begun + TRIAL_MS).min(now + OPEN_MS)),
            None | Some(_) => {
                *trial = Some(now);
                Ok(())
            }
        }
    }

    /// What a call that was let through says of the target, and what others should know of it.
    pub fn ended(&mut self, outcome: Outcome, now: Millis) -> Option<Change> {
        match (outcome, self.state) {
            (Outcome::Nothing, State::Open { until, times, .. }) => {
                self.state = State::Open { until, times, trial: None };
                None
            }
            (Outcome::Nothing, State::Closed) => None,
            (Outcome::Answered, State::Open { trial: Some(_), .. }) => {
                *self = Breaker::default();
                Some(Change::Closed)
            }
            // It was sent before it opened: it says nothing of how things are now.
            (Outcome::Answered, State::Open { trial: None, .. }) => None,
            (Outcome::Answered, State::Closed) => {
                self.note(false);
                None
            }
            (Outcome::Failed { retry_after_ms }, State::Open { until, times, trial }) => match trial {
                Some(_) => Some(self.open(times + 1, retry_after_ms, now)),
                None => (asked_until(retry_after_ms, now) > until).then(|| self.open(times, retry_after_ms, now)),
            },
            (Outcome::Failed { retry_after_ms }, State::Closed) => {
                self.note(true);
                self.fails_too_often().then(|| self.open(1, retry_after_ms, now))
            }
        }
    }

    /// What another worker has found. A time is never made shorter.
    pub fn hear(&mut self, change: Change) {
        match (change, self.state) {
            (Change::Closed, _) => *self = Breaker::default(),
            (Change::Opened { until, .. }, State::Open { until: own, .. }) if own >= until => {}
            (Change::Opened { until, times }, _) => self.state = State::Open { until, times, trial: None },
        }
    }

    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    fn open(&mut self, times: u32, retry_after_ms: Option<u64>, now: Millis) -> Change {
        let longer = OPEN_MS.saturating_mul(1 << (times - 1).min(16)).min(OPEN_MS_MAX);
        let before = match self.state {
            State::Open { until, .. } => until,
            State::Closed => 0,
        };
        let until = now.saturating_add(longer).max(asked_until(retry_after_ms, now)).max(before);
        self.recent.clear();
        self.state = State::Open { until, times, trial: None };
        Change::Opened { until, times }
    }

    fn note(&mut self, failed: bool) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(failed);
    }

    fn fails_too_often(&self) -> bool {
        let in_a_row = self.recent.iter().rev().take_while(|failed| **failed).count();
        let failed = self.recent.iter().filter(|failed| **failed).count();
        in_a_row >= IN_A_ROW || (self.recent.len() == WINDOW && failed * 2 > WINDOW)
    }
}

/// Before when the target asks not to be asked again.
fn asked_until(retry_after_ms: Option<u64>, now: Millis) -> Millis {
    let wait = retry_after_ms.map_or(0, |ms| Millis::try_from(ms).unwrap_or(OPEN_MS_MAX));
    now.saturating_add(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: Outcome = Outcome::Failed { retry_after_ms: None };

    fn opened(at: Millis) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            assert_eq!(breaker.admit(at), Ok(()));
            breaker.ended(FAILED, at);
        }
        breaker
    }

    #[test]
    fn it_opens_and_one_call_tries_again() {
        let mut breaker = opened(0);
        assert_eq!(breaker.admit(4_999), Err(5_000));
        assert_eq!(breaker.admit(5_000), Ok(()));
        assert_eq!(breaker.admit(5_001), Err(10_001), "one tries");
        assert_eq!(breaker.admit(64_000), Err(65_000));
        assert_eq!(breaker.ended(FAILED, 6_000), Some(Change::Opened { until: 16_000, times: 2 }));
        assert_eq!(breaker.admit(16_000), Ok(()));
        assert_eq!(breaker.ended(Outcome::Answered, 16_001), Some(Change::Closed));
        assert_eq!(breaker.admit(16_001), Ok(()));
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_trial_that_says_nothing_leaves_room_for_another() {
        let mut breaker = opened(0);
        assert_eq!(breaker.admit(5_000), Ok(()));
        assert_eq!(breaker.ended(Outcome::Nothing, 5_001), None);
        assert_eq!(breaker.admit(5_002), Ok(()));
        assert_eq!(breaker.admit(65_002), Ok(()), "nor does one of which nothing is heard");
    }

    #[test]
    fn a_share_of_failures_opens_it_too() {
        let mut breaker = Breaker::default();
        let mut changes = Vec::new();
        for n in 0..40 {
            let outcome = if n % 5 < 3 { FAILED } else { Outcome::Answered };
            changes.extend(breaker.ended(outcome, n));
            if breaker.is_open() {
                break;
            }
        }
        assert_eq!(changes, [Change::Opened { until: 5_020, times: 1 }], "after twenty");
        let mut fine = Breaker::default();
        for n in 0..400 {
            fine.ended(if n % 3 == 0 { FAILED } else { Outcome::Answered }, n);
        }
        assert!(!fine.is_open(), "a third may fail");
    }

    #[test]
    fn a_longer_time_is_never_made_shorter() {
        let mut breaker = Breaker::default();
        for n in 0..4 {
            assert_eq!(breaker.ended(FAILED, n), None);
        }
        let asked = Outcome::Failed { retry_after_ms: Some(40_000) };
        assert_eq!(breaker.ended(asked, 4), Some(Change::Opened { until: 40_004, times: 1 }));
        breaker.hear(Change::Opened { until: 7_000, times: 1 });
        assert_eq!(breaker.admit(39_000), Err(40_004));
        // Of a call that was sent before.
        assert_eq!(breaker.ended(Outcome::Failed { retry_after_ms: Some(1_000) }, 10), None);
        assert_eq!(
            breaker.ended(Outcome::Failed { retry_after_ms: Some(60_000) }, 10),
            Some(Change::Opened { until: 60_010, times: 1 })
        );
        assert_eq!(breaker.ended(Outcome::Answered, 20), None, "it was sent before, too");
        breaker.hear(Change::Opened { until: 90_000, times: 3 });
        assert_eq!(breaker.admit(89_999), Err(90_000));
        breaker.hear(Change::Closed);
        assert_eq!(breaker.admit(20), Ok(()));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass(Millis),
        Call(Outcome),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let outcome = prop_oneof![
            Just(Outcome::Answered),
            Just(Outcome::Nothing),
            proptest::option::of(0_u64..20_000).prop_map(|retry_after_ms| Outcome::Failed { retry_after_ms }),
            Just(FAILED),
        ];
        proptest::collection::vec(
            prop_oneof![(0..20_000_i64).prop_map(Step::Pass), outcome.prop_map(Step::Call)],
            0..200,
        )
    }

    proptest! {
        /// Who follows what is told is never more generous than who tells it, and both ask again in the end.
        #[test]
        fn who_hears_holds_back_as_long(steps in steps()) {
            let (mut own, mut other, mut now) = (Breaker::default(), Breaker::default(), 0);
            for step in steps {
                match step {
                    Step::Pass(ms) => now += ms,
                    Step::Call(outcome) => if own.admit(now).is_ok() {
                        let change = own.ended(outcome, now);
                        if let Some(change) = change {
                            other.hear(change);
                        }
                        if let Some(Change::Opened { until, .. }) = change {
                            prop_assert!(until > now && until <= now + OPEN_MS_MAX);
                            prop_assert_eq!(own.admit(now), Err(until));
                            prop_assert_eq!(other.admit(now), Err(until));
                        }
                    },
                }
                prop_assert_eq!(own.is_open(), other.is_open());
            }
            prop_assert_eq!(own.admit(now + OPEN_MS_MAX), Ok(()));
        }
    }
}
