//! Requests and tokens a minute: who asks too fast is told when to come again, and everybody where they stand.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use quota::{QuotaError, Standing, Standings, TooFast};
use schemas::error::Code;

use crate::{
    ingest::Ingest,
    layers::Asked,
    metrics::{self, Rejected},
    refusal::Refusal,
};

impl Ingest {
    /// Takes a request of its key and user. Where they stand goes with the answer, whatever it is.
    pub(crate) async fn admit_rate(&self, asked: &Asked, user: Option<String>) -> Result<(), Refusal> {
        let Some(rates) = &self.deps.rates else { return Ok(()) };
        let admitted = rates.admit(&asked.caller.tenant, &asked.caller.principal(user)).await.map_err(unavailable)?;
        let standings = *admitted.as_ref().unwrap_or_else(|too_fast| &too_fast.standings);
        // A request that begins several runs shows where it stood at the first.
        let _ = asked.standings.set(standings);
        admitted.map(drop).map_err(refused)
    }
}

fn unavailable(error: QuotaError) -> Refusal {
    tracing::warn!(error = %error, "a request is not let in, for nobody knows whether it may be");
    metrics::rejected(Rejected::QuotaAway);
    Refusal::new(Code::BudgetStoreUnavailable, "rates can't be looked up at the moment, so no run is begun; try again")
}

fn refused(too_fast: TooFast) -> Refusal {
    metrics::rejected(Rejected::Rate);
    let TooFast { kind, of, limit, retry_after_ms, standings: _ } = too_fast;
    let message = format!("this {kind} may have {limit} {of} a minute; try again in {}", shown(retry_after_ms));
    Refusal::new(Code::RateLimitExceeded, message).retry_after(Duration::from_millis(retry_after_ms))
}

/// OpenAI's headers, which its clients read.
pub(crate) fn add_headers(standings: Standings, headers: &mut HeaderMap) {
    let Standings { requests, tokens } = standings;
    for (of, standing) in [("requests", requests), ("tokens", tokens)] {
        let Some(Standing { limit, remaining, reset_ms }) = standing else { continue };
        for (what, value) in
            [("limit", limit.to_string()), ("remaining", remaining.to_string()), ("reset", shown(reset_ms))]
        {
            let name = HeaderName::try_from(format!("x-ratelimit-{what}-{of}")).expect("a name of letters");
            headers.insert(name, HeaderValue::try_from(value).expect("a value of letters and digits"));
        }
    }
}

/// `12ms`, `6s`, `1m30s`, as OpenAI writes it.
fn shown(ms: u64) -> String {
    let (minutes, seconds, rest) = (ms / 60_000, ms % 60_000 / 1_000, ms % 1_000);
    match (minutes, seconds, rest) {
        (0, 0, ms) => format!("{ms}ms"),
        (0, seconds, 0) => format!("{seconds}s"),
        (0, seconds, ms) => format!("{seconds}.{ms:03}s"),
        (minutes, seconds, 0) => format!("{minutes}m{seconds}s"),
        (minutes, seconds, ms) => format!("{minutes}m{seconds}.{ms:03}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_does() {
        for (ms, expect) in [(0, "0ms"), (12, "12ms"), (6_000, "6s"), (6_120, "6.120s"), (90_000, "1m30s")] {
            assert_eq!(shown(ms), expect);
        }
    }
}
