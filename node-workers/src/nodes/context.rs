//! What a node may use besides its input.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use graph::{
    envelope::Envelope,
    ids,
    task::{Handled, Interrupt, Task, TaskError, Usage},
};
use schemas::record::TaskRecord;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use traces::TraceContext;
use uuid::Uuid;

use super::output::Stop;
use crate::{
    calls::CallRecorder,
    failure,
    pace::Pace,
    spending::Spending,
    store::{NodeStore, TaskStore},
    tokens::TokenSink,
};

/// The kind of the error of an answer that doesn't fit: the question stays open.
const ANSWER_DOES_NOT_FIT: &str = "AnswerDoesNotFit";

pub struct NodeContext {
    pub(crate) record: Arc<TaskRecord>,
    pub(crate) execution: Uuid,
    pub(crate) attempt: u32,
    pub(crate) deadline: Instant,
    pub(crate) cancelled: CancellationToken,
    pub(crate) tokens: Arc<TokenSink>,
    pub(crate) calls: CallRecorder,
    pub(crate) answers: Answers,
    /// The failure that the node handles, as its expressions see it.
    pub(crate) failure: Option<Arc<Value>>,
    /// What calls to others hang below.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) store: Option<NodeStore>,
    pub(crate) spending: Option<Spending>,
    pub(crate) pace: Option<Pace>,
}

impl NodeContext {
    /// The run that the task belongs to: tenant, run, thread, metadata and more.
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.record.envelope
    }

    pub fn task(&self) -> &Task {
        &self.record.task
    }

    /// Drawn when a worker starts the task.
    pub fn execution(&self) -> Uuid {
        self.execution
    }

    /// From 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Names the task to the outside, the same for every attempt and copy of one issue.
    pub fn idempotency_key(&self) -> String {
        format!("{}.{}", self.record.task.id, self.record.task.issue)
    }

    /// When the attempt ends, whatever it does.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Cancelled when nobody wants the result: for work that the node has handed to somebody else.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Where deltas go that a client may see before the answer.
    pub fn tokens(&self) -> &TokenSink {
        &self.tokens
    }

    /// Where calls to models are reported.
    pub fn calls(&self) -> &CallRecorder {
        &self.calls
    }

    /// The long-term store, for what is kept over threads; None where a graph is tried without one.
    pub fn store(&self) -> Option<TaskStore<'_>> {
        let store = self.store.as_ref()?;
        Some(TaskStore { store, tenant: &self.envelope().tenant })
    }

    /// The header `traceparent` for requests to others, by which they can go on with the run's trace.
    pub fn traceparent(&self) -> Option<String> {
        self.trace.map(|context| context.to_string())
    }

    /// Who asks too fast learns it by what calls took.
    pub(crate) fn took(&self, usage: &Usage) {
        if let Some(pace) = &self.pace {
            pace.took(self.envelope(), usage);
        }
    }

    /// The id of the `n`-th message that the task makes: the same whenever it is made again.
    pub fn message_id(&self, n: u32) -> String {
        let mut bytes = self.record.task.id.as_bytes().to_vec();
        bytes.extend_from_slice(&n.to_be_bytes());
        Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(&bytes)).to_string()
    }

    /// Steps that the recursion limit leaves, this one counted; the last that can end well sees 1.
    pub fn remaining_steps(&self) -> i64 {
        self.task().stop - self.task().step
    }

    /// The failure that this node is to handle, where another names it in `on_error`.
    pub fn handles(&self) -> Option<&Handled> {
        self.task().handles.as_deref()
    }

    /// Asks a person: gives the answer, or ends the node with the question. It runs again from its top when the answer
    /// is there, so ask in the same order every time, and put what must not happen twice behind the question.
    pub fn interrupt(&self, value: Value) -> Result<Arc<Value>, Stop> {
        self.interrupt_for(value, None)
    }

    /// As [`NodeContext::interrupt`], with a JSON Schema that tells clients what an answer looks like. One that doesn't
    /// fit fails the attempt, and the question stays open.
    pub fn interrupt_for(&self, value: Value, response_schema: Option<Arc<Value>>) -> Result<Arc<Value>, Stop> {
        if let Some(answer) = self.answers.take_one(self.task()) {
            if let Some(error) = response_schema.and_then(|schema| misfit(&schema, &answer)) {
                self.answers.give_back_one();
                return Err(error.into());
            }
            return Ok(answer);
        }
        let id = ids::interrupt_id(&self.task().checkpoint_ns, self.answers.taken() as usize);
        Err(Stop::Asked(vec![Interrupt { id, value: Arc::new(value), response_schema }]))
    }
}

/// Why an answer is none.
fn misfit(schema: &Value, answer: &Value) -> Option<TaskError> {
    let fits = match jsonschema::validator_for(schema) {
        Ok(fits) => fits,
        Err(error) => return Some(failure::node_failed(format!("the schema of an answer is no JSON Schema: {error}"))),
    };
    let error = fits.validate(answer).err()?;
    let place = error.instance_path().to_string();
    let message = format!("the answer doesn't fit what is asked for: {error} (at `{place}`); answer again");
    Some(failure::of_kind(failure::node_failed(message), ANSWER_DOES_NOT_FIT))
}

/// How many of the task's answers the attempt has taken up: reported however it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<AtomicU32>);

impl Answers {
    pub fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn take_one(&self, task: &Task) -> Option<Arc<Value>> {
        let answer = task.answers.get(self.taken() as usize)?;
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(answer))
    }

    /// Those that nobody took yet.
    pub fn left<'t>(&self, task: &'t Task) -> &'t [Arc<Value>] {
        task.answers.get(self.taken() as usize..).unwrap_or_default()
    }

    /// Takes the next `count`, or all that are left.
    pub fn take(&self, task: &Task, count: Option<u32>) {
        let left = self.left(task).len() as u32;
        self.0.fetch_add(count.map_or(left, |count| count.min(left)), Ordering::Relaxed);
    }

    /// The last one doesn't do: its question stays open.
    pub fn give_back_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a handler's expressions and templates see as `failure`.
pub(crate) fn failure_of(task: &Task) -> Option<Arc<Value>> {
    let Handled { node, error, .. } = task.handles.as_deref()?;
    Some(Arc::new(json!({"node": node, "message": error.message, "type": error.kind})))
}
