//! A request: its run begins, waits for its turn, or is refused.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Fold, end::Ending, lost::value_missing, recall};
use crate::{
    channel::Fields,
    checkpoint::Checkpoint,
    envelope::{Envelope, GraphRef, Millis},
    event::{Multitask, Request, Timer, TimerKind},
    graph::{DEFAULT_RECURSION_LIMIT, Graph},
    graph_loop::{Found, GraphLoop, Recalled, Wanted},
    message,
    state::{Armed, Began, Delay, Run, WAITING_RUNS_MAX, Waiting},
    step_task::Finished,
    update::{Happened, QueuedRun, RunError, RunStatus, StartedRun},
};

/// Of the first timers of every run.
const DEADLINE_GENERATION: u32 = 1;

/// Where a run begins.
struct Place {
    /// The request named a checkpoint.
    addressed: bool,
    /// That one, where the thread has moved past it.
    earlier: Option<Arc<GraphLoop>>,
}

impl Fold<'_> {
    pub(super) fn request(&mut self, envelope: &Arc<Envelope>, request: &Request) {
        if self.state.knows(envelope.run_id) {
            return;
        }
        if let Some(reason) = &request.missing {
            return self.refuse(envelope, request, value_missing(reason));
        }
        let idle = self.state.is_idle();
        // Runs whose time hasn't come hold up nobody.
        let waits = self.state.live.is_some() || request.after_ms.is_some();
        match request.multitask {
            Multitask::Enqueue if waits && self.state.waiting.len() >= WAITING_RUNS_MAX => {
                return self.refuse(envelope, request, too_many_wait());
            }
            Multitask::Reject if !idle => return self.refuse(envelope, request, busy()),
            Multitask::Interrupt | Multitask::Rollback if !idle => {
                self.make_way(request.multitask == Multitask::Rollback);
                // What ended goes out before this run begins. An edit that waits for programs makes no way.
                if request.after_ms.is_none() && self.state.live.is_none() {
                    self.line_up(envelope, request, 0);
                    return;
                }
            }
            Multitask::Enqueue | Multitask::Reject | Multitask::Interrupt | Multitask::Rollback => {}
        }
        match waits {
            true => self.queue(envelope, request),
            false => self.begin(envelope.clone(), request, self.at, 0),
        }
    }

    fn queue(&mut self, envelope: &Arc<Envelope>, request: &Request) {
        let ahead = self.state.waiting.iter().rfind(|waiting| waiting.is_ready()).map(|ahead| &ahead.envelope);
        let behind = ahead.or(self.state.live_run()).map(|ahead| ahead.run_id);
        let due = self.line_up(envelope, request, 1);
        let queued = Happened::Queued(QueuedRun { behind, due, input: request.input.clone() });
        self.tell(envelope, Some(1), RunStatus::Pending, queued);
    }

    /// `number` is that of the run's last update. Gives when a run may begin that was asked for with a delay.
    fn line_up(&mut self, envelope: &Arc<Envelope>, request: &Request, number: u64) -> Option<Millis> {
        let timer = |kind| Timer { run_id: envelope.run_id, kind, generation: DEADLINE_GENERATION };
        let due = request.after_ms.map(|after| self.at.saturating_add(after));
        let begin = due.map(|due| Armed { timer: timer(TimerKind::Begin), due });
        self.state.waiting.push_back(Waiting {
            envelope: envelope.clone(),
            request: Box::new(request.clone()),
            requested_at: self.at,
            number,
            deadline: Armed { timer: timer(TimerKind::Deadline), due: envelope.deadline },
            delay: begin.map(|begin| Delay { begin, over: false }),
        });
        due
    }

    /// Begins the run that has waited longest, and the one after it where that ends at once. Gives what a run lacks that
    /// begins at a checkpoint of the past.
    pub(super) fn begin_waiting(&mut self) -> Option<Wanted> {
        while self.state.live.is_none()
            && let Some(waiting) = self.next_in_turn().and_then(|place| self.state.waiting.remove(place))
        {
            let Waiting { envelope, request, requested_at, number, deadline: _, delay: _ } = waiting;
            if let Some(id) = request.checkpoint_id
                && let Some(wanted) = recall::wanted_at(&self.state, id, true, &self.at_hand(id))
            {
                return Some(wanted);
            }
            self.begin(envelope, &request, requested_at, number);
            self.flush(RunStatus::Running);
        }
        None
    }

    fn next_in_turn(&self) -> Option<usize> {
        let ready = self.state.waiting.iter().enumerate().filter(|(_, waiting)| waiting.is_ready());
        ready.min_by_key(|(place, waiting)| (waiting.turn(), *place)).map(|(place, _)| place)
    }

    fn begin(&mut self, envelope: Arc<Envelope>, request: &Request, requested_at: Millis, number: u64) {
        let recalled = request.checkpoint_id.map(|id| self.at_hand(id)).unwrap_or_default();
        let place = self.place(request, &recalled);
        let earlier = place.as_ref().ok().and_then(|place| place.earlier.as_deref());
        let head = earlier.map(|earlier| &earlier.head).or(self.state.head());
        let envelope = continued(envelope, request, head);
        let Some(graph) = self.graphs.graph(&envelope.graph.hash) else { return };
        let limit = limit(&graph, request);
        let mut run = Run {
            number,
            claimed: request.claimed,
            config: request.config.clone(),
            context: request.context.clone(),
            metadata: metadata(&envelope, request),
            limit,
            interrupt_before: request.interrupt_before.clone(),
            interrupt_after: request.interrupt_after.clone(),
            began: Began::of(&self.state, &envelope, request),
            keeps_last: request.keeps_last && envelope.thread_id.is_some(),
            generation: DEADLINE_GENERATION - 1,
            ..Run::bare(envelope)
        };
        run.arm(TimerKind::Deadline, run.envelope.deadline);
        self.time_untimed(&run.envelope, request.ttl);
        self.happened(Happened::Started(StartedRun {
            input: request.input.clone(),
            resumes: request.resumes,
            requested_at,
            keeps_last: run.keeps_last,
            ttl: self.state.expiry.as_ref().map(|expiry| expiry.ttl),
        }));
        let (version, rules) = (run.envelope.graph.clone(), run.envelope.rules);
        self.state.live = Some(Box::new(run));
        let place = place.and_then(|place| match limit {
            0 => Err(invalid_value("ValueError", "recursion_limit must be at least 1")),
            _ => Ok(place),
        });
        let Place { addressed, earlier } = match place {
            Ok(place) => place,
            Err(error) => {
                // The state so far, as a run would see it.
                if let Some(root) = self.state.root.as_deref_mut()
                    && let Some(graph) = self.graphs.graph(&root.head.graph.hash)
                {
                    root.bind(&graph);
                }
                return self.end(Ending::error(error));
            }
        };
        let superseded = earlier.is_some();
        if let Some(earlier) = earlier {
            self.state.newest = self.state.root.replace(Box::new(GraphLoop::clone(&earlier)));
        }
        let root =
            self.state.root.get_or_insert_with(|| Box::new(GraphLoop::empty(String::new(), Arc::new(version), rules)));
        root.bind(&graph);
        self.turn(|turn, root| turn.first(root, request, addressed, superseded, &recalled));
    }

    /// Where the request begins: at the newest checkpoint unless it names one.
    fn place(&self, request: &Request, recalled: &Recalled) -> Result<Place, RunError> {
        let Some(id) = request.checkpoint_id else { return Ok(Place { addressed: false, earlier: None }) };
        if let Some(Found::Lost(reason)) = recalled.values().find(|found| matches!(found, Found::Lost(_))) {
            return Err(value_missing(reason));
        }
        if self.state.head().is_some_and(|head| head.id == id) {
            return Ok(Place { addressed: true, earlier: None });
        }
        match recalled.get(&Wanted::Checkpoint(id)) {
            Some(Found::There(found)) => Ok(Place { addressed: true, earlier: Some(found.clone()) }),
            Some(Found::Nothing | Found::Lost(_)) | None => Err(self.no_checkpoint(id)),
        }
    }

    /// Ends a run that never began.
    pub(super) fn refuse(&mut self, envelope: &Arc<Envelope>, request: &Request, error: RunError) {
        if request.claimed {
            self.state.remember(envelope.run_id);
        }
        let ended = Ending::error(error).without_state();
        self.tell(envelope, Some(1), RunStatus::Error, Happened::Ended(Box::new(ended)));
    }
}

/// Only new input takes the graph's current version: what continues keeps that of its checkpoint.
fn continued(envelope: Arc<Envelope>, request: &Request, head: Option<&Checkpoint>) -> Arc<Envelope> {
    match head.filter(|_| request.input.is_none()) {
        Some(head) => of_version(envelope, head),
        None => envelope,
    }
}

/// The envelope of what works on a checkpoint of this version.
pub(super) fn of_version(envelope: Arc<Envelope>, head: &Checkpoint) -> Arc<Envelope> {
    if *head.graph == envelope.graph && head.rules == envelope.rules {
        return envelope;
    }
    Arc::new(Envelope { graph: GraphRef::clone(&head.graph), rules: head.rules, ..Envelope::clone(&envelope) })
}

/// What START's hidden task writes: the channels of the input schema.
pub(super) fn input_writes(graph: &Graph, input: &Fields, seed: uuid::Uuid) -> Finished {
    let mut writes = Vec::new();
    for (name, value) in input {
        if let Some(def) = graph.channels.get(name).filter(|def| def.input) {
            let holds_messages = def.kind.holds_messages();
            writes.push((
                name.clone(),
                if holds_messages { message::with_ids(value, seed, name) } else { value.clone() },
            ));
        }
    }
    Finished { writes: Arc::new(writes), ..Finished::default() }
}

/// An object as channels and values.
pub(super) fn fields(object: &Value) -> Option<Fields> {
    let object = object.as_object()?;
    Some(object.iter().map(|(name, value)| (name.clone(), Arc::new(value.clone()))).collect())
}

fn limit(graph: &Graph, request: &Request) -> u32 {
    request.config.recursion_limit.or(graph.limits().recursion_limit).unwrap_or(DEFAULT_RECURSION_LIMIT)
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

pub(super) fn busy() -> RunError {
    let message = "the thread has a run that isn't done; wait for it, cancel it, or ask with multitask: enqueue";
    RunError { code: "thread_busy".to_owned(), message: message.to_owned(), ..RunError::default() }
}

fn too_many_wait() -> RunError {
    RunError { message: format!("{WAITING_RUNS_MAX} runs wait on this thread already; try again later"), ..busy() }
}

pub(super) fn invalid_value(kind: &str, message: &str) -> RunError {
    RunError {
        code: "invalid_value".to_owned(),
        message: message.to_owned(),
        kind: Some(kind.to_owned()),
        ..RunError::default()
    }
}

pub(super) fn unknown_checkpoint(id: uuid::Uuid) -> RunError {
    let message = format!("the thread has no checkpoint {id}; list them with GET /threads/{{thread_id}}/history");
    invalid_value("UnknownCheckpoint", &message)
}
