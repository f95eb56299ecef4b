//! The sections that limit what callers take: budgets, rates, and where both are kept.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use quota::{BudgetLimits, Limit, RateLimit, RateLimits, Rules, amount::nano_of_usd};
use serde::{Deserialize, Serialize};

use super::Secret;

/// What calls to models may take, in tokens and dollars: nothing is limited where nothing is said.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// Tokens of one call, its answer included.
    pub request_tokens: Option<u64>,
    /// What a call may answer that has no `max_tokens`, where there are budgets.
    pub output_tokens_max: u32,
    /// All calls of a run.
    pub run_tokens: Option<u64>,
    pub run_usd: Option<f64>,
    /// All calls for a user on a day, in UTC as all days and months here.
    pub user_day_tokens: Option<u64>,
    pub user_day_usd: Option<f64>,
    /// All calls of an API key, for good.
    pub key_tokens: Option<u64>,
    pub key_usd: Option<f64>,
    /// All calls of a tenant on a day.
    pub tenant_day_tokens: Option<u64>,
    pub tenant_day_usd: Option<f64>,
    /// The same in a month.
    pub tenant_month_tokens: Option<u64>,
    pub tenant_month_usd: Option<f64>,
    /// All calls of everybody on a day.
    pub global_day_tokens: Option<u64>,
    pub global_day_usd: Option<f64>,
    /// What holds for a tenant instead.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Budgets>,
    /// What holds for a key instead, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, Budgets>,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            request_tokens: None,
            output_tokens_max: 16_384,
            run_tokens: None,
            run_usd: None,
            user_day_tokens: None,
            user_day_usd: None,
            key_tokens: None,
            key_usd: None,
            tenant_day_tokens: None,
            tenant_day_usd: None,
            tenant_month_tokens: None,
            tenant_month_usd: None,
            global_day_tokens: None,
            global_day_usd: None,
            tenants: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

impl LimitSection for Budgets {
    type Limits = BudgetLimits;

    fn limits(&self, section: &str, whose: Whose) -> anyhow::Result<BudgetLimits> {
        let limit = |name: &str, tokens: Option<u64>, usd: Option<f64>| {
            let nano = |usd| {
                nano_of_usd(usd).with_context(|| format!("{section} {name}_usd is {usd}; set it to dollars, 0 or more"))
            };
            Ok::<Limit, anyhow::Error>(Limit { tokens, nano_usd: usd.map(nano).transpose()? })
        };
        let limits = BudgetLimits {
            request_tokens: self.request_tokens,
            run: limit("run", self.run_tokens, self.run_usd)?,
            user_day: limit("user_day", self.user_day_tokens, self.user_day_usd)?,
            key: limit("key", self.key_tokens, self.key_usd)?,
            tenant_day: limit("tenant_day", self.tenant_day_tokens, self.tenant_day_usd)?,
            tenant_month: limit("tenant_month", self.tenant_month_tokens, self.tenant_month_usd)?,
            global_day: limit("global_day", self.global_day_tokens, self.global_day_usd)?,
        };
        if whose != Whose::All && self.output_tokens_max != Budgets::default().output_tokens_max {
            bail!("{section} has output_tokens_max, which stands in [budgets] alone");
        }
        let of_others = [
            ("tenant_day", limits.tenant_day, whose == Whose::Keys),
            ("tenant_month", limits.tenant_month, whose == Whose::Keys),
            ("global_day", limits.global_day, whose != Whose::All),
        ];
        if let Some((name, ..)) = of_others.iter().find(|(_, limit, is)| *is && *limit != Limit::default()) {
            bail!("{section} has {name}, a budget that others spend too; set it further up");
        }
        Ok(limits)
    }

    fn tenants_and_keys(&self) -> [&BTreeMap<String, Self>; 2] {
        [&self.tenants, &self.keys]
    }
}

/// What a minute may have: nothing is limited where nothing is said.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Runs that a key begins.
    pub key_requests: Option<u64>,
    /// Tokens that calls of its runs take.
    pub key_tokens: Option<u64>,
    /// The same of a user.
    pub user_requests: Option<u64>,
    pub user_tokens: Option<u64>,
    /// What holds for each key and user of a tenant instead.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Rates>,
    /// What holds for a key instead, by its name, and for each user who comes by it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, Rates>,
}

impl LimitSection for Rates {
    type Limits = RateLimits;

    fn limits(&self, _: &str, _: Whose) -> anyhow::Result<RateLimits> {
        let Rates { key_requests, key_tokens, user_requests, user_tokens, tenants: _, keys: _ } = *self;
        Ok(RateLimits {
            key: RateLimit { requests: key_requests, tokens: key_tokens },
            user: RateLimit { requests: user_requests, tokens: user_tokens },
        })
    }

    fn tenants_and_keys(&self) -> [&BTreeMap<String, Self>; 2] {
        [&self.tenants, &self.keys]
    }
}

/// Whose limits a section holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    All,
    Tenants,
    Keys,
}

/// `[section]` with `[section.tenants.NAME]` and `[section.keys.NAME]`.
pub trait LimitSection: Sized {
    type Limits: quota::Limits;

    fn limits(&self, section: &str, whose: Whose) -> anyhow::Result<Self::Limits>;

    fn tenants_and_keys(&self) -> [&BTreeMap<String, Self>; 2];

    fn rules(&self, section: &str) -> anyhow::Result<Rules<Self::Limits>> {
        let own = |whose: Whose, kind: &str, sections: &BTreeMap<String, Self>| {
            let each = sections.iter().map(|(name, own)| {
                let named = format!("[{section}.{kind}.{name}]");
                if own.tenants_and_keys().iter().any(|inner| !inner.is_empty()) {
                    bail!("{named} holds tenants or keys; write them as [{section}.tenants.NAME] and [{section}.keys.NAME]");
                }
                Ok((name.clone(), own.limits(&named, whose)?))
            });
            each.collect::<anyhow::Result<_>>()
        };
        let [tenants, keys] = self.tenants_and_keys();
        Ok(Rules {
            all: self.limits(&format!("[{section}]"), Whose::All)?,
            tenants: own(Whose::Tenants, "tenants", tenants)?,
            keys: own(Whose::Keys, "keys", keys)?,
        })
    }
}

/// Where budgets and rates are kept that processes share.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// `redis://` or `rediss://` (TLS), with user, password and database. None: each process keeps its own.
    pub redis: Option<Secret>,
    /// Before every key there.
    pub prefix: String,
}

impl Default for Quota {
    fn default() -> Self {
        Quota { redis: None, prefix: "millstream".to_owned() }
    }
}
