//! The (task, issue) pairs that a partition gave out lately: a copy of one of them is dropped. Pure.

use std::collections::{BTreeSet, VecDeque};

use graph::{envelope::Millis, task::TaskId};

/// What is remembered, at most.
pub const ENTRIES_MAX: usize = 10_000;
pub const AGE_MS_MAX: Millis = 10 * 60 * 1_000;

/// What is applied once.
pub type TaskIssue = (TaskId, u32);

#[derive(Clone, Debug, Default)]
pub struct Window {
    order: VecDeque<(Millis, TaskIssue)>,
    known: BTreeSet<TaskIssue>,
}

impl Window {
    /// Notes a task that was given out at `at`; false where it was before.
    pub fn note(&mut self, task: TaskIssue, at: Millis) -> bool {
        self.forget_before(at - AGE_MS_MAX);
        if !self.known.insert(task) {
            return false;
        }
        self.order.push_back((at, task));
        if self.order.len() > ENTRIES_MAX {
            self.forget_oldest();
        }
        true
    }

    fn forget_before(&mut self, limit: Millis) {
        while self.order.front().is_some_and(|(at, _)| *at < limit) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, task)) = self.order.pop_front() {
            self.known.remove(&task);
        }
    }
}

/// Reads a task record's `ce_id`, `<task id>.<issue>`.
pub fn parse_task_issue(ce_id: &str) -> Option<TaskIssue> {
    let (task, issue) = ce_id.split_once('.')?;
    Some((task.parse().ok()?, issue.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_copy_is_known_and_another_issue_is_not() {
        let mut window = Window::default();
        let task = Uuid::from_u128(1);
        assert!(window.note((task, 1), 0));
        assert!(!window.note((task, 1), 5));
        assert!(window.note((task, 2), 5));
    }

    #[test]
    fn the_oldest_is_forgotten_by_age_and_by_count() {
        let mut window = Window::default();
        assert!(window.note((Uuid::from_u128(1), 0), 0));
        assert!(!window.note((Uuid::from_u128(1), 0), AGE_MS_MAX), "as old as the window is still known");
        assert!(window.note((Uuid::from_u128(1), 0), AGE_MS_MAX + 1));

        let mut window = Window::default();
        for n in 0..=ENTRIES_MAX as u128 {
            assert!(window.note((Uuid::from_u128(n), 0), 0));
        }
        assert!(!window.note((Uuid::from_u128(1), 0), 0));
        assert!(window.note((Uuid::from_u128(0), 0), 0));
    }

    #[test]
    fn ce_ids() {
        let task = Uuid::from_u128(7);
        assert_eq!(parse_task_issue(&format!("{task}.3")), Some((task, 3)));
        for bad in ["", "x.1", &task.to_string(), &format!("{task}.-1")] {
            assert_eq!(parse_task_issue(bad), None, "{bad}");
        }
    }
}
