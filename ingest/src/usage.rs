//! `GET /usage`: what calls to models took and cost, added up.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use quota::amount::decimal_usd;
use schemas::{
    error::Code,
    http::{List, UsageSum},
};
use serde::Deserialize;

use crate::{
    auth::Scope,
    extract::{Params, millis},
    ingest::Ingest,
    layers::Asked,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json,
    sinks::{segment, whole},
};

const CSV: &str = "text/csv";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Read, Method::GET, "/usage", usage)
            .says("usage", "Adds up what calls to models took and cost.")
            .query(&[
                ("by", "What to group by, with commas: endpoint, graph, node, model, user, key, day (UTC's)."),
                ("since", "Only calls that began at or after this time (RFC 3339, or milliseconds since 1970)."),
                ("until", "Only calls that began before this time."),
                ("format", "`json` or `csv`; `accept: text/csv` says the same."),
            ])
            .answers(200, "A sum for each group.", Media::JsonList("UsageSum")),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageParams {
    #[serde(default)]
    by: String,
    since: Option<String>,
    until: Option<String>,
    format: Option<Format>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Json,
    Csv,
}

async fn usage(
    State(ingest): State<Ingest>,
    Params(params): Params<UsageParams>,
    headers: HeaderMap,
    asked: Asked,
) -> Answer {
    let UsageParams { by, since, until, format } = params;
    let mut path = format!("/internal/usage?by={}", segment(&by));
    for (name, time) in [("since", since), ("until", until)] {
        if let Some(time) = time {
            path.push_str(&format!("&{name}={}", millis(&time, name)?));
        }
    }
    let found = ingest.find(&asked, None, &path).await?;
    let sums = whole(found.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such list"))?).await?;
    let wants_csv =
        headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|all| all.contains(CSV));
    match format {
        Some(Format::Csv) => csv(&sums, &by),
        None if wants_csv => csv(&sums, &by),
        Some(Format::Json) | None => Ok(json(StatusCode::OK, sums)),
    }
}

/// A line for each group, with its names first, below a line of titles.
fn csv(sums: &[u8], by: &str) -> Answer {
    table(sums, by).map_err(|error| {
        tracing::error!(%error, "a sink's sums can't be written as CSV");
        Refusal::new(Code::Internal, "the sums can't be written as CSV")
    })
}

fn table(sums: &[u8], by: &str) -> Result<Response, Box<dyn std::error::Error>> {
    let sums: List<UsageSum> = serde_json::from_slice(sums)?;
    let names: Vec<&str> = by.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut lines = csv::Writer::from_writer(Vec::new());
    let titles = columns(&UsageSum::default()).map(|(title, _)| title);
    lines.write_record(names.iter().copied().chain(titles))?;
    for sum in &sums.data {
        let group = names.iter().map(|name| sum.group.get(*name).cloned().unwrap_or_default());
        lines.write_record(group.chain(columns(sum).map(|(_, value)| value)))?;
    }
    let body = lines.into_inner()?;
    Ok(([(header::CONTENT_TYPE, format!("{CSV}; charset=utf-8"))], body).into_response())
}

/// The sums with their titles; money in dollars, exactly.
fn columns(sum: &UsageSum) -> [(&'static str, String); 9] {
    [
        ("calls", sum.calls.to_string()),
        ("calls_missing_usage", sum.calls_missing_usage.to_string()),
        ("calls_unpriced", sum.calls_unpriced.to_string()),
        ("input_tokens", sum.input_tokens.to_string()),
        ("output_tokens", sum.output_tokens.to_string()),
        ("cached_tokens", sum.cached_tokens.to_string()),
        ("cache_write_tokens", sum.cache_write_tokens.to_string()),
        ("reasoning_tokens", sum.reasoning_tokens.to_string()),
        ("cost_usd", decimal_usd(sum.cost_nano_usd)),
    ]
}
