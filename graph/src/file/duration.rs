//! Durations as people write them: `500ms`, `30s`, `10m`, `1.5h`, `1d`.

const UNITS: [(&str, f64); 5] = [("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0), ("h", 3_600_000.0), ("d", 86_400_000.0)];

/// A year: what is longer is a slip.
const DURATION_MS_MAX: f64 = 365.0 * 86_400_000.0;

/// Milliseconds.
pub(super) fn parse(text: &str) -> Option<u64> {
    let split = text.find(|char: char| char.is_ascii_alphabetic())?;
    let (amount, unit) = text.split_at(split);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    let amount: f64 = amount.trim().parse().ok()?;
    let milliseconds = (amount * factor).round();
    // In range by the comparison, so that the conversion is exact.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=DURATION_MS_MAX).contains(&milliseconds).then_some(milliseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_amount_and_unit() {
        for (text, expect) in [
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("500ms", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("1 d", Some(86_400_000)),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("10x", None),
            ("9999d", None),
            ("1e400s", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }
}
