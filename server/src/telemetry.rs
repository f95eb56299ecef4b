//! Logs, traces and metrics of one process.
//!
//! Logs go to standard error, as JSON unless a person is looking. Traces go out by OTLP where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Metrics wait at `/metrics`.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    global::BoxedTracer,
    trace::{SpanId, TraceId, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider},
};
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

/// Where the names of the spans' attributes are explained.
const SCHEMA: &str = "https://opentelemetry.io/schemas/gen-ai/1.42.0";

/// Sets the process's logger, tracer and metrics recorder up. Once, first thing in `main`. `role` is the verb that the
/// process was started with.
pub fn start(log_filter: &str, role: &'static str) -> anyhow::Result<Telemetry> {
    let traces = trace_provider(role)?;
    if let Some(provider) = &traces {
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope::builder("millstream").with_version(version).with_schema_url(SCHEMA).build();
        traces::install(BoxedTracer::new(Box::new(provider.tracer_with_scope(scope))));
    }
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(log_filter))
        .with_context(|| format!("the log filter {log_filter:?} can't be read; write it like `info,sink=debug`"))?;
    let person = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines =
        if person { lines.compact().with_target(false).boxed() } else { lines.json().flatten_event(true).boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
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

/// None where no address is named, or where traces are turned off by the variables that OpenTelemetry has for that.
/// The sampler (by default: as the caller decided, else all), the queue and the headers follow its variables, too.
fn trace_provider(role: &'static str) -> anyhow::Result<Option<SdkTracerProvider>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|text| text == "none");
    if is_off || !named.iter().any(|name| variable(name).is_some()) {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .context("traces can't be sent: check OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, protobuf)")?;
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("millstream.role", role),
    ]);
    let is_named = |text: String| text.contains("service.name=");
    if variable("OTEL_SERVICE_NAME").is_none() && !variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(is_named) {
        resource = resource.with_service_name("millstream");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(SpanIds::default())
        .with_resource(resource.build());
    Ok(Some(provider.build()))
}

/// Random, but for the spans whose ids are derived: see [`traces::context_of`].
#[derive(Debug, Default)]
struct SpanIds(RandomIdGenerator);

impl IdGenerator for SpanIds {
    fn new_trace_id(&self) -> TraceId {
        self.0.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        traces::next_span_id().unwrap_or_else(|| self.0.new_span_id())
    }
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
