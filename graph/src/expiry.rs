//! How long a thread lives on which nothing is done. While anything is live or waits on it, it doesn't end.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    envelope::{Envelope, Millis, RunBudget},
    event::{TimeToLive, Timer, TimerKind},
    state::{Armed, KeyState},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expiry {
    /// Of the record that said how long; what ends the thread is done in its name.
    pub envelope: Arc<Envelope>,
    pub ttl: TimeToLive,
    /// When something was last done on the thread.
    pub used_at: Millis,
    /// Looked at when it fires, and armed anew where the thread was used since. None while a run that it met isn't done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed: Option<Armed>,
    /// The generation of the last timer that was armed.
    pub generation: u32,
    /// What its time brings is done, and the thread was not used since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

impl Expiry {
    /// It isn't armed yet. `before` is what held until now.
    pub fn new(envelope: &Envelope, ttl: TimeToLive, at: Millis, before: Option<&Expiry>) -> Self {
        // What a run says of itself is not the thread's.
        let envelope = Envelope {
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
            budget: RunBudget::default(),
            ..envelope.clone()
        };
        let generation = before.map_or(0, |before| before.generation);
        Expiry { envelope: Arc::new(envelope), ttl, used_at: at, armed: None, generation, over: false }
    }

    pub fn due(&self) -> Millis {
        self.used_at.saturating_add(self.ttl.ms)
    }

    pub fn arm(&mut self) {
        self.generation += 1;
        let timer = Timer { run_id: self.envelope.run_id, kind: TimerKind::Expire, generation: self.generation };
        self.armed = Some(Armed { timer, due: self.due() });
    }
}

impl KeyState {
    /// Whose record said how long the thread lives; None where it lives until it is deleted.
    pub fn expires_for(&self) -> Option<&Arc<Envelope>> {
        self.expiry.as_ref().map(|expiry| &expiry.envelope)
    }
}
