//! Lists of runs and threads: one index each, walked from its newest end; what it doesn't cover is filtered on the way.

use bytes::Bytes;
use graph::envelope::Millis;
use rusqlite::{Connection, Row, params_from_iter, types::Value};
use uuid::Uuid;

use super::states::position;
use crate::{
    error::StoreError,
    page::List,
    rows::{Page, PageRequest, RunFilter, RunRow, ThreadFilter, ThreadRow},
    stored::{ID_SLACK_MS, first_id_at, status, uuid},
};

pub(super) const RUN_COLUMNS: &str = "tenant, run_id, position, thread_id, user, graph, graph_hash, status, \
                                      created_at, updated_at, number, view";
pub(super) const THREAD_COLUMNS: &str = "tenant, thread_id, position, user, graph, created_at, updated_at, view";

pub(super) fn runs(
    connection: &Connection,
    tenant: String,
    filter: &RunFilter,
    page: &PageRequest,
) -> Result<Page<RunRow>, StoreError> {
    let list = List::of_runs(&tenant, filter);
    let behind = list.read_run(page)?;
    let RunFilter { user, thread_id, graph, status, since, until } = filter;
    let mut asked = Conditions::new(tenant);
    asked.equals("thread_id", thread_id.clone());
    asked.equals("user", user.clone());
    asked.equals("graph", graph.clone());
    asked.equals("status", status.map(|status| status.as_str().to_owned()));
    asked.bound("created_at >= ?", *since);
    asked.bound("created_at < ?", *until);
    // The ids' own time narrows the walk; `created_at` decides.
    asked.id("run_id >= ?", since.map(|at| first_id_at(at.saturating_sub(ID_SLACK_MS))));
    asked.id("run_id < ?", until.map(|at| first_id_at(at.saturating_add(ID_SLACK_MS))));
    asked.id("run_id < ?", behind);

    let index = match filter {
        RunFilter { thread_id: Some(_), .. } => "runs_by_thread",
        RunFilter { user: Some(_), .. } => "runs_by_user",
        RunFilter { status: Some(_), .. } => "runs_by_status",
        RunFilter { graph: Some(_), .. } => "runs_by_graph",
        _ => "runs_by_tenant",
    };
    let sql = format!(
        "SELECT {RUN_COLUMNS} FROM runs INDEXED BY {index} WHERE {} ORDER BY run_id DESC LIMIT {}",
        asked.sql,
        page.rows() + 1
    );
    let rows = collect(connection, &sql, asked.values, run_row)?;
    Ok(cut(rows, page, |last| list.behind_run(last.run_id)))
}

pub(super) fn threads(
    connection: &Connection,
    tenant: String,
    filter: &ThreadFilter,
    page: &PageRequest,
) -> Result<Page<ThreadRow>, StoreError> {
    let list = List::of_threads(&tenant, filter);
    let behind = list.read_thread(page)?;
    let ThreadFilter { user, graph } = filter;
    let mut asked = Conditions::new(tenant);
    asked.equals("user", user.clone());
    asked.equals("graph", graph.clone());
    if let Some((created_at, thread_id)) = behind {
        asked.both("(created_at, thread_id) < (?, ?)", created_at, thread_id);
    }
    let index = if user.is_some() { "threads_by_user" } else { "threads_by_tenant" };
    let sql = format!(
        "SELECT {THREAD_COLUMNS} FROM threads INDEXED BY {index} WHERE {}
         ORDER BY created_at DESC, thread_id DESC LIMIT {}",
        asked.sql,
        page.rows() + 1
    );
    let rows = collect(connection, &sql, asked.values, thread_row)?;
    Ok(cut(rows, page, |last| list.behind_thread(last.created_at, &last.thread_id)))
}

pub(super) fn run_row(row: &Row<'_>) -> Result<RunRow, StoreError> {
    Ok(RunRow {
        tenant: row.get(0)?,
        run_id: uuid(&row.get::<_, Vec<u8>>(1)?)?,
        position: position(row.get(2)?),
        thread_id: row.get(3)?,
        user: row.get(4)?,
        graph: row.get(5)?,
        graph_hash: row.get(6)?,
        status: status(&row.get::<_, String>(7)?)?,
        created_at: row.get(8)?,
        updated_at: row.get(9)?,
        number: row.get::<_, i64>(10)? as u64,
        view: Bytes::from(row.get::<_, Vec<u8>>(11)?),
    })
}

pub(super) fn thread_row(row: &Row<'_>) -> Result<ThreadRow, StoreError> {
    Ok(ThreadRow {
        tenant: row.get(0)?,
        thread_id: row.get(1)?,
        position: position(row.get(2)?),
        user: row.get(3)?,
        graph: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        view: Bytes::from(row.get::<_, Vec<u8>>(7)?),
    })
}

/// What a list asks for, as SQL and its values.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn new(tenant: String) -> Self {
        Conditions { sql: "tenant = ?".to_owned(), values: vec![Value::Text(tenant)] }
    }

    fn equals(&mut self, column: &str, value: Option<String>) {
        self.push(&format!("{column} = ?"), value.map(Value::Text));
    }

    fn bound(&mut self, condition: &str, at: Option<Millis>) {
        self.push(condition, at.map(Value::Integer));
    }

    fn id(&mut self, condition: &str, id: Option<Uuid>) {
        self.push(condition, id.map(|id| Value::Blob(id.as_bytes().to_vec())));
    }

    fn both(&mut self, condition: &str, at: Millis, id: String) {
        self.push(condition, Some(Value::Integer(at)));
        self.values.push(Value::Text(id));
    }

    fn push(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
            self.values.push(value);
        }
    }
}

fn collect<T>(
    connection: &Connection,
    sql: &str,
    values: Vec<Value>,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// One row more than the page was read: it says whether the list goes on.
fn cut<T>(mut rows: Vec<T>, page: &PageRequest, cursor: impl Fn(&T) -> String) -> Page<T> {
    let goes_on = rows.len() > page.rows();
    rows.truncate(page.rows());
    let cursor = rows.last().filter(|_| goes_on).map(cursor);
    Page { rows, cursor }
}
