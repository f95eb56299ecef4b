//! Deltas of an answer being made, on their way to `tokens`: for eyes, never the truth.
//!
//! The first goes out at once; then they are put together for some milliseconds or bytes, so that a fast model isn't
//! a record a token.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_log::{EventLog, Record};
use graph::{
    envelope::Envelope,
    ids,
    task::{LastToken, Task},
    world::Clock,
};
use schemas::record::{Token, TokenKind, TokenRecord, Wire};
use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long and how much is put together.
#[derive(Clone, Copy, Debug)]
pub struct Coalescing {
    pub interval: Duration,
    pub bytes_max: usize,
}

/// Where an execution's deltas go.
pub struct TokenSink {
    /// None where nobody watches.
    log: Option<Arc<dyn EventLog>>,
    clock: Arc<dyn Clock>,
    topic: Arc<str>,
    source: Arc<str>,
    coalescing: Coalescing,
    of: Of,
    state: Mutex<State>,
    /// Something waits to be put out.
    waiting: Notify,
}

/// What all tokens of an execution say.
struct Of {
    envelope: Arc<Envelope>,
    task: Arc<schemas::record::TaskRecord>,
    execution: Uuid,
}

#[derive(Default)]
struct State {
    attempt: u32,
    /// The next record's number.
    n: u64,
    sent_at: Option<Instant>,
    pending: Option<Pending>,
    last: Option<LastToken>,
    /// When the attempt last showed that it is alive.
    alive_at: Option<Instant>,
}

struct Pending {
    kind: TokenKind,
    message_id: String,
    delta: String,
}

/// What a sink is made of, apart from the execution that it belongs to.
pub struct TokenTarget {
    pub log: Option<Arc<dyn EventLog>>,
    pub clock: Arc<dyn Clock>,
    pub topic: Arc<str>,
    pub source: Arc<str>,
    pub coalescing: Coalescing,
}

impl TokenSink {
    pub fn new(target: &TokenTarget, task: Arc<schemas::record::TaskRecord>, execution: Uuid) -> Self {
        let TokenTarget { log, clock, topic, source, coalescing } = target;
        TokenSink {
            log: log.clone(),
            clock: Arc::clone(clock),
            topic: Arc::clone(topic),
            source: Arc::clone(source),
            coalescing: *coalescing,
            of: Of { envelope: Arc::clone(&task.envelope), task, execution },
            state: Mutex::default(),
            waiting: Notify::new(),
        }
    }

    /// Puts a delta out, now or with what follows it shortly.
    pub fn emit(&self, kind: TokenKind, message_id: &str, delta: &str) {
        if delta.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.alive_at = Some(Instant::now());
        if !state.continues(kind, message_id) {
            self.send_pending(&mut state);
        }
        match &mut state.pending {
            Some(pending) => pending.delta.push_str(delta),
            None => {
                let (message_id, delta) = (message_id.to_owned(), delta.to_owned());
                state.pending = Some(Pending { kind, message_id, delta });
            }
        }
        if state.is_due(&self.coalescing) {
            self.send_pending(&mut state);
        } else {
            self.waiting.notify_one();
        }
    }

    pub(crate) fn begin_attempt(&self, attempt: u32) {
        let mut state = self.lock();
        self.send_pending(&mut state);
        state.attempt = attempt;
        state.alive_at = Some(Instant::now());
    }

    /// The attempt is alive, though it has nothing to show: its idle timeout begins anew.
    pub fn touch(&self) {
        self.lock().alive_at = Some(Instant::now());
    }

    /// Ends when the attempt has shown nothing for so long.
    pub(crate) async fn idle_for(&self, idle: Duration) {
        loop {
            let due = self.lock().alive_at.map_or_else(Instant::now, |at| at + idle);
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Puts out what waits; the last token of all, for the result.
    pub(crate) fn finish(&self) -> Option<LastToken> {
        let mut state = self.lock();
        self.send_pending(&mut state);
        state.last
    }

    /// Puts out what waits when its time has come, for ever. Costs no timer while nothing waits.
    pub(crate) async fn flush_when_due(&self) -> std::convert::Infallible {
        loop {
            self.waiting.notified().await;
            let due = {
                let state = self.lock();
                state.pending.is_some().then(|| state.sent_at.map(|at| at + self.coalescing.interval)).flatten()
            };
            let Some(due) = due else { continue };
            tokio::time::sleep_until(due).await;
            self.send_pending(&mut self.lock());
        }
    }

    fn send_pending(&self, state: &mut State) {
        let Some(Pending { kind, message_id, delta }) = state.pending.take() else { return };
        let Some(log) = &self.log else { return };
        let task: &Task = &self.of.task.task;
        let token = Token {
            task_id: task.id,
            issue: task.issue,
            execution: self.of.execution,
            attempt: state.attempt,
            n: state.n,
            node: task.node.clone(),
            checkpoint_ns: task.checkpoint_ns.clone(),
            message_id,
            kind,
            delta,
        };
        let record = TokenRecord { envelope: Arc::clone(&self.of.envelope), at: self.clock.now(), token };
        let partition = u32::from(ids::partition_of(self.of.envelope.run_id));
        let wire = Record::json(record.key(), record.headers(&self.source, None), Arc::new(record));
        // A number is spent on a dropped record too, so that readers see the gap.
        let taken = log.append_lossy(&self.topic, partition, wire);
        if taken {
            state.last = Some(LastToken { execution: self.of.execution, attempt: state.attempt, n: state.n });
        }
        state.n += 1;
        state.sent_at = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn continues(&self, kind: TokenKind, message_id: &str) -> bool {
        self.pending
            .as_ref()
            .is_none_or(|pending| kind != TokenKind::Custom && pending.kind == kind && pending.message_id == message_id)
    }

    fn is_due(&self, coalescing: &Coalescing) -> bool {
        self.sent_at.is_none_or(|at| at.elapsed() >= coalescing.interval)
            || self.pending.as_ref().is_some_and(|pending| pending.delta.len() >= coalescing.bytes_max)
    }
}
