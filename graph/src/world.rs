//! What the stages take from outside: time and chance. A simulation supplies both from one seed.

use crate::envelope::Millis;

/// Wall time. Only `server` makes the real one.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Millis;
}

/// Chance: run ids, execution ids, jitter.
pub trait Random: Send + Sync + 'static {
    fn next_u64(&self) -> u64;

    /// A drawn UUIDv4.
    fn uuid(&self) -> uuid::Uuid {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}
