//! Ids are derived, not drawn: a replay gives the same ones.

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

/// A checkpoint's id: time-ordered like LangGraph's, and the same on every replay.
///
/// `at` must not lie below the thread's last; `step` breaks ties within a millisecond.
pub fn checkpoint_id(at: Millis, run: RunId, step: i64) -> Uuid {
    let hash = xxh3_128(&[run.as_bytes().as_slice(), &step.to_be_bytes()].concat()).to_be_bytes();
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&at.to_be_bytes()[2..]);
    // Twelve bits of step keep the order of checkpoints made by one record; -1 sorts first.
    let ordinal = ((step + 1).clamp(0, 0x0fff)) as u16;
    bytes[6..8].copy_from_slice(&(0x7000 | ordinal).to_be_bytes());
    bytes[8..].copy_from_slice(&hash[..8]);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Uuid::from_bytes(bytes)
}

/// LangGraph's id of a pulled task: xxh3_128 of checkpoint, namespace, step, node and sorted triggers.
pub fn pull_task_id(checkpoint: Uuid, ns: &str, step: i64, node: &str, triggers: &[String]) -> Uuid {
    let mut sorted: Vec<&str> = triggers.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    task_id(checkpoint, ns, step, node, "__pregel_pull", &sorted.concat())
}

/// LangGraph's id of a pushed task: as [`pull_task_id`], with the index of its Send.
pub fn push_task_id(checkpoint: Uuid, ns: &str, step: i64, node: &str, index: u32) -> Uuid {
    task_id(checkpoint, ns, step, node, "__pregel_push", &index.to_string())
}

fn task_id(checkpoint: Uuid, ns: &str, step: i64, node: &str, path: &str, tail: &str) -> Uuid {
    let mut bytes = checkpoint.as_bytes().to_vec();
    for part in [ns, &step.to_string(), node, path, tail] {
        bytes.extend_from_slice(part.as_bytes());
    }
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
    fn checkpoint_ids_sort_by_time_then_step() {
        let run = run_id(5, 9, 0);
        let ids =
            [checkpoint_id(5, run, -1), checkpoint_id(5, run, 0), checkpoint_id(5, run, 1), checkpoint_id(6, run, -1)];
        assert!(ids.is_sorted());
    }
}
