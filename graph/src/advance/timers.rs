//! What takes time: kept tasks, tasks given back, deadlines. Time comes in as records only.

use std::sync::Arc;

use uuid::Uuid;

use super::{Fold, Turn, end::Ending};
use crate::{
    envelope::{Envelope, Millis},
    event::{Timer, TimerKind},
    graph_loop::GraphLoop,
    step_task::Stand,
    task::{Call, TaskId},
    update::{Happened, RunStatus},
};

/// An issue that a worker will not finish.
pub(super) struct GivenBack {
    pub id: TaskId,
    pub issue: u32,
    pub attempt: u32,
    pub not_before: Millis,
}

impl Fold<'_> {
    pub(super) fn keep_task(&mut self, run_id: Uuid, id: TaskId, issue: u32, until: Millis) {
        if !self.is_open(run_id, id, issue) {
            return;
        }
        if let Some(run) = self.live() {
            run.disarm_task(id);
            run.arm(TimerKind::Kept(id), until);
        }
    }

    pub(super) fn take_back(&mut self, envelope: &Arc<Envelope>, given_back: GivenBack, calls: &[Call]) {
        let GivenBack { id, issue, attempt, not_before } = given_back;
        if !self.is_open(envelope.run_id, id, issue) {
            // A repeat: its calls were counted when it first came.
            return self.spend_given_back(envelope, id, calls);
        }
        self.spend_given_back(envelope, id, calls);
        if self.is_editing() {
            return self.take_back_asked(&GivenBack { id, issue, attempt, not_before });
        }
        let at = self.at;
        let path = self.path_to(id);
        self.turn(|turn, root| {
            turn.within(root, &path, &mut |turn, within| {
                let Some(task) = within.tasks.get_mut(&id) else { return };
                turn.run.spend(calls);
                turn.run.disarm_task(id);
                task.attempt = attempt;
                if not_before <= at {
                    return turn.issue_again(within, id);
                }
                task.stand = Stand::Delayed;
                turn.run.arm(TimerKind::Retry(id), not_before);
            })
        });
    }

    fn issue_again(&mut self, id: TaskId) {
        if self.is_editing() {
            return self.ask_again(id);
        }
        let path = self.path_to(id);
        self.turn(|turn, root| turn.within(root, &path, &mut |turn, within| turn.issue_again(within, id)));
    }

    fn time_out(&mut self, id: TaskId) {
        let path = self.path_to(id);
        self.turn(|turn, root| turn.within(root, &path, &mut |turn, within| turn.time_out(within, id)));
    }

    pub(super) fn fire(&mut self, timer: &Timer) {
        if timer.kind == TimerKind::Expire {
            return self.expire(timer);
        }
        if let Some(place) = self.state.waiting.iter().position(|waiting| waiting.deadline.timer == *timer) {
            return self.end_waiting(place, Ending::timeout());
        }
        if let Some(delay) = self
            .state
            .waiting
            .iter_mut()
            .filter_map(|waiting| waiting.delay.as_mut())
            .find(|delay| delay.begin.timer == *timer)
        {
            delay.over = true;
            return;
        }
        let armed = self.is_live(timer.run_id) && self.live().is_some_and(|run| run.disarm(timer));
        if !armed {
            return;
        }
        match &timer.kind {
            TimerKind::Deadline => self.end(Ending::timeout()),
            TimerKind::Kept(id) | TimerKind::Retry(id) => self.issue_again(*id),
            TimerKind::Timeout(id) => self.time_out(*id),
            TimerKind::Begin | TimerKind::Expire => {}
        }
    }

    pub(super) fn cancel(&mut self, run_id: Uuid, rollback: bool) {
        if rollback && self.is_live(run_id) {
            return self.roll_back();
        }
        self.end_run(run_id, if rollback { Ending::undone() } else { Ending::cancelled() });
    }

    pub(super) fn fail_run(&mut self, run_id: Uuid, message: &str) {
        self.end_run(run_id, Ending::internal(message));
    }

    /// Ends a run, live or waiting; one that is neither is left alone.
    fn end_run(&mut self, run_id: Uuid, ending: Ending) {
        if self.is_live(run_id) {
            return self.end(ending);
        }
        let place = self.state.waiting().position(|envelope| envelope.run_id == run_id);
        if let Some(place) = place {
            self.end_waiting(place, ending);
        }
    }

    pub(super) fn end_waiting(&mut self, place: usize, ending: Ending) {
        let Some(waiting) = self.state.waiting.remove(place) else { return };
        if waiting.request.claimed {
            self.state.remember(waiting.envelope.run_id);
        }
        let status: RunStatus = ending.status;
        let ended = Happened::Ended(Box::new(ending.without_state()));
        self.tell(&waiting.envelope, Some(waiting.number + 1), status, ended);
    }

    fn is_open(&self, run_id: Uuid, id: TaskId, issue: u32) -> bool {
        let task = self.task(id);
        self.is_live(run_id) && task.is_some_and(|task| task.stand == Stand::Open && task.issue == issue)
    }

    fn spend_given_back(&mut self, envelope: &Arc<Envelope>, id: TaskId, calls: &[Call]) {
        let node = self.task(id).map(|task| task.node.clone());
        self.spend(envelope, id, node.as_deref().unwrap_or_default(), calls);
    }
}

impl Turn<'_> {
    /// Issues one task of the step again, with the answers that it had.
    fn issue_again(&mut self, at: &mut GraphLoop, id: TaskId) {
        let Some(graph) = self.graph_of(at) else { return };
        let Some(task) = at.tasks.get(&id) else { return };
        match graph.nodes.get(&task.node).is_some_and(|node| node.subgraph.is_some()) {
            true => self.enter(&graph, at, id),
            false => self.issue(&graph, at, id),
        }
    }
}
