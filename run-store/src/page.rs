//! Pages of lists: how many rows, and cursors that only the list that made them takes back.

use graph::envelope::Millis;
use uuid::Uuid;

use crate::{
    error::StoreError,
    rows::{PageRequest, RunFilter, ThreadFilter},
};

/// The most rows of one page; a larger limit is cut to it.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// A version of the cursor's bytes, then eight bytes of the list's hash.
const CURSOR_VERSION: u8 = 1;
const LIST_BYTES: usize = 8;

impl PageRequest {
    /// Between one row and [`PAGE_ROWS_MAX`].
    pub(crate) fn rows(&self) -> usize {
        self.limit.clamp(1, PAGE_ROWS_MAX) as usize
    }
}

/// Names a list: the tenant and what it was filtered by.
pub(crate) struct List([u8; LIST_BYTES]);

impl List {
    pub(crate) fn of_runs(tenant: &str, filter: &RunFilter) -> Self {
        let RunFilter { user, thread_id, graph, status, since, until } = filter;
        let status = status.map(|status| status.as_str().to_owned());
        let since = since.map(|at| at.to_string());
        let until = until.map(|at| at.to_string());
        List::named("runs", tenant, &[user, thread_id, graph, &status, &since, &until])
    }

    pub(crate) fn of_threads(tenant: &str, filter: &ThreadFilter) -> Self {
        let ThreadFilter { user, graph } = filter;
        List::named("threads", tenant, &[user, graph])
    }

    fn named(kind: &str, tenant: &str, filters: &[&Option<String>]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        };
        part(kind);
        part(tenant);
        for filter in filters {
            part(if filter.is_some() { "is" } else { "any" });
            part(filter.as_deref().unwrap_or(""));
        }
        let mut name = [0; LIST_BYTES];
        name.copy_from_slice(&hasher.finalize().as_bytes()[..LIST_BYTES]);
        List(name)
    }

    /// A cursor behind a run.
    pub(crate) fn behind_run(&self, run_id: Uuid) -> String {
        self.write(run_id.as_bytes())
    }

    /// A cursor behind a thread.
    pub(crate) fn behind_thread(&self, created_at: Millis, thread_id: &str) -> String {
        self.write(&[&created_at.to_be_bytes(), thread_id.as_bytes()].concat())
    }

    pub(crate) fn read_run(&self, page: &PageRequest) -> Result<Option<Uuid>, StoreError> {
        let Some(place) = self.read(page)? else { return Ok(None) };
        Uuid::from_slice(&place).map(Some).map_err(|_| StoreError::BadCursor)
    }

    pub(crate) fn read_thread(&self, page: &PageRequest) -> Result<Option<(Millis, String)>, StoreError> {
        let Some(place) = self.read(page)? else { return Ok(None) };
        let (at, thread_id) = place.split_at_checked(8).ok_or(StoreError::BadCursor)?;
        let at = Millis::from_be_bytes(at.try_into().map_err(|_| StoreError::BadCursor)?);
        let thread_id = String::from_utf8(thread_id.to_vec()).map_err(|_| StoreError::BadCursor)?;
        Ok(Some((at, thread_id)))
    }

    fn write(&self, place: &[u8]) -> String {
        let bytes = [&[CURSOR_VERSION], self.0.as_slice(), place].concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(&self, page: &PageRequest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(cursor) = &page.cursor else { return Ok(None) };
        let bytes = from_hex(cursor).ok_or(StoreError::BadCursor)?;
        let place = bytes
            .strip_prefix(&[CURSOR_VERSION])
            .and_then(|rest| rest.strip_prefix(self.0.as_slice()))
            .ok_or(StoreError::BadCursor)?;
        Ok(Some(place.to_vec()))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(cursor: String) -> PageRequest {
        PageRequest { limit: 10, cursor: Some(cursor) }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let filter = RunFilter { user: Some("ada".into()), ..RunFilter::default() };
        let list = List::of_runs("acme", &filter);
        let cursor = list.behind_run(Uuid::from_u128(7));
        assert_eq!(list.read_run(&request(cursor.clone())).unwrap(), Some(Uuid::from_u128(7)));
        for other in [List::of_runs("acme", &RunFilter::default()), List::of_runs("bond", &filter)] {
            assert!(matches!(other.read_run(&request(cursor.clone())), Err(StoreError::BadCursor)));
        }
        let threads = List::of_threads("acme", &ThreadFilter { user: Some("ada".into()), graph: None });
        assert!(matches!(threads.read_thread(&request(cursor)), Err(StoreError::BadCursor)));
    }

    proptest! {
        #[test]
        fn a_thread_cursor_comes_back_whole(at: i64, id in "\\PC{1,255}") {
            let list = List::of_threads("acme", &ThreadFilter::default());
            let cursor = list.behind_thread(at, &id);
            prop_assert_eq!(list.read_thread(&request(cursor)).unwrap(), Some((at, id)));
        }

        #[test]
        fn garbage_is_a_bad_cursor(garbage in "\\PC{0,60}") {
            let list = List::of_runs("acme", &RunFilter::default());
            prop_assert!(matches!(list.read_run(&request(garbage)), Err(StoreError::BadCursor)));
        }
    }
}
