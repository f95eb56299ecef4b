//! Refuses new runs of a partition whose owner is behind, full or silent, before anything is accepted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use schemas::{error::Code, record::Progress, topic::ORCHESTRATOR_GROUP};
use tokio::time::Instant;

use crate::{
    config::AdmissionLimits,
    metrics::{self, Rejected},
    refusal::Refusal,
};

pub(crate) struct Admission {
    limits: Option<AdmissionLimits>,
    /// An owner that was never heard counts as silent from here on.
    since: Instant,
    heard: Mutex<BTreeMap<u32, (Instant, Progress)>>,
}

impl Admission {
    pub fn new(limits: Option<AdmissionLimits>) -> Self {
        Admission { limits, since: Instant::now(), heard: Mutex::new(BTreeMap::new()) }
    }

    pub fn hear(&self, progress: Progress, now: Instant) {
        if self.limits.is_some() && progress.consumer.ends_with(ORCHESTRATOR_GROUP) {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.insert(progress.partition, (now, progress));
        }
    }

    pub fn check(&self, partition: u32, now: Instant) -> Result<(), Refusal> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let Some(reason) = self.full(limits, partition, now) else { return Ok(()) };
        metrics::rejected(Rejected::Backpressure);
        tracing::debug!(partition, reason, "a run was not admitted");
        Err(Refusal::new(Code::QueueFull, format!("no new runs are taken at the moment: {reason}; try again")))
    }

    fn full(&self, limits: &AdmissionLimits, partition: u32, now: Instant) -> Option<&'static str> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, progress)) = heard.get(&partition) else {
            return (now.duration_since(self.since) > limits.silent_max)
                .then_some("the owner of the partition is silent");
        };
        if now.duration_since(*at) > limits.silent_max {
            Some("the owner of the partition is silent")
        } else if progress.tail.saturating_sub(progress.applied) > limits.lag_records_max {
            Some("the owner of the partition is behind")
        } else if progress.open_runs > limits.open_runs_max {
            Some("too many runs are open")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn progress(partition: u32, applied: u64, tail: u64, open_runs: u64) -> Progress {
        Progress { consumer: "orchestrator".into(), partition, applied, tail, open_runs, oldest_ms: 0, bytes: 0 }
    }

    #[test]
    fn a_partition_is_closed_while_its_owner_is_behind_or_silent() {
        let limits = AdmissionLimits { lag_records_max: 10, open_runs_max: 5, ..Default::default() };
        let admission = Admission::new(Some(limits));
        let now = Instant::now();
        let later = now + Duration::from_secs(11);
        assert!(admission.check(0, now).is_ok(), "an owner has time to speak up after a start");
        admission.hear(progress(0, 0, 11, 0), now);
        admission.hear(progress(1, 0, 10, 6), now);
        admission.hear(progress(2, 0, 10, 5), now);
        let open: Vec<bool> = (0..4).map(|partition| admission.check(partition, now).is_ok()).collect();
        assert_eq!(open, [false, false, true, true]);
        assert!(admission.check(2, later).is_err(), "silent since");
        assert!(admission.check(3, later).is_err(), "never heard");
        admission.hear(progress(2, 10, 10, 0), later);
        assert!(admission.check(2, later).is_ok());
        assert_eq!(admission.check(3, later).unwrap_err().code(), Code::QueueFull);
    }

    #[test]
    fn without_limits_all_is_admitted() {
        assert!(Admission::new(None).check(7, Instant::now()).is_ok());
    }
}
