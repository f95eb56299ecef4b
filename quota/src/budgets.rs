//! Which budgets a call is charged to: of its run, its user, its key, its tenant and everybody.

use graph::envelope::{Envelope, Millis, RunId};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::{
    amount::Amount,
    ledger::{Account, Ask, Limit, Refusal, Scope, Unit},
    rules::{Limits, Rules},
};

/// What may be spent, by whom, in which time. Days and months are UTC's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Tokens of one call.
    pub request_tokens: Option<u64>,
    pub run: Limit,
    pub user_day: Limit,
    /// Of a key for good.
    pub key: Limit,
    pub tenant_day: Limit,
    pub tenant_month: Limit,
    pub global_day: Limit,
}

/// Who spends, and when.
#[derive(Clone, Copy, Debug)]
pub struct Spender<'a> {
    pub envelope: &'a Envelope,
    pub now: Millis,
}

/// Whose budgets they are; None where nobody is known, or no run is meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner<'a> {
    pub tenant: &'a str,
    pub user: Option<&'a str>,
    pub key: Option<&'a str>,
    /// With the end of its time.
    pub run: Option<(RunId, Millis)>,
}

/// When the day and the month of a time began.
pub fn began(now: Millis) -> Option<(Millis, Millis)> {
    let day = date(now)?;
    Some((beginning(day)?, beginning(day.first_of_month())?))
}

impl Limits for BudgetLimits {
    fn above(self, below: Self) -> Self {
        let over = |own: Limit, below: Limit| Limit {
            tokens: own.tokens.or(below.tokens),
            nano_usd: own.nano_usd.or(below.nano_usd),
        };
        BudgetLimits {
            request_tokens: self.request_tokens.or(below.request_tokens),
            run: over(self.run, below.run),
            user_day: over(self.user_day, below.user_day),
            key: over(self.key, below.key),
            tenant_day: over(self.tenant_day, below.tenant_day),
            tenant_month: over(self.tenant_month, below.tenant_month),
            global_day: over(self.global_day, below.global_day),
        }
    }
}

impl Rules<BudgetLimits> {
    /// What limits a run's calls: also what its graph says of what it may cost.
    pub fn of_run(&self, envelope: &Envelope) -> BudgetLimits {
        let mut limits = self.of(&envelope.tenant, envelope.principal.key.as_deref());
        if let Some(most) = envelope.budget.nano_usd {
            limits.run.nano_usd = Some(limits.run.nano_usd.map_or(most, |limit| limit.min(most)));
        }
        limits
    }
}

impl BudgetLimits {
    pub fn are_none(&self) -> bool {
        *self == BudgetLimits::default()
    }

    /// Whether a call without a price can't be held to them.
    pub fn are_of_money(&self) -> bool {
        self.all().iter().any(|(_, limit)| limit.nano_usd.is_some())
    }

    fn all(&self) -> [(Scope, Limit); 6] {
        let BudgetLimits { request_tokens: _, run, user_day, key, tenant_day, tenant_month, global_day } = *self;
        [
            (Scope::Run, run),
            (Scope::UserDay, user_day),
            (Scope::Key, key),
            (Scope::TenantDay, tenant_day),
            (Scope::TenantMonth, tenant_month),
            (Scope::GlobalDay, global_day),
        ]
    }

    /// What has to be set aside for a call; an error where it is too large by itself.
    pub fn ask(&self, spender: Spender<'_>, id: &str, amount: Amount, lease_ms: u64) -> Result<Ask, Refusal> {
        if let Some(limit) = self.request_tokens.filter(|limit| amount.tokens > *limit) {
            let (spent, reserved, wanted) = (0, 0, amount.tokens);
            let (scope, unit) = (Scope::Request, Unit::Tokens);
            return Err(Refusal { scope, unit, limit, spent, reserved, wanted, resets_at: None });
        }
        let Envelope { tenant, principal, run_id, deadline, .. } = spender.envelope;
        let owner = Owner {
            tenant,
            user: principal.user.as_deref(),
            key: principal.key.as_deref(),
            run: Some((*run_id, *deadline)),
        };
        let scopes = self.all().into_iter().map(|(scope, _)| scope);
        let accounts = scopes.filter_map(|scope| self.account(scope, &owner, spender.now)).collect();
        Ok(Ask { id: id.to_owned(), accounts, amount, lease_ms })
    }

    /// None where it is not limited, and where nobody is known whose it were.
    pub fn account(&self, scope: Scope, owner: &Owner<'_>, now: Millis) -> Option<Account> {
        let (_, limit) = self.all().into_iter().find(|(limited, _)| *limited == scope)?;
        if limit == Limit::default() {
            return None;
        }
        let (tenant, day) = (owner.tenant.to_owned(), date(now)?);
        let month = day.first_of_month();
        let tomorrow = beginning(day.tomorrow().ok()?);
        let (of, ends_at): (Vec<String>, Option<Millis>) = match scope {
            Scope::Request => return None,
            Scope::Run => {
                let (run, deadline) = owner.run?;
                (vec![tenant, run.to_string()], Some(deadline))
            }
            Scope::Key => (vec![tenant, owner.key?.to_owned()], None),
            Scope::UserDay => (vec![tenant, owner.user?.to_owned(), day.to_string()], tomorrow),
            Scope::TenantDay => (vec![tenant, day.to_string()], tomorrow),
            Scope::TenantMonth => (vec![tenant, month.to_string()], beginning(month.checked_add(1.month()).ok()?)),
            Scope::GlobalDay => (vec![day.to_string()], tomorrow),
        };
        // A list, for names may hold any letter that could stand between them.
        let name = format!("{} {}", scope.as_str(), serde_json::Value::from(of));
        Some(Account { scope, name, limit, ends_at })
    }
}

fn date(now: Millis) -> Option<Date> {
    Some(Timestamp::from_millisecond(now).ok()?.to_zoned(TimeZone::UTC).date())
}

fn beginning(day: Date) -> Option<Millis> {
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2025-12-31 23:59:59.
    const NEW_YEARS_EVE: Millis = 1_767_225_599_000;

    fn envelope(tenant: &str, user: Option<&str>, key: Option<&str>) -> Envelope {
        serde_json::from_value(json!({
            "tenant": tenant, "principal": {"user": user, "key": key}, "endpoint": "/chat",
            "run_id": "00000000-0000-0000-0000-000000000001", "graph": {"name": "g", "hash": "h"}, "rules": 1, "deadline": 77,
        }))
        .expect("an envelope")
    }

    fn limits() -> BudgetLimits {
        let limit = Limit { tokens: Some(10), nano_usd: Some(5) };
        BudgetLimits {
            request_tokens: Some(9),
            run: limit,
            user_day: limit,
            key: limit,
            tenant_day: limit,
            tenant_month: limit,
            global_day: limit,
        }
    }

    fn accounts(limits: BudgetLimits, envelope: &Envelope, now: Millis) -> Vec<(String, Option<Millis>)> {
        let ask = limits.ask(Spender { envelope, now }, "call", Amount::default(), 1).expect("no limit of a call");
        ask.accounts.into_iter().map(|account| (account.name, account.ends_at)).collect()
    }

    #[test]
    fn a_call_is_charged_to_every_budget() {
        let envelope = envelope("acme", Some("ada"), Some("web"));
        let midnight = Some(NEW_YEARS_EVE + 1_000);
        let expect = [
            (r#"run ["acme","00000000-0000-0000-0000-000000000001"]"#, Some(77)),
            (r#"user_day ["acme","ada","2025-12-31"]"#, midnight),
            (r#"key ["acme","web"]"#, None),
            (r#"tenant_day ["acme","2025-12-31"]"#, midnight),
            (r#"tenant_month ["acme","2025-12-01"]"#, midnight),
            (r#"global_day ["2025-12-31"]"#, midnight),
        ];
        let expect = expect.map(|(name, ends_at)| (name.to_owned(), ends_at));
        assert_eq!(accounts(limits(), &envelope, NEW_YEARS_EVE), expect);
    }

    #[test]
    fn what_has_no_limit_and_who_is_not_known_has_no_account() {
        let only_user = BudgetLimits { user_day: limits().user_day, key: limits().key, ..BudgetLimits::default() };
        assert!(accounts(only_user, &envelope("acme", None, None), 0).is_empty());
        assert!(accounts(BudgetLimits::default(), &envelope("acme", Some("ada"), Some("web")), 0).is_empty());
        assert!(BudgetLimits::default().are_none() && !limits().are_none());
    }

    #[test]
    fn days_and_months_begin_at_midnight() {
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(began(NEW_YEARS_EVE), Some((NEW_YEARS_EVE + 1_000 - day, NEW_YEARS_EVE + 1_000 - 31 * day)));
    }

    #[test]
    fn names_of_tenants_and_users_never_meet() {
        let user_day = BudgetLimits { user_day: limits().user_day, ..BudgetLimits::default() };
        let one = accounts(user_day, &envelope("a", Some("b\",\"c"), None), 0);
        let other = accounts(user_day, &envelope("a\",\"b", Some("c"), None), 0);
        assert_ne!(one, other);
    }

    #[test]
    fn a_call_that_is_too_large_by_itself_is_refused() {
        let envelope = envelope("acme", None, None);
        let ask =
            |tokens| limits().ask(Spender { envelope: &envelope, now: 0 }, "call", Amount { tokens, nano_usd: 0 }, 1);
        assert!(ask(9).is_ok());
        let refusal = ask(10).expect_err("it is above the limit of a call");
        assert_eq!((refusal.scope, refusal.limit, refusal.wanted, refusal.may_clear()), (Scope::Request, 9, 10, false));
        assert_eq!(refusal.to_string(), "the budget request of 9 tokens is used up: this call may take 10 tokens");
    }
}
