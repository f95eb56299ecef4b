//! Rate limits as arithmetic: requests and tokens a minute, as buckets that fill evenly. The clock is outside.
//!
//! A request is taken when it is let in. Tokens are known only when calls have ended, so they are taken then, below zero
//! where there were fewer: the next request waits until the bucket holds some again. Numbers are whole: a bucket counts in
//! sixty-thousandths of what it limits, of which each millisecond brings as many as a minute may have.

use std::collections::BTreeMap;

use graph::envelope::{Millis, Principal};

use crate::rules::{Limits, Rules};

const MINUTE_MS: i128 = 60_000;
/// The largest limit. Up to it a bucket's numbers are exact in whatever counts with floats of 64 bits.
pub const LIMIT_MAX: u64 = 100_000_000_000;
/// What is taken at once at most.
pub const TAKEN_MAX: u64 = LIMIT_MAX;
/// A debt that grows no more: of fifty billion tokens.
const LEVEL_MIN: i128 = -3_000_000_000_000_000;

/// What a minute may have; None where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: Option<u64>,
    pub tokens: Option<u64>,
}

/// What keys and users may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub key: RateLimit,
    pub user: RateLimit,
}

/// Whose limit it is: a key or a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Unlike that of any other.
    pub name: String,
    /// `key` or `user`, for whoever is refused.
    pub kind: &'static str,
    pub limit: RateLimit,
}

/// Where the tightest of the limits stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// Until the bucket is full.
    pub reset_ms: u64,
}

/// What a client is told, let in or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    pub requests: Option<Standing>,
    pub tokens: Option<Standing>,
}

/// Why a request must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooFast {
    pub kind: &'static str,
    /// `requests` or `tokens`.
    pub of: &'static str,
    pub limit: u64,
    pub retry_after_ms: u64,
    pub standings: Standings,
}

/// The buckets of everybody. One that is full is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    buckets: BTreeMap<(String, Of), Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    Requests,
    Tokens,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In sixty-thousandths; below zero where more was taken than there was.
    level: i128,
    limit: u64,
    at: Millis,
}

/// Buckets beyond which full ones are looked for.
const FORGET_ABOVE: usize = 10_000;

impl Bucket {
    fn full(limit: u64, at: Millis) -> Self {
        Bucket { level: i128::from(limit) * MINUTE_MS, limit, at }
    }

    /// As it stands at `now`, under the limit of now.
    fn filled(self, limit: u64, now: Millis) -> Self {
        let passed = i128::from(now.saturating_sub(self.at).max(0));
        let most = i128::from(limit) * MINUTE_MS;
        Bucket { level: (self.level + passed * i128::from(limit)).min(most), limit, at: now.max(self.at) }
    }

    fn standing(self) -> Standing {
        let missing = i128::from(self.limit) * MINUTE_MS - self.level;
        Standing {
            limit: self.limit,
            remaining: u64::try_from(self.level / MINUTE_MS).unwrap_or(0),
            reset_ms: self.until(missing),
        }
    }

    /// Milliseconds until `missing` has come.
    fn until(self, missing: i128) -> u64 {
        let rate = i128::from(self.limit.max(1));
        u64::try_from((missing.max(0) + rate - 1) / rate).unwrap_or(u64::MAX)
    }
}

impl Meter {
    /// Takes one request of every subject, or of none and says how long to wait.
    pub fn admit(&mut self, subjects: &[Subject], now: Millis) -> Result<Standings, TooFast> {
        self.forget(now);
        let mut refused: Option<TooFast> = None;
        for (subject, of, limit) in limits(subjects) {
            let bucket = self.bucket(subject, of, limit, now);
            // Of tokens it has to hold one: what the request takes, nobody knows yet.
            let missing = MINUTE_MS - bucket.level;
            if missing > 0 {
                let retry_after_ms = bucket.until(missing);
                if refused.as_ref().is_none_or(|known| known.retry_after_ms < retry_after_ms) {
                    let standings = Standings::default();
                    refused = Some(TooFast { kind: subject.kind, of: of.as_str(), limit, retry_after_ms, standings });
                }
            }
        }
        if refused.is_none() {
            self.take(subjects, Of::Requests, 1, now);
        }
        let standings = self.standings(subjects, now);
        refused.map_or(Ok(standings), |refused| Err(TooFast { standings, ..refused }))
    }

    /// What calls of these subjects have taken.
    pub fn spent(&mut self, subjects: &[Subject], tokens: u64, now: Millis) {
        self.take(subjects, Of::Tokens, tokens, now);
    }

    fn take(&mut self, subjects: &[Subject], taken: Of, count: u64, now: Millis) {
        for (subject, of, limit) in limits(subjects).filter(|(_, of, _)| *of == taken) {
            let mut bucket = self.bucket(subject, of, limit, now);
            bucket.level = (bucket.level - i128::from(count.min(TAKEN_MAX)) * MINUTE_MS).max(LEVEL_MIN);
            self.buckets.insert((subject.name.clone(), of), bucket);
        }
    }

    fn bucket(&self, subject: &Subject, of: Of, limit: u64, now: Millis) -> Bucket {
        let known = self.buckets.get(&(subject.name.clone(), of));
        known.map_or_else(|| Bucket::full(limit, now), |bucket| bucket.filled(limit, now))
    }

    /// The one of each kind that has the least left.
    fn standings(&self, subjects: &[Subject], now: Millis) -> Standings {
        let tightest = |wanted: Of| {
            let found = limits(subjects).filter(|(_, of, _)| *of == wanted);
            let found = found.map(|(subject, of, limit)| self.bucket(subject, of, limit, now).standing());
            found.min_by_key(|standing| (standing.remaining, standing.limit))
        };
        Standings { requests: tightest(Of::Requests), tokens: tightest(Of::Tokens) }
    }

    fn forget(&mut self, now: Millis) {
        if self.buckets.len() > FORGET_ABOVE {
            self.buckets.retain(|_, bucket| bucket.filled(bucket.limit, now).standing().reset_ms > 0);
        }
    }
}

impl Limits for RateLimits {
    fn above(self, below: Self) -> Self {
        let over = |own: RateLimit, below: RateLimit| RateLimit {
            requests: own.requests.or(below.requests),
            tokens: own.tokens.or(below.tokens),
        };
        RateLimits { key: over(self.key, below.key), user: over(self.user, below.user) }
    }
}

impl Rules<RateLimits> {
    /// Who is limited in what a request, or a call of it, takes.
    pub fn subjects(&self, tenant: &str, principal: &Principal) -> Vec<Subject> {
        let Principal { key, user } = principal;
        let limits = self.of(tenant, key.as_deref());
        [("key", key, limits.key), ("user", user, limits.user)]
            .into_iter()
            .filter_map(|(kind, name, limit)| {
                // A list, for names may hold any letter that could stand between them.
                let name = format!("{kind} {}", serde_json::json!([tenant, name.as_ref()?]));
                (limit != RateLimit::default()).then_some(Subject { name, kind, limit })
            })
            .collect()
    }
}

impl Of {
    pub fn as_str(self) -> &'static str {
        match self {
            Of::Requests => "requests",
            Of::Tokens => "tokens",
        }
    }
}

/// Every bucket of theirs.
pub fn limits(subjects: &[Subject]) -> impl Iterator<Item = (&Subject, Of, u64)> {
    subjects.iter().flat_map(|subject| {
        let RateLimit { requests, tokens } = subject.limit;
        let named = [(Of::Requests, requests), (Of::Tokens, tokens)];
        named.into_iter().filter_map(move |(of, limit)| Some((subject, of, limit?)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(kind: &'static str, requests: Option<u64>, tokens: Option<u64>) -> Subject {
        Subject { name: format!("{kind} web"), kind, limit: RateLimit { requests, tokens } }
    }

    #[test]
    fn a_minute_has_as_many_requests_as_it_may() {
        let mut meter = Meter::default();
        let key = [subject("key", Some(60), None)];
        for left in (0..60).rev() {
            let standing = meter.admit(&key, 0).expect("room").requests.expect("a limit");
            assert_eq!((standing.limit, standing.remaining, standing.reset_ms), (60, left, (60 - left) * 1_000));
        }
        let refused = meter.admit(&key, 0).expect_err("the minute is used up");
        assert_eq!((refused.kind, refused.of, refused.retry_after_ms), ("key", "requests", 1_000));
        assert!(meter.admit(&key, 999).is_err());
        assert!(meter.admit(&key, 1_000).is_ok());
        assert!(meter.admit(&key, 1_000).is_err());
    }

    #[test]
    fn all_subjects_are_asked_and_the_longest_wait_is_told() {
        let mut meter = Meter::default();
        let both = [subject("key", Some(100), None), subject("user", Some(1), None)];
        let standing = meter.admit(&both, 0).expect("room").requests.expect("a limit");
        assert_eq!((standing.limit, standing.remaining), (1, 0), "the tighter one is shown");
        let refused = meter.admit(&both, 0).expect_err("the user's minute is used up");
        assert_eq!((refused.kind, refused.retry_after_ms), ("user", 60_000));
        let key = meter.admit(&both[..1], 0).expect("room").requests.expect("a limit");
        assert_eq!(key.remaining, 98, "a refused request takes nothing of the key's");
    }

    #[test]
    fn tokens_are_taken_when_they_are_known() {
        let mut meter = Meter::default();
        let key = [subject("key", None, Some(600))];
        assert_eq!(meter.admit(&key, 0).expect("room").tokens.map(|standing| standing.remaining), Some(600));
        meter.spent(&key, 900, 0);
        let refused = meter.admit(&key, 0).expect_err("more is taken than there was");
        assert_eq!((refused.of, refused.retry_after_ms), ("tokens", 30_100));
        assert_eq!(refused.standings.tokens.map(|standing| standing.remaining), Some(0));
        assert!(meter.admit(&key, 30_100).is_ok());
    }

    #[test]
    fn without_limits_all_is_let_in() {
        let mut meter = Meter::default();
        for _ in 0..1_000 {
            assert_eq!(meter.admit(&[subject("key", None, None)], 0), Ok(Standings::default()));
        }
        assert_eq!(meter.admit(&[], 0), Ok(Standings::default()));
        assert!(meter.buckets.is_empty());
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut meter = Meter::default();
        for n in 0..=FORGET_ABOVE {
            let user = Subject { name: n.to_string(), ..subject("user", Some(60), None) };
            meter.admit(&[user], 0).expect("room");
        }
        meter.admit(&[subject("key", Some(1), None)], 999).expect("room");
        assert_eq!(meter.buckets.len(), FORGET_ABOVE + 2);
        meter.admit(&[subject("key", Some(1), None)], 1_000).expect_err("its own minute is used up");
        assert_eq!(meter.buckets.len(), 1);
    }

    proptest! {
        /// In no time are more let in than the bucket held and what came since, and none is refused that fits.
        #[test]
        fn it_is_exact(limit in 1_u64..500, steps in prop::collection::vec(0_i64..2_000, 1..400)) {
            let mut meter = Meter::default();
            let key = [subject("key", Some(limit), None)];
            let (mut now, mut let_in) = (0, 0_u64);
            let mut level = i128::from(limit) * MINUTE_MS;
            for step in steps {
                now += step;
                level = (level + i128::from(step) * i128::from(limit)).min(i128::from(limit) * MINUTE_MS);
                let fits = level >= MINUTE_MS;
                prop_assert_eq!(meter.admit(&key, now).is_ok(), fits);
                if fits {
                    level -= MINUTE_MS;
                    let_in += 1;
                }
                prop_assert!(u128::from(let_in) <= u128::from(limit) + now as u128 * u128::from(limit) / 60_000);
            }
        }
    }
}
