//! What a process says of itself, against what the dashboard shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tokio::time::Instant;

use crate::{
    dashboard_file::{dashboard, expressions, families, panels},
    process::{PATIENCE, Process, dev, folder, post, read_events},
};

/// On the dashboard, and said only by what two chats don't do: fail, come back, or wait for a timer.
const NOT_SAID: [&str; 13] = [
    "millstream_idempotent_repeats_total",
    "millstream_model_alias_canary_percent",
    "millstream_model_alias_version",
    "millstream_model_breaker_open",
    "millstream_model_cache_saved_nano_usd_total",
    "millstream_model_cache_shadow_total",
    "millstream_model_cache_total",
    "millstream_model_fallbacks_total",
    "millstream_model_routes_total",
    "millstream_sink_tokens_dropped_total",
    "millstream_sse_resumes_total",
    "millstream_store_errors_total",
    "millstream_timers_due_total",
];
/// Said, and not on the dashboard.
const NOT_SHOWN: [&str; 0] = [];

#[tokio::test]
async fn telemetry_of_a_chat_is_what_the_dashboard_shows() {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let (status, answer) = post(&server, "/chat", &json!({"message": "hello"})).await;
    assert_eq!((status, &answer["status"]), (200, &json!("success")), "{answer}");
    let request = json!({"message": "hello", "stream": true});
    let response = reqwest::Client::new().post(server.url("/chat")).json(&request).send().await.unwrap();
    let (_, done) = read_events(response).await;
    assert!(done);

    let dashboard = dashboard();
    let shown: BTreeSet<String> =
        expressions(&panels(&dashboard)).into_iter().flat_map(families).map(str::to_owned).collect();
    let expected: BTreeSet<&str> = shown.iter().map(String::as_str).filter(|name| !NOT_SAID.contains(name)).collect();
    // Some are said at the next commit, sweep or report.
    let began = Instant::now();
    let text = loop {
        let text = said(&server).await;
        let kinds = kinds(&text);
        let missing: Vec<&&str> = expected.iter().filter(|name| !kinds.contains_key(**name)).collect();
        if missing.is_empty() {
            break text;
        }
        assert!(began.elapsed() < PATIENCE, "/metrics never said {missing:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };

    let summary = text.lines().find(|line| line.contains("quantile="));
    assert_eq!(summary, None, "a histogram without buckets can't be added up over processes");
    let kinds = kinds(&text);
    for name in kinds.keys() {
        assert!(shown.contains(*name) || NOT_SHOWN.contains(name), "{name} is neither shown nor listed as not shown");
    }
    for name in NOT_SHOWN {
        assert!(!shown.contains(name), "{name} is shown");
    }
    for name in NOT_SAID {
        assert!(shown.contains(name) && !kinds.contains_key(name), "{name} is said after all, or not shown");
    }
    for expression in expressions(&panels(&dashboard)) {
        let histogram =
            expression.contains("_bucket{") || expression.contains("_bucket[") || expression.contains("_sum[");
        for name in families(expression).into_iter().filter(|name| kinds.contains_key(name)) {
            assert_eq!(kinds[name] == "histogram", histogram, "{name} is a {} in {expression}", kinds[name]);
        }
    }
    let letters: BTreeSet<String> = labels(&text, "millstream_dead_letters_total").collect();
    let expected = [("", "orchestrator"), ("", "sink"), ("chat", "answer"), ("chat", "finish"), ("chat", "prepare")];
    let expected = expected.map(|(graph, node)| format!(r#"graph="{graph}",node="{node}",reason="garbage""#));
    assert_eq!(letters, BTreeSet::from(expected), "one set of labels, there before the first letter");
    assert!(value(&text, "millstream_runs_started_total{graph=\"chat\"") == 2.0, "two runs were accepted:\n{text}");
}

async fn said(server: &Process) -> String {
    reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap()
}

/// Each metric of ours with its type.
fn kinds(text: &str) -> BTreeMap<&str, &str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.filter(|(name, _)| name.starts_with("millstream_")).collect()
}

/// The labels of a metric's series.
fn labels<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    text.lines().filter_map(move |line| {
        let (labels, _) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once('}')?;
        Some(labels.to_owned())
    })
}

/// The sum of all series that begin so.
fn value(text: &str, series: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
