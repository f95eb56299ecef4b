//! LangGraph Server's dialect: its stream modes, one file and one pure function each.
//!
//! Lines end in CRLF, `event` stands before `data` and both before `id`, which only a resumable stream has. A fact may
//! be several events; the last one has the id, so that a stream that is cut between them says them all again.

mod checkpoints;
mod custom;
mod debug;
mod known;
mod messages;
mod tasks;
mod updates;
mod values;

use graph::update::{Ended, Happened, RunStatus};
use schemas::stream::{LangGraph, StreamMode};
use serde_json::{Value, json};

use self::known::Known;
use crate::{
    facts::{Fact, Shown},
    position::Position,
    run_error,
};

/// One client's stream, with what it was told that later events name again.
pub struct Stream {
    asked: LangGraph,
    known: Known,
}

/// One event: its name without a namespace, the namespace, its data.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: &'static str,
    pub ns: String,
    pub data: Value,
}

impl Event {
    pub fn new(name: &'static str, ns: &str, data: Value) -> Self {
        Event { name, ns: ns.to_owned(), data }
    }
}

impl Stream {
    pub fn new(asked: LangGraph) -> Self {
        Stream { asked, known: Known::default() }
    }

    /// Takes in a fact, shown or not: a client that comes back has seen the ones before.
    pub fn see(&mut self, shown: &Shown) {
        self.known.see(shown);
    }

    pub fn render(&mut self, shown: &Shown, out: &mut Vec<u8>) {
        let mut events: Vec<Event> = Vec::new();
        match &shown.fact {
            Fact::Metadata { envelope, resumed: None } => {
                events.push(Event::new("metadata", "", json!({"run_id": envelope.run_id, "attempt": 1})));
            }
            Fact::Error(of) => events.extend(of.get().map(error)),
            fact => {
                // In the order in which LangGraph tells of one thing.
                let all = [
                    (StreamMode::Custom, custom::events as fn(&Fact, &Known) -> Vec<Event>),
                    (StreamMode::MessagesTuple, messages::tuples),
                    (StreamMode::Messages, messages::whole),
                    (StreamMode::Updates, updates::events),
                ];
                for (mode, events_of) in all {
                    if self.asked.modes.contains(&mode) {
                        events.extend(events_of(fact, &self.known));
                    }
                }
                self.step(fact, &mut events);
                if self.asked.modes.contains(&StreamMode::Updates) {
                    events.extend(updates::breakpoint(fact));
                }
            }
        }
        self.known.said(&shown.fact);
        events.retain(|event| self.asked.subgraphs || event.ns.is_empty() || event.name == "custom");
        let last = events.len().saturating_sub(1);
        for (place, event) in events.iter().enumerate() {
            let id = (self.asked.ids && place == last).then_some(shown.position);
            frame(event, self.asked.subgraphs, id, out);
        }
    }

    /// What a step's beginning and end look like: a question is an update, then the values, then the task's end.
    fn step(&self, fact: &Fact, events: &mut Vec<Event>) {
        let modes = &self.asked.modes;
        let has = |mode| modes.contains(&mode);
        if has(StreamMode::Values) {
            events.extend(values::events(fact, &self.known));
        }
        // Runs without a thread have no checkpoints.
        let saves = self.known.has_thread();
        let made = checkpoints::events(fact, &self.known);
        let tasks = tasks::events(fact, &self.known);
        let at = known::time_of(fact);
        if saves && has(StreamMode::Checkpoints) {
            events.extend(made.iter().map(|(event, _)| event.clone()));
        }
        if saves && has(StreamMode::Debug) {
            events.extend(made.into_iter().map(|(event, step)| debug::checkpoint(event, step, at)));
        }
        if has(StreamMode::Tasks) {
            events.extend(tasks.iter().map(|(event, _)| event.clone()));
        }
        if has(StreamMode::Debug) {
            events.extend(tasks.into_iter().map(|(event, step)| debug::task(event, step, at)));
        }
    }
}

/// `error` ends a stream; a run that was cancelled ends without a word.
fn error(ended: &Ended) -> Event {
    let exception = run_error::exception(ended).unwrap_or_else(|| "Exception".to_owned());
    let message = match (&ended.error, ended.status) {
        (Some(error), _) => error.message.clone(),
        (None, RunStatus::Timeout) => "the run did not end before its deadline".to_owned(),
        (None, _) => "the run failed".to_owned(),
    };
    Event::new("error", "", json!({"error": exception, "message": message}))
}

/// The namespace of the graph that a task belongs to: that of the task without its last part.
fn outer(ns: &str) -> &str {
    ns.rsplit_once('|').map_or("", |(outer, _)| outer)
}

fn frame(event: &Event, subgraphs: bool, id: Option<Position>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name.as_bytes());
    if subgraphs && !event.ns.is_empty() && event.name != "custom" {
        out.push(b'|');
        out.extend_from_slice(event.ns.as_bytes());
    }
    out.extend_from_slice(b"\r\ndata: ");
    out.extend_from_slice(&serde_json::to_vec(&event.data).unwrap_or_else(|_| b"null".to_vec()));
    out.extend_from_slice(b"\r\n");
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The part of an update that a fact is, where it is one.
fn happened(fact: &Fact) -> Option<&Happened> {
    match fact {
        Fact::Happened(of) => of.get(),
        Fact::Metadata { .. }
        | Fact::NodeStarted(_)
        | Fact::Token(_)
        | Fact::WholeText(_)
        | Fact::NodeFinished(_)
        | Fact::AttemptReset { .. }
        | Fact::Interrupt(_)
        | Fact::Error(_)
        | Fact::Final(_) => None,
    }
}

#[cfg(test)]
mod tests;
