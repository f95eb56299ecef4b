//! What a stream has told that later events name again: where each graph stands, and its tasks. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::{
    by_name::ChannelValues,
    envelope::{Envelope, Millis},
    task::{TaskId, TaskPath},
    update::{Happened, IssuedTask, TaskDone},
    writes::NodeUpdate,
};
use schemas::{http::assistant_id, record::TokenKind};
use serde_json::{Map, Value, json};

use super::outer;
use crate::{
    facts::{Fact, Of, Shown},
    snapshot,
};

#[derive(Default)]
pub struct Known {
    envelope: Option<Arc<Envelope>>,
    /// By namespace.
    graphs: BTreeMap<String, Stand>,
    tasks: BTreeMap<TaskId, Task>,
    /// Messages that a client has seen whole, or that were there before.
    messages: BTreeSet<String>,
    /// Text so far of messages under way, by id, and the task that writes it.
    texts: BTreeMap<String, (TaskId, String)>,
    /// Messages whose beginning was told.
    begun: BTreeSet<String>,
}

/// Where a graph stands.
pub struct Stand {
    pub step: i64,
    pub values: ChannelValues,
}

pub struct Task {
    pub issued: IssuedTask,
    pub step: i64,
}

impl Known {
    /// Before a fact is rendered.
    pub fn see(&mut self, shown: &Shown) {
        match &shown.fact {
            Fact::Metadata { envelope, .. } => self.envelope = Some(Arc::clone(envelope)),
            Fact::Happened(of) => {
                self.envelope.get_or_insert_with(|| Arc::clone(&of.record.envelope));
                match of.get() {
                    Some(Happened::Continued(at)) => {
                        self.stand(&at.ns, at.step, &at.values, &at.untracked, &at.next);
                    }
                    Some(Happened::StepDone(at)) => self.stand(&at.ns, at.step, &at.values, &at.untracked, &at.next),
                    _ => {}
                }
            }
            Fact::NodeStarted(of) => {
                if let Some(issued) = of.get() {
                    self.task_issued(issued);
                }
            }
            Fact::Token(record) if record.token.kind == TokenKind::Text => {
                let token = &record.token;
                let (_, text) =
                    self.texts.entry(token.message_id.clone()).or_insert_with(|| (token.task_id, String::new()));
                text.push_str(&token.delta);
            }
            Fact::WholeText(whole) => {
                self.texts.insert(whole.message_id.clone(), (whole.task_id, whole.text.clone()));
            }
            Fact::AttemptReset { task_id, .. } => self.texts.retain(|_, (by, _)| by != task_id),
            Fact::Token(_) | Fact::NodeFinished(_) | Fact::Interrupt(_) | Fact::Error(_) | Fact::Final(_) => {}
        }
    }

    /// After it was rendered.
    pub fn said(&mut self, fact: &Fact) {
        match fact {
            Fact::Token(record) => drop(self.begun.insert(record.token.message_id.clone())),
            Fact::WholeText(whole) => drop(self.begun.insert(whole.message_id.clone())),
            Fact::NodeFinished(of) => {
                let Some(done) = of.get() else { return };
                self.messages.extend(messages_of(done.update.as_ref()).filter_map(message_id).map(str::to_owned));
                self.texts.retain(|_, (by, _)| *by != done.task_id);
            }
            Fact::Metadata { .. }
            | Fact::Happened(_)
            | Fact::NodeStarted(_)
            | Fact::AttemptReset { .. }
            | Fact::Interrupt(_)
            | Fact::Error(_)
            | Fact::Final(_) => {}
        }
    }

    fn stand(&mut self, ns: &str, step: i64, values: &ChannelValues, untracked: &ChannelValues, next: &[IssuedTask]) {
        let held = values.values().flat_map(|value| listed(value)).filter_map(message_id).map(str::to_owned);
        self.messages.extend(held);
        let mut values = values.clone();
        values.extend(untracked.clone());
        self.graphs.insert(ns.to_owned(), Stand { step, values });
        for issued in next {
            self.tasks.insert(issued.task_id, Task { issued: issued.clone(), step: step + 1 });
        }
    }

    fn task_issued(&mut self, issued: &IssuedTask) {
        let step = self.graphs.get(outer(&issued.ns)).map_or(0, |at| at.step + 1);
        self.tasks.entry(issued.task_id).or_insert_with(|| Task { issued: issued.clone(), step });
    }

    pub fn has_thread(&self) -> bool {
        self.envelope.as_ref().is_some_and(|envelope| envelope.thread_id.is_some())
    }

    pub fn thread_id(&self) -> Option<&str> {
        self.envelope.as_ref()?.thread_id.as_deref()
    }

    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// What the graph's channels hold, as far as it was told.
    pub fn values(&self, ns: &str) -> Option<&ChannelValues> {
        self.graphs.get(ns).map(|at| &at.values)
    }

    /// A task's input: a Send's argument, or the state.
    pub fn input(&self, issued: &IssuedTask) -> Value {
        match &issued.path {
            TaskPath::Push { argument, .. } => Value::clone(argument),
            TaskPath::Pull => json!(self.values(outer(&issued.ns))),
        }
    }

    pub fn text(&self, message_id: &str) -> &str {
        self.texts.get(message_id).map_or("", |(_, text)| text)
    }

    /// The message that a task streams or has streamed.
    pub fn message_by(&self, task: TaskId) -> Option<&str> {
        self.texts.iter().find(|(_, (by, _))| *by == task).map(|(id, _)| id.as_str())
    }

    pub fn has_begun(&self, message_id: &str) -> bool {
        self.begun.contains(message_id)
    }

    /// Messages of a task's result that no client of this stream has: not streamed, and not there before.
    pub fn new_messages<'a>(&'a self, done: &'a TaskDone) -> impl Iterator<Item = &'a Value> {
        messages_of(done.update.as_ref()).filter(|message| {
            message_id(message).is_none_or(|id| !self.messages.contains(id) && !self.begun.contains(id))
        })
    }

    /// What LangGraph says of a run beside each task.
    pub fn run(&self) -> Map<String, Value> {
        let mut about = Map::new();
        let Some(envelope) = &self.envelope else { return about };
        let plain = |value: &Value| !(value.is_array() || value.is_object() || value.is_null());
        about.extend(envelope.metadata.iter().filter(|(_, value)| plain(value)).map(|(k, v)| (k.clone(), v.clone())));
        about.insert("created_by".to_owned(), "system".into());
        about.insert("graph_id".to_owned(), envelope.graph.name.clone().into());
        about.insert("assistant_id".to_owned(), assistant_id(&envelope.graph.name).to_string().into());
        about.insert("run_attempt".to_owned(), 1.into());
        about.insert("run_id".to_owned(), envelope.run_id.to_string().into());
        about
    }

    /// The metadata of a message that a task wrote.
    pub fn about(&self, task: TaskId) -> Value {
        let mut about = self.run();
        about.extend(self.thread_id().map(|thread| ("thread_id".to_owned(), thread.into())));
        if let Some(Task { issued, step }) = self.task(task) {
            about.insert("langgraph_step".to_owned(), (*step).into());
            about.insert("langgraph_node".to_owned(), json!(issued.node));
            about.insert("langgraph_triggers".to_owned(), json!(issued.triggers));
            about.insert("langgraph_path".to_owned(), snapshot::path(issued));
            about.insert("langgraph_checkpoint_ns".to_owned(), json!(issued.ns));
        }
        about.into()
    }
}

/// When the record was written that a fact is of.
pub fn time_of(fact: &Fact) -> Millis {
    fn at<T>(of: &Of<T>) -> Millis {
        of.record.update.at
    }
    match fact {
        Fact::Happened(of) => at(of),
        Fact::NodeStarted(of) => at(of),
        Fact::NodeFinished(of) => at(of),
        Fact::Interrupt(of) | Fact::Error(of) | Fact::Final(of) => at(of),
        Fact::Token(record) => record.at,
        Fact::Metadata { .. } | Fact::WholeText(_) | Fact::AttemptReset { .. } => 0,
    }
}

/// The messages that an update writes, in LangChain's form.
fn messages_of(update: Option<&NodeUpdate>) -> impl Iterator<Item = &Value> {
    update.into_iter().flat_map(NodeUpdate::iter).flat_map(|(_, value)| listed(value))
}

/// The messages of a channel's value: itself, or those of a list.
fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    let items: &[Value] = match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    };
    let is_message = |value: &&Value| {
        let kind = value.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| ["human", "ai", "tool", "system"].contains(&kind)) && value.get("content").is_some()
    };
    items.iter().filter(is_message)
}

fn message_id(message: &Value) -> Option<&str> {
    message.get("id").and_then(Value::as_str)
}
