//! Times as clients read and write them.

use graph::envelope::Millis;
use jiff::Timestamp;
use uuid::Uuid;

/// RFC 3339, UTC, with milliseconds.
pub fn rfc3339(at: Millis) -> String {
    format!("{:.3}", Timestamp::from_millisecond(at).unwrap_or_default())
}

/// RFC 3339, or milliseconds since the epoch.
pub fn parse(text: &str) -> Option<Millis> {
    text.parse::<Millis>().ok().or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond))
}

/// The time that an id of version 7 begins with.
pub fn of_id(id: Uuid) -> Option<Millis> {
    (id.get_version_num() == 7).then(|| (id.as_u128() >> 80) as Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(rfc3339(1_763_721_600_123), "2025-11-21T10:40:00.123Z");
        assert_eq!(parse("2025-11-21T10:40:00.123Z"), Some(1_763_721_600_123));
        assert_eq!(parse("1763721600123"), Some(1_763_721_600_123));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(of_id(graph::ids::run_id(1_763_721_600_123, 7, 3)), Some(1_763_721_600_123));
    }
}
