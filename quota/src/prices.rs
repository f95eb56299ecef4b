//! What a call costs, from the tokens it took: a table by provider and model. A model that is not in it has no price, which
//! is told and never taken for nothing.

use std::collections::BTreeMap;

use graph::task::Usage;
use serde::{Deserialize, Serialize};

use crate::amount::nano_of_usd;

/// The table that the binary carries.
const BUILT_IN: &str = include_str!("prices.toml");
/// Stands for every model of a provider that is not named.
const ANY: &str = "*";
const MILLION: u128 = 1_000_000;

/// Dollars for a million tokens, as prices are published.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    /// Input that was read from the provider's cache; as `input` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
    /// Input that was written to the provider's cache; as `input` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

/// Prices by provider and model.
pub type Table = BTreeMap<String, BTreeMap<String, Price>>;

#[derive(Clone, Debug)]
pub struct Prices {
    /// Of the built-in table.
    version: String,
    rates: BTreeMap<String, BTreeMap<String, Rates>>,
}

/// Nano-dollars for a million tokens: whole numbers, so that sums are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    input: u64,
    output: u64,
    cached: u64,
    cache_write: u64,
}

/// Why a table is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum BadPrices {
    #[error("the price of {provider}/{model} has {field} = {usd}: dollars for a million tokens, 0 or more")]
    OutOfRange { provider: String, model: String, field: &'static str, usd: f64 },
    #[error("the table of prices can't be read: {0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct File {
    version: String,
    prices: Table,
}

impl Prices {
    /// The built-in table, with `own` prices above it.
    pub fn with(own: &Table) -> Result<Self, BadPrices> {
        let File { version, prices } =
            toml::from_str(BUILT_IN).map_err(|error| BadPrices::Unreadable(error.to_string()))?;
        let mut found = Prices { version, rates: BTreeMap::new() };
        found.add(&prices)?;
        found.add(own)?;
        Ok(found)
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    fn add(&mut self, table: &Table) -> Result<(), BadPrices> {
        for (provider, models) in table {
            for (model, price) in models {
                let rates = Rates::of(provider, model, *price)?;
                self.rates.entry(provider.clone()).or_default().insert(model.clone(), rates);
            }
        }
        Ok(())
    }

    /// Nano-dollars, rounded up once for the call; None where the model has no price.
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<u64> {
        self.rates(provider, model).map(|rates| rates.cost(usage))
    }

    /// The model itself, the model without the date of its version, or all of the provider's.
    fn rates(&self, provider: &str, model: &str) -> Option<Rates> {
        let models = self.rates.get(provider)?;
        models.get(model).or_else(|| models.get(undated(model))).or_else(|| models.get(ANY)).copied()
    }

    /// The most that a call can cost that is sent `input_tokens` and may answer `output_tokens`.
    pub fn cost_max(&self, provider: &str, model: &str, input_tokens: u64, output_tokens: u64) -> Option<u64> {
        let rates = self.rates(provider, model)?;
        let dearest = Rates { input: rates.input.max(rates.cached).max(rates.cache_write), ..rates };
        Some(dearest.cost(&Usage { input_tokens, output_tokens, ..Usage::default() }))
    }
}

impl Rates {
    fn of(provider: &str, model: &str, price: Price) -> Result<Self, BadPrices> {
        let nano = |field, usd| {
            nano_of_usd(usd).ok_or_else(|| BadPrices::OutOfRange {
                provider: provider.to_owned(),
                model: model.to_owned(),
                field,
                usd,
            })
        };
        let Price { input, output, cached, cache_write } = price;
        Ok(Rates {
            input: nano("input", input)?,
            output: nano("output", output)?,
            cached: nano("cached", cached.unwrap_or(input))?,
            cache_write: nano("cache_write", cache_write.unwrap_or(input))?,
        })
    }

    /// Cached and written tokens are of the input, tokens of reasoning of the output.
    fn cost(self, usage: &Usage) -> u64 {
        let plain = usage.input_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens);
        let sum = [
            (plain, self.input),
            (usage.cached_tokens, self.cached),
            (usage.cache_write_tokens, self.cache_write),
            (usage.output_tokens, self.output),
        ]
        .into_iter()
        .map(|(tokens, rate)| u128::from(tokens) * u128::from(rate))
        .fold(0_u128, u128::saturating_add);
        u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX)
    }
}

/// `gpt-4o-mini-2024-07-18` and `claude-sonnet-4-5-20250929` without their dates.
fn undated(model: &str) -> &str {
    let date = [("-2024-07-18".len(), &[4, 2, 2][..]), ("-20250929".len(), &[8])]
        .into_iter()
        .find(|(_, groups)| ends_with_date(model, groups));
    date.map_or(model, |(length, _)| &model[..model.len() - length])
}

/// Whether the name ends in groups of so many digits, each behind a dash.
fn ends_with_date(model: &str, groups: &[usize]) -> bool {
    let mut parts = model.rsplit('-');
    let all = groups.iter().rev().all(|digits| {
        parts.next().is_some_and(|part| part.len() == *digits && part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    all && parts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(own: &str) -> Prices {
        Prices::with(&toml::from_str(own).expect("prices")).expect("a good table")
    }

    fn usage(input_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, cached_tokens, output_tokens, ..Usage::default() }
    }

    #[test]
    fn a_call_costs_what_its_tokens_cost() {
        let prices = prices("acme.m = {input = 2.0, output = 8.0, cached = 0.5, cache_write = 2.5}");
        for (usage, nano) in [
            (usage(1_000_000, 0, 0), 2_000_000_000),
            (usage(0, 0, 1_000_000), 8_000_000_000),
            (usage(1_000, 400, 10), 600 * 2_000 + 400 * 500 + 10 * 8_000),
            (Usage { cache_write_tokens: 100, ..usage(1_000, 400, 0) }, 500 * 2_000 + 400 * 500 + 100 * 2_500),
            (usage(0, 0, 0), 0),
            // More from the cache than was sent at all: the cache's figure is believed.
            (usage(10, 20, 0), 20 * 500),
        ] {
            assert_eq!(prices.cost("acme", "m", &usage), Some(nano), "{usage:?}");
        }
    }

    #[test]
    fn a_call_is_rounded_up_once() {
        let prices = prices("acme.m = {input = 0.0000001, output = 0.0000001}");
        // 0.1 nano-dollars for a thousand tokens.
        assert_eq!(prices.cost("acme", "m", &usage(1, 0, 0)), Some(1));
        assert_eq!(prices.cost("acme", "m", &usage(5_000, 0, 5_000)), Some(1));
        assert_eq!(prices.cost("acme", "m", &usage(5_000, 0, 5_001)), Some(2));
        assert_eq!(prices.cost("acme", "m", &usage(u64::MAX, 0, u64::MAX)), Some(3_689_348_814_741_911));
    }

    #[test]
    fn reasoning_is_of_the_output() {
        let prices = prices("");
        let with = Usage { reasoning_tokens: 90, ..usage(10, 0, 100) };
        assert_eq!(prices.cost("openai", "gpt-5", &with), prices.cost("openai", "gpt-5", &usage(10, 0, 100)));
    }

    #[test]
    fn a_model_without_a_price_has_none() {
        let prices = prices("");
        for (provider, model) in [("openai", "gpt-99"), ("nobody", "gpt-4o"), ("openai", ""), ("openai", "gpt-4o-x")] {
            assert_eq!(prices.cost(provider, model, &usage(1, 0, 1)), None, "{provider}/{model}");
        }
        assert_eq!(prices.cost("scripted", "demo", &usage(1, 0, 1)), Some(0), "it is known to cost nothing");
    }

    #[test]
    fn a_dated_version_costs_what_its_model_does() {
        let prices = prices(r#"openai."gpt-4o-2024-05-13" = {input = 5.0, output = 15.0}"#);
        let cost = |provider, model| prices.cost(provider, model, &usage(1_000, 0, 0));
        assert_eq!(cost("openai", "gpt-4o-mini-2024-07-18"), cost("openai", "gpt-4o-mini"));
        assert_eq!(cost("anthropic", "claude-sonnet-4-5-20250929"), cost("anthropic", "claude-sonnet-4-5"));
        assert_eq!(cost("openai", "gpt-4o-2024-05-13"), Some(5_000_000), "one that has its own price keeps it");
        assert_eq!(undated("claude-sonnet-4-5"), "claude-sonnet-4-5");
        assert_eq!(undated("20250929"), "20250929");
    }

    #[test]
    fn own_prices_stand_above_the_built_in_ones() {
        let prices = prices(
            r#"
            openai."gpt-4o" = {input = 1.0, output = 1.0}
            ollama."*" = {input = 0.0, output = 0.0}
            "#,
        );
        assert_eq!(
            prices.cost("openai", "gpt-4o", &usage(7, 7, 0)),
            Some(7_000),
            "cached as input, for it says nothing"
        );
        assert_eq!(prices.cost("ollama", "llama3", &usage(7, 0, 9)), Some(0));
        let bad = toml::from_str("acme.m = {input = -1.0, output = 1.0}").expect("prices");
        assert!(Prices::with(&bad).expect_err("a price below nothing").to_string().contains("acme/m has input = -1"));
    }

    #[test]
    fn the_most_that_a_call_costs_is_never_below_what_it_does() {
        let prices = prices("acme.m = {input = 2.0, output = 8.0, cached = 3.0, cache_write = 2.5}");
        let most = prices.cost_max("acme", "m", 1_000, 50);
        for usage in [usage(1_000, 0, 50), usage(1_000, 1_000, 50), usage(1_000, 0, 0)] {
            assert!(prices.cost("acme", "m", &usage) <= most, "{usage:?}");
        }
        assert_eq!(most, Some(1_000 * 3_000 + 50 * 8_000));
        assert_eq!(prices.cost_max("acme", "unknown", 1, 1), None);
    }
}
