//! Budgets in process, on a clock that the tests turn.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use async_trait::async_trait;
use graph::{envelope::Millis, world::Clock};
use quota::{Budgets, InProcess, QuotaError, conformance::Harness};

#[derive(Default)]
pub struct At(AtomicI64);

impl At {
    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms.cast_signed(), Ordering::Relaxed);
    }
}

impl Clock for At {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

pub struct InProcessHarness {
    clock: Arc<At>,
    budgets: Arc<InProcess>,
    next: AtomicU64,
}

impl InProcessHarness {
    pub fn new() -> Self {
        let clock = Arc::new(At::default());
        InProcessHarness {
            budgets: Arc::new(InProcess::new(Arc::clone(&clock) as _)),
            clock,
            next: AtomicU64::default(),
        }
    }
}

#[async_trait]
impl Harness for InProcessHarness {
    async fn open(&self) -> Result<Arc<dyn Budgets>, QuotaError> {
        Ok(Arc::clone(&self.budgets) as _)
    }

    async fn pass(&self, ms: u64) {
        self.clock.pass(ms);
    }

    fn unique(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}
