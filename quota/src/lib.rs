//! What calls cost and who may still spend: prices, budgets that hold whoever asks at the same time, and rates.

pub mod amount;
pub mod prices;

pub mod budgets;
pub mod contract;
pub mod ledger;
pub mod rates;
pub mod redis;
pub mod rules;

mod in_process;
mod journal;

pub mod conformance;

pub use self::redis::{Redis, RedisBudgets, RedisCache, RedisRates};
pub use amount::Amount;
pub use budgets::{BudgetLimits, Owner, Spender};
pub use contract::{Budgets, Cache, QuotaError, Rates, Reserved, reserve_in_time};
pub use in_process::{InProcess, InProcessRates};
pub use ledger::{Account, Ask, Balance, Limit, Refusal, Scope, Unit};
pub use prices::{Price, Prices};
pub use rates::{RateLimit, RateLimits, Standing, Standings, TooFast};
pub use rules::{Limits, Rules};
