//! The fold alone: `graph::advance` on one core, without log, store and JSON around it.
//!
//! - the events of 1,000 recorded case runs (`semantics/cases/cases.jsonl.gz`), as workers and clients wrote them: in the
//!   cache, where an event lies that was just read from the log, and again as they come from memory;
//! - a thread whose state holds 4 KB, run again and again, with a message or with all of its state as input;
//! - one superstep of 10 to 10,000 Sends: an event may cost no more where there are more tasks beside it.
//!
//! Every state that comes out is compared with the one that the case's own run came to.
//!
//! `cargo xtask bench advance [smoke] [seconds=N]`

use std::{hint::black_box, time::Duration};

use anyhow::ensure;
use benches::{figures, options::Options};
use semantics::{case::Case, stream::Stream, tally};
use serde_json::{Value, json};
use tokio::time::Instant;

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let options = Options::read(5)?;
    figures::print_machine();
    let (mut cases, _) = tally::load(&tally::recorded("cases.jsonl.gz"));
    if options.smoke {
        cases.truncate(20);
    }
    let streams: Vec<Stream> = cases.iter().map(Stream::record).collect();
    measure(&format!("{} recorded cases", cases.len()), &streams, IN_THE_CACHE, options.seconds)?;
    measure(&format!("{} recorded cases, from memory", cases.len()), &streams, 1, options.seconds)?;

    for (input, again) in [("a message", false), ("all of it", true)] {
        let thread = Stream::record(&thread_of_4_kb(again)?);
        let bytes = thread.fold(|_| {}).encode().len();
        measure(&format!("a thread with a state of {bytes} bytes, given {input}"), &[thread], 1, options.seconds)?;
    }

    let widths: &[usize] = if options.smoke { &[10, 100] } else { &[10, 100, 1_000, 10_000] };
    for width in widths {
        measure(&format!("{width} Sends in a superstep"), &[Stream::record(&fan_out(*width)?)], 1, options.seconds)?;
    }
    Ok(())
}

/// How often a stream is folded before the next one.
const IN_THE_CACHE: usize = 5;

/// Folds all streams again and again for that long, each of them `times` in turn: the quickest round is what the machine
/// can do, the median what it did.
fn measure(name: &str, streams: &[Stream], times: usize, seconds: u64) -> anyhow::Result<()> {
    let events = times * streams.iter().map(|stream| stream.events.len()).sum::<usize>();
    let expected: Vec<_> = streams.iter().map(|stream| stream.fold(|_| {})).collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = Vec::new();
    while rounds.is_empty() || Instant::now() < until {
        let began = Instant::now();
        let fold = |stream: &Stream| stream.fold(|commands| drop(black_box(commands)));
        let last = |stream| (1..times).fold(fold(stream), |_, _| fold(stream));
        let states: Vec<_> = streams.iter().map(last).collect();
        rounds.push(began.elapsed().as_nanos() as f64 / events as f64);
        ensure!(states == expected, "{name}: another round came to another state");
    }
    rounds.sort_by(f64::total_cmp);
    let (best, median) = (rounds[0], rounds[rounds.len() / 2]);
    println!(
        "{name}: {:.0} events/s ({best:.0} ns an event) in the quickest of {} rounds of {events} events, {:.0} in the median",
        1e9 / best,
        rounds.len(),
        1e9 / median,
    );
    Ok(())
}

/// Three nodes after another, which write a text, a message and a number: what they write takes the place of what was there.
/// `whole`: each run is given what the first was given, and not a message alone.
fn thread_of_4_kb(whole: bool) -> anyhow::Result<Case> {
    let node = |writes: &[(&str, Value)]| {
        let write = |(to, value): &(&str, Value)| json!({"do": "write", "to": to, "value": ["lit", value]});
        json!({"do": writes.iter().map(write).collect::<Vec<_>>()})
    };
    let message =
        |id: usize| json!({"role": "user", "content": format!("message {id} ").repeat(8), "id": format!("m{id}")});
    let messages: Vec<Value> = (0..12).map(message).collect();
    let input = json!({"document": "a document of two thousand bytes ".repeat(60), "messages": messages});
    let turn = json!({"messages": [message(5)]});
    let given = |n: usize| if whole || n == 0 { &input } else { &turn };
    let calls: Vec<Value> = (0..100).map(|n| json!({"call": "invoke", "input": given(n)})).collect();
    Ok(serde_json::from_value(json!({
        "id": "thread", "flags": [], "calls": calls, "expect": vec![Value::Null; calls.len()],
        "graph": {
            "channels": {"document": "last", "messages": "messages", "note": "last", "n": "sum"},
            "nodes": {
                "a": node(&[("note", json!("a note ".repeat(30))), ("n", json!(1))]),
                "b": node(&[("messages", json!([message(3)]))]),
                "c": node(&[("note", json!("noted again ".repeat(20))), ("n", json!(-1))]),
            },
            "edges": [["START", "a"], ["a", "b"], ["b", "c"], ["c", "END"]],
            "branches": [],
        },
    }))?)
}

/// One node sends to another `width` times; all of them write to one list, and a third node follows.
fn fan_out(width: usize) -> anyhow::Result<Case> {
    let write = |value: Value| json!({"do": [{"do": "write", "to": "log", "value": value}]});
    let send = json!({"send": "b", "each": ["range", ["lit", width]], "arg": ["obj", {"i": ["item"]}]});
    Ok(serde_json::from_value(json!({
        "id": "sends", "flags": [], "calls": [{"call": "invoke", "input": {"log": []}}], "expect": [null],
        "graph": {
            "channels": {"log": "append", "i": "last"},
            "nodes": {
                "a": {"do": [{"do": "goto", "to": [send]}]}, "b": write(json!(["list", ["get", "i", 0]])), "c": write(json!(["lit", ["end"]])),
            },
            "edges": [["START", "a"], ["b", "c"]],
            "branches": [],
        },
    }))?)
}
