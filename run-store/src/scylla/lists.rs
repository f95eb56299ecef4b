//! Lists of runs: a table by each key names the runs, and each run itself says whether it still belongs there.

use std::collections::VecDeque;

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use uuid::Uuid;

use super::{
    ScyllaStore,
    days::{RUNS, day_of},
};
use crate::{
    error::StoreError,
    page::List,
    rows::{Page, PageRequest, RunFilter, RunRow},
    stored::{ID_SLACK_MS, first_id_at, millis_of, uuid},
};

/// Partitions of one tenant's day. Frozen.
const BUCKETS: u8 = 4;
/// Names that are fetched at once, about as many as the page wants; and runs that are then read at once.
const NAMES_AT_ONCE: std::ops::RangeInclusive<usize> = 16..=256;
const READ_AT_ONCE: usize = 64;
/// Names that one page looks at; a page that found too little by then is short, and its cursor goes on.
const NAMES_MAX: usize = 10_000;
/// Runs whose status a process remembers, to take them off the list that they leave.
const UNFINISHED_MAX: usize = 200_000;

impl ScyllaStore {
    /// Puts a run on its lists; call it when the run itself is written.
    pub(super) async fn list_run(&self, row: &RunRow) -> Result<(), StoreError> {
        let (tenant, run) = (row.tenant.as_str(), row.run_id.as_bytes().as_slice());
        let (day, bucket) = place_of(row.run_id);
        self.remember_day(tenant, RUNS, day).await?;
        let of = &self.statements;
        let by_day = self.execute(&of.list_by_day, (tenant, day, bucket, run));
        let by_graph = self.execute(&of.list_by_graph, (tenant, &row.graph, day, bucket, run));
        let by_user = async {
            let Some(user) = &row.user else { return Ok(()) };
            self.execute(&of.list_by_user, (tenant, user, run)).await
        };
        let by_thread = async {
            let Some(thread) = &row.thread_id else { return Ok(()) };
            self.execute(&of.list_by_thread, (tenant, thread, run)).await
        };
        tokio::try_join!(by_day, by_graph, by_user, by_thread, self.list_by_status(row))?;
        Ok(())
    }

    async fn list_by_status(&self, row: &RunRow) -> Result<(), StoreError> {
        let (tenant, run) = (row.tenant.as_str(), row.run_id.as_bytes().as_slice());
        let (day, bucket) = place_of(row.run_id);
        let former = self.remembered().unfinished.get(&row.run_id).copied();
        if let Some(former) = former.filter(|former| *former != row.status) {
            let values = (row.position.delete_timestamp(), tenant, former.as_str(), day, bucket, run);
            self.execute(&self.statements.unlist_by_status, values).await?;
        }
        let values = (tenant, row.status.as_str(), day, bucket, run, row.position.write_timestamp());
        self.execute(&self.statements.list_by_status, values).await?;
        let mut remembered = self.remembered();
        if row.status.is_terminal() {
            remembered.unfinished.remove(&row.run_id);
        } else {
            remembered.unfinished.insert(row.run_id, row.status);
            if remembered.unfinished.len() > UNFINISHED_MAX {
                remembered.unfinished.pop_first();
            }
        }
        Ok(())
    }

    pub(super) async fn find_runs(
        &self,
        tenant: &str,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunRow>, StoreError> {
        let list = List::of_runs(tenant, filter);
        let behind = list.read_run(page)?;
        let mut names = Names::new(self, tenant, filter, behind, page.rows() + 1);
        let mut rows: Vec<RunRow> = Vec::new();
        let mut looked_at = 0;
        loop {
            let named = names.next().await?;
            let Some(last) = named.last().copied() else { return Ok(Page { rows, cursor: None }) };
            looked_at += named.len();
            let found: Vec<Option<RunRow>> = stream::iter(named)
                .map(|run_id| self.find_run(tenant, run_id))
                .buffered(READ_AT_ONCE)
                .try_collect()
                .await?;
            rows.extend(found.into_iter().flatten().filter(|row| belongs(row, filter)));
            if rows.len() > page.rows() {
                rows.truncate(page.rows());
                let cursor = rows.last().map(|row| list.behind_run(row.run_id));
                return Ok(Page { rows, cursor });
            }
            if looked_at >= NAMES_MAX {
                return Ok(Page { rows, cursor: Some(list.behind_run(last)) });
            }
        }
    }
}

fn belongs(row: &RunRow, filter: &RunFilter) -> bool {
    let RunFilter { user, thread_id, graph, status, since, until } = filter;
    (user.is_none() || *user == row.user)
        && (thread_id.is_none() || *thread_id == row.thread_id)
        && graph.as_ref().is_none_or(|graph| *graph == row.graph)
        && status.is_none_or(|status| status == row.status)
        && since.is_none_or(|since| row.created_at >= since)
        && until.is_none_or(|until| row.created_at < until)
}

fn place_of(run_id: Uuid) -> (i32, i32) {
    // The last bytes name a partition; those before are drawn.
    let drawn = run_id.as_bytes()[13];
    (day_of(millis_of(run_id)), i32::from(drawn % BUCKETS))
}

/// The ids of a list, newest first, a handful at a time.
struct Names<'a> {
    store: &'a ScyllaStore,
    tenant: &'a str,
    filter: &'a RunFilter,
    /// Ids below this one, down to `bottom`, are still to come.
    top: Uuid,
    bottom: Uuid,
    at_once: usize,
    /// Days still to come, the one being read first; None before they are known.
    days: Option<VecDeque<i32>>,
}

impl<'a> Names<'a> {
    fn new(
        store: &'a ScyllaStore,
        tenant: &'a str,
        filter: &'a RunFilter,
        behind: Option<Uuid>,
        wanted: usize,
    ) -> Self {
        // The ids' own time narrows the walk; `created_at` decides.
        let until = filter.until.map(|at| first_id_at(at.saturating_add(ID_SLACK_MS)));
        let since = filter.since.map(|at| first_id_at(at.saturating_sub(ID_SLACK_MS)));
        let top = behind.into_iter().chain(until).min().unwrap_or(Uuid::max());
        let at_once = wanted.clamp(*NAMES_AT_ONCE.start(), *NAMES_AT_ONCE.end());
        Names { store, tenant, filter, top, bottom: since.unwrap_or(Uuid::nil()), at_once, days: None }
    }

    /// Empty at the end.
    async fn next(&mut self) -> Result<Vec<Uuid>, StoreError> {
        let named = match self.filter {
            RunFilter { thread_id: Some(thread), .. } => self.in_one_partition(Some(thread), None).await?,
            RunFilter { user: Some(user), .. } => self.in_one_partition(None, Some(user)).await?,
            _ => self.by_day().await?,
        };
        if let Some(last) = named.last() {
            self.top = *last;
        }
        Ok(named)
    }

    async fn in_one_partition(&self, thread: Option<&str>, user: Option<&str>) -> Result<Vec<Uuid>, StoreError> {
        let (statement, key) = match (thread, user) {
            (Some(thread), _) => (&self.store.statements.find_by_thread, thread),
            (None, user) => (&self.store.statements.find_by_user, user.unwrap_or_default()),
        };
        let (top, bottom) = (self.top.as_bytes().as_slice(), self.bottom.as_bytes().as_slice());
        let values = (self.tenant, key, top, bottom, self.at_once as i32);
        ids(self.store.limited(statement, values).await?)
    }

    async fn by_day(&mut self) -> Result<Vec<Uuid>, StoreError> {
        let mut days = match self.days.take() {
            Some(days) => days,
            None => {
                let (newest, oldest) = (day_of(millis_of(self.top)), day_of(millis_of(self.bottom)));
                self.store.days(self.tenant, RUNS, newest, oldest).await?.into()
            }
        };
        let mut named = Vec::new();
        while let Some(day) = days.front().copied() {
            let buckets = try_join_all((0..BUCKETS).map(|bucket| self.of_bucket(day, i32::from(bucket)))).await?;
            named = buckets.concat();
            // Each bucket gave its newest, so the newest of all are among them.
            named.sort_by(|a, b| b.cmp(a));
            if named.len() > self.at_once {
                named.truncate(self.at_once);
                break;
            }
            days.pop_front();
            if !named.is_empty() {
                break;
            }
        }
        self.days = Some(days);
        Ok(named)
    }

    async fn of_bucket(&self, day: i32, bucket: i32) -> Result<Vec<Uuid>, StoreError> {
        let Names { store, tenant, filter, .. } = self;
        let (top, bottom) = (self.top.as_bytes().as_slice(), self.bottom.as_bytes().as_slice());
        let limit = self.at_once as i32 + 1;
        let of = &store.statements;
        let found = match (filter.status, &filter.graph) {
            (Some(status), _) => {
                let values = (tenant, status.as_str(), day, bucket, top, bottom, limit);
                store.limited(&of.find_by_status, values).await?
            }
            (None, Some(graph)) => {
                store.limited(&of.find_by_graph, (tenant, graph, day, bucket, top, bottom, limit)).await?
            }
            (None, None) => store.limited(&of.find_by_day, (tenant, day, bucket, top, bottom, limit)).await?,
        };
        ids(found)
    }
}

fn ids(found: Vec<(Vec<u8>,)>) -> Result<Vec<Uuid>, StoreError> {
    found.iter().map(|(id,)| uuid(id)).collect()
}
