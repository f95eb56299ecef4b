//! What is known of one run: its updates, folded. Pure.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use graph::{
    by_name::ChannelValues,
    envelope::{Envelope, Millis},
    task::{Interrupt, Usage},
    update::{Happened, RunStatus},
};
use schemas::{error::ErrorFields, record::UpdateRecord};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{run_error, time};

#[derive(Clone, Debug)]
pub struct RunState {
    pub envelope: Arc<Envelope>,
    /// The last update folded.
    pub number: u64,
    pub status: RunStatus,
    pub created_at: Millis,
    pub updated_at: Millis,
    /// It has left the queue of its thread.
    pub started: bool,
    input: Option<Arc<Value>>,
    output: Option<ChannelValues>,
    error: Option<ErrorFields>,
    exception: Option<String>,
    interrupts: Vec<Interrupt>,
    usage: Usage,
    resumes: Option<Uuid>,
    /// No run: an edit of a thread's state, which lists and reads of runs don't know.
    pub is_edit: bool,
    /// As if it had never been: who watched it is told its end, and nobody else finds it.
    pub undone: bool,
}

impl RunState {
    /// A run of which nothing is folded yet.
    pub fn new(record: &UpdateRecord) -> Self {
        let envelope = Arc::clone(&record.envelope);
        let at = record.update.at;
        RunState {
            number: 0,
            status: RunStatus::Pending,
            created_at: time::of_id(envelope.run_id).unwrap_or(at),
            updated_at: at,
            started: false,
            input: None,
            output: None,
            error: None,
            exception: None,
            is_edit: false,
            undone: false,
            interrupts: Vec::new(),
            usage: Usage::default(),
            resumes: None,
            envelope,
        }
    }

    /// Folds the next update.
    pub fn fold(&mut self, record: &UpdateRecord) {
        let update = &record.update;
        self.number = update.number.unwrap_or(self.number);
        self.status = update.status;
        self.updated_at = update.at;
        for happened in &update.happened {
            match happened {
                Happened::Queued(queued) => self.input.clone_from(&queued.input),
                Happened::Started(started) => {
                    self.started = true;
                    if started.input.is_some() {
                        self.input.clone_from(&started.input);
                    }
                    self.resumes = started.resumes;
                }
                Happened::TaskDone(done) => done.calls.iter().for_each(|call| self.usage += call.usage),
                Happened::Spent { calls, .. } => calls.iter().for_each(|call| self.usage += call.usage),
                Happened::Continued(_) | Happened::StepDone(_) | Happened::Paused(_) | Happened::Kept(_) => {}
                Happened::Edited(edited) => {
                    self.is_edit = true;
                    self.output =
                        edited.checkpoint_id.map(|id| [("checkpoint_id", Arc::new(json!(id)))].into_iter().collect());
                    self.error = edited.error.as_ref().map(|error| run_error::of_edit(error, self.envelope.run_id));
                    self.exception = edited.error.as_ref().map(run_error::exception_of);
                }
                Happened::Ended(ended) => {
                    self.undone = ended.rolled_back && self.envelope.thread_id.is_some();
                    self.output.clone_from(&ended.output);
                    self.error = run_error::of(ended, self.envelope.run_id);
                    self.exception = run_error::exception(ended);
                    // It neither asked nor met a breakpoint: somebody made it stop.
                    let paused = update.happened.iter().any(|happened| matches!(happened, Happened::Paused(_)));
                    if ended.status == RunStatus::Interrupted && !paused {
                        self.exception = Some("UserInterrupt".to_owned());
                    }
                    self.interrupts.clone_from(&ended.interrupts);
                    self.usage = ended.usage;
                }
            }
        }
    }

    /// A [`schemas::http::RunView`] as JSON, without a copy of the values.
    pub fn view(&self) -> Bytes {
        let view = View {
            run_id: self.envelope.run_id,
            thread_id: self.envelope.thread_id.as_deref(),
            graph: &self.envelope.graph.name,
            hash: &self.envelope.graph.hash,
            status: self.status,
            user: self.envelope.principal.user.as_deref(),
            created_at: time::rfc3339(self.created_at),
            updated_at: time::rfc3339(self.updated_at),
            input: self.input.as_deref(),
            output: self.output.as_ref(),
            error: self.error.as_ref(),
            exception: self.exception.as_deref(),
            interrupts: &self.interrupts,
            usage: self.usage,
            metadata: &self.envelope.metadata,
            tags: &self.envelope.tags,
            resumes: self.resumes,
            number: self.number,
        };
        event_log::to_json(&view)
    }
}

#[derive(Serialize)]
struct View<'a> {
    run_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    graph: &'a str,
    hash: &'a str,
    status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a ChannelValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    interrupts: &'a [Interrupt],
    usage: Usage,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes: Option<Uuid>,
    number: u64,
}
