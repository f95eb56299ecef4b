//! Calls, once by their id, and their sums.

use graph::{envelope::Millis, task::Usage};
use rusqlite::{Connection, Row, params, params_from_iter, types::Value};

use crate::{
    error::StoreError,
    rows::{UsageBy, UsageRow, UsageSum},
    stored::{source_word, usage_column},
};

pub(super) fn put(connection: &Connection, row: &UsageRow) -> Result<(), StoreError> {
    let UsageRow {
        tenant,
        call_id,
        run_id,
        endpoint,
        graph,
        node,
        provider,
        model,
        user,
        key,
        started_at,
        duration_ms,
        outcome,
        usage,
        source,
    } = row;
    let Usage {
        input_tokens,
        output_tokens,
        cached_tokens,
        cache_write_tokens,
        reasoning_tokens,
        cost_nano_usd,
        calls_unpriced,
    } = usage;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO usage (
                 tenant, started_at, call_id, run_id, endpoint, graph, node, provider, model, user, api_key,
                 duration_ms, outcome, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
                 cost_nano_usd, calls_unpriced, source)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                 ?21)",
        )?
        .execute(params![
            tenant,
            started_at,
            call_id,
            run_id.as_bytes(),
            endpoint,
            graph,
            node,
            provider,
            model,
            user,
            key,
            *duration_ms as i64,
            outcome,
            *input_tokens as i64,
            *output_tokens as i64,
            *cached_tokens as i64,
            *cache_write_tokens as i64,
            *reasoning_tokens as i64,
            *cost_nano_usd as i64,
            *calls_unpriced as i64,
            source_word(*source)
        ])?;
    Ok(())
}

pub(super) fn sum(
    connection: &Connection,
    tenant: String,
    by: &[UsageBy],
    since: Millis,
    until: Millis,
) -> Result<Vec<UsageSum>, StoreError> {
    let groups: Vec<String> = by.iter().map(|by| group_expression(*by)).collect();
    let places: Vec<String> = (1..=by.len()).map(|place| place.to_string()).collect();
    let mut sql: String = groups.iter().map(|group| format!("{group}, ")).collect();
    sql = format!(
        "SELECT {sql} count(*), sum(source = 'missing'), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
             sum(cache_write_tokens), sum(reasoning_tokens), sum(cost_nano_usd), sum(calls_unpriced)
         FROM usage WHERE tenant = ? AND started_at >= ? AND started_at < ?"
    );
    if !by.is_empty() {
        let places = places.join(", ");
        sql.push_str(&format!(" GROUP BY {places} ORDER BY {places}"));
    }
    let mut query = connection.prepare_cached(&sql)?;
    let bounds = [Value::Text(tenant), Value::Integer(since), Value::Integer(until)];
    let sums = query.query_map(params_from_iter(bounds), |row| sum_row(row, by.len()))?;
    // Without groups SQL answers a row of nothing for no calls.
    let sums: Vec<UsageSum> = sums.collect::<Result<_, _>>()?;
    Ok(sums.into_iter().filter(|sum| sum.calls > 0).collect())
}

pub(super) fn spenders(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut query = connection.prepare_cached("SELECT DISTINCT tenant FROM usage")?;
    let tenants = query.query_map([], |row| row.get(0))?;
    Ok(tenants.collect::<Result<_, _>>()?)
}

fn group_expression(by: UsageBy) -> String {
    match by {
        UsageBy::Endpoint | UsageBy::Graph | UsageBy::Node | UsageBy::Model => usage_column(by).to_owned(),
        UsageBy::User | UsageBy::Key => format!("coalesce({}, '')", usage_column(by)),
        UsageBy::Day => "date(started_at / 1000, 'unixepoch')".to_owned(),
    }
}

fn sum_row(row: &Row<'_>, groups: usize) -> rusqlite::Result<UsageSum> {
    let count = |place: usize| row.get::<_, Option<i64>>(groups + place).map(|sum| sum.unwrap_or(0) as u64);
    Ok(UsageSum {
        group: (0..groups).map(|place| row.get(place)).collect::<Result<_, _>>()?,
        calls: count(0)?,
        calls_missing_usage: count(1)?,
        usage: Usage {
            input_tokens: count(2)?,
            output_tokens: count(3)?,
            cached_tokens: count(4)?,
            cache_write_tokens: count(5)?,
            reasoning_tokens: count(6)?,
            cost_nano_usd: count(7)?,
            calls_unpriced: count(8)?,
        },
    })
}
