//! A request: its run begins, waits for its turn, or is refused.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Fold, end::Ending};
use crate::{
    apply::{Purpose, Writer, Writes, apply},
    channel::Write,
    checkpoint::Checkpoint,
    envelope::{Envelope, Millis},
    event::{Multitask, Request, Timer, TimerKind},
    graph::{DEFAULT_RECURSION_LIMIT, Graph, START_NODE},
    message,
    state::{Armed, Run, WAITING_RUNS_MAX, Waiting},
    step_task::Finished,
    task::Usage,
    update::{Happened, QueuedRun, RunError, RunStatus, StartedRun},
};

/// The first timer of every run.
const DEADLINE_GENERATION: u32 = 1;

impl Fold<'_> {
    pub(super) fn request(&mut self, envelope: &Arc<Envelope>, request: &Request) {
        if self.state.knows(envelope.run_id) {
            return;
        }
        if let Some(reason) = &request.missing {
            return self.refuse(envelope, request, value_missing(reason));
        }
        let Some(live) = self.state.live_run() else {
            return self.begin(envelope.clone(), request, self.at, 0);
        };
        let behind = self.state.waiting.back().map_or(live.run_id, |last| last.envelope.run_id);
        match request.multitask {
            Multitask::Enqueue if self.state.waiting.len() < WAITING_RUNS_MAX => self.queue(envelope, request, behind),
            Multitask::Enqueue => self.refuse(envelope, request, too_many_wait()),
            Multitask::Reject => self.refuse(envelope, request, busy()),
            Multitask::Interrupt => self.refuse(envelope, request, not_built("multitask: interrupt")),
            Multitask::Rollback => self.refuse(envelope, request, not_built("multitask: rollback")),
        }
    }

    fn queue(&mut self, envelope: &Arc<Envelope>, request: &Request, behind: uuid::Uuid) {
        let timer = Timer { run_id: envelope.run_id, kind: TimerKind::Deadline, generation: DEADLINE_GENERATION };
        self.state.waiting.push_back(Waiting {
            envelope: envelope.clone(),
            request: Box::new(request.clone()),
            requested_at: self.at,
            number: 1,
            deadline: Armed { timer, due: envelope.deadline },
        });
        let queued = Happened::Queued(QueuedRun { behind, input: request.input.clone() });
        self.tell(envelope, Some(1), RunStatus::Pending, queued);
    }

    /// Begins the run that has waited longest, and the one after it where that ends at once.
    pub(super) fn begin_waiting(&mut self) {
        while self.state.live.is_none()
            && let Some(waiting) = self.state.waiting.pop_front()
        {
            let Waiting { envelope, request, requested_at, number, deadline: _ } = waiting;
            self.begin(envelope, &request, requested_at, number);
            self.flush(RunStatus::Running);
        }
    }

    fn begin(&mut self, envelope: Arc<Envelope>, request: &Request, requested_at: Millis, number: u64) {
        let envelope = self.continued(envelope, request);
        let Some(graph) = self.graphs.graph(&envelope.graph.hash) else { return };
        let limit = limit(&graph, request);
        let mut run = Run {
            number,
            claimed: request.claimed,
            config: request.config.clone(),
            context: request.context.clone(),
            metadata: metadata(&envelope, request),
            stop: 0,
            limit,
            unfinished: 0,
            failure: None,
            usage: Usage::default(),
            timers: Vec::new(),
            generation: DEADLINE_GENERATION - 1,
            envelope,
        };
        run.arm(TimerKind::Deadline, run.envelope.deadline);
        self.happened(Happened::Started(StartedRun {
            input: request.input.clone(),
            resumes: request.resumes,
            requested_at,
        }));
        self.state.live = Some(Box::new(run));
        if let Some(option) = unbuilt(&graph, request) {
            return self.end(Ending::error(not_built(option)));
        }
        if limit == 0 {
            return self.end(Ending::error(invalid_value("ValueError", "recursion_limit must be at least 1")));
        }
        match &request.input {
            Some(input) => self.begin_with_input(&graph, input),
            None => self.go_on(&graph),
        }
    }

    /// Only new input takes the graph's current version: what continues keeps that of its checkpoint.
    fn continued(&self, envelope: Arc<Envelope>, request: &Request) -> Arc<Envelope> {
        let Some(head) = self.state.head().filter(|_| request.input.is_none()) else { return envelope };
        if head.graph == envelope.graph && head.rules == envelope.rules {
            return envelope;
        }
        Arc::new(Envelope { graph: head.graph.clone(), rules: head.rules, ..Envelope::clone(&envelope) })
    }

    /// New input gives up what the thread had yet to do.
    fn begin_with_input(&mut self, graph: &Graph, input: &Arc<Value>) {
        let Some(run) = self.state.live.as_deref() else { return };
        if !input.is_object() {
            let message = "the input must be an object of channels and values";
            return self.end(Ending::error(invalid_value("InvalidUpdateError", message)));
        }
        let (version, rules) = (run.envelope.graph.clone(), run.envelope.rules);
        let mut head = self.state.head.take().unwrap_or_else(|| Checkpoint::empty(version.clone(), rules));
        head.bind(graph);
        (head.graph, head.rules) = (version, rules);
        let mut given_up = std::mem::take(&mut self.state.tasks);
        given_up.values_mut().for_each(|task| task.stand = crate::step_task::Stand::Idle);
        let input_node: Arc<str> = Arc::from("__input__");
        let mut writers = Writer::of_tasks(given_up.values());
        writers.push(Writer { node: &input_node, triggers: &[], writes: Writes::One(START_NODE, Write::Value(input)) });
        let applied = apply(graph, &mut head, &writers, Purpose::Step);
        self.state.head = Some(head);
        if let Err(error) = applied {
            return self.end(Ending::error(super::step::invalid_update(error)));
        }
        self.set_stop();
        self.checkpoint(graph, "input", false);
        self.tick(graph);
    }

    /// Goes on where the thread stands: what had finished isn't run again.
    fn go_on(&mut self, graph: &Graph) {
        let Some(head) = &mut self.state.head else {
            let message = "Received no input for __start__; give `input`, for the thread is empty";
            return self.end(Ending::error(invalid_value("EmptyInputError", message)));
        };
        head.bind(graph);
        self.set_stop();
        self.restore(graph);
        self.tick(graph);
    }

    /// LangGraph's count: the step that begins, and as many after it as the limit says.
    fn set_stop(&mut self) {
        let step = self.state.head.as_ref().map_or(-1, |head| head.step + 1);
        if let Some(run) = self.live() {
            run.stop = step + i64::from(run.limit) + 1;
        }
    }

    /// Ends a run that never began.
    fn refuse(&mut self, envelope: &Arc<Envelope>, request: &Request, error: RunError) {
        if request.claimed {
            self.state.remember(envelope.run_id);
        }
        let ended = Ending::error(error).without_state();
        self.tell(envelope, Some(1), RunStatus::Error, Happened::Ended(Box::new(ended)));
    }
}

/// What START's hidden task writes: the channels of the input schema.
pub(super) fn input_writes(graph: &Graph, input: &Value, seed: uuid::Uuid) -> Finished {
    let mut writes = Vec::new();
    for (name, value) in input.as_object().into_iter().flatten() {
        if let Some(def) = graph.channels.get(name.as_str()).filter(|def| def.input) {
            let value = Arc::new(value.clone());
            let value = if def.kind.holds_messages() { message::with_ids(&value, seed, name) } else { value };
            writes.push((name.clone(), value));
        }
    }
    Finished { writes, ..Finished::default() }
}

fn limit(graph: &Graph, request: &Request) -> u32 {
    request.config.recursion_limit.or(graph.limits().recursion_limit).unwrap_or(DEFAULT_RECURSION_LIMIT)
}

/// The first option of the request or the graph that is parsed and not built.
fn unbuilt(graph: &Graph, request: &Request) -> Option<&'static str> {
    let spec = graph.spec();
    let asks_before = !request.interrupt_before.is_empty() || !spec.interrupt_before.is_empty();
    let asks_after = !request.interrupt_after.is_empty() || !spec.interrupt_after.is_empty();
    [
        (request.command.is_some(), "command"),
        (request.checkpoint_id.is_some(), "checkpoint_id"),
        (asks_before, "interrupt_before"),
        (asks_after, "interrupt_after"),
    ]
    .into_iter()
    .find_map(|(asked, name)| asked.then_some(name))
}

/// Primitive values under keys of the caller's own, as LangGraph keeps them with each checkpoint.
fn metadata(envelope: &Envelope, request: &Request) -> BTreeMap<String, Value> {
    let own = |key: &str| {
        let reserved = ["__", "checkpoint_", "langgraph_"];
        key != "thread_id" && !reserved.iter().any(|prefix| key.starts_with(prefix))
    };
    let primitive = |value: &Value| !(value.is_array() || value.is_object() || value.is_null());
    let given = request.config.configurable.iter().chain(&envelope.metadata);
    given.filter(|(key, value)| own(key) && primitive(value)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn busy() -> RunError {
    let message = "the thread has a run that isn't done; wait for it, cancel it, or ask with multitask: enqueue";
    RunError { code: "thread_busy".to_owned(), message: message.to_owned(), node: None, kind: None, retryable: false }
}

fn too_many_wait() -> RunError {
    RunError { message: format!("{WAITING_RUNS_MAX} runs wait on this thread already; try again later"), ..busy() }
}

fn value_missing(reason: &str) -> RunError {
    RunError { code: "value_missing".to_owned(), message: reason.to_owned(), node: None, kind: None, retryable: true }
}

fn not_built(option: &str) -> RunError {
    RunError {
        code: "not_implemented".to_owned(),
        message: format!("{option} is not built yet"),
        node: None,
        kind: None,
        retryable: false,
    }
}

fn invalid_value(kind: &str, message: &str) -> RunError {
    RunError {
        code: "invalid_value".to_owned(),
        message: message.to_owned(),
        node: None,
        kind: Some(kind.to_owned()),
        retryable: false,
    }
}
