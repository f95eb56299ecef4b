//! LangGraph's channels: what each does with the writes of one superstep.
//!
//! A change is planned first and made later, so that a step whose writes conflict leaves every channel as it was
//! and a list can grow in place.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    by_name::ChannelValues,
    expression::{Expression, Scope},
    graph::ChannelDef,
    message::{self, Slot},
    reduce,
    reducers::Reducer,
};

/// How a channel treats writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Last,
    /// The last of the step's writes; a step without one clears it.
    Any,
    /// Lives for one step; guarded, it takes one write.
    Ephemeral {
        guard: bool,
    },
    /// As `Last`, and never stored.
    Untracked,
    /// The step's writes as one list, replaced by each step.
    Topic,
    Fold(Fold),
    Own(Own),
    /// Sends for the next step.
    Sends,
    /// Available when all names have written.
    Barrier(BTreeSet<Arc<str>>),
    /// Held back until nothing else can run.
    AfterFinish,
    BarrierAfterFinish(BTreeSet<Arc<str>>),
}

impl Kind {
    pub(crate) fn lives_one_step(&self) -> bool {
        match self {
            Kind::Any | Kind::Ephemeral { .. } | Kind::Topic | Kind::Sends => true,
            Kind::Last
            | Kind::Untracked
            | Kind::Fold(_)
            | Kind::Own(_)
            | Kind::Barrier(_)
            | Kind::AfterFinish
            | Kind::BarrierAfterFinish(_) => false,
        }
    }

    /// Held back until nothing else can run.
    pub(crate) fn waits_for_the_rest(&self) -> bool {
        matches!(self, Kind::AfterFinish | Kind::BarrierAfterFinish(_))
    }

    pub(crate) fn holds_messages(&self) -> bool {
        matches!(self, Kind::Fold(Fold::Messages))
    }

    pub(crate) fn is_barrier(&self) -> bool {
        matches!(self, Kind::Barrier(_) | Kind::BarrierAfterFinish(_))
    }
}

/// A reducer that folds writes into the value, from the left, in the order of task paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    Append,
    Sum,
    Max,
    Min,
    Merge,
    Messages,
}

/// A reducer of the user's own.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    /// Over `left` and `right`, write by write.
    Cel(Arc<Expression>),
    /// The binary's, write by write.
    Rust(Reducer),
    /// A program's: it is asked by a worker before the step is applied.
    Http,
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Own::Cel(one), Own::Cel(other)) => one.text() == other.text(),
            (Own::Rust(one), Own::Rust(other)) => one == other,
            (Own::Http, Own::Http) => true,
            (Own::Cel(_) | Own::Rust(_) | Own::Http, _) => false,
        }
    }
}

/// A channel's content and when it last changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub(crate) content: Content,
    /// For the kinds that wait until nothing else can run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) finished: bool,
    pub(crate) version: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Content {
    #[default]
    Empty,
    Value(Arc<Value>),
    /// New input: what START's task takes up.
    Fields(Fields),
    Names(BTreeSet<Arc<str>>),
    Sends(Vec<Sent>),
}

impl Content {
    fn is_empty(&self) -> bool {
        matches!(self, Content::Empty)
    }
}

/// Values by channel.
pub(crate) type Fields = ChannelValues;

/// A Send that waits for its superstep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    pub(crate) node: Arc<str>,
    pub(crate) argument: Arc<Value>,
}

/// One write as a channel sees it.
#[derive(Clone, Debug)]
pub(crate) enum Write<'a> {
    Value(&'a Arc<Value>),
    /// What a program made of the channel and all writes of the step.
    Reduced(&'a Arc<Value>),
    /// New input.
    Fields(&'a Fields),
    /// An edge: only that it was written counts.
    Signal,
    /// An edge into a barrier.
    Name(&'a Arc<str>),
    Send {
        node: &'a str,
        argument: &'a Arc<Value>,
    },
}

/// Why a channel refused the writes of a step.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct UpdateError {
    /// LangGraph's exception type: InvalidUpdateError, ValueError or TypeError.
    pub kind: &'static str,
    pub message: String,
}

impl UpdateError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        UpdateError { kind: "InvalidUpdateError", message: message.into() }
    }

    pub(crate) fn value(message: impl Into<String>) -> Self {
        UpdateError { kind: "ValueError", message: message.into() }
    }

    pub(crate) fn mistyped(message: impl Into<String>) -> Self {
        UpdateError { kind: "TypeError", message: message.into() }
    }
}

/// What an update will do to a channel.
#[derive(Debug)]
pub(crate) enum Change {
    Set(Content),
    Extend(Vec<Arc<Value>>),
    Merge(Vec<Arc<Value>>),
    Messages(Vec<Slot>),
}

impl Channel {
    pub(crate) fn starting(def: &ChannelDef) -> Self {
        let content = match &def.start {
            Some(value) => Content::Value(value.clone()),
            None => Content::Empty,
        };
        Channel { content, finished: false, version: 0 }
    }

    pub(crate) fn value(&self) -> Option<&Arc<Value>> {
        match &self.content {
            Content::Value(value) => Some(value),
            Content::Empty | Content::Fields(_) | Content::Names(_) | Content::Sends(_) => None,
        }
    }

    pub(crate) fn available(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Barrier(names) => self.has_all(names),
            Kind::BarrierAfterFinish(names) => self.finished && self.has_all(names),
            Kind::AfterFinish => self.finished && !self.content.is_empty(),
            Kind::Last
            | Kind::Any
            | Kind::Ephemeral { .. }
            | Kind::Untracked
            | Kind::Topic
            | Kind::Fold(_)
            | Kind::Own(_)
            | Kind::Sends => !self.content.is_empty(),
        }
    }

    fn has_all(&self, names: &BTreeSet<Arc<str>>) -> bool {
        matches!(&self.content, Content::Names(seen) if seen == names)
    }

    /// What `writes` (not empty) would change; None where nothing changes.
    pub(crate) fn plan(&self, name: &str, kind: &Kind, writes: &[Write<'_>]) -> Result<Option<Change>, UpdateError> {
        match kind {
            Kind::Last => single(writes, || {
                format!(
                    "At key '{name}': Can receive only one value per step. Use an Annotated key to handle multiple values."
                )
            }),
            Kind::Ephemeral { guard: true } => single(writes, || {
                format!("At key '{name}': EphemeralValue(guard=True) can receive only one value per step.")
            }),
            Kind::Untracked => single(writes, || {
                format!("At key '{name}': UntrackedValue(guard=True) can receive only one value per step.")
            }),
            Kind::Any | Kind::Ephemeral { guard: false } | Kind::AfterFinish => Ok(Some(last(writes))),
            Kind::Topic => Ok(Some(topic(writes))),
            Kind::Fold(fold) => self.plan_fold(name, *fold, writes),
            Kind::Own(own) => self.plan_own(name, own, writes),
            Kind::Sends => Ok(Some(sends(writes))),
            Kind::Barrier(_) | Kind::BarrierAfterFinish(_) => Ok(self.plan_names(writes)),
        }
    }

    fn plan_fold(&self, name: &str, fold: Fold, writes: &[Write<'_>]) -> Result<Option<Change>, UpdateError> {
        let values: Vec<&Arc<Value>> = writes.iter().filter_map(Write::value).collect();
        let mut overwrites = values.iter().filter_map(|value| overwrite(value));
        if let Some(value) = overwrites.next() {
            if overwrites.next().is_some() {
                return Err(UpdateError::invalid("Can receive only one Overwrite value per super-step."));
            }
            return Ok(Some(Change::Set(Content::Value(Arc::new(value.clone())))));
        }
        let (left, values) = match (self.value(), values.as_slice()) {
            (_, []) => return Ok(None),
            (Some(left), values) => (left, values),
            // A channel without a value takes its first write as it is.
            (None, [first]) => return Ok(Some(Change::Set(Content::Value((*first).clone())))),
            (None, [first, rest @ ..]) => {
                let started = Channel { content: Content::Value((*first).clone()), ..Channel::default() };
                let rest: Vec<Write<'_>> = rest.iter().map(|value| Write::Value(value)).collect();
                let mut whole = started.clone();
                let change = started.plan_fold(name, fold, &rest)?;
                change.into_iter().for_each(|change| whole.commit(change));
                return Ok(Some(Change::Set(whole.content)));
            }
        };
        match fold {
            Fold::Append => reduce::append(name, left, values).map(Some),
            Fold::Merge => reduce::merge(name, left, values).map(Some),
            Fold::Messages => message::add_messages(left, values).map(|slots| Some(Change::Messages(slots))),
            Fold::Sum | Fold::Max | Fold::Min => {
                let combine = match fold {
                    Fold::Max => reduce::max,
                    Fold::Min => reduce::min,
                    Fold::Sum | Fold::Append | Fold::Merge | Fold::Messages => reduce::sum,
                };
                let mut value = (**left).clone();
                for right in values {
                    value = combine(name, &value, right)?;
                }
                Ok(Some(Change::Set(Content::Value(Arc::new(value)))))
            }
        }
    }

    fn plan_own(&self, name: &str, own: &Own, writes: &[Write<'_>]) -> Result<Option<Change>, UpdateError> {
        if let [Write::Reduced(value)] = writes {
            return Ok(Some(Change::Set(Content::Value((*value).clone()))));
        }
        let (left, values) = match self.joining(writes)? {
            Joining::Nothing => return Ok(None),
            Joining::Replaced(value) => return Ok(Some(Change::Set(Content::Value(value)))),
            Joining::Joined { left, values } => (left, values),
        };
        let mut joined = Value::clone(left);
        for right in values {
            let next = match own {
                Own::Cel(reducer) => evaluated(reducer, &joined, right),
                Own::Rust(reducer) => reducer.join(&joined, right),
                Own::Http => {
                    return Err(UpdateError::value(format!(
                        "At key '{name}': a program joins its writes, and none can be asked here; replace the value \
                         with {{\"__overwrite__\": …}}"
                    )));
                }
            };
            joined =
                next.map_err(|why| UpdateError { kind: "ReducerError", message: format!("At key '{name}': {why}") })?;
        }
        Ok(Some(Change::Set(Content::Value(Arc::new(joined)))))
    }

    /// What a program has to join before the writes can be applied: what the channel holds, and the writes after it.
    pub(crate) fn to_reduce(&self, writes: &[Write<'_>]) -> Result<ToReduce, UpdateError> {
        Ok(match self.joining(writes)? {
            Joining::Nothing | Joining::Replaced(_) => None,
            Joining::Joined { left, values } => Some((left.clone(), values.into_iter().cloned().collect())),
        })
    }

    /// What needs no reducer: an overwrite, and the first write to a channel without a value.
    fn joining<'a>(&'a self, writes: &[Write<'a>]) -> Result<Joining<'a>, UpdateError> {
        let values: Vec<&Arc<Value>> = writes.iter().filter_map(Write::value).collect();
        let mut overwrites = values.iter().filter_map(|value| overwrite(value));
        if let Some(value) = overwrites.next() {
            return match overwrites.next() {
                Some(_) => Err(UpdateError::invalid("Can receive only one Overwrite value per super-step.")),
                None => Ok(Joining::Replaced(Arc::new(value.clone()))),
            };
        }
        Ok(match (self.value(), values.as_slice()) {
            (_, []) => Joining::Nothing,
            (None, [only]) => Joining::Replaced((*only).clone()),
            (None, [first, rest @ ..]) => Joining::Joined { left: first, values: rest.to_vec() },
            (Some(left), values) => Joining::Joined { left, values: values.to_vec() },
        })
    }

    pub(crate) fn plan_names(&self, writes: &[Write<'_>]) -> Option<Change> {
        let mut names = match &self.content {
            Content::Names(names) => names.clone(),
            Content::Empty | Content::Value(_) | Content::Fields(_) | Content::Sends(_) => BTreeSet::new(),
        };
        let before = names.len();
        for write in writes {
            if let Write::Name(name) = write {
                names.insert((*name).clone());
            }
        }
        (names.len() > before).then_some(Change::Set(Content::Names(names)))
    }

    /// Makes a planned change. A list or map that nobody else holds is changed in place.
    pub(crate) fn commit(&mut self, change: Change) {
        self.finished = false;
        match change {
            Change::Set(content) => self.content = content,
            Change::Extend(lists) => {
                let added = lists.iter().filter_map(|list| list.as_array()).map(Vec::len).sum();
                let Some(items) = self.items_mut(added) else { return };
                for list in &lists {
                    items.extend(list.as_array().into_iter().flatten().cloned());
                }
            }
            Change::Merge(maps) => {
                let Some(Value::Object(fields)) = self.value_mut() else { return };
                for map in &maps {
                    for (key, value) in map.as_object().into_iter().flatten() {
                        fields.insert(key.clone(), value.clone());
                    }
                }
            }
            Change::Messages(slots) => {
                if let Content::Value(list) = &mut self.content {
                    message::fill(list, slots);
                }
            }
        }
    }

    /// The list that it holds, with room for so many more: copied at once where others hold it.
    fn items_mut(&mut self, more: usize) -> Option<&mut Vec<Value>> {
        let Content::Value(value) = &mut self.content else { return None };
        if Arc::get_mut(value).is_none() {
            let before = value.as_array()?;
            let mut items = Vec::with_capacity(before.len() + more);
            items.extend_from_slice(before);
            *value = Arc::new(Value::Array(items));
        }
        Arc::make_mut(value).as_array_mut()
    }

    fn value_mut(&mut self) -> Option<&mut Value> {
        match &mut self.content {
            Content::Value(value) => Some(Arc::make_mut(value)),
            Content::Empty | Content::Fields(_) | Content::Names(_) | Content::Sends(_) => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// A step without a write to a channel that lives one step: what it held goes. True where something went.
    pub(crate) fn pass(&mut self) -> bool {
        !std::mem::take(&mut self.content).is_empty()
    }

    /// A task that this channel triggered takes it up. True where that changes the channel.
    pub(crate) fn consume(&mut self, kind: &Kind) -> bool {
        let taken = match kind {
            Kind::Barrier(_) | Kind::AfterFinish | Kind::BarrierAfterFinish(_) => self.available(kind),
            Kind::Last
            | Kind::Any
            | Kind::Ephemeral { .. }
            | Kind::Untracked
            | Kind::Topic
            | Kind::Fold(_)
            | Kind::Own(_)
            | Kind::Sends => false,
        };
        if taken {
            self.content = Content::Empty;
            self.finished = false;
        }
        taken
    }

    /// Nothing else can run: what was held back becomes available. True where something did.
    pub(crate) fn finish(&mut self, kind: &Kind) -> bool {
        let ready = match kind {
            Kind::AfterFinish => !self.content.is_empty(),
            Kind::BarrierAfterFinish(names) => self.has_all(names),
            Kind::Last
            | Kind::Any
            | Kind::Ephemeral { .. }
            | Kind::Untracked
            | Kind::Topic
            | Kind::Fold(_)
            | Kind::Own(_)
            | Kind::Sends
            | Kind::Barrier(_) => false,
        };
        let changed = ready && !self.finished;
        self.finished |= changed;
        changed
    }
}

fn evaluated(reducer: &Expression, left: &Value, right: &Value) -> Result<Value, String> {
    let (nothing, context) = (ChannelValues::new(), Value::Null);
    let items = [("left", left), ("right", right)];
    let scope = Scope { items: &items, ..Scope::new(&nothing, &context) };
    reducer.evaluate(&scope).map_err(|error| error.message)
}

/// What the channel holds, and the writes after it; None where no program is needed.
pub(crate) type ToReduce = Option<(Arc<Value>, Vec<Arc<Value>>)>;

/// What becomes of writes before a reducer of the user's own is asked.
enum Joining<'a> {
    Nothing,
    Replaced(Arc<Value>),
    Joined { left: &'a Arc<Value>, values: Vec<&'a Arc<Value>> },
}

impl<'a> Write<'a> {
    fn value(&self) -> Option<&'a Arc<Value>> {
        match self {
            Write::Value(value) | Write::Reduced(value) => Some(value),
            Write::Fields(_) | Write::Signal | Write::Name(_) | Write::Send { .. } => None,
        }
    }

    fn content(&self) -> Content {
        match self {
            Write::Value(value) | Write::Reduced(value) => Content::Value((*value).clone()),
            Write::Fields(fields) => Content::Fields((*fields).clone()),
            Write::Signal | Write::Name(_) | Write::Send { .. } => Content::Value(null().clone()),
        }
    }
}

/// One for all edges: it says only that there is something.
fn null() -> &'static Arc<Value> {
    static NULL: LazyLock<Arc<Value>> = LazyLock::new(Arc::default);
    &NULL
}

/// The value of an Overwrite in one of its two JSON forms.
pub fn overwrite(value: &Value) -> Option<&Value> {
    let fields = value.as_object()?;
    match fields.len() {
        1 => fields.get("__overwrite__"),
        2 if fields.get("type").is_some_and(|name| name == "__overwrite__") => fields.get("value"),
        _ => None,
    }
}

fn single(writes: &[Write<'_>], message: impl FnOnce() -> String) -> Result<Option<Change>, UpdateError> {
    match writes {
        [_] => Ok(Some(last(writes))),
        _ => Err(UpdateError::invalid(message())),
    }
}

fn last(writes: &[Write<'_>]) -> Change {
    Change::Set(writes.last().map(Write::content).unwrap_or_default())
}

fn topic(writes: &[Write<'_>]) -> Change {
    let mut items = Vec::new();
    for value in writes.iter().filter_map(Write::value) {
        match &**value {
            Value::Array(values) => items.extend(values.iter().cloned()),
            value => items.push(value.clone()),
        }
    }
    match items.is_empty() {
        true => Change::Set(Content::Empty),
        false => Change::Set(Content::Value(Arc::new(Value::Array(items)))),
    }
}

fn sends(writes: &[Write<'_>]) -> Change {
    let mut sent = Vec::with_capacity(writes.len());
    for write in writes {
        if let Write::Send { node, argument } = write {
            sent.push(Sent { node: Arc::from(*node), argument: (*argument).clone() });
        }
    }
    Change::Set(Content::Sends(sent))
}

#[cfg(test)]
mod tests;
