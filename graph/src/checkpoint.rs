//! A thread's state at the end of a superstep: what channels hold, and what each node has seen of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    by_name::{ByName, ChannelValues},
    channel::{Channel, Content, Kind},
    envelope::GraphRef,
    graph::{Graph, SENDS},
};

/// The step that an empty thread stands at.
pub(crate) const BEFORE_INPUT: i64 = -2;

/// What made a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    #[default]
    Input,
    Loop,
    /// An edit of the state.
    Update,
    /// A run that began at an earlier checkpoint, or a copy.
    Fork,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Input => "input",
            Source::Loop => "loop",
            Source::Update => "update",
            Source::Fork => "fork",
        }
    }

    /// Made by a person, and not by a run.
    pub fn is_edited(self) -> bool {
        matches!(self, Source::Update | Source::Fork)
    }
}

fn is_zero(version: &u64) -> bool {
    *version == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Nil until the first one is made.
    pub id: Uuid,
    pub step: i64,
    #[serde(default)]
    pub(crate) source: Source,
    /// The checkpoint that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Uuid>,
    /// The version that made it: resuming and continuing keep it.
    pub graph: Arc<GraphRef>,
    pub rules: u32,
    /// The highest version of any channel.
    pub(crate) version: u64,
    /// The highest version when a run last went on from here: a breakpoint stops only where something is newer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) passed: u64,
    /// Every channel of the graph is there: not so when it comes from the store.
    #[serde(skip)]
    bound: bool,
    #[serde(with = "written")]
    pub(crate) channels: ByName<Channel>,
    /// Node to trigger to the version that it last ran on.
    #[serde(default, skip_serializing_if = "ByName::is_empty")]
    pub(crate) seen: ByName<Arc<ByName<u64>>>,
}

impl Checkpoint {
    pub(crate) fn empty(graph: Arc<GraphRef>, rules: u32) -> Self {
        Checkpoint {
            id: Uuid::nil(),
            step: BEFORE_INPUT,
            source: Source::Input,
            parent: None,
            graph,
            rules,
            version: 0,
            passed: 0,
            bound: false,
            channels: ByName::default(),
            seen: ByName::default(),
        }
    }

    /// The version, as this checkpoint has it where it is the same.
    pub(crate) fn made_by(&self, graph: &GraphRef) -> Arc<GraphRef> {
        if *self.graph == *graph { self.graph.clone() } else { Arc::new(graph.clone()) }
    }

    /// Gives every channel of `graph` that has none yet its start. Channels that the graph doesn't declare stay,
    /// stored and unseen.
    pub(crate) fn bind(&mut self, graph: &Graph) {
        let same_version = self.graph.hash == graph.hash();
        if self.bound && same_version {
            return;
        }
        self.bound = true;
        if self.channels.is_empty() {
            self.channels = graph.channels.iter().map(|(name, def)| (name.clone(), Channel::starting(def))).collect();
            return;
        }
        for (name, def) in graph.channels.iter() {
            self.channels.or_insert_with(name, || Channel::starting(def));
        }
    }

    /// All channels of the state that have a value: what a task sees.
    pub(crate) fn values(&self, graph: &Graph) -> ChannelValues {
        self.read(graph, &graph.places.state)
    }

    /// Those that are stored.
    pub(crate) fn tracked(&self, graph: &Graph) -> ChannelValues {
        self.read(graph, &graph.places.tracked)
    }

    pub(crate) fn untracked(&self, graph: &Graph) -> ChannelValues {
        self.read(graph, &graph.places.untracked)
    }

    pub(crate) fn output(&self, graph: &Graph) -> ChannelValues {
        self.read(graph, &graph.places.output)
    }

    /// The channels that stand at `places` in the graph and have a value.
    pub(crate) fn read(&self, graph: &Graph, places: &[usize]) -> ChannelValues {
        let value = |&place: &usize| {
            let (name, _) = graph.channels.nth(place);
            Some((name.clone(), self.channels.near(place, name)?.value()?.clone()))
        };
        ChannelValues::in_order(places.len(), places.iter().filter_map(value))
    }

    /// Forgets what is never stored, in Sends too.
    pub(crate) fn drop_untracked(&mut self, graph: &Graph) {
        for (name, def) in graph.channels.iter().filter(|(_, def)| def.kind == Kind::Untracked) {
            self.channels.insert(name.clone(), Channel::starting(def));
        }
        if let Some(Content::Sends(sends)) = self.channels.get_mut(SENDS).map(|channel| &mut channel.content) {
            sends.iter_mut().for_each(|sent| strip_untracked(graph, &mut sent.argument));
        }
    }
}

/// Takes the untracked channels out of a Send's argument.
pub(crate) fn strip_untracked(graph: &Graph, argument: &mut Arc<Value>) {
    let untracked = |name: &str| graph.channels.get(name).is_some_and(|def| def.kind == Kind::Untracked);
    if argument.as_object().is_some_and(|fields| fields.keys().any(|name| untracked(name)))
        && let Value::Object(fields) = Arc::make_mut(argument)
    {
        fields.retain(|name, _| !untracked(name));
    }
}

/// Only channels that were ever written are stored: the others start as their graph says.
mod written {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{ByName, Channel};

    pub fn serialize<S: Serializer>(channels: &ByName<Channel>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(channels.iter().filter(|(_, channel)| channel.version > 0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ByName<Channel>, D::Error> {
        ByName::deserialize(from)
    }
}
