//! What calls cost and who may still spend: prices, budgets that hold whoever asks at the same time, and rates.

pub mod amount;
pub mod prices;

pub mod budgets;
pub mod contract;
pub mod ledger;
pub mod rates;
pub mod redis;

mod in_process;
mod journal;

pub mod conformance;

pub use self::redis::{Redis, RedisBudgets};
pub use amount::Amount;
pub use budgets::{BudgetLimits, Spender};
pub use contract::{Budgets, QuotaError, Reserved, reserve_in_time};
pub use in_process::InProcess;
pub use ledger::{Account, Ask, Balance, Limit, Refusal, Scope, Unit};
pub use prices::{Price, Prices};
pub use rates::{RateLimit, RateLimits, Rates, Standing, Standings, TooFast};
