//! Timers: when a key, in memory or asleep in the store, has to be looked at next.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use graph::{
    envelope::{Key, Millis},
    event::{Event, Timer},
};
use schemas::record::RunsRecord;

use super::{Done, Owner, Slot};
use crate::{error::Error, metrics};

/// Keys that are read from the store at a time because a timer of theirs is due: many may fall due at once, after an outage
/// or where many threads live equally long.
const WOKEN_AT_ONCE_MAX: usize = 256;

/// The next timer of each key, by time.
#[derive(Debug, Default)]
pub struct Wakes {
    by_time: BTreeSet<(Millis, Key)>,
    /// Asleep, due, and being read.
    woken: BTreeSet<Key>,
    /// Not before the tail: else timers of runs that ended later in the log would fire.
    armed: bool,
}

impl Wakes {
    pub fn arm(&mut self) {
        self.armed = true;
    }

    pub fn next_due(&self) -> Option<Millis> {
        if !self.armed || self.woken.len() >= WOKEN_AT_ONCE_MAX {
            return None;
        }
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Moves a key's wake-up.
    pub fn set(&mut self, key: &Key, from: Option<Millis>, to: Option<Millis>) {
        if from == to {
            return;
        }
        if let Some(at) = from {
            self.by_time.remove(&(at, key.clone()));
        }
        if let Some(at) = to {
            self.by_time.insert((at, key.clone()));
        }
    }

    /// The next key that is due, as long as few enough of those before it are being read.
    fn take_due(&mut self, now: Millis) -> Option<Key> {
        let has_room = self.woken.len() < WOKEN_AT_ONCE_MAX;
        let first = self.by_time.first().filter(|(at, _)| has_room && *at <= now).cloned()?;
        self.by_time.remove(&first);
        Some(first.1)
    }

    /// A key that was due has been read.
    pub fn awake(&mut self, key: &Key) {
        self.woken.remove(key);
    }
}

impl Owner {
    /// Keys that a former owner left in the store with a timer.
    pub(super) async fn read_sleepers(&mut self) -> Result<(), Error> {
        for sleeper in self.deps.states.sleepers(self.partition).await? {
            self.wakes.set(&sleeper.key, None, Some(sleeper.wake_at));
        }
        Ok(())
    }

    /// What depends on time enters the log first: a due timer becomes a record, and only that record counts.
    pub(super) fn fire_timers(&mut self) {
        let now = self.now();
        while let Some(key) = self.wakes.take_due(now) {
            match self.slots.get_mut(&key) {
                Some(Slot::Ready(resident)) => {
                    resident.wake_at = None;
                    self.fire_timers_of(&key, now);
                }
                // Its records wait for the store; it is looked at when they are applied.
                Some(Slot::Waiting { .. }) => {}
                None => {
                    self.wakes.woken.insert(key.clone());
                    self.load(key, None);
                }
            }
        }
    }

    pub(super) fn fire_timers_of(&mut self, key: &Key, now: Millis) {
        let Some(Slot::Ready(resident)) = self.slots.get_mut(key) else { return };
        let due: Vec<Timer> = resident
            .state()
            .timers()
            .filter(|(timer, at)| *at <= now && !resident.fired.contains(timer))
            .map(|(timer, _)| timer.clone())
            .collect();
        for timer in due {
            let Some(envelope) = resident.envelope(timer.run_id).cloned() else { continue };
            ::metrics::counter!(metrics::TIMERS_DUE).increment(1);
            let record =
                RunsRecord { envelope, at: now, event: Event::TimerDue { timer: timer.clone() }, references: None };
            resident.fired.push(timer);
            let ack = self.outputs.append_to_runs(record);
            self.work.push(async move { Done::Appended(ack.await.map(drop)) }.boxed());
        }
        self.rearm(key);
    }

    /// Sets the key's wake-up to its next timer that has not fired.
    pub(super) fn rearm(&mut self, key: &Key) {
        let Some(Slot::Ready(resident)) = self.slots.get_mut(key) else { return };
        let state = resident.state.as_ref().expect("the state is back");
        resident.fired.retain(|fired| state.timers().any(|(timer, _)| timer == fired));
        let next = state.timers().filter(|(timer, _)| !resident.fired.contains(timer)).map(|(_, at)| at).min();
        self.wakes.set(key, resident.wake_at, next);
        resident.wake_at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_in_order_and_only_when_armed() {
        let mut wakes = Wakes::default();
        let (a, b) = (Key("a".into()), Key("b".into()));
        wakes.set(&a, None, Some(20));
        wakes.set(&b, None, Some(10));
        assert_eq!(wakes.next_due(), None);
        wakes.arm();
        assert_eq!(wakes.next_due(), Some(10));
        wakes.set(&b, Some(10), Some(30));
        assert_eq!(wakes.take_due(25), Some(a));
        assert_eq!(wakes.take_due(25), None);
        assert_eq!(wakes.next_due(), Some(30));
    }

    #[test]
    fn few_are_read_at_a_time() {
        let mut wakes = Wakes::default();
        wakes.arm();
        let key = |n: usize| Key(format!("{n:04}"));
        (0..=WOKEN_AT_ONCE_MAX).for_each(|n| wakes.set(&key(n), None, Some(10)));
        while let Some(due) = wakes.take_due(10) {
            wakes.woken.insert(due);
        }
        assert_eq!((wakes.woken.len(), wakes.next_due()), (WOKEN_AT_ONCE_MAX, None));
        wakes.awake(&key(7));
        assert_eq!(wakes.next_due(), Some(10));
        assert_eq!(wakes.take_due(10), Some(key(WOKEN_AT_ONCE_MAX)));
    }
}
