//! A keeper of [`Rates`] in Redis. Where Redis lost its data, buckets are full again: a minute's worth, and no more.

use std::sync::{Arc, LazyLock};

use ::redis::Script;
use async_trait::async_trait;
use graph::envelope::Principal;

use super::{Redis, not_understood};
use crate::{
    contract::{QuotaError, Rates},
    rates::{RateLimits, Standing, Standings, Subject, TAKEN_MAX, TooFast, limits},
    rules::Rules,
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("rates.lua")));

pub struct RedisRates {
    redis: Arc<Redis>,
    limits: Rules<RateLimits>,
}

impl RedisRates {
    pub fn new(redis: Arc<Redis>, limits: impl Into<Rules<RateLimits>>) -> Self {
        RedisRates { redis, limits: limits.into() }
    }

    async fn run(&self, operation: &str, subjects: &[Subject], count: u64) -> Result<Vec<String>, QuotaError> {
        let mut arguments = vec![count.min(TAKEN_MAX).to_string()];
        for (subject, of, limit) in limits(subjects) {
            arguments.extend([subject.name.clone(), of.as_str().to_owned(), limit.to_string()]);
        }
        self.redis.call(&SCRIPT, operation, "", &arguments).await
    }
}

#[async_trait]
impl Rates for RedisRates {
    async fn admit(&self, tenant: &str, principal: &Principal) -> Result<Result<Standings, TooFast>, QuotaError> {
        let subjects = self.limits.subjects(tenant, principal);
        if subjects.is_empty() {
            return Ok(Ok(Standings::default()));
        }
        let answer = self.run("admit", &subjects, 0).await?;
        admitted(&subjects, &answer).ok_or_else(|| not_understood(&answer))
    }

    async fn spent(&self, tenant: &str, principal: &Principal, tokens: u64) -> Result<(), QuotaError> {
        let subjects = self.limits.subjects(tenant, principal);
        if subjects.iter().all(|subject| subject.limit.tokens.is_none()) {
            return Ok(());
        }
        self.run("spent", &subjects, tokens).await.map(drop)
    }
}

fn admitted(subjects: &[Subject], answer: &[String]) -> Option<Result<Standings, TooFast>> {
    let [kind, refused, requests, tokens] = answer else { return None };
    if kind != "admitted" {
        return None;
    }
    let limit_at = |index: u64| limits(subjects).nth(usize::try_from(index).ok()?);
    let standing = |text: &str| match numbers(text)[..] {
        [] => Some(None),
        [index, remaining, reset_ms] => {
            let (_, _, limit) = limit_at(index)?;
            Some(Some(Standing { limit, remaining, reset_ms }))
        }
        _ => None,
    };
    let standings = Standings { requests: standing(requests)?, tokens: standing(tokens)? };
    match numbers(refused)[..] {
        [] => Some(Ok(standings)),
        [index, retry_after_ms] => {
            let (subject, of, limit) = limit_at(index)?;
            Some(Err(TooFast { kind: subject.kind, of: of.as_str(), limit, retry_after_ms, standings }))
        }
        _ => None,
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}
