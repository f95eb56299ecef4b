//! One run in memory: its updates and tokens, who watches it, and who waits for its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use graph::{by_name::ChannelValues, task::TaskId, update::Happened};
use run_store::Position as RowPosition;
use schemas::record::{TokenRecord, UpdateRecord};
use tokio::time::Instant;
use uuid::Uuid;

use super::watch::{Filter, Joined, Viewing, Waiter, Watcher};
use crate::{
    facts::{Fact, Resumed, Shown, StateSoFar},
    position::{Origin, Position, Rest},
    run::RunState,
    sequence::{Sequencer, Waiting, reset_by},
};

/// What a record costs in memory beside its bytes: allocations and its places in maps.
const OVERHEAD_BYTES: usize = 256;

/// An update as it was appended, parsed and not.
#[derive(Clone, Debug)]
pub struct Stored {
    pub record: Arc<UpdateRecord>,
    pub payload: Bytes,
}

impl Stored {
    /// What it takes in memory, about: its text, and as much again parsed, with the values that the text lacks.
    fn bytes(&self) -> usize {
        let named = self.record.references.as_ref().map_or(0, |references| references.bytes() as usize);
        2 * self.payload.len() + named + OVERHEAD_BYTES
    }
}

#[derive(Debug)]
pub struct LiveRun {
    pub state: RunState,
    /// Of the last update.
    pub position: RowPosition,
    pub updates: Vec<Stored>,
    /// Where the last update stands in `updates`.
    pub offset: u64,
    pub bytes: usize,
    tokens: Vec<ReadToken>,
    /// Tokens below this offset are not here.
    tokens_from: u64,
    /// Tokens from this offset on have not been read.
    tokens_next: u64,
    /// Made when somebody first watches: most runs are only waited for.
    sequencer: Option<Box<Sequencer>>,
    /// Facts of the sequencer that watchers have got.
    pushed: usize,
    waiting: Option<(Waiting, Instant)>,
    watchers: Vec<Watcher>,
    waiters: Vec<Waiter>,
    /// The view, once the run is over.
    ended: Option<Bytes>,
    touched: Instant,
}

#[derive(Debug)]
struct ReadToken {
    offset: u64,
    /// Updates that had been read when it was.
    after: usize,
    record: Arc<TokenRecord>,
}

impl LiveRun {
    /// A run of which nothing is applied yet; tokens from `tokens_from` on are kept.
    pub fn new(record: &UpdateRecord, tokens_from: u64, now: Instant) -> Self {
        LiveRun {
            state: RunState::new(record),
            position: RowPosition::default(),
            updates: Vec::new(),
            offset: 0,
            bytes: OVERHEAD_BYTES,
            tokens: Vec::new(),
            tokens_from,
            tokens_next: tokens_from,
            sequencer: None,
            pushed: 0,
            waiting: None,
            watchers: Vec::new(),
            waiters: Vec::new(),
            ended: None,
            touched: now,
        }
    }

    /// Applies the next update. Whoever waits for the run's end has it when this returns.
    pub fn apply(&mut self, stored: Stored, position: RowPosition, now: Instant) {
        self.state.fold(&stored.record);
        self.position = position;
        self.touched = now;
        self.bytes += stored.bytes();
        if let Some(sequencer) = &mut self.sequencer {
            sequencer.update(Arc::clone(&stored.record));
        }
        self.updates.push(stored);
        if self.state.status.is_terminal() && self.ended.is_none() {
            let view = self.state.view();
            if !self.waiters.is_empty() {
                let waited = waited(&view);
                for waiter in mem::take(&mut self.waiters) {
                    // Whoever has gone away does not miss it.
                    let _ = waiter.send(waited.clone());
                }
            }
            self.ended = Some(view);
        }
        self.push_new(now);
    }

    pub fn token(&mut self, offset: u64, record: Arc<TokenRecord>, now: Instant) {
        if self.is_told() {
            return;
        }
        self.tokens_next = offset + 1;
        self.touched = now;
        self.bytes += record.token.delta.len() + OVERHEAD_BYTES;
        if let Some(sequencer) = &mut self.sequencer {
            sequencer.token(offset, Arc::clone(&record));
        }
        self.tokens.push(ReadToken { offset, after: self.updates.len(), record });
        self.push_new(now);
    }

    /// Until when something may be held back.
    pub fn held_since(&self) -> Option<Instant> {
        self.waiting.map(|(_, since)| since)
    }

    /// Shows what has been held back for too long.
    pub fn expire(&mut self, now: Instant) {
        if let Some(sequencer) = &mut self.sequencer {
            sequencer.expire();
        }
        self.push_new(now);
    }

    /// Whether anybody streamed it here, and may come back for the rest.
    pub fn is_watched(&self) -> bool {
        self.sequencer.is_some()
    }

    /// Whether an update of the run names this value: then it is in the store.
    pub fn names(&self, hash: &str) -> bool {
        let tables = self.updates.iter().filter_map(|stored| stored.record.references.as_ref());
        tables.into_iter().any(|table| table.names(hash))
    }

    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// A [`schemas::http::RunView`] as JSON.
    pub fn view(&self) -> Bytes {
        self.ended.clone().unwrap_or_else(|| self.state.view())
    }

    /// Registers a waiter, or tells it at once.
    pub fn wait(&mut self, waiter: Waiter) {
        match &self.ended {
            Some(view) => drop(waiter.send(waited(view))),
            None => {
                if self.waiters.len() >= 16 && self.waiters.len().is_power_of_two() {
                    self.waiters.retain(|waiter| !waiter.is_closed());
                }
                self.waiters.push(waiter);
            }
        }
    }

    /// Registers a client, unless the run is over and everything is there already.
    pub fn join(&mut self, after: Option<Position>, buffer_events_max: usize, hold_max: Duration) -> Joined {
        let now = Instant::now();
        if self.has_everything(after) {
            return Joined::Whole;
        }
        self.sequence(hold_max, now);
        let (watcher, facts, ending) = Watcher::new(buffer_events_max);
        let (prelude, filter) = self.prelude(after);
        let mut facts = Some(facts);
        if self.is_told() {
            facts = None;
        } else {
            self.watchers.push(watcher);
        }
        Joined::Stream(Box::new(Viewing { prelude, filter, facts, ending }))
    }

    /// How far its stream is.
    pub fn stand(&mut self, hold_max: Duration) -> Option<Position> {
        self.sequence(hold_max, Instant::now());
        self.sequencer.as_ref()?.shown().last().map(|shown| shown.position)
    }

    /// Registers a client that came before the run was known. It gets its beginning through its channel.
    pub fn adopt(&mut self, watcher: Watcher, hold_max: Duration) {
        self.sequence(hold_max, Instant::now());
        let (prelude, _) = self.prelude(None);
        if prelude.iter().all(|shown| watcher.push(shown)) && !self.is_told() {
            self.watchers.push(watcher);
        }
    }

    /// Ends every watch. Waiters that get nothing know that the partition has moved.
    pub fn end_all(&mut self, ending: super::Ending) {
        mem::take(&mut self.watchers).into_iter().for_each(|watcher| watcher.end(ending));
        self.waiters.clear();
    }

    /// Frees the tokens of a run that nobody watches. Says how many bytes that was.
    pub fn forget_tokens(&mut self, read_so_far: u64) -> usize {
        if !self.watchers.is_empty() || self.tokens.is_empty() {
            return 0;
        }
        let freed = self.tokens.drain(..).map(|token| token.record.token.delta.len() + OVERHEAD_BYTES).sum();
        self.tokens_from = read_so_far;
        (self.sequencer, self.pushed, self.waiting) = (None, 0, None);
        self.bytes -= freed;
        freed
    }

    /// Some tokens before this offset could not be read.
    pub fn lose_tokens(&mut self, from: u64) {
        self.tokens_from = from;
        self.tokens_next = from;
    }

    fn has_everything(&self, after: Option<Position>) -> bool {
        self.is_over() && after.is_some_and(|after| after.is_whole(self.state.number))
    }

    /// Whether the last fact of the run is among those shown.
    fn is_told(&self) -> bool {
        self.sequencer
            .as_ref()
            .and_then(|sequencer| sequencer.shown().last())
            .is_some_and(|shown| matches!(shown.fact, Fact::Final(_)))
    }

    fn sequence(&mut self, hold_max: Duration, now: Instant) {
        if self.sequencer.is_some() {
            return;
        }
        let mut sequencer = Box::new(Sequencer::default());
        let mut tokens = self.tokens.iter().peekable();
        for (index, stored) in self.updates.iter().enumerate() {
            while let Some(token) = tokens.next_if(|token| token.after <= index) {
                sequencer.token(token.offset, Arc::clone(&token.record));
            }
            sequencer.update(Arc::clone(&stored.record));
        }
        for token in tokens {
            sequencer.token(token.offset, Arc::clone(&token.record));
        }
        if now.duration_since(self.touched) >= hold_max {
            while sequencer.waiting().is_some() {
                sequencer.expire();
            }
        }
        self.pushed = sequencer.shown().len();
        self.waiting = sequencer.waiting().map(|waiting| (waiting, now));
        self.sequencer = Some(sequencer);
    }

    fn push_new(&mut self, now: Instant) {
        let Some(sequencer) = &self.sequencer else { return };
        let shown = sequencer.shown();
        for fact in &shown[self.pushed..] {
            self.watchers.retain(|watcher| watcher.push(fact));
        }
        self.pushed = shown.len();
        self.waiting = match (sequencer.waiting(), self.waiting) {
            (Some(waiting), Some((former, since))) if waiting == former => Some((waiting, since)),
            (waiting, _) => waiting.map(|waiting| (waiting, now)),
        };
        if self.ended.is_some() && self.waiting.is_none() {
            self.watchers.clear();
        }
    }

    /// What a stream begins with: which run it is, what is void, and every fact so far.
    fn prelude(&self, after: Option<Position>) -> (Vec<Arc<Shown>>, Filter) {
        let shown = self.sequencer.as_ref().map_or(&[][..], |sequencer| sequencer.shown());
        let mut prelude = Vec::with_capacity(shown.len() + 1);
        let envelope = Arc::clone(&self.state.envelope);
        let Some(after) = after else {
            let fact = Fact::Metadata { envelope, resumed: None };
            prelude.push(Arc::new(Shown { position: Position::default(), origin: Origin::Stream, fact }));
            prelude.extend(shown.iter().cloned());
            return (prelude, Filter::default());
        };
        let (state, closed) = self.state_at(after);
        let partial = self.partial_at(after, &state);
        // Nothing of an open task was shown, or every token from there on is here.
        let recovered = state.open.is_empty() || after.tokens == 0 || after.tokens >= self.tokens_from;
        let say = |fact| Arc::new(Shown { position: after, origin: Origin::Stream, fact });
        if recovered {
            prelude.push(say(Fact::Metadata { envelope, resumed: Some(Resumed::Recovered) }));
        } else {
            let void = state.open.clone();
            prelude.push(say(Fact::Metadata { envelope, resumed: Some(Resumed::Lost(Box::new(state))) }));
            prelude.extend(
                void.into_iter().map(|task| say(Fact::AttemptReset { task_id: task.task_id, node: task.node })),
            );
        }
        prelude.extend(shown.iter().cloned());
        (prelude, Filter { after: Some(after), closed, partial, void: self.void_at(after) })
    }

    /// The task that the client saw reset last, within the update of its result.
    fn void_at(&self, after: Position) -> Option<TaskId> {
        let Rest::Places(places) = after.rest else { return None };
        let update = self.updates.iter().map(|stored| &stored.record.update);
        update.filter(|update| update.number == Some(after.update)).find_map(|update| reset_by(update, places))
    }

    /// Open tasks of which the client may have seen tokens, and by which execution the last one was.
    fn partial_at(&self, after: Position, state: &StateSoFar) -> BTreeMap<TaskId, Option<Uuid>> {
        // A reset was shown of the execution whose token comes next.
        let until = after.tokens + u64::from(after.rest == Rest::Reset);
        // Of tokens that only another sink has read, this one can't tell.
        let unread = until > self.tokens_next || (after.tokens > 0 && self.tokens_from > 0);
        let open = state.open.iter().map(|task| task.task_id);
        let mut partial: BTreeMap<TaskId, Option<Uuid>> =
            open.clone().filter(|_| unread).map(|id| (id, None)).collect();
        let open: BTreeSet<TaskId> = open.collect();
        let mut begun = BTreeSet::new();
        for token in self.tokens.iter().take_while(|token| token.offset < until) {
            let token = &token.record.token;
            // The execution that began last is shown; a late token of a former one was not.
            if open.contains(&token.task_id) && begun.insert((token.task_id, token.execution)) {
                partial.insert(token.task_id, Some(token.execution));
            }
        }
        partial
    }

    /// How things stood for a client that had seen everything up to `after`: open tasks and closed ones.
    fn state_at(&self, after: Position) -> (StateSoFar, BTreeSet<TaskId>) {
        let mut open = BTreeMap::new();
        let mut closed = BTreeSet::new();
        let mut values = ChannelValues::new();
        for stored in &self.updates {
            let update = &stored.record.update;
            let number = update.number.unwrap_or(u64::MAX);
            for happened in &update.happened {
                match happened {
                    Happened::TaskDone(done) if number <= after.update => {
                        closed.insert(done.task_id);
                    }
                    Happened::StepDone(step) if step.ns.is_empty() => values.clone_from(&step.values),
                    _ => {}
                }
            }
            let whole = number < after.update || (number == after.update && !matches!(after.rest, Rest::Places(_)));
            for issued in update.issued.iter().filter(|_| whole) {
                open.insert(issued.task_id, issued.clone());
            }
        }
        let open = open.into_values().filter(|issued| !closed.contains(&issued.task_id)).collect();
        (StateSoFar { status: self.state.status, values, open }, closed)
    }
}

/// [`schemas::stream::Waited::Ended`] around a view that is JSON already.
pub fn waited(view: &Bytes) -> Bytes {
    [br#"{"ended":"#.as_slice(), view, b"}"].concat().into()
}
