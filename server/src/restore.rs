//! `millstream budgets restore`: a Redis that lost its data is told what was spent, as the calls in the store say.
//!
//! A call that the sink has not written yet is charged when its worker tells what it took; one that ended while Redis was
//! away may be charged twice. What runs had spent of their own budgets, and what was set aside, begins anew.

use std::collections::BTreeMap;

use anyhow::Context;
use graph::{envelope::Millis, task::Usage, world::Clock};
use quota::{Account, Amount, BudgetLimits, Owner, RedisBudgets, Rules, Scope, amount::shown_usd, budgets::began};
use run_store::{Results, rows::UsageBy};

use crate::{
    config::Config,
    parts, quotas,
    world::{SystemRandom, WallClock},
};

pub async fn restore(config: Config) -> anyhow::Result<()> {
    let limits = config.budget_limits()?;
    let store = parts::store(&config).await?;
    let redis = quotas::shared(&config, store.clone(), &SystemRandom::new())?.context(
        "[quota] redis is not set, so budgets are kept in the journal below [server] data_dir and nothing was lost",
    )?;
    let known = known(&limits, &*store, WallClock.now()).await?;
    if !RedisBudgets::new(redis).restore(&known).await? {
        println!("Redis has all its data: nothing is changed");
        return Ok(());
    }
    for (account, spent) in &known {
        println!("{}: {} tokens, {}", account.name, spent.tokens, shown_usd(spent.nano_usd));
    }
    println!("{} budgets are as the calls in the store say; calls are let in again", known.len());
    Ok(())
}

/// What each budget has spent that outlives a run.
async fn known(
    limits: &Rules<BudgetLimits>,
    store: &dyn Results,
    now: Millis,
) -> anyhow::Result<Vec<(Account, Amount)>> {
    let (day, month) = began(now).context("the clock shows a time that has no date")?;
    let mut found: BTreeMap<String, (Account, Amount)> = BTreeMap::new();
    for tenant in &store.spenders().await? {
        for (scope, by, since) in [
            (Scope::UserDay, Some(UsageBy::User), day),
            (Scope::Key, Some(UsageBy::Key), 0),
            (Scope::TenantDay, None, day),
            (Scope::TenantMonth, None, month),
            (Scope::GlobalDay, None, day),
        ] {
            for sum in store.usage(tenant, by.as_slice(), since, Millis::MAX).await? {
                let name = sum.group.first().map(String::as_str).filter(|name| !name.is_empty());
                let owner = Owner { tenant, user: name, key: name, run: None };
                // Also what only those who come by some key are limited in.
                let mut each = std::iter::once(limits.of(tenant, owner.key)).chain(limits.keys.values().copied());
                let Some(account) = each.find_map(|limits| limits.account(scope, &owner, now)) else { continue };
                let (_, spent) = found.entry(account.name.clone()).or_insert((account, Amount::default()));
                *spent = spent.plus(taken(&sum.usage));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// As a call is charged.
fn taken(usage: &Usage) -> Amount {
    Amount { tokens: usage.input_tokens.saturating_add(usage.output_tokens), nano_usd: usage.cost_nano_usd }
}
