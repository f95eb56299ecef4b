//! What a stream says, before a dialect gives it bytes. Nothing here knows the name of an event.

use std::sync::Arc;

use graph::{
    by_name::ChannelValues,
    envelope::Envelope,
    task::TaskId,
    update::{Ended, Happened, IssuedTask, RunStatus, TaskDone},
};
use schemas::record::{TokenRecord, UpdateRecord};

use crate::{
    answer,
    position::{Origin, Position},
};

/// One fact with the id that a client has when it has seen it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub position: Position,
    pub origin: Origin,
    pub fact: Fact,
}

#[derive(Clone, Debug)]
pub enum Fact {
    /// Which run this is: the beginning of every stream, also of one that goes on.
    Metadata {
        envelope: Arc<Envelope>,
        resumed: Option<Resumed>,
    },
    /// The run waits, has begun, or has finished a step.
    Happened(Of<Happened>),
    NodeStarted(Of<IssuedTask>),
    Token(Arc<TokenRecord>),
    /// The whole answer of a task at once: its tokens were not shown, or were another execution's.
    WholeText(Box<WholeText>),
    NodeFinished(Of<TaskDone>),
    /// What was shown of the task's answer is void.
    AttemptReset {
        task_id: TaskId,
        node: Arc<str>,
    },
    Interrupt(Of<Ended>),
    Error(Of<Ended>),
    Final(Of<Ended>),
}

/// How a stream goes on that a client had before.
#[derive(Clone, Debug, PartialEq)]
pub enum Resumed {
    Recovered,
    /// Tokens in between are gone: what the client has of open tasks is void, and here is how things stand.
    Lost(Box<StateSoFar>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct StateSoFar {
    pub status: RunStatus,
    /// The newest checkpoint's values.
    pub values: ChannelValues,
    pub open: Vec<IssuedTask>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WholeText {
    pub task_id: TaskId,
    pub node: Arc<str>,
    pub ns: Arc<str>,
    pub message_id: String,
    pub text: String,
}

impl WholeText {
    /// The answer that a result carries, where it carries one.
    pub fn of(done: &TaskDone) -> Option<Self> {
        let (text, message_id) = answer::whole_text(done)?;
        Some(WholeText { task_id: done.task_id, node: done.node.clone(), ns: done.ns.clone(), message_id, text })
    }
}

/// A part of an update, without a copy of it.
#[derive(Debug)]
pub struct Of<T> {
    pub record: Arc<UpdateRecord>,
    index: usize,
    part: fn(&UpdateRecord, usize) -> Option<&T>,
}

impl<T> Clone for Of<T> {
    fn clone(&self) -> Self {
        Of { record: Arc::clone(&self.record), index: self.index, part: self.part }
    }
}

impl<T> Of<T> {
    /// The part itself. None can't be: the parts below look where they were found.
    pub fn get(&self) -> Option<&T> {
        (self.part)(&self.record, self.index)
    }
}

impl Of<Happened> {
    pub fn happened(record: &Arc<UpdateRecord>, index: usize) -> Self {
        Of { record: Arc::clone(record), index, part: |record, index| record.update.happened.get(index) }
    }
}

impl Of<IssuedTask> {
    pub fn issued(record: &Arc<UpdateRecord>, index: usize) -> Self {
        Of { record: Arc::clone(record), index, part: |record, index| record.update.issued.get(index) }
    }
}

impl Of<TaskDone> {
    pub fn done(record: &Arc<UpdateRecord>, index: usize) -> Self {
        Of {
            record: Arc::clone(record),
            index,
            part: |record, index| match record.update.happened.get(index) {
                Some(Happened::TaskDone(done)) => Some(done),
                _ => None,
            },
        }
    }
}

impl Of<Ended> {
    pub fn ended(record: &Arc<UpdateRecord>, index: usize) -> Self {
        Of {
            record: Arc::clone(record),
            index,
            part: |record, index| match record.update.happened.get(index) {
                Some(Happened::Ended(ended)) => Some(ended),
                _ => None,
            },
        }
    }
}
