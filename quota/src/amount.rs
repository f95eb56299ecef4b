//! Tokens and money, in whole numbers: a nano-dollar is a billionth of a dollar.

use serde::{Deserialize, Serialize};

pub const NANO_USD: u64 = 1_000_000_000;

/// What is spent, or set aside to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub tokens: u64,
    pub nano_usd: u64,
}

impl Amount {
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount {
            tokens: self.tokens.saturating_add(other.tokens),
            nano_usd: self.nano_usd.saturating_add(other.nano_usd),
        }
    }

    /// What is left, and nothing where less than nothing would be.
    #[must_use]
    pub fn minus(self, other: Amount) -> Amount {
        Amount {
            tokens: self.tokens.saturating_sub(other.tokens),
            nano_usd: self.nano_usd.saturating_sub(other.nano_usd),
        }
    }
}

/// Dollars of a configuration in nano-dollars; None below zero and above what fits.
pub fn nano_of_usd(usd: f64) -> Option<u64> {
    let nano = (usd * NANO_USD as f64).round();
    // Above it a float holds no whole nano-dollars: nine million dollars.
    (0.0..=9.0e15).contains(&nano).then_some(nano as u64)
}

/// `0.001234567`, all of it.
pub fn decimal_usd(nano_usd: u64) -> String {
    format!("{}.{:09}", nano_usd / NANO_USD, nano_usd % NANO_USD)
}

/// `$0.001234567` without zeros that say nothing, but two digits of cents.
pub fn shown_usd(nano_usd: u64) -> String {
    let text = decimal_usd(nano_usd);
    let cents = text.len() - 7;
    let end = cents + text[cents..].trim_end_matches('0').len();
    format!("${}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_as_people_write_it() {
        for (nano, expect) in [
            (0, "$0.00"),
            (1, "$0.000000001"),
            (1_500_000_000, "$1.50"),
            (100_000_000, "$0.10"),
            (123_400_000, "$0.1234"),
            (12_000_000_000_000, "$12000.00"),
        ] {
            assert_eq!(shown_usd(nano), expect);
        }
    }

    #[test]
    fn dollars_become_whole_nano_dollars() {
        for (usd, expect) in [
            (0.01, Some(10_000_000)),
            (0.1, Some(100_000_000)),
            (1e-9, Some(1)),
            (0.0, Some(0)),
            (-0.1, None),
            (f64::NAN, None),
            (1e9, None),
        ] {
            assert_eq!(nano_of_usd(usd), expect, "{usd}");
        }
    }
}
