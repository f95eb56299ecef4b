//! Puts updates and tokens of one run into the order in which they are shown. Pure: the same records in the same order
//! give the same facts.
//!
//! - A task's tokens come between its `node_started` and its `node_finished`; an update waits for the last token that
//!   its results name, until [`Sequencer::expire`] says that it has waited long enough.
//! - Of two executions of a task the one that began last (by offset) is shown; a change is announced by a reset.
//! - Where the answer of record is not what was shown, the whole text follows after a reset.
//!
//! Tokens are shown in the order of their offsets, so that one number says which were.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use graph::{
    task::{LastToken, TaskId},
    update::{Happened, IssuedTask, RunStatus, TaskDone, Update},
};
use schemas::record::{Token, TokenRecord, UpdateRecord};
use uuid::Uuid;

use crate::{
    facts::{Fact, Of, Shown, WholeText},
    position::{Origin, Position, Rest},
};

/// Places of one happening: fixed, so that a position within an update means the same whatever was shown.
const PLACES_OF_DONE: u32 = 3;
const PLACES_OF_ENDED: u32 = 3;
const PLACES_OF_ISSUED: u32 = 2;

#[derive(Debug, Default)]
pub struct Sequencer {
    /// The last update and token shown.
    position: Position,
    tasks: BTreeMap<TaskId, Task>,
    updates: VecDeque<Arc<UpdateRecord>>,
    tokens: VecDeque<(u64, Arc<TokenRecord>)>,
    ended: bool,
    shown: Vec<Arc<Shown>>,
}

/// See [`Sequencer::waiting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// An update waits for a last token.
    Update(Option<u64>),
    /// A token waits for the update that issued its task.
    Token(u64),
}

/// What was shown of one task.
#[derive(Debug)]
struct Task {
    issue: u32,
    done: bool,
    /// Execution and attempt whose tokens are shown.
    showing: Option<(Uuid, u32)>,
    /// Those that were shown before: a late token of theirs is dropped.
    retired: Vec<(Uuid, u32)>,
    next_n: u64,
    /// A token in between never came.
    holed: bool,
}

/// What becomes of a token.
enum Admission {
    Show,
    /// Its task's update has not been read yet.
    Early,
    Drop,
}

impl Sequencer {
    /// Takes the next update of the run.
    pub fn update(&mut self, record: Arc<UpdateRecord>) {
        self.updates.push_back(record);
        self.advance();
    }

    /// Takes the next token of the run, by offset.
    pub fn token(&mut self, offset: u64, record: Arc<TokenRecord>) {
        self.tokens.push_back((offset, record));
        self.advance();
    }

    /// What waits for a record that has not come; while it waits, the same.
    pub fn waiting(&self) -> Option<Waiting> {
        match (self.updates.front(), self.tokens.front()) {
            (Some(update), _) => Some(Waiting::Update(update.update.number)),
            (None, Some((offset, _))) => Some(Waiting::Token(*offset)),
            (None, None) => None,
        }
    }

    /// Gives up on what is waited for.
    pub fn expire(&mut self) {
        match self.updates.pop_front() {
            Some(update) => self.show_update(&update),
            // Nothing that was read has issued its task.
            None => drop(self.tokens.pop_front()),
        }
        self.advance();
    }

    /// Everything shown so far, in order.
    pub fn shown(&self) -> &[Arc<Shown>] {
        &self.shown
    }

    fn advance(&mut self) {
        loop {
            if let Some((offset, token)) = self.tokens.front() {
                match self.admit(&token.token) {
                    Admission::Show => {
                        let (offset, token) = (*offset, Arc::clone(token));
                        self.tokens.pop_front();
                        self.show_token(offset, token);
                        continue;
                    }
                    Admission::Drop => {
                        self.tokens.pop_front();
                        continue;
                    }
                    Admission::Early => {}
                }
            }
            match self.updates.pop_front_if(|update| is_ready(&self.tasks, update)) {
                Some(update) => self.show_update(&update),
                None => return,
            }
        }
    }

    fn admit(&self, token: &Token) -> Admission {
        if self.ended {
            return Admission::Drop;
        }
        let Some(task) = self.tasks.get(&token.task_id) else { return Admission::Early };
        if token.issue > task.issue {
            return Admission::Early;
        }
        if task.done || token.issue < task.issue || task.retired.contains(&(token.execution, token.attempt)) {
            return Admission::Drop;
        }
        Admission::Show
    }

    fn show_token(&mut self, offset: u64, record: Arc<TokenRecord>) {
        let token = &record.token;
        let Some(task) = self.tasks.get_mut(&token.task_id) else { return };
        let resets = task.showing.is_some_and(|showing| showing != (token.execution, token.attempt));
        task.take(token);
        if resets {
            let fact = Fact::AttemptReset { task_id: token.task_id, node: token.node.clone() };
            let position = Position { tokens: offset, rest: Rest::Reset, ..self.position };
            self.push(position, Origin::TokenReset { offset }, fact);
        }
        self.position.tokens = offset + 1;
        self.push(self.position, Origin::Token { offset }, Fact::Token(record));
    }

    fn show_update(&mut self, record: &Arc<UpdateRecord>) {
        let Some(number) = record.update.number else { return };
        let mut facts: Vec<(u32, Fact)> = Vec::new();
        let mut place = 0;
        for (index, happened) in record.update.happened.iter().enumerate() {
            match happened {
                Happened::TaskDone(done) => {
                    self.finish(record, index, done, place, &mut facts);
                    place += PLACES_OF_DONE;
                }
                Happened::Ended(ended) => {
                    self.ended = true;
                    let of = Of::ended(record, index);
                    if !ended.interrupts.is_empty() {
                        facts.push((place, Fact::Interrupt(of.clone())));
                    }
                    if ended.error.is_some() || matches!(ended.status, RunStatus::Error | RunStatus::Timeout) {
                        facts.push((place + 1, Fact::Error(of.clone())));
                    }
                    facts.push((place + 2, Fact::Final(of)));
                    place += PLACES_OF_ENDED;
                }
                Happened::Queued(_)
                | Happened::Started(_)
                | Happened::Continued(_)
                | Happened::StepDone(_)
                | Happened::Paused(_)
                | Happened::Kept(_)
                | Happened::Edited(_)
                | Happened::Spent { .. } => {
                    facts.push((place, Fact::Happened(Of::happened(record, index))));
                    place += 1;
                }
            }
        }
        for (index, issued) in record.update.issued.iter().enumerate() {
            self.issue(record, index, issued, place, &mut facts);
            place += PLACES_OF_ISSUED;
        }
        let last = facts.len().saturating_sub(1);
        for (index, (place, fact)) in facts.into_iter().enumerate() {
            let rest = if index == last { Rest::None } else { Rest::Places(place + 1) };
            let position = Position { update: number, tokens: self.position.tokens, rest };
            self.push(position, Origin::Update { number, place }, fact);
        }
        self.position.update = number;
        self.position.rest = Rest::None;
    }

    fn finish(
        &mut self,
        record: &Arc<UpdateRecord>,
        index: usize,
        done: &TaskDone,
        place: u32,
        facts: &mut Vec<(u32, Fact)>,
    ) {
        let task = self.tasks.entry(done.task_id).or_insert_with(|| Task::new(done.issue));
        if !done.restored && done.error.is_none() && !task.has_shown(done.last_token.as_ref()) {
            let streams = task.showing.is_some() || done.last_token.is_some();
            let whole = if streams { WholeText::of(done) } else { None };
            let other_execution = task.showing.is_some_and(|(execution, _)| execution != done.execution);
            if task.showing.is_some() && (whole.is_some() || other_execution) {
                facts.push((place, Fact::AttemptReset { task_id: done.task_id, node: done.node.clone() }));
            }
            if let Some(whole) = whole {
                facts.push((place + 1, Fact::WholeText(Box::new(whole))));
            }
        }
        task.done = true;
        facts.push((place + 2, Fact::NodeFinished(Of::done(record, index))));
    }

    fn issue(
        &mut self,
        record: &Arc<UpdateRecord>,
        index: usize,
        issued: &IssuedTask,
        place: u32,
        facts: &mut Vec<(u32, Fact)>,
    ) {
        match self.tasks.get_mut(&issued.task_id) {
            None => {
                self.tasks.insert(issued.task_id, Task::new(issued.issue));
                facts.push((place + 1, Fact::NodeStarted(Of::issued(record, index))));
            }
            Some(task) if task.issue < issued.issue => {
                if task.showing.is_some() {
                    facts.push((place, Fact::AttemptReset { task_id: issued.task_id, node: issued.node.clone() }));
                }
                *task = Task::new(issued.issue);
            }
            Some(_) => {}
        }
    }

    fn push(&mut self, position: Position, origin: Origin, fact: Fact) {
        self.shown.push(Arc::new(Shown { position, origin, fact }));
    }
}

/// The task whose reset, and nothing of its answer, was shown by who has so many places of the update.
pub fn reset_by(update: &Update, places: u32) -> Option<TaskId> {
    let mut place = 0;
    for happened in &update.happened {
        match happened {
            Happened::TaskDone(done) if places == place + 1 => return Some(done.task_id),
            Happened::TaskDone(_) => place += PLACES_OF_DONE,
            Happened::Ended(_) => place += PLACES_OF_ENDED,
            Happened::Queued(_)
            | Happened::Started(_)
            | Happened::Continued(_)
            | Happened::StepDone(_)
            | Happened::Paused(_)
            | Happened::Kept(_)
            | Happened::Edited(_)
            | Happened::Spent { .. } => place += 1,
        }
    }
    None
}

/// Whether the last tokens that the update's results name were shown, or can't be any more.
fn is_ready(tasks: &BTreeMap<TaskId, Task>, record: &UpdateRecord) -> bool {
    record.update.happened.iter().all(|happened| match happened {
        Happened::TaskDone(done) => match (&done.last_token, tasks.get(&done.task_id)) {
            (Some(last), Some(task)) => task.done || task.issue != done.issue || task.is_past(last),
            _ => true,
        },
        _ => true,
    })
}

impl Task {
    fn new(issue: u32) -> Self {
        Task { issue, done: false, showing: None, retired: Vec::new(), next_n: 0, holed: false }
    }

    fn take(&mut self, token: &Token) {
        let this = (token.execution, token.attempt);
        let expected = match self.showing {
            Some(showing) if showing == this => token.n == self.next_n,
            Some(showing) => {
                self.retired.push(showing);
                self.holed = false;
                // Whether an attempt counts on or begins anew.
                token.n == 0 || (showing.0 == token.execution && token.n == self.next_n)
            }
            None => token.n == 0,
        };
        self.showing = Some(this);
        self.holed |= !expected;
        self.next_n = token.n + 1;
    }

    /// Whether all tokens of the answer of record were shown, and no others.
    fn has_shown(&self, last: Option<&LastToken>) -> bool {
        match last {
            Some(last) => !self.holed && self.showing == Some((last.execution, last.attempt)) && self.next_n > last.n,
            None => self.showing.is_none(),
        }
    }

    /// Whether waiting for the token is of no use.
    fn is_past(&self, last: &LastToken) -> bool {
        let named = (last.execution, last.attempt);
        self.retired.contains(&named) || (self.showing == Some(named) && self.next_n > last.n)
    }
}
