//! A case as the events that `advance` folds, to be folded again without the world around it.

use std::sync::Arc;

use graph::{
    advance::{Command, Step, advance},
    envelope::{Envelope, Key, Millis},
    event::Event,
    graph_loop::Recalled,
    state::KeyState,
};

use crate::{
    case::Case,
    fold::{Catalog, World},
};

/// One event as it was folded, with what it took of the thread's past.
pub struct Folded {
    pub envelope: Arc<Envelope>,
    pub at: Millis,
    pub event: Event,
    pub recalled: Recalled,
}

/// All events of a case's calls.
pub struct Stream {
    graphs: Catalog,
    key: Key,
    pub events: Vec<Folded>,
}

impl Stream {
    /// Makes the case's calls, and keeps what comes into the log of it.
    pub fn record(case: &Case) -> Self {
        let mut world = World::new(case);
        world.keep_events();
        for (_, call, _) in case.made() {
            world.call(call);
        }
        let (graphs, events) = world.into_events();
        Stream { graphs, key: Key::thread("default", &case.id), events }
    }

    /// Folds the events into an empty state; gives each event's commands to `put_out`.
    pub fn fold(&self, mut put_out: impl FnMut(Vec<Command>)) -> KeyState {
        self.events.iter().fold(KeyState::new(self.key.clone()), |state, folded| {
            let Folded { envelope, at, event, recalled } = folded;
            match advance(&self.graphs, recalled, state, envelope, *at, event) {
                Step::Done { state, commands } => {
                    put_out(commands);
                    state
                }
                Step::Need { need, .. } => panic!("{need:?} was at hand before"),
            }
        })
    }
}
