//! Which days a tenant's list has rows of: a list is read day by day, and most days of the past have none.

use graph::envelope::Millis;

use super::ScyllaStore;
use crate::{error::StoreError, stored::DAY_MS};

/// Days that a process remembers to have written.
const REMEMBERED_MAX: usize = 10_000;

pub(super) const RUNS: &str = "runs";
pub(super) const THREADS: &str = "threads";
pub(super) const USAGE: &str = "usage";

/// Days since 1970, UTC.
pub(super) fn day_of(at: Millis) -> i32 {
    at.div_euclid(DAY_MS).clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

impl ScyllaStore {
    pub(super) async fn remember_day(&self, tenant: &str, list: &'static str, day: i32) -> Result<(), StoreError> {
        let key = (tenant.to_owned(), list, day);
        if self.remembered().days.contains(&key) {
            return Ok(());
        }
        self.execute(&self.statements.put_day, (tenant, list, day)).await?;
        let mut remembered = self.remembered();
        if remembered.days.len() >= REMEMBERED_MAX {
            remembered.days.clear();
        }
        remembered.days.insert(key);
        Ok(())
    }

    /// The days between two, both included, newest first.
    pub(super) async fn days(
        &self,
        tenant: &str,
        list: &'static str,
        newest: i32,
        oldest: i32,
    ) -> Result<Vec<i32>, StoreError> {
        let found: Vec<(i32,)> = self.all(&self.statements.find_days, (tenant, list, newest, oldest)).await?;
        Ok(found.into_iter().map(|(day,)| day).collect())
    }
}
