//! A keeper of [`Budgets`] in Redis.

use std::sync::{Arc, LazyLock};

use ::redis::Script;
use async_trait::async_trait;

use super::{Redis, not_understood};
use crate::{
    amount::Amount,
    contract::{Budgets, QuotaError, Reserved},
    ledger::{Account, Ask, Balance, Refusal, Unit},
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("budgets.lua")));

pub struct RedisBudgets(Arc<Redis>);

impl RedisBudgets {
    pub fn new(redis: Arc<Redis>) -> Self {
        RedisBudgets(redis)
    }

    /// Gives a Redis that has lost its data what is known otherwise to be spent; false where it has lost nothing. Until all
    /// is there nobody works with it.
    pub async fn restore(&self, known: &[(Account, Amount)]) -> Result<bool, QuotaError> {
        if !self.0.is_lost().await? {
            return Ok(false);
        }
        for (account, spent) in known {
            let arguments = arguments(&of_account(account), *spent);
            done(&self.0.call(&SCRIPT, "restore", "", &arguments).await?)?;
        }
        self.0.found_again().await?;
        Ok(true)
    }

    async fn run(&self, operation: &str, ask: &Ask, spent: Amount) -> Result<Vec<String>, QuotaError> {
        self.0.call_on_known(&SCRIPT, operation, &arguments(ask, spent)).await
    }
}

/// As the script reads them.
fn arguments(ask: &Ask, spent: Amount) -> Vec<String> {
    let Ask { id, accounts, amount, lease_ms } = ask;
    let numbers = [*lease_ms, amount.tokens, amount.nano_usd, spent.tokens, spent.nano_usd];
    let mut arguments: Vec<String> = vec![id.clone()];
    arguments.extend(numbers.iter().map(u64::to_string));
    for Account { scope: _, name, limit, ends_at } in accounts {
        let shown = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        let ends_at = ends_at.map(|at| at.to_string()).unwrap_or_default();
        arguments.extend([name.clone(), shown(limit.tokens), shown(limit.nano_usd), ends_at]);
    }
    arguments
}

fn of_account(account: &Account) -> Ask {
    Ask { id: String::new(), accounts: vec![account.clone()], amount: Amount::default(), lease_ms: 0 }
}

#[async_trait]
impl Budgets for RedisBudgets {
    async fn reserve(&self, ask: &Ask) -> Result<Reserved, QuotaError> {
        let answer = self.run("reserve", ask, Amount::default()).await?;
        match words(&answer).as_slice() {
            ["held"] => Ok(Reserved::Held),
            ["refused", rest @ ..] => refusal(ask, rest).map(Reserved::Refused).ok_or_else(|| not_understood(&answer)),
            _ => Err(not_understood(&answer)),
        }
    }

    async fn renew(&self, ask: &Ask) -> Result<(), QuotaError> {
        done(&self.run("renew", ask, Amount::default()).await?)
    }

    async fn settle(&self, ask: &Ask, spent: Amount) -> Result<(), QuotaError> {
        done(&self.run("settle", ask, spent).await?)
    }

    async fn balance(&self, account: &Account) -> Result<Balance, QuotaError> {
        let answer = self.run("balance", &of_account(account), Amount::default()).await?;
        balance(&words(&answer)).ok_or_else(|| not_understood(&answer))
    }
}

fn words(answer: &[String]) -> Vec<&str> {
    answer.iter().map(String::as_str).collect()
}

fn done(answer: &[String]) -> Result<(), QuotaError> {
    if answer == ["done"] { Ok(()) } else { Err(not_understood(answer)) }
}

fn refusal(ask: &Ask, told: &[&str]) -> Option<Refusal> {
    let [index, unit, spent, reserved] = told else { return None };
    let account = ask.accounts.get(index.parse::<usize>().ok()?)?;
    let (unit, limit, wanted) = match *unit {
        "tokens" => (Unit::Tokens, account.limit.tokens?, ask.amount.tokens),
        "nano_usd" => (Unit::NanoUsd, account.limit.nano_usd?, ask.amount.nano_usd),
        _ => return None,
    };
    let (spent, reserved) = (spent.parse().ok()?, reserved.parse().ok()?);
    Some(Refusal { scope: account.scope, unit, limit, spent, reserved, wanted, resets_at: account.resets_at() })
}

fn balance(told: &[&str]) -> Option<Balance> {
    let ["balance", numbers @ ..] = told else { return None };
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [spent_tokens, spent_nano_usd, reserved_tokens, reserved_nano_usd] = numbers[..] else { return None };
    Some(Balance {
        spent: Amount { tokens: spent_tokens, nano_usd: spent_nano_usd },
        reserved: Amount { tokens: reserved_tokens, nano_usd: reserved_nano_usd },
    })
}
