//! Logs, traces and metrics of one process.
//!
//! Logs go to standard error, as JSON unless a person is looking. Traces go out by OTLP where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Metrics wait at `/metrics`.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Seconds. Without buckets of its own a histogram would be exported as a summary, which can't be added up.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
    900.0, 3600.0,
];
/// OpenTelemetry's boundaries for calls of models.
const MODEL_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
const BYTES: &[f64] = &[1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// Keeps exporters alive; dropping it flushes what they hold.
pub struct Telemetry {
    pub metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

/// Sets the process's logger, tracer and metrics recorder up. Once, first thing in `main`.
pub fn start(log_filter: &str) -> anyhow::Result<Telemetry> {
    let traces = trace_provider()?;
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(log_filter))
        .with_context(|| format!("the log filter {log_filter:?} can't be read; write it like `info,sink=debug`"))?;
    let person = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines =
        if person { lines.compact().with_target(false).boxed() } else { lines.json().flatten_event(true).boxed() };
    let spans =
        traces.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("millstream")));
    tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).init();
    Ok(Telemetry { metrics: install_recorder()?, traces })
}

impl Telemetry {
    /// Sends out the spans that are still held.
    pub fn flush(&self) {
        if let Some(provider) = &self.traces
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

fn trace_provider() -> anyhow::Result<Option<SdkTracerProvider>> {
    let named = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    if !named.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(None);
    }
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .context("traces can't be sent: check OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, protobuf)")?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("millstream").build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

fn install_recorder() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Prefix("millstream_model_".to_owned()), MODEL_SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .set_buckets(SECONDS)?;
    let handle = builder.install_recorder().context("another metrics recorder is installed already")?;
    ::metrics::describe_gauge!("millstream_build_info", "The version that runs, as a label; always 1.");
    ::metrics::gauge!("millstream_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    event_log::metrics::describe();
    run_store::metrics::describe();
    Ok(handle)
}
