//! A queue to a thread of the log's own, since SQLite must not block those of the runtime.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

pub(super) struct Jobs<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T> Jobs<T> {
    pub(super) fn new() -> Self {
        Jobs { state: Mutex::new(State { jobs: VecDeque::new(), closed: false }), ready: Condvar::new() }
    }

    /// False once the queue is closed. What waits is bounded by the callers: each waits for its answer.
    pub(super) fn push(&self, job: T) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.ready.notify_one();
        true
    }

    /// The next job; None once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All that waits, once there is any; empty once the queue is closed and empty.
    pub(super) fn next_all(&self) -> Vec<T> {
        self.next().into_iter().chain(self.state().jobs.drain(..)).collect()
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
