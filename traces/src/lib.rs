//! Spans of runs, through every process that a run goes through: one trace from the request to the sink.
//!
//! A run is one trace because its envelope carries the context of its request, and every hop's span hangs below the
//! run's own, `invoke_workflow`. Without a tracer all of this is one atomic load: no span is made, no attribute, no
//! string. Names are those of OpenTelemetry's GenAI and messaging conventions.

mod context;
mod span;

mod hop;
mod run;

pub mod names;

pub use context::TraceContext;
pub use hop::{Read, process, send};
pub use run::{Ended, attributes_of, context_of, ended};
pub use span::{Kind, Span, begin, install, is_on, next_span_id};
