//! Calls by tenant and day, once by their id; sums are made here, of the days asked for.

use std::collections::BTreeMap;

use ::scylla::SerializeRow;
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::{envelope::Millis, task::Usage};

use super::{
    ScyllaStore,
    days::{USAGE, day_of},
};
use crate::{
    error::StoreError,
    rows::{UsageBy, UsageRow, UsageSum},
    stored::{date, source_word},
};

/// Partitions of one tenant's day. Frozen.
const BUCKETS: u8 = 8;
/// Partitions that are read at the same time.
const READ_AT_ONCE: usize = 8;

#[derive(SerializeRow)]
struct Values<'a> {
    tenant: &'a str,
    day: i32,
    bucket: i32,
    call_id: &'a str,
    run_id: &'a [u8],
    endpoint: &'a str,
    graph: &'a str,
    node: &'a str,
    provider: &'a str,
    model: &'a str,
    user_name: Option<&'a str>,
    api_key: Option<&'a str>,
    started_at: i64,
    duration_ms: i64,
    outcome: &'a str,
    input_tokens: i64,
    output_tokens: i64,
    cached_tokens: i64,
    cache_write_tokens: i64,
    reasoning_tokens: i64,
    usage_source: &'a str,
    cost_nano_usd: i64,
    calls_unpriced: i64,
}

type Found = (
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
    i64,
    Option<i64>,
    Option<i64>,
    String,
);

impl ScyllaStore {
    pub(super) async fn put_usage(&self, row: &UsageRow) -> Result<(), StoreError> {
        let Usage {
            input_tokens,
            output_tokens,
            cached_tokens,
            cache_write_tokens,
            reasoning_tokens,
            cost_nano_usd,
            calls_unpriced,
        } = row.usage;
        let day = day_of(row.started_at);
        self.remember_day(&row.tenant, USAGE, day).await?;
        let values = Values {
            tenant: &row.tenant,
            day,
            bucket: i32::from(blake3::hash(row.call_id.as_bytes()).as_bytes()[0] % BUCKETS),
            call_id: &row.call_id,
            run_id: row.run_id.as_bytes(),
            endpoint: &row.endpoint,
            graph: &row.graph,
            node: &row.node,
            provider: &row.provider,
            model: &row.model,
            user_name: row.user.as_deref(),
            api_key: row.key.as_deref(),
            started_at: row.started_at,
            duration_ms: row.duration_ms as i64,
            outcome: &row.outcome,
            input_tokens: input_tokens as i64,
            output_tokens: output_tokens as i64,
            cached_tokens: cached_tokens as i64,
            cache_write_tokens: cache_write_tokens as i64,
            reasoning_tokens: reasoning_tokens as i64,
            usage_source: source_word(row.source),
            cost_nano_usd: cost_nano_usd as i64,
            calls_unpriced: calls_unpriced as i64,
        };
        self.execute(&self.statements.put_usage, values).await
    }

    pub(super) async fn sum_usage(
        &self,
        tenant: &str,
        by: &[UsageBy],
        since: Millis,
        until: Millis,
    ) -> Result<Vec<UsageSum>, StoreError> {
        if since >= until {
            return Ok(Vec::new());
        }
        let days = self.days(tenant, USAGE, day_of(until - 1), day_of(since)).await?;
        let places = days.into_iter().flat_map(|day| (0..BUCKETS).map(move |bucket| (day, i32::from(bucket))));
        let mut pieces = stream::iter(places)
            .map(|(day, bucket)| self.all::<Found>(&self.statements.find_usage, (tenant, day, bucket)))
            .buffer_unordered(READ_AT_ONCE);
        let mut sums: BTreeMap<Vec<String>, UsageSum> = BTreeMap::new();
        while let Some(calls) = pieces.try_next().await? {
            for call in calls.into_iter().filter(|call| (since..until).contains(&call.6)) {
                add(&mut sums, by, call);
            }
        }
        Ok(sums.into_values().collect())
    }

    /// All tenants are looked through: nobody asks it often.
    pub(super) async fn find_spenders(&self) -> Result<Vec<String>, StoreError> {
        let lists: Vec<(String, String)> = self.all(&self.statements.find_lists, ()).await?;
        Ok(lists.into_iter().filter(|(_, list)| list == USAGE).map(|(tenant, _)| tenant).collect())
    }
}

fn add(sums: &mut BTreeMap<Vec<String>, UsageSum>, by: &[UsageBy], call: Found) {
    let (
        endpoint,
        graph,
        node,
        model,
        user,
        key,
        started_at,
        input,
        output,
        cached,
        written,
        reasoning,
        cost,
        unpriced,
        source,
    ) = call;
    let group: Vec<String> = by
        .iter()
        .map(|by| match by {
            UsageBy::Endpoint => endpoint.clone(),
            UsageBy::Graph => graph.clone(),
            UsageBy::Node => node.clone(),
            UsageBy::Model => model.clone(),
            UsageBy::User => user.clone().unwrap_or_default(),
            UsageBy::Key => key.clone().unwrap_or_default(),
            UsageBy::Day => date(started_at),
        })
        .collect();
    let sum = sums.entry(group.clone()).or_insert_with(|| UsageSum {
        group,
        calls: 0,
        calls_missing_usage: 0,
        usage: Usage::default(),
    });
    sum.calls += 1;
    sum.calls_missing_usage += u64::from(source == "missing");
    sum.usage += Usage {
        input_tokens: input as u64,
        output_tokens: output as u64,
        cached_tokens: cached as u64,
        cache_write_tokens: written.unwrap_or(0) as u64,
        reasoning_tokens: reasoning as u64,
        cost_nano_usd: cost.unwrap_or(0) as u64,
        calls_unpriced: unpriced.unwrap_or(1) as u64,
    };
}
