//! Tokens and calls, added up.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use graph::task::Usage;
use run_store::rows::UsageBy;
use schemas::http::{List, UsageSum};
use serde::Deserialize;

use super::{Refusal, Tenant, at};
use crate::shared::Shared;

#[derive(Debug, Deserialize)]
pub struct UsageQuery {
    /// Separated by commas.
    #[serde(default)]
    by: String,
    #[serde(default, deserialize_with = "at")]
    since: Option<i64>,
    #[serde(default, deserialize_with = "at")]
    until: Option<i64>,
}

const GROUPS: [(&str, UsageBy); 7] = [
    ("endpoint", UsageBy::Endpoint),
    ("graph", UsageBy::Graph),
    ("node", UsageBy::Node),
    ("model", UsageBy::Model),
    ("user", UsageBy::User),
    ("key", UsageBy::Key),
    ("day", UsageBy::Day),
];

pub async fn usage(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Json<List<UsageSum>>, Refusal> {
    let Query(UsageQuery { by, since, until }) = query?;
    let groups = groups(&by)?;
    let by: Vec<UsageBy> = groups.iter().map(|(_, by)| *by).collect();
    let until = until.unwrap_or_else(|| shared.deps.clock.now() + 1);
    let sums = shared.deps.results.usage(&tenant, &by, since.unwrap_or(0), until).await?;
    let data = sums.into_iter().map(|found| sum(&groups, found)).collect();
    Ok(Json(List { data, next_cursor: None }))
}

fn groups(by: &str) -> Result<Vec<(&'static str, UsageBy)>, Refusal> {
    by.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            GROUPS.iter().find(|(known, _)| *known == name).copied().ok_or_else(|| {
                let known: Vec<&str> = GROUPS.iter().map(|(known, _)| *known).collect();
                Refusal::invalid("by", format!("usage can't be grouped by {name}; choose of {}", known.join(", ")))
            })
        })
        .collect()
}

fn sum(groups: &[(&'static str, UsageBy)], sum: run_store::rows::UsageSum) -> UsageSum {
    let run_store::rows::UsageSum { group, calls, calls_missing_usage, usage } = sum;
    let Usage {
        input_tokens,
        output_tokens,
        cached_tokens,
        cache_write_tokens,
        reasoning_tokens,
        cost_nano_usd,
        calls_unpriced,
    } = usage;
    UsageSum {
        group: groups.iter().zip(group).map(|((name, _), value)| ((*name).to_owned(), value)).collect(),
        calls,
        calls_missing_usage,
        calls_unpriced,
        input_tokens,
        output_tokens,
        cached_tokens,
        cache_write_tokens,
        reasoning_tokens,
        cost_nano_usd,
    }
}
