//! The real clock and real chance: the only place that may ask the machine for either.

use std::sync::{Mutex, PoisonError};

use graph::{
    envelope::Millis,
    world::{Clock, Random},
};

/// Wall time, UTC.
pub struct WallClock;

impl Clock for WallClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as Millis)
    }
}

/// Drawn from the operating system in blocks, so that a draw is no system call.
pub struct SystemRandom {
    block: Mutex<Block>,
}

struct Block {
    words: [u64; BLOCK_WORDS],
    used: usize,
}

const BLOCK_WORDS: usize = 256;

impl SystemRandom {
    pub fn new() -> Self {
        SystemRandom { block: Mutex::new(Block { words: [0; BLOCK_WORDS], used: BLOCK_WORDS }) }
    }
}

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.used == BLOCK_WORDS {
            let mut bytes = [0; BLOCK_WORDS * 8];
            getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
            for (word, chunk) in block.words.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
            }
            block.used = 0;
        }
        let word = block.words[block.used];
        block.used += 1;
        word
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn draws_do_not_repeat() {
        let random = SystemRandom::new();
        let drawn: BTreeSet<u64> = (0..10_000).map(|_| random.next_u64()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
