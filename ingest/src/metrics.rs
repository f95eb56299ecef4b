//! Names and labels of ingest's metrics.

use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub const HTTP_REQUESTS: &str = "millstream_http_requests_total";
pub const HTTP_REQUEST_DURATION: &str = "millstream_http_request_duration_seconds";
pub const HTTP_REQUESTS_IN_FLIGHT: &str = "millstream_http_requests_in_flight";
pub const ADMISSION_REJECTED: &str = "millstream_admission_rejected_total";
pub const RUNS_STARTED: &str = "millstream_runs_started_total";
pub const IDEMPOTENT_REPEATS: &str = "millstream_idempotent_repeats_total";

/// Why a request was not admitted: the label `reason` of [`ADMISSION_REJECTED`].
#[derive(Clone, Copy, Debug)]
pub enum Rejected {
    Auth,
    Backpressure,
    Rate,
    /// Rates can't be looked up.
    QuotaAway,
}

impl Rejected {
    fn as_str(self) -> &'static str {
        match self {
            Rejected::Auth => "auth",
            Rejected::Backpressure => "backpressure",
            Rejected::Rate => "rate",
            Rejected::QuotaAway => "quota_away",
        }
    }
}

/// Says what each metric is, and lets counters of failures begin at 0: one that first appears at 1 never raises an
/// alert.
pub fn describe() {
    describe_counter!(HTTP_REQUESTS, "requests answered, by route template, method and class of status");
    describe_histogram!(HTTP_REQUEST_DURATION, "seconds until a response's head, by route template and method");
    describe_gauge!(HTTP_REQUESTS_IN_FLIGHT, "requests being answered");
    describe_counter!(ADMISSION_REJECTED, "requests refused before they were accepted, by reason");
    describe_counter!(RUNS_STARTED, "runs accepted, by graph and lane");
    describe_counter!(IDEMPOTENT_REPEATS, "requests that found their first run by its Idempotency-Key");
    for reason in [Rejected::Auth, Rejected::Backpressure, Rejected::QuotaAway] {
        counter!(ADMISSION_REJECTED, "reason" => reason.as_str()).increment(0);
    }
}

pub fn request_done(route: &str, method: &Method, status: StatusCode, took: Duration) {
    let method = method_label(method);
    let class = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    counter!(HTTP_REQUESTS, "route" => route.to_owned(), "method" => method, "status_class" => class).increment(1);
    histogram!(HTTP_REQUEST_DURATION, "route" => route.to_owned(), "method" => method).record(took.as_secs_f64());
}

pub fn in_flight() -> Gauge {
    gauge!(HTTP_REQUESTS_IN_FLIGHT)
}

pub fn rejected(reason: Rejected) {
    counter!(ADMISSION_REJECTED, "reason" => reason.as_str()).increment(1);
}

pub fn run_started(graph: &str, lane: &'static str) {
    counter!(RUNS_STARTED, "graph" => graph.to_owned(), "lane" => lane).increment(1);
}

pub fn repeated() {
    counter!(IDEMPOTENT_REPEATS).increment(1);
}

/// A method is the client's to invent: only known ones become a label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
