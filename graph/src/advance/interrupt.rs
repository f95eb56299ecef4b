//! Questions and breakpoints: who is given which answer, and where a run stops by itself.

use std::sync::Arc;

use super::Turn;
use crate::{
    graph::{Graph, START_NODE},
    graph_loop::GraphLoop,
    ids,
    step_task::{Stand, StepTask},
    task::TaskId,
    update::{Happened, TaskDone},
};

impl Turn<'_> {
    /// Sets the answers of a task that is about to be issued: those that it took up before, then one by id, or the one
    /// that came without an id. That one goes to a single task at a time.
    pub(super) fn give_answers(&mut self, at: &mut GraphLoop, id: TaskId) {
        let anew = asks_anew(at);
        let Some(task) = at.tasks.get_mut(&id) else { return };
        give_taken_up(task, anew);
        // The first id answers any later question too, as it did before questions had ids of their own.
        let by_id = self.run.answers.as_ref().and_then(|answers| {
            let ns = task.ns(&at.ns);
            let next = answers.get(&ids::interrupt_id(&ns, task.given.len()));
            next.or_else(|| answers.get(&ids::interrupt_id(&ns, 0)))
        });
        match by_id {
            Some(answer) => task.given.push(answer.clone()),
            None => self.offer(task),
        }
    }

    /// Gives a task the answer that came without an id, where no other has it.
    fn offer(&mut self, task: &mut StepTask) {
        if let (Some(answer), None) = (&self.run.resume, self.run.offered_to) {
            task.given.push(answer.clone());
            self.run.offered_to = Some(task.id);
        }
    }

    /// A task reported: what it took up of its answers is stored, and what it left is there for another.
    pub(super) fn take_up_answers(&mut self, task: &mut StepTask, answered: u32) {
        let given = std::mem::take(&mut task.given);
        let taken = given.len().min(answered as usize);
        if self.run.offered_to == Some(task.id) {
            self.run.offered_to = None;
            self.answer_is_back = true;
            if taken == given.len() {
                self.run.resume = None;
            }
        }
        if taken > 0 {
            task.answers = given;
            task.answers.truncate(taken);
        }
    }

    /// Who has asked is issued first, so that the answer without an id goes there.
    pub(super) fn who_asked_first(&self, at: &GraphLoop, order: &mut [TaskId]) {
        if self.run.resume.is_none() || self.run.offered_to.is_some() {
            return;
        }
        let asked = |id: &TaskId| at.tasks.get(id).is_some_and(|task| !task.interrupts.is_empty());
        if let Some(place) = order.iter().position(asked) {
            order[..=place].rotate_right(1);
        }
    }

    /// An answer without an id is left and a task has asked meanwhile: it is issued again with it.
    pub(super) fn answer_another(&mut self, graph: &Graph, at: &mut GraphLoop) -> bool {
        if self.run.resume.is_none() || self.run.offered_to.is_some() {
            return false;
        }
        let asked = |task: &&StepTask| matches!(task.stand, Stand::Paused { asked: true, .. }) && task.inner.is_none();
        let Some(id) = at.tasks.values().filter(asked).min_by_key(|task| task.apply_order()).map(|task| task.id) else {
            return false;
        };
        if let Some(progress) = at.progress.as_deref_mut() {
            progress.unfinished += 1;
        }
        let anew = asks_anew(at);
        let Some(task) = at.tasks.get_mut(&id) else { return false };
        if let Some(held) = task.held.take() {
            let done = TaskDone { interrupts: Vec::new(), answered: true, ..*held };
            self.happened(Happened::TaskDone(Box::new(done)));
        }
        give_taken_up(task, anew);
        self.offer(task);
        self.issue(graph, at, id);
        true
    }

    /// A task that will not report: an answer that it was offered is there for another.
    pub(super) fn take_answer_back(&mut self, id: TaskId) {
        if self.run.offered_to == Some(id) {
            self.run.offered_to = None;
            self.answer_is_back = true;
        }
    }

    /// A graph in a task is done but for questions, and an answer without an id is with a task elsewhere: what is left of
    /// it may be theirs.
    pub(super) fn awaits_answer(&self, at: &GraphLoop) -> bool {
        self.run.offered_to.is_some() && !at.is_root() && at.holds_questions()
    }

    /// The task that had the answer without an id has reported: whoever waited for that is given what is left, or asks.
    pub(super) fn settle_questions(&mut self, root: &mut GraphLoop) {
        if !root.is_root() || !std::mem::take(&mut self.answer_is_back) {
            return;
        }
        let mut waiting = Vec::new();
        questions_held(root, &mut Vec::new(), &mut waiting);
        for path in waiting {
            if self.run.offered_to.is_some() {
                return;
            }
            let Some((id, rest)) = path.split_first() else { continue };
            self.within_task(root, *id, rest, &mut |_, _| {});
        }
    }

    /// The step is over: questions that no answer was for are asked now.
    pub(super) fn ask(&mut self, at: &mut GraphLoop) {
        let mut held: Vec<&mut StepTask> = at.tasks.values_mut().filter(|task| task.held.is_some()).collect();
        held.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
        for done in held.into_iter().filter_map(|task| task.held.take()) {
            self.happened(Happened::TaskDone(done));
        }
    }

    /// `interrupt_before`: something changed since the run last went on, and a task of the next step is named.
    pub(super) fn stops_before(&self, graph: &Graph, at: &GraphLoop) -> bool {
        let names = &graph.spec().interrupt_before;
        let own = if at.is_root() { self.run.interrupt_before.as_slice() } else { &[] };
        let listed = |task: &StepTask| task.handles.is_none() && is_named(names.iter().chain(own), &task.node);
        at.head.version > at.head.passed && at.tasks.values().any(listed)
    }

    /// `interrupt_after`: the same of the step that was just made.
    pub(super) fn stops_after(&self, graph: &Graph, at: &GraphLoop, ran: &[Arc<str>]) -> bool {
        let names = &graph.spec().interrupt_after;
        let own = if at.is_root() { self.run.interrupt_after.as_slice() } else { &[] };
        at.head.version > at.head.passed && ran.iter().any(|node| is_named(names.iter().chain(own), node))
    }
}

/// The paths to the graphs in tasks that are done but for questions, in the order in which tasks are applied.
fn questions_held(at: &GraphLoop, path: &mut Vec<TaskId>, found: &mut Vec<Vec<TaskId>>) {
    let mut inside: Vec<&StepTask> = at.tasks.values().filter(|task| task.stand == Stand::Inside).collect();
    inside.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
    for task in inside {
        let Some(inner) = task.inner.as_deref() else { continue };
        path.push(task.id);
        if inner.holds_questions() {
            found.push(path.clone());
        }
        questions_held(inner, path, found);
        path.pop();
    }
}

/// The run went back: its tasks ask anew.
fn asks_anew(at: &GraphLoop) -> bool {
    at.progress.as_ref().is_some_and(|progress| progress.asks_anew)
}

/// Begins with the answers that the task has taken up, by id in this run too.
fn give_taken_up(task: &mut StepTask, anew: bool) {
    task.given = if anew { Vec::new() } else { task.answers.clone() };
}

/// `*` names every node but the hidden start.
fn is_named<'a>(mut names: impl Iterator<Item = &'a String>, node: &str) -> bool {
    names.any(|name| name == node || (name == "*" && node != START_NODE))
}
