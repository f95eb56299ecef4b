//! While no tracer is installed, nothing is made.

use std::time::{Duration, Instant};

use graph::envelope::{Envelope, GraphRef, Lane, Principal, RULES, RunBudget};
use traces::{Ended, Kind, Read};
use uuid::Uuid;

const ROUNDS: u32 = 1_000_000;

#[test]
fn nothing_is_made_and_the_context_is_passed_on() {
    let context = traces::TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let span = traces::begin(context, Kind::Client, || panic!("no name"), || panic!("no attributes"));
    assert_eq!(span.context(), None);
    let given = context.unwrap().to_string();
    let (span, header) = traces::send(&envelope(Some(given.clone())), None, "runs");
    assert_eq!((span.context(), header), (None, Some(given)), "the client's own goes on in the records");
}

/// Prints what it takes; the bound is far above it, so that a busy machine doesn't fail it.
#[test]
fn a_hop_costs_next_to_nothing() {
    let envelope = envelope(None);
    #[allow(clippy::disallowed_methods, reason = "what is measured is time")]
    let began = Instant::now();
    for offset in 0..u64::from(ROUNDS) {
        let read = Read { topic: "runs", partition: 0, offset, group: "orchestrator", sent: None };
        let span = std::hint::black_box(traces::process(&envelope, read));
        let (sent, header) = traces::send(&envelope, span.context(), "updates");
        traces::ended(&envelope, Ended { at: 0, status: "success", error: None });
        assert!(sent.context().is_none() && header.is_none());
    }
    let each = began.elapsed() / ROUNDS;
    println!("process, send and the run's end, while tracing is off: {each:?}");
    assert!(each < Duration::from_micros(2), "{each:?}");
}

fn envelope(traceparent: Option<String>) -> Envelope {
    Envelope {
        tenant: "default".to_owned(),
        principal: Principal::default(),
        endpoint: "/chat".to_owned(),
        run_id: Uuid::from_u128(7),
        thread_id: None,
        graph: GraphRef { name: "chat".to_owned(), hash: "0".to_owned() },
        rules: RULES,
        lane: Lane::Interactive,
        priority: 0,
        deadline: 0,
        metadata: Default::default(),
        tags: Vec::new(),
        batch: None,
        traceparent,
        budget: RunBudget::default(),
    }
}
