//! Tokens and calls, added up.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use run_store::rows::{UsageBy, UsageSum};
use schemas::http::List;
use serde::Deserialize;
use serde_json::{Map, Value};

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
) -> Result<Json<List<Value>>, Refusal> {
    let Query(UsageQuery { by, since, until }) = query?;
    let groups = groups(&by)?;
    let by: Vec<UsageBy> = groups.iter().map(|(_, by)| *by).collect();
    let until = until.unwrap_or_else(|| shared.deps.clock.now() + 1);
    let sums = shared.deps.results.usage(&tenant, &by, since.unwrap_or(0), until).await?;
    let data = sums.into_iter().map(|sum| row(&groups, sum)).collect();
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

fn row(groups: &[(&'static str, UsageBy)], sum: UsageSum) -> Value {
    let UsageSum { group, calls, calls_missing_usage, usage } = sum;
    let mut row: Map<String, Value> =
        groups.iter().zip(group).map(|((name, _), value)| ((*name).to_owned(), Value::String(value))).collect();
    row.insert("calls".to_owned(), calls.into());
    row.insert("calls_missing_usage".to_owned(), calls_missing_usage.into());
    row.insert("input_tokens".to_owned(), usage.input_tokens.into());
    row.insert("output_tokens".to_owned(), usage.output_tokens.into());
    row.insert("cached_tokens".to_owned(), usage.cached_tokens.into());
    row.insert("cache_write_tokens".to_owned(), usage.cache_write_tokens.into());
    row.insert("reasoning_tokens".to_owned(), usage.reasoning_tokens.into());
    row.insert("cost_nano_usd".to_owned(), usage.cost_nano_usd.into());
    row.insert("calls_unpriced".to_owned(), usage.calls_unpriced.into());
    Value::Object(row)
}
