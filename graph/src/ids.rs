//! Ids are derived, not drawn: a replay gives the same ones.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::envelope::{Millis, RunId};

/// A UUIDv7 whose last two bytes are the partition of `runs` that the run lives in, big-endian.
///
/// `random` is 64 bits drawn by whoever begins the run.
pub fn run_id(at: Millis, random: u64, partition: u16) -> RunId {
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&at.to_be_bytes()[2..]);
    bytes[6..14].copy_from_slice(&random.to_be_bytes());
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    bytes[14..].copy_from_slice(&partition.to_be_bytes());
    Uuid::from_bytes(bytes)
}

/// The partition of `runs` that a run lives in.
pub fn partition_of(run: RunId) -> u16 {
    let bytes = run.as_bytes();
    u16::from_be_bytes([bytes[14], bytes[15]])
}

/// The issue after which a copied thread counts those of its tasks. Its tasks have the ids of the thread that it was copied
/// from, and whoever is called for one knows the call by both.
pub(crate) fn last_issue_before(copying: RunId) -> u32 {
    let [.., a, b, c, d, _, _] = *copying.as_bytes();
    (u32::from_be_bytes([a, b, c, d]) & 0x3fff_ffff) | 0x4000_0000
}

/// The id under which a thread ends whose time is over: of what timed it, and of the timer that fired at `at`.
pub(crate) fn expiry_id(at: Millis, timed: RunId, generation: u32) -> RunId {
    let hash = xxh3_128(&[timed.as_bytes().as_slice(), b"expire", &generation.to_be_bytes()].concat());
    run_id(at, hash as u64, partition_of(timed))
}

/// Where the ids of a key's checkpoints stand: the next one is greater than every one before it, in whatever namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastCheckpoint {
    at: Millis,
    ordinal: u16,
}

/// Twelve bits of an id order the checkpoints of one millisecond.
const ORDINAL_MAX: u16 = 0x0fff;

impl LastCheckpoint {
    /// A checkpoint's id: time-ordered like LangGraph's, and the same on every replay.
    pub(crate) fn next(&mut self, at: Millis, run: RunId) -> Uuid {
        *self = match (at > self.at, self.ordinal < ORDINAL_MAX) {
            (true, _) => LastCheckpoint { at, ordinal: 0 },
            (false, true) => LastCheckpoint { ordinal: self.ordinal + 1, ..*self },
            (false, false) => LastCheckpoint { at: self.at + 1, ordinal: 0 },
        };
        checkpoint_id(self.at, run, i64::from(self.ordinal))
    }

    /// Not below any id that was given so far, and below all that follow.
    pub(crate) fn bound(self) -> Uuid {
        let mut bytes = [0xff; 16];
        bytes[..6].copy_from_slice(&self.at.to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&(0x7000 | self.ordinal).to_be_bytes());
        Uuid::from_bytes(bytes)
    }
}

/// `ordinal` orders the checkpoints of one millisecond.
pub fn checkpoint_id(at: Millis, run: RunId, ordinal: i64) -> Uuid {
    let hash = xxh3_128(&[run.as_bytes().as_slice(), &ordinal.to_be_bytes()].concat()).to_be_bytes();
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&at.to_be_bytes()[2..]);
    let ordinal = ordinal.clamp(0, i64::from(ORDINAL_MAX)) as u16;
    bytes[6..8].copy_from_slice(&(0x7000 | ordinal).to_be_bytes());
    bytes[8..].copy_from_slice(&hash[..8]);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Uuid::from_bytes(bytes)
}

/// LangGraph's id of a pulled task: xxh3_128 of checkpoint, namespace, step, node and sorted triggers.
pub fn pull_task_id(checkpoint: Uuid, ns: &str, step: i64, node: &str, triggers: &[Arc<str>]) -> Uuid {
    if let [only] = triggers {
        return task_id(checkpoint, ns, step, node, "__pregel_pull", only);
    }
    let mut sorted: Vec<&str> = triggers.iter().map(|trigger| &**trigger).collect();
    sorted.sort_unstable();
    task_id(checkpoint, ns, step, node, "__pregel_pull", &sorted.concat())
}

/// LangGraph's id of a pushed task: as [`pull_task_id`], with the index of its Send.
pub fn push_task_id(checkpoint: Uuid, ns: &str, step: i64, node: &str, index: u32) -> Uuid {
    task_id(checkpoint, ns, step, node, "__pregel_push", &index.to_string())
}

/// The id of the task that handles the failure of `failed`.
pub fn handler_task_id(checkpoint: Uuid, ns: &str, step: i64, handler: &str, failed: Uuid) -> Uuid {
    task_id(checkpoint, ns, step, handler, "__pregel_push", &format!("node_error_handler{failed}"))
}

/// The id of the task that joins the writes of a step to a channel. Nothing of it stays with the step, so that the next
/// run that goes on from there asks by another id: workers know the copy of a task by its id.
pub fn reduction_task_id(checkpoint: Uuid, ns: &str, step: i64, channel: &str, run: RunId) -> Uuid {
    task_id(checkpoint, ns, step, channel, "reduction", &run.to_string())
}

/// The id of a task that asks a program for an edit: `what` is asked for the superstep at `place`.
pub(crate) fn edit_task_id(edit: RunId, place: usize, what: &str) -> Uuid {
    task_id(edit, "", i64::try_from(place).unwrap_or(i64::MAX), what, "edit", "")
}

/// LangGraph's id of a question: of the task's namespace and of how many of its questions were answered before.
pub fn interrupt_id(checkpoint_ns: &str, answered: usize) -> String {
    let bits = match answered {
        0 => xxh3_128(checkpoint_ns.as_bytes()),
        answered => xxh3_128(format!("{checkpoint_ns}|{answered}").as_bytes()),
    };
    format!("{bits:032x}")
}

fn task_id(checkpoint: Uuid, ns: &str, step: i64, node: &str, path: &str, tail: &str) -> Uuid {
    /// Of the longest number.
    const STEP_BYTES: usize = 20;
    let parts = [ns, node, path, tail].iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(checkpoint.as_bytes().len() + parts + STEP_BYTES);
    bytes.extend_from_slice(checkpoint.as_bytes());
    bytes.extend_from_slice(ns.as_bytes());
    bytes.extend_from_slice(step.to_string().as_bytes());
    [node, path, tail].iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    Uuid::from_u128(xxh3_128(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_names_its_partition() {
        for partition in [0, 1, 63, u16::MAX] {
            let id = run_id(1_763_721_600_000, 0x0123_4567_89ab_cdef, partition);
            assert_eq!(partition_of(id), partition);
            assert_eq!(id.get_version_num(), 7);
        }
    }

    #[test]
    fn checkpoint_ids_sort_as_they_were_made() {
        let mut last = LastCheckpoint::default();
        let run = run_id(5, 9, 0);
        let mut ids: Vec<Uuid> = (0..5_000).map(|_| last.next(5, run)).collect();
        ids.extend([last.next(6, run), last.next(9, run), last.next(8, run)]);
        assert!(ids.is_sorted_by(|a, b| a < b));
        let (before, bound) = (last.next(10, run), last.bound());
        assert!(before < bound && bound < last.next(10, run));
    }

    #[test]
    fn tasks_have_langgraphs_ids() {
        // As LangGraph 1.2.22 gives them.
        let checkpoint = Uuid::from_u128(0x1f0c_1d1e_0000_6000_8000_0000_0000_0001);
        let pulled = pull_task_id(checkpoint, "a", 1, "a", &[Arc::from("branch:to:a")]);
        assert_eq!(pulled.to_string(), "57d2e6bf-20f7-aaf8-16ba-31003560333a");
        assert_eq!(push_task_id(checkpoint, "a", 1, "a", 0).to_string(), "a5fb6b55-859f-18af-4a50-055a7af52f8c");
    }

    #[test]
    fn questions_of_a_task_have_ids_of_their_own() {
        // As LangGraph 1.2.22 gives them.
        assert_eq!(interrupt_id("a:1", 0), "b65aa096a1ddcbb45dc317ce993bf219");
        assert_eq!(interrupt_id("a:1", 1), "042771d554aae9205414b919024756a7");
    }
}
