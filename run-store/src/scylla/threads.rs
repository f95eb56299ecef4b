//! Threads, and their lists by tenant and user: a list names threads, each thread itself says whether it belongs there.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::envelope::Millis;

use super::{
    ScyllaStore,
    days::{THREADS, day_of},
    states::position,
};
use crate::{
    error::StoreError,
    page::List,
    rows::{Page, PageRequest, ThreadFilter, ThreadRow},
};

/// Names that are fetched at once, about as many as the page wants; and threads that are then read at once.
const NAMES_AT_ONCE: std::ops::RangeInclusive<usize> = 16..=256;
const READ_AT_ONCE: usize = 64;
/// Names that one page looks at; a page that found too little by then is short, and its cursor goes on.
const NAMES_MAX: usize = 10_000;

type Name = (Millis, String);

impl ScyllaStore {
    pub(super) async fn put_thread(&self, row: &ThreadRow) -> Result<(), StoreError> {
        let ThreadRow { tenant, thread_id, position, user, graph, created_at, updated_at, view } = row;
        let raw = position.as_u64() as i64;
        let at = position.write_timestamp();
        let values = (tenant, thread_id, raw, user, graph, created_at, updated_at, view.as_ref(), at);
        self.execute(&self.statements.put_thread, values).await
    }

    /// Puts a thread on its lists; call it when the thread itself is written.
    pub(super) async fn list_thread(&self, row: &ThreadRow) -> Result<(), StoreError> {
        let ThreadRow { tenant, thread_id, user, created_at, .. } = row;
        let day = day_of(*created_at);
        self.remember_day(tenant, THREADS, day).await?;
        let by_day = self.execute(&self.statements.list_thread_by_day, (tenant, day, created_at, thread_id));
        let by_user = async {
            let Some(user) = user else { return Ok(()) };
            self.execute(&self.statements.list_thread_by_user, (tenant, user, created_at, thread_id)).await
        };
        tokio::try_join!(by_day, by_user)?;
        Ok(())
    }

    pub(super) async fn find_thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        type Found = (i64, Option<String>, String, i64, i64, Option<Bytes>);
        let found: Option<Found> = self.first(&self.statements.find_thread, (tenant, thread_id)).await?;
        Ok(found.map(|(raw, user, graph, created_at, updated_at, view)| ThreadRow {
            tenant: tenant.to_owned(),
            thread_id: thread_id.to_owned(),
            position: position(raw),
            user,
            graph,
            created_at,
            updated_at,
            view: view.unwrap_or_default(),
        }))
    }

    pub(super) async fn find_threads(
        &self,
        tenant: &str,
        filter: &ThreadFilter,
        page: &PageRequest,
    ) -> Result<Page<ThreadRow>, StoreError> {
        let list = List::of_threads(tenant, filter);
        let mut behind = list.read_thread(page)?.unwrap_or((Millis::MAX, String::new()));
        let mut days: Option<VecDeque<i32>> = None;
        let at_once = (page.rows() + 1).clamp(*NAMES_AT_ONCE.start(), *NAMES_AT_ONCE.end());
        let mut rows: Vec<ThreadRow> = Vec::new();
        let mut looked_at = 0;
        loop {
            let named = match &filter.user {
                Some(user) => self.names_of_user(tenant, user, &behind, at_once).await?,
                None => {
                    let days = match &mut days {
                        Some(days) => days,
                        None => days.insert(self.days(tenant, THREADS, day_of(behind.0), i32::MIN).await?.into()),
                    };
                    self.names_by_day(tenant, days, &behind, at_once).await?
                }
            };
            let Some(last) = named.last().cloned() else { return Ok(Page { rows, cursor: None }) };
            looked_at += named.len();
            rows.extend(self.named_threads(tenant, filter, named).await?);
            if rows.len() > page.rows() {
                rows.truncate(page.rows());
                let cursor = rows.last().map(|row| list.behind_thread(row.created_at, &row.thread_id));
                return Ok(Page { rows, cursor });
            }
            if looked_at >= NAMES_MAX {
                return Ok(Page { rows, cursor: Some(list.behind_thread(last.0, &last.1)) });
            }
            behind = last;
        }
    }

    async fn names_of_user(
        &self,
        tenant: &str,
        user: &str,
        behind: &Name,
        at_once: usize,
    ) -> Result<Vec<Name>, StoreError> {
        let values = (tenant, user, behind.0, &behind.1, at_once as i32);
        self.limited(&self.statements.find_threads_by_user, values).await
    }

    async fn names_by_day(
        &self,
        tenant: &str,
        days: &mut VecDeque<i32>,
        behind: &Name,
        at_once: usize,
    ) -> Result<Vec<Name>, StoreError> {
        while let Some(day) = days.front().copied() {
            let values = (tenant, day, behind.0, &behind.1, at_once as i32);
            let named: Vec<Name> = self.limited(&self.statements.find_threads_by_day, values).await?;
            if named.len() < at_once {
                days.pop_front();
            }
            if !named.is_empty() {
                return Ok(named);
            }
        }
        Ok(Vec::new())
    }

    async fn named_threads(
        &self,
        tenant: &str,
        filter: &ThreadFilter,
        named: Vec<Name>,
    ) -> Result<Vec<ThreadRow>, StoreError> {
        let found: Vec<Option<ThreadRow>> = stream::iter(named)
            .map(|(created_at, thread_id)| async move {
                let row = self.find_thread(tenant, &thread_id).await?;
                Ok::<_, StoreError>(row.filter(|row| row.created_at == created_at))
            })
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await?;
        let ThreadFilter { user, graph } = filter;
        let belongs = |row: &ThreadRow| {
            (user.is_none() || *user == row.user) && graph.as_ref().is_none_or(|graph| *graph == row.graph)
        };
        Ok(found.into_iter().flatten().filter(belongs).collect())
    }
}
