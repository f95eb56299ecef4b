//! What the stores measure: time and failures by operation, the same names for both backends.

use std::future::Future;

use metrics::{counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

use crate::error::StoreError;

/// Histogram {op}: from the call to its answer, waiting in queues included.
pub const STORE_REQUEST_SECONDS: &str = "millstream_store_request_seconds";
/// Counter {op, kind}: calls that ended in an error.
pub const STORE_ERRORS_TOTAL: &str = "millstream_store_errors_total";

/// Gives each metric its line of help; call it once, after the recorder is installed.
pub fn describe() {
    describe_histogram!(STORE_REQUEST_SECONDS, "time from a call of the store to its answer");
    describe_counter!(STORE_ERRORS_TOTAL, "calls of the store that ended in an error");
}

pub(crate) async fn observe<T>(
    op: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let outcome = call.await;
    histogram!(STORE_REQUEST_SECONDS, "op" => op).record(began.elapsed());
    if let Err(error) = &outcome {
        counter!(STORE_ERRORS_TOTAL, "op" => op, "kind" => kind(error)).increment(1);
    }
    outcome
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { .. } => "unavailable",
        StoreError::Schema { .. } => "schema",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::TooLarge { .. } => "too_large",
        StoreError::BadCursor => "bad_cursor",
        StoreError::Closed => "closed",
    }
}
