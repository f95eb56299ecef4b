//! Updates of a run: first which pieces there are, then those that are asked for.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::{ScyllaStore, connect::IN_FLIGHT_MAX};
use crate::{
    error::StoreError,
    packed::{UpdatesAfter, pack_updates},
    rows::UpdateRow,
};

impl ScyllaStore {
    pub(super) async fn put_updates(&self, tenant: &str, run_id: Uuid, rows: &[UpdateRow]) -> Result<(), StoreError> {
        for row in pack_updates(rows) {
            let run = run_id.as_bytes().as_slice();
            let values = (tenant, run, row.first as i64, row.last as i64, row.bytes);
            self.execute(&self.statements.put_updates, values).await?;
        }
        Ok(())
    }

    pub(super) async fn find_updates(
        &self,
        tenant: &str,
        run_id: Uuid,
        after: u64,
        limit: u32,
    ) -> Result<Vec<UpdateRow>, StoreError> {
        let run = run_id.as_bytes().as_slice();
        let spans: Vec<(i64, i64)> = self.all(&self.statements.find_update_spans, (tenant, run)).await?;
        let packed: Vec<Option<(Bytes,)>> = stream::iter(wanted(&spans, after, limit))
            .map(|(first, last)| self.first(&self.statements.find_updates, (tenant, run, first, last)))
            .buffered(IN_FLIGHT_MAX)
            .try_collect()
            .await?;
        let mut gathered = UpdatesAfter::new(after, limit);
        for (packed,) in packed.into_iter().flatten() {
            gathered.add(packed)?;
        }
        Ok(gathered.finish())
    }
}

/// The pieces that hold the first `limit` numbers above `after`. A piece has no hole, so its span says what it holds.
fn wanted(spans: &[(i64, i64)], after: u64, limit: u32) -> Vec<(i64, i64)> {
    let mut covered_to = i64::try_from(after).unwrap_or(i64::MAX);
    let mut missing = i64::from(limit);
    let mut wanted = Vec::new();
    let mut longest_first = spans.to_vec();
    longest_first.sort_by_key(|(first, last)| (*first, std::cmp::Reverse(*last)));
    for (first, last) in longest_first {
        if missing <= 0 {
            break;
        }
        if last > covered_to {
            missing -= last - covered_to.max(first - 1);
            covered_to = last;
            wanted.push((first, last));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pieces_that_add_numbers_are_read() {
        let check = |spans: &[(i64, i64)], after, limit, expect: &[(i64, i64)]| {
            assert_eq!(wanted(spans, after, limit), expect, "{spans:?} after {after}, at most {limit}");
        };
        check(&[(1, 3), (4, 9)], 0, 100, &[(1, 3), (4, 9)]);
        check(&[(1, 3), (4, 9)], 3, 100, &[(4, 9)]);
        check(&[(1, 3), (4, 9)], 0, 3, &[(1, 3)]);
        check(&[(1, 3), (1, 9), (4, 9)], 0, 100, &[(1, 9)]);
        check(&[(1, 5), (3, 7), (20, 21)], 0, 8, &[(1, 5), (3, 7), (20, 21)]);
        check(&[(1, 5), (3, 7), (20, 21)], 0, 7, &[(1, 5), (3, 7)]);
        check(&[(1, 5)], 5, 100, &[]);
    }
}
