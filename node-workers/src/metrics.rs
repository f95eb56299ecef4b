//! Names of this crate's metrics, and the handles of one node: looked up once, not for each task.

use graph::{
    alias::{Alias, Version},
    task::{Call, Usage},
};
use metrics::{Counter, Gauge, Histogram};

pub const NODE_RECORDS_TOTAL: &str = "millstream_node_records_total";
pub const NODE_DURATION_SECONDS: &str = "millstream_node_duration_seconds";
pub const NODE_QUEUE_WAIT_SECONDS: &str = "millstream_node_queue_wait_seconds";
pub const NODE_IN_FLIGHT: &str = "millstream_node_in_flight";
pub const NODE_CONCURRENCY_LIMIT: &str = "millstream_node_concurrency_limit";
pub const NODE_RETRIES_TOTAL: &str = "millstream_node_retries_total";
pub const DUPLICATES_SUPPRESSED_TOTAL: &str = "millstream_duplicates_suppressed_total";
pub const CONSUMER_ASSIGNED_PARTITIONS: &str = "millstream_consumer_assigned_partitions";
pub const CONSUMER_REBALANCES_TOTAL: &str = "millstream_consumer_rebalances_total";
pub const CONSUMER_COMMIT_SECONDS: &str = "millstream_consumer_commit_seconds";
pub const CONSUMER_COMMITTED_OFFSET: &str = "millstream_consumer_committed_offset";
pub const CONSUMER_OLDEST_AGE_SECONDS: &str = "millstream_consumer_oldest_age_seconds";
pub const MODEL_CALLS_TOTAL: &str = "millstream_model_calls_total";
pub const MODEL_CALL_DURATION_SECONDS: &str = "millstream_model_call_duration_seconds";
pub const MODEL_TIME_TO_FIRST_TOKEN_SECONDS: &str = "millstream_model_time_to_first_token_seconds";
pub const MODEL_TOKENS_TOTAL: &str = "millstream_model_tokens_total";
pub const MODEL_COST_NANO_USD_TOTAL: &str = "millstream_model_cost_nano_usd_total";
pub const MODEL_FALLBACKS_TOTAL: &str = "millstream_model_fallbacks_total";
pub const MODEL_CACHE_TOTAL: &str = "millstream_model_cache_total";
pub const MODEL_CACHE_SHADOW_TOTAL: &str = "millstream_model_cache_shadow_total";
pub const MODEL_CACHE_SAVED_NANO_USD_TOTAL: &str = "millstream_model_cache_saved_nano_usd_total";
pub const MODEL_ROUTES_TOTAL: &str = "millstream_model_routes_total";
pub const MODEL_BREAKER_OPEN: &str = "millstream_model_breaker_open";
pub const MODEL_ALIAS_VERSION: &str = "millstream_model_alias_version";
pub const MODEL_ALIAS_CANARY_PERCENT: &str = "millstream_model_alias_canary_percent";
pub const BUDGET_FAILURES_TOTAL: &str = "millstream_budget_failures_total";

const GRAPH: &str = "graph";
const NODE: &str = "node";
const OUTCOME: &str = "outcome";

/// What one node's consumer counts.
pub struct NodeMetrics {
    pub ok: Counter,
    pub failed: Counter,
    pub given_back: Counter,
    pub kept: Counter,
    pub skipped: Counter,
    pub dead_letters: Counter,
    pub retries: Counter,
    pub duplicates: Counter,
    pub rebalances: Counter,
    pub duration: Histogram,
    pub queue_wait: Histogram,
    pub commit: Histogram,
    pub in_flight: Gauge,
    pub partitions: Gauge,
    pub oldest_age: Gauge,
}

impl NodeMetrics {
    pub fn new(graph: &str, node: &str, concurrency: usize) -> Self {
        let labels = || [(GRAPH, graph.to_owned()), (NODE, node.to_owned())];
        let records = |outcome: &'static str| metrics::counter!(NODE_RECORDS_TOTAL, GRAPH => graph.to_owned(), NODE => node.to_owned(), OUTCOME => outcome);
        metrics::gauge!(NODE_CONCURRENCY_LIMIT, &labels()).set(concurrency as f64);
        event_log::metrics::dead_letters(graph, node).increment(0);
        NodeMetrics {
            ok: records("ok"),
            failed: records("failed"),
            given_back: records("given_back"),
            kept: records("kept"),
            skipped: records("skipped_duplicate"),
            dead_letters: event_log::metrics::dead_letters(graph, node),
            retries: metrics::counter!(NODE_RETRIES_TOTAL, &labels()),
            duplicates: metrics::counter!(DUPLICATES_SUPPRESSED_TOTAL, &labels()),
            rebalances: metrics::counter!(CONSUMER_REBALANCES_TOTAL, &labels()),
            duration: metrics::histogram!(NODE_DURATION_SECONDS, &labels()),
            queue_wait: metrics::histogram!(NODE_QUEUE_WAIT_SECONDS, &labels()),
            commit: metrics::histogram!(CONSUMER_COMMIT_SECONDS, &labels()),
            in_flight: metrics::gauge!(NODE_IN_FLIGHT, &labels()),
            partitions: metrics::gauge!(CONSUMER_ASSIGNED_PARTITIONS, &labels()),
            oldest_age: metrics::gauge!(CONSUMER_OLDEST_AGE_SECONDS, &labels()),
        }
    }
}

/// Counts one finished call. The model's name is the configuration's, so its values are few.
pub fn count_call(call: &Call) {
    let labels = |more: &[(&'static str, &'static str)]| {
        let mut labels = vec![
            metrics::Label::new("provider", call.provider.clone()),
            metrics::Label::new("model", call.model.clone()),
        ];
        labels.extend(more.iter().map(|(name, value)| metrics::Label::new(*name, *value)));
        labels
    };
    let mut outcome = labels(&[]);
    outcome.push(metrics::Label::new(OUTCOME, call.outcome.clone()));
    metrics::counter!(MODEL_CALLS_TOTAL, outcome).increment(1);
    metrics::histogram!(MODEL_CALL_DURATION_SECONDS, labels(&[])).record(call.duration_ms as f64 / 1_000.0);
    let Usage {
        input_tokens,
        output_tokens,
        cached_tokens,
        cache_write_tokens,
        reasoning_tokens,
        cost_nano_usd,
        calls_unpriced: _,
    } = call.usage;
    if cost_nano_usd > 0 {
        metrics::counter!(MODEL_COST_NANO_USD_TOTAL, labels(&[])).increment(cost_nano_usd);
    }
    let kinds = [
        ("input", input_tokens),
        ("output", output_tokens),
        ("cached_input", cached_tokens),
        ("cache_write_input", cache_write_tokens),
        ("reasoning", reasoning_tokens),
    ];
    for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
        metrics::counter!(MODEL_TOKENS_TOTAL, labels(&[("kind", kind)])).increment(tokens);
    }
}

pub fn count_first_token(provider: &str, model: &str, seconds: f64) {
    metrics::histogram!(MODEL_TIME_TO_FIRST_TOKEN_SECONDS, "provider" => provider.to_owned(), "model" => model.to_owned())
        .record(seconds);
}

pub fn count_fallback(from: &str, to: &str, reason: &'static str) {
    metrics::counter!(MODEL_FALLBACKS_TOTAL, "from" => from.to_owned(), "to" => to.to_owned(), "reason" => reason)
        .increment(1);
}

/// What a call finds in the cache of answers.
#[derive(Clone, Copy, Debug)]
pub enum Looked {
    Hit,
    /// Somebody asked the same at the same time.
    Joined,
    Miss,
}

/// `kind` is `exact` or `semantic`.
pub fn looked_up(kind: &'static str, looked: Looked) {
    let outcome = match looked {
        Looked::Hit => "hit",
        Looked::Joined => "joined",
        Looked::Miss => "miss",
    };
    metrics::counter!(MODEL_CACHE_TOTAL, "kind" => kind, OUTCOME => outcome).increment(1);
}

/// What became of a call that the semantic cache only watches: `miss`, or whether the model said the `same` as the answer that
/// would have been given, or a `different` one.
pub fn shadowed(outcome: &'static str) {
    metrics::counter!(MODEL_CACHE_SHADOW_TOTAL, OUTCOME => outcome).increment(1);
}

/// What a call cost less than it might have, by `kind`: what an answer cost that was given again, as when it was made, or what the
/// dearest tier of a route (`route`) would have cost more.
pub fn saved(kind: &'static str, provider: &str, model: &str, nano_usd: u64) {
    metrics::counter!(MODEL_CACHE_SAVED_NANO_USD_TOTAL, "kind" => kind, "provider" => provider.to_owned(), "model" => model.to_owned())
        .increment(nano_usd);
}

/// Which tier of an alias a call asks, and what decided it.
pub fn count_route(alias: &str, tier: &str, by: &'static str) {
    metrics::counter!(MODEL_ROUTES_TOTAL, "alias" => alias.to_owned(), "tier" => tier.to_owned(), "by" => by)
        .increment(1);
}

/// 1 while nobody asks the target.
pub fn breaker(target: &str, is_open: bool) {
    metrics::gauge!(MODEL_BREAKER_OPEN, "target" => target.to_owned()).set(f64::from(u8::from(is_open)));
}

/// Which version answers, and which is tried with how much; nothing of either is 0.
pub fn alias_changed(name: &str, alias: Option<&Alias>) {
    let canary = alias.and_then(|alias| alias.canary.as_ref());
    let version = |stage: &'static str, version: Option<&Version>| {
        metrics::gauge!(MODEL_ALIAS_VERSION, "alias" => name.to_owned(), "stage" => stage)
            .set(version.map_or(0.0, |version| version.version.into()));
    };
    version("current", alias.map(|alias| &alias.current));
    version("canary", canary.map(|canary| &canary.version));
    metrics::gauge!(MODEL_ALIAS_CANARY_PERCENT, "alias" => name.to_owned())
        .set(canary.map_or(0.0, |canary| canary.percent));
}

/// A counter that first appears at 1 never raises an alert.
pub fn begin_budget_failures() {
    for step in ["reserve", "renew", "settle"] {
        metrics::counter!(BUDGET_FAILURES_TOTAL, "step" => step).increment(0);
    }
}

/// Budgets could not be reached at that step of a call: `reserve`, `renew` or `settle`.
pub fn count_budget_failure(step: &'static str) {
    metrics::counter!(BUDGET_FAILURES_TOTAL, "step" => step).increment(1);
}

pub fn committed_offset(graph: &str, node: &str, partition: u32, offset: u64) {
    metrics::gauge!(CONSUMER_COMMITTED_OFFSET, GRAPH => graph.to_owned(), NODE => node.to_owned(),
        "partition" => partition.to_string())
    .set(offset as f64);
}
