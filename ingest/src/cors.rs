//! Which pages of other origins may call.

use http::{HeaderName, HeaderValue, Method, header};
use schemas::stream::REQUEST_ID_HEADER;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{config::Cors, error::Error};

pub(crate) fn check(cors: &Cors) -> Result<(), Error> {
    let Cors::Origins(origins) = cors else { return Ok(()) };
    for origin in origins {
        let scheme = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if scheme.is_none_or(|host| host.is_empty() || host.contains('/')) || HeaderValue::from_str(origin).is_err() {
            return Err(Error::BadOrigin { origin: origin.clone() });
        }
    }
    Ok(())
}

pub(crate) fn layer(cors: &Cors) -> CorsLayer {
    let origin = match cors {
        Cors::Off => return CorsLayer::new(),
        Cors::Localhost => AllowOrigin::predicate(|origin, _| is_localhost(origin)),
        Cors::Origins(origins) => {
            AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("x-user-id"),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([
            header::LOCATION,
            header::CONTENT_LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static(REQUEST_ID_HEADER),
        ])
}

fn is_localhost(origin: &HeaderValue) -> bool {
    let Some(host) =
        origin.to_str().ok().and_then(|text| text.strip_prefix("http://").or(text.strip_prefix("https://")))
    else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost() {
        for (origin, expect) in [
            ("http://localhost:3000", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:5173", true),
            ("https://localhost", true),
            ("http://localhost.evil.com", false),
            ("http://evil.com:80", false),
            ("null", false),
        ] {
            assert_eq!(is_localhost(&HeaderValue::from_static(origin)), expect, "{origin}");
        }
    }

    #[test]
    fn origins_are_checked_at_start() {
        let check = |origin: &str| check(&Cors::Origins(vec![origin.to_owned()])).is_ok();
        assert!(check("https://app.example.com"));
        assert!(!check("app.example.com"));
        assert!(!check("https://app.example.com/"));
    }
}
