//! What the suite needs of a backend.

use std::sync::Arc;

use async_trait::async_trait;
use graph::envelope::Millis;

use crate::{contract::RunStore, error::StoreError};

/// Makes the store under test. It may hold rows of other cases.
#[async_trait]
pub trait Harness: Send + Sync {
    async fn open(&self) -> Result<Arc<dyn RunStore>, StoreError>;

    /// Closes the store and opens it again, as a restart of the process does.
    async fn reopen(&self) -> Result<Arc<dyn RunStore>, StoreError>;

    /// Lets go of what expired before `now`, where the backend doesn't by itself.
    async fn forget(&self, now: Millis) -> Result<(), StoreError>;

    /// A number that no other call on the same data gives.
    fn unique(&self) -> u64;
}
