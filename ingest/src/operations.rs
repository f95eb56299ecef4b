//! What operators and tools ask: is it alive, is it ready, its metrics, its documents.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    deps::Readiness,
    extract::At,
    ingest::Ingest,
    openapi,
    refusal::{Answer, Refusal},
    route::{Media, Route, open},
    runs::json_of,
};

const TAG: &str = "operations";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        open("/health", health).says(TAG, "Whether the process is alive.").answers(
            200,
            "It is.",
            Media::Json("Health"),
        ),
        open("/ready", ready)
            .says(TAG, "Whether the process can do its work, and why not.")
            .answers(200, "It can.", Media::Json("Ready"))
            .answers(503, "It can't.", Media::Json("Ready")),
        open("/metrics", metrics).says(TAG, "Metrics in Prometheus' text format.").answers(
            200,
            "The metrics.",
            Media::Text(METRICS_TYPE),
        ),
        open("/openapi.json", document).says(TAG, "This document.").answers(
            200,
            "OpenAPI 3.1.",
            Media::Json("Document"),
        ),
        open("/schemas", schemas).says(TAG, "The JSON Schemas of graph files and of every record, by name.").answers(
            200,
            "Name to schema.",
            Media::Json("Document"),
        ),
        open("/schemas/{schema}", schema)
            .says(TAG, "One JSON Schema, such as `graph.v1.schema.json` or `runs.v1.schema.json`.")
            .answers(200, "The schema.", Media::Json("Document")),
    ]
}

/// Answer of `/health`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    status: &'static str,
    version: &'static str,
}

/// Answer of `/ready`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ready {
    ready: bool,
    /// What each check says, by its name.
    checks: Map<String, Value>,
}

pub(crate) async fn health() -> Response {
    json_of(&Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn ready(State(ingest): State<Ingest>) -> Response {
    let Readiness { ready, mut checks } = (ingest.deps.readiness)();
    let loaded = ingest.published.is_loaded();
    checks.push(("graphs".to_owned(), if loaded { "ok" } else { "not loaded yet" }.to_owned()));
    readiness(Readiness { ready: ready && loaded, checks })
}

pub(crate) fn readiness(Readiness { ready, checks }: Readiness) -> Response {
    let checks: Map<String, Value> = checks.into_iter().map(|(name, says)| (name, Value::String(says))).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json_of(&Ready { ready, checks })).into_response()
}

async fn metrics(State(ingest): State<Ingest>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], (ingest.deps.metrics)()).into_response()
}

async fn document(State(ingest): State<Ingest>) -> Response {
    json_of(&openapi::with_graphs(&ingest.published.all()))
}

async fn schemas() -> Response {
    json_of(&openapi::schemas())
}

async fn schema(At(name): At<String>) -> Answer {
    let schemas = openapi::schemas();
    let known = schemas.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let schema = schemas.get(&name).ok_or_else(|| {
        Refusal::new(schemas::error::Code::NotFound, format!("there is no schema `{name}`; there are {known}"))
    })?;
    Ok(json_of(schema))
}
