//! Why a server refused, from its status and structured codes: never from its English. One table for all dialects.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{Cause, ModelError};

/// Characters of a server's message that are passed on.
const MESSAGE_CHARS_MAX: usize = 500;

pub fn of_status(status: u16, headers: &HeaderMap, body: &[u8]) -> ModelError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = parsed.get("error").unwrap_or(&parsed);
    let cause = match by_code(error).unwrap_or_else(|| by_status(status)) {
        // What a limit of money says, where it has no code.
        Cause::RateLimited if is_final(headers) => Cause::QuotaExhausted,
        cause => cause,
    };
    let said = message(error).unwrap_or_else(|| "no reason given".to_owned());
    ModelError { retry_after: retry_after(headers), ..ModelError::new(cause, format!("{status}: {said}")) }
}

/// An error in the middle of an answer, or in a 200.
pub fn in_band(error: &Value) -> ModelError {
    let cause = by_code(error)
        .or_else(|| status_in(error).map(by_status))
        .or_else(|| by_class(error))
        .unwrap_or(Cause::ServerError);
    ModelError::new(cause, message(error).unwrap_or_else(|| "the answer broke off with an error".to_owned()))
}

/// The nearest code says most: Anthropic's stands in `details`, OpenAI's `type` is but a class of its codes.
fn by_code(error: &Value) -> Option<Cause> {
    ["/details/error_code", "/code", "/type"].iter().find_map(|place| {
        Some(match error.pointer(place)?.as_str()? {
            "insufficient_quota"
            | "credit_balance_exhausted"
            | "billing_hard_limit_reached"
            | "billing_not_active"
            | "billing_error"
            | "enforced_spend_limit_reached"
            | "contract_spend_limit_reached"
            | "linked_organization_spend_limit_reached"
            | "linked_organization_billing_unavailable"
            | "organization_on_hold" => Cause::QuotaExhausted,
            "rate_limit_exceeded" | "rate_limit_error" | "ramp_limit_exceeded" | "tokens" | "requests" => {
                Cause::RateLimited
            }
            "context_length_exceeded" | "string_above_max_length" => Cause::ContextLength,
            "content_filter" | "content_policy_violation" => Cause::ContentFilter,
            "model_not_found" | "not_found_error" | "DeploymentNotFound" => Cause::NotFound,
            "invalid_api_key" | "authentication_error" | "permission_error" => Cause::Denied,
            "timeout_error" => Cause::Timeout,
            "server_is_overloaded" | "overloaded_error" | "server_error" | "api_error" | "conflict_error" => {
                Cause::ServerError
            }
            "request_too_large" => Cause::BadRequest,
            _ => return None,
        })
    })
}

/// OpenAI calls almost anything so: it counts where nothing nearer is said.
fn by_class(error: &Value) -> Option<Cause> {
    (error.get("type")?.as_str()? == "invalid_request_error").then_some(Cause::BadRequest)
}

fn by_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Denied,
        402 => Cause::QuotaExhausted,
        404 => Cause::NotFound,
        408 | 504 => Cause::Timeout,
        // 424 is Bedrock's, of a stream that its model broke off.
        409 | 424 | 425 | 500.. => Cause::ServerError,
        429 => Cause::RateLimited,
        _ => Cause::BadRequest,
    }
}

/// Some servers send the status as the code, and some of those as text.
fn status_in(error: &Value) -> Option<u16> {
    ["status", "code"].iter().find_map(|name| match error.get(name)? {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64()?.try_into().ok(),
    })
}

fn is_final(headers: &HeaderMap) -> bool {
    headers.get("x-should-retry").is_some_and(|value| value == "false")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_by_status_and_code() {
        let table = [
            (429, "{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}", Cause::RateLimited),
            (429, "{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"m\"}}", Cause::QuotaExhausted),
            (429, "{\"error\":{\"code\":\"credit_balance_exhausted\"}}", Cause::QuotaExhausted),
            (429, "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}", Cause::RateLimited),
            (
                429,
                "{\"error\":{\"type\":\"rate_limit_error\",\"details\":{\"error_code\":\"enforced_spend_limit_reached\"}}}",
                Cause::QuotaExhausted,
            ),
            (400, "{\"error\":{\"code\":\"context_length_exceeded\"}}", Cause::ContextLength),
            (400, "{\"error\":{\"code\":\"content_filter\",\"innererror\":{}}}", Cause::ContentFilter),
            (400, "nonsense", Cause::BadRequest),
            (400, "{\"error\":{\"type\":\"invalid_request_error\"}}", Cause::BadRequest),
            (401, "{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"invalid_api_key\"}}", Cause::Denied),
            (401, "", Cause::Denied),
            (402, "", Cause::QuotaExhausted),
            (402, "{\"error\":{\"type\":\"billing_error\"}}", Cause::QuotaExhausted),
            (403, "{\"error\":{\"type\":\"permission_error\"}}", Cause::Denied),
            (404, "{\"error\":{\"code\":\"model_not_found\"}}", Cause::NotFound),
            (404, "{\"error\":{\"code\":\"DeploymentNotFound\"}}", Cause::NotFound),
            (408, "", Cause::Timeout),
            (409, "", Cause::ServerError),
            (413, "{\"error\":{\"type\":\"request_too_large\"}}", Cause::BadRequest),
            (422, "{\"detail\":\"x\"}", Cause::BadRequest),
            (424, "", Cause::ServerError),
            (425, "", Cause::ServerError),
            (500, "<html>", Cause::ServerError),
            (500, "{\"error\":{\"type\":\"invalid_request_error\"}}", Cause::ServerError),
            (502, "", Cause::ServerError),
            (503, "{\"error\":{\"code\":\"server_is_overloaded\"}}", Cause::ServerError),
            (504, "{\"error\":{\"type\":\"timeout_error\"}}", Cause::Timeout),
            (529, "{\"error\":{\"type\":\"overloaded_error\"}}", Cause::ServerError),
        ];
        for (status, body, cause) in table {
            let error = of_status(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.cause, cause, "{status} {body}");
        }
    }

    #[test]
    fn what_a_server_says_of_another_try() {
        let mut headers = HeaderMap::new();
        for (name, value, expect) in
            [("retry-after", "x", None), ("retry-after", "2", Some(2_000)), ("retry-after-ms", "150", Some(150))]
        {
            headers.insert(name, value.parse().unwrap());
            let error = of_status(429, &headers, b"");
            assert_eq!(error.retry_after, expect.map(Duration::from_millis), "{name}: {value}");
        }
        headers.insert("x-should-retry", "false".parse().unwrap());
        assert_eq!(of_status(429, &headers, b"").cause, Cause::QuotaExhausted);
        assert_eq!(of_status(503, &headers, b"").cause, Cause::ServerError);
    }

    #[test]
    fn errors_in_the_middle_have_no_status() {
        let table = [
            (r#"{"message":"slow down","code":"rate_limit_exceeded"}"#, Cause::RateLimited),
            (r#"{"message":"no money","type":"insufficient_quota"}"#, Cause::QuotaExhausted),
            (r#"{"message":"?","code":502}"#, Cause::ServerError),
            (r#"{"message":"?","code":"429"}"#, Cause::RateLimited),
            (r#"{"type":"invalid_request_error","message":"?"}"#, Cause::BadRequest),
            (r#"{"type":"invalid_request_error","code":429}"#, Cause::RateLimited),
            (r#"{"type":"overloaded_error","message":"Overloaded"}"#, Cause::ServerError),
            (r#"{"type":"api_error"}"#, Cause::ServerError),
            (r#""boom""#, Cause::ServerError),
        ];
        for (error, cause) in table {
            assert_eq!(in_band(&serde_json::from_str(error).unwrap()).cause, cause, "{error}");
        }
    }
}
