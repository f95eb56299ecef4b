//! A state of which a value is gone: its runs end, and none begins on it.

use std::sync::Arc;

use super::{Fold, end::Ending, expire::is_expiry};
use crate::{
    envelope::Envelope,
    event::Event,
    task::{Call, TaskId},
    update::RunError,
};

impl Fold<'_> {
    /// Ends every run of the key with the first event that comes, and refuses what is requested.
    pub(super) fn end_lost(&mut self, envelope: &Arc<Envelope>, event: &Event, reason: &str) {
        if *event == Event::ThreadDeleted {
            return self.delete_thread(envelope);
        }
        if let Some(timer) = is_expiry(event) {
            let idle = self.state.is_idle();
            self.expire(timer);
            if idle {
                return;
            }
        }
        let known = self.state.knows(envelope.run_id);
        match event {
            Event::TaskFinished(result) => self.pay_lost(envelope, result.task_id, &result.node, &result.calls),
            Event::TaskGivenBack { task_id, calls, .. } => {
                let node = self.task(*task_id).map_or_else(String::new, |task| task.node.to_string());
                self.pay_lost(envelope, *task_id, &node, calls);
            }
            Event::Requested(_)
            | Event::StateEdited(_)
            | Event::TaskKept { .. }
            | Event::ThreadDeleted
            | Event::ThreadPruned
            | Event::ThreadCopied { .. }
            | Event::CopyBegun(_)
            | Event::ThreadTimed(_)
            | Event::Cancelled { .. }
            | Event::TimerDue { .. }
            | Event::RunFailed { .. } => {}
        }
        self.end(Ending::error(value_missing(reason)));
        while !self.state.waiting.is_empty() {
            self.end_waiting(0, Ending::error(value_missing(reason)));
        }
        match event {
            Event::Requested(request) if !known => self.refuse(envelope, request, value_missing(reason)),
            Event::StateEdited(edit) => self.edit(envelope, edit),
            Event::ThreadCopied { to } => self.copy_thread(envelope, to),
            Event::ThreadTimed(ttl) => self.time_thread(envelope, *ttl),
            Event::ThreadPruned => self.prune_thread(envelope),
            _ => {}
        }
    }

    /// Calls were made, whatever became of their result.
    fn pay_lost(&mut self, envelope: &Arc<Envelope>, task_id: TaskId, node: &str, calls: &[Call]) {
        if let (true, Some(run)) = (self.is_live(envelope.run_id), self.state.live.as_deref_mut()) {
            run.spend(calls);
        }
        self.spend(envelope, task_id, node, calls);
    }
}

/// Also of a request whose own values are gone.
pub(super) fn value_missing(reason: &str) -> RunError {
    RunError { code: "value_missing".to_owned(), message: reason.to_owned(), retryable: true, ..RunError::default() }
}
