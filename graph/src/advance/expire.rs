//! A thread whose time is over: it ends as one that a client deletes, or is pruned as by one, unless it was used since its timer
//! was armed.

use std::sync::Arc;

use super::Fold;
use crate::{
    envelope::Envelope,
    event::{Event, TimeToLive, Timer, TimerKind, TtlStrategy},
    expiry::Expiry,
    ids,
};

impl Fold<'_> {
    /// From now on the thread lives so long after each use.
    pub(super) fn time_thread(&mut self, envelope: &Envelope, ttl: TimeToLive) {
        if envelope.thread_id.is_some() {
            let expiry = Expiry::new(envelope, ttl, self.at, self.state.expiry.as_deref());
            self.state.expiry = Some(Box::new(expiry));
        }
    }

    /// What a request says of its thread, where nobody has said anything before.
    pub(super) fn time_untimed(&mut self, envelope: &Envelope, ttl: Option<TimeToLive>) {
        if let (None, Some(ttl)) = (&self.state.expiry, ttl) {
            self.time_thread(envelope, ttl);
        }
    }

    pub(super) fn expire(&mut self, timer: &Timer) {
        let idle = self.state.is_idle();
        let Some(expiry) = self.state.expiry.as_deref_mut() else { return };
        if expiry.armed.take_if(|armed| armed.timer == *timer).is_none() {
            return;
        }
        if !idle || self.at < expiry.due() {
            return;
        }
        // Its own id, the same on every replay: what timed the thread may have told something under its own.
        let run_id = ids::expiry_id(self.at, timer.run_id, timer.generation);
        let envelope = Arc::new(Envelope { run_id, ..Envelope::clone(&expiry.envelope) });
        expiry.over = true;
        match expiry.ttl.strategy {
            TtlStrategy::Delete => self.delete_thread(&envelope),
            // Without a checkpoint there is nothing to forget, and nobody knows of the thread.
            TtlStrategy::KeepLatest if self.state.root.is_none() => {}
            TtlStrategy::KeepLatest => self.prune_thread(&envelope),
        }
    }

    /// After each event: a thread that was at work, or is asked for something, is used. One that rests has its timer armed.
    pub(super) fn rest_until(&mut self, was_idle: bool, event: &Event) {
        let idle = self.state.is_idle();
        let Some(expiry) = self.state.expiry.as_deref_mut() else { return };
        if !was_idle || is_use(event) {
            (expiry.used_at, expiry.over) = (self.at, false);
        }
        if idle && !expiry.over && expiry.armed.is_none() {
            expiry.arm();
        }
    }
}

fn is_use(event: &Event) -> bool {
    match event {
        Event::Requested(_) | Event::StateEdited(_) => true,
        Event::TaskFinished(_)
        | Event::TaskKept { .. }
        | Event::TaskGivenBack { .. }
        | Event::ThreadDeleted
        | Event::ThreadPruned
        | Event::ThreadCopied { .. }
        | Event::CopyBegun(_)
        | Event::ThreadTimed(_)
        | Event::Cancelled { .. }
        | Event::TimerDue { .. }
        | Event::RunFailed { .. } => false,
    }
}

pub(super) fn is_expiry(event: &Event) -> Option<&Timer> {
    match event {
        Event::TimerDue { timer } if timer.kind == TimerKind::Expire => Some(timer),
        _ => None,
    }
}
