//! When the pipeline is killed: at points drawn from a seed.

use std::{ops::Range, time::Duration};

use semantics::random::Random;
use tokio::time::Instant;

use crate::arguments::On;

/// The kills of one wave.
pub struct Kills {
    /// Then it is left to end what it has.
    left: usize,
    /// After a start it is killed within this time.
    after_ms: Range<u64>,
    pub next: Instant,
}

impl Kills {
    pub fn none() -> Self {
        Kills { left: 0, after_ms: 0..1, next: Instant::now() }
    }

    pub fn on(on: On, random: &mut Random) -> Self {
        let (left, after_ms) = match on {
            On::Embedded => (6, 20..700),
            // What a killed process had is another's only when its sessions have ended, after 6 s.
            On::Kafka | On::Roles => (3, 20..9_000),
        };
        let mut kills = Kills { left, after_ms, next: Instant::now() };
        kills.draw(random);
        kills
    }

    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Counts one that was made.
    pub fn made(&mut self, random: &mut Random) {
        self.left -= 1;
        self.draw(random);
    }

    fn draw(&mut self, random: &mut Random) {
        self.next = Instant::now() + Duration::from_millis(random.within(self.after_ms.clone()));
    }
}
