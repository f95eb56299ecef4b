//! Why a server refused, from its structured codes: never from its English.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::models::{Cause, ModelError};

/// Characters of a server's message that are passed on.
const MESSAGE_CHARS_MAX: usize = 500;

pub fn of_status(status: u16, headers: &HeaderMap, body: &[u8]) -> ModelError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = parsed.get("error").unwrap_or(&parsed);
    let cause = by_code(error).unwrap_or_else(|| by_status(status));
    let said = message(error).unwrap_or_else(|| "no reason given".to_owned());
    ModelError { retry_after: retry_after(headers), ..ModelError::new(cause, format!("{status}: {said}")) }
}

/// An `error` chunk in the middle of an answer, or an error in a 200.
pub fn in_band(error: &Value) -> ModelError {
    let status =
        ["status", "code"].iter().find_map(|name| error.get(name)?.as_u64()).and_then(|status| status.try_into().ok());
    let cause = by_code(error).or_else(|| status.map(by_status)).unwrap_or(Cause::ServerError);
    ModelError::new(cause, message(error).unwrap_or_else(|| "the answer broke off with an error".to_owned()))
}

fn by_code(error: &Value) -> Option<Cause> {
    ["code", "type"].iter().find_map(|name| {
        Some(match error.get(name)?.as_str()? {
            "insufficient_quota" | "credit_balance_exhausted" | "billing_hard_limit_reached" | "billing_not_active" => {
                Cause::QuotaExhausted
            }
            "rate_limit_exceeded" | "rate_limit_error" | "tokens" | "requests" => Cause::RateLimited,
            "context_length_exceeded" | "string_above_max_length" => Cause::ContextLength,
            "content_filter" | "content_policy_violation" => Cause::ContentFilter,
            "model_not_found" => Cause::NotFound,
            "invalid_api_key" | "authentication_error" | "permission_error" => Cause::Denied,
            "server_is_overloaded" | "overloaded_error" | "server_error" => Cause::ServerError,
            _ => return None,
        })
    })
}

fn by_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Denied,
        402 => Cause::QuotaExhausted,
        404 => Cause::NotFound,
        408 | 504 => Cause::Timeout,
        409 | 425 | 500.. => Cause::ServerError,
        429 => Cause::RateLimited,
        _ => Cause::BadRequest,
    }
}

fn message(error: &Value) -> Option<String> {
    let text = error.get("message").and_then(Value::as_str).or_else(|| error.as_str())?;
    Some(text.chars().take(MESSAGE_CHARS_MAX).collect())
}

/// Milliseconds go before seconds. A date is left out: it is of another clock.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let wait = number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(wait).ok()
}
