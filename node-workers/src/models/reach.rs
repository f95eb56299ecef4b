//! Whether a provider's server can be reached, by what came of the last request to it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Cause, ModelError};

/// The last request's outcome. Calls note it as they go; readiness reads it.
#[derive(Debug, Default)]
pub struct Reach(Mutex<Option<(Instant, Result<(), String>)>>);

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    NotAsked,
    Yes,
    /// And why not.
    No(String),
}

impl Reach {
    /// A server that refuses one request is there. One that fails, or lets nobody in, is as good as away.
    pub fn note<T>(&self, result: &Result<T, ModelError>) {
        let outcome = match result {
            Err(error) if is_away(error.cause) => Err(format!("{}: {}", error.cause.as_str(), error.message)),
            Ok(_) | Err(_) => Ok(()),
        };
        *self.lock() = Some((Instant::now(), outcome));
    }

    pub fn last(&self) -> Reached {
        match &*self.lock() {
            None => Reached::NotAsked,
            Some((_, Ok(()))) => Reached::Yes,
            Some((_, Err(reason))) => Reached::No(reason.clone()),
        }
    }

    /// Whether nothing was asked for as long as this.
    pub fn is_older_than(&self, age: Duration) -> bool {
        self.lock().as_ref().is_none_or(|(at, _)| at.elapsed() >= age)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Result<(), String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_away(cause: Cause) -> bool {
    match cause {
        Cause::Unreachable | Cause::Timeout | Cause::ServerError | Cause::Denied | Cause::QuotaExhausted => true,
        Cause::RateLimited
        | Cause::Truncated
        | Cause::BadRequest
        | Cause::ContextLength
        | Cause::ContentFilter
        | Cause::NotFound
        | Cause::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_request_says_whether_the_server_is_there() {
        let reach = Reach::default();
        assert_eq!(reach.last(), Reached::NotAsked);
        assert!(reach.is_older_than(Duration::from_secs(30)), "never asked is older than anything");
        let failed = |cause| Err::<(), _>(ModelError::new(cause, "it said so"));
        reach.note(&failed(Cause::Denied));
        assert_eq!(reach.last(), Reached::No("denied: it said so".to_owned()));
        reach.note(&failed(Cause::ContentFilter));
        assert_eq!(reach.last(), Reached::Yes);
        assert!(!reach.is_older_than(Duration::from_secs(30)));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(reach.is_older_than(Duration::from_secs(30)));
        reach.note(&failed(Cause::Unreachable));
        reach.note(&Ok(()));
        assert_eq!(reach.last(), Reached::Yes);
    }
}
