//! Connecting, and the few ways in which every statement is executed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use ::scylla::{
    client::{Compression, execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    deserialize::row::DeserializeRow,
    serialize::row::SerializeRow,
    statement::{Consistency as CqlConsistency, SerialConsistency, prepared::PreparedStatement},
    value::Row,
};
use futures_util::{Stream, TryStreamExt};
use graph::{update::RunStatus, world::Clock};
use uuid::Uuid;

use super::{schema, statements::Statements};
use crate::{error::StoreError, stored::VALUE_BYTES_MAX};

/// Statements of one call that are under way at the same time.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// The largest value that is one cell: half of what a commit log of 32 MiB segments takes. Blobs are cut instead.
const CELL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many replicas answer before a statement has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    One,
    LocalOne,
    Quorum,
    #[default]
    LocalQuorum,
    All,
}

#[derive(Clone)]
pub struct Config {
    /// `host:port` of some nodes; the others are found by asking.
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The data centre that is asked first.
    pub datacenter: Option<String>,
    /// Copies of each row, where the keyspace is made by this process.
    pub replication_factor: u32,
    pub consistency: Consistency,
    pub request_timeout: Duration,
    /// Makes the keyspace and its tables, or brings them up to date, where they are missing or older.
    pub create: bool,
    /// The largest blob, in bytes.
    pub value_bytes_max: usize,
}

impl Config {
    pub fn new(nodes: Vec<String>, keyspace: impl Into<String>) -> Self {
        Config {
            nodes,
            keyspace: keyspace.into(),
            user: None,
            password: None,
            datacenter: None,
            replication_factor: 3,
            consistency: Consistency::default(),
            request_timeout: Duration::from_secs(10),
            create: false,
            value_bytes_max: VALUE_BYTES_MAX,
        }
    }
}

/// The store on ScyllaDB or Cassandra. See [`crate::contract`] for what it promises.
pub struct ScyllaStore {
    session: Session,
    pub(super) statements: Statements,
    /// Only how long a row may live is taken from it, never a timestamp.
    pub(super) clock: Arc<dyn Clock>,
    pub(super) value_bytes_max: usize,
    pub(super) cell_bytes_max: usize,
    pub(super) remembered: Mutex<Remembered>,
}

/// What saves statements; to have forgotten it costs some of them, never a row.
#[derive(Default)]
pub(super) struct Remembered {
    /// Days that are known to stand in `days`.
    pub(super) days: BTreeSet<(String, &'static str, i32)>,
    /// Hashes of keys that have a row in `sleepers`.
    pub(super) asleep: BTreeSet<[u8; 16]>,
    /// Runs that were last listed under a status that they will leave.
    pub(super) unfinished: BTreeMap<Uuid, RunStatus>,
}

impl ScyllaStore {
    pub async fn connect(config: Config, clock: Arc<dyn Clock>) -> Result<Arc<Self>, StoreError> {
        let session = session(&config).await?;
        schema::migrate(&session, &config).await?;
        let statements = Statements::prepare(&session).await?;
        Ok(Arc::new(ScyllaStore {
            session,
            statements,
            clock,
            value_bytes_max: config.value_bytes_max,
            cell_bytes_max: config.value_bytes_max.min(CELL_BYTES_MAX),
            remembered: Mutex::default(),
        }))
    }

    pub(super) async fn execute(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send,
    ) -> Result<(), StoreError> {
        self.session.execute_unpaged(statement, values).await?;
        Ok(())
    }

    /// Whether a lightweight transaction changed the row. Scylla answers with the old row too, Cassandra does not
    /// always: only the column's name can be relied on.
    pub(super) async fn applied(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send,
    ) -> Result<bool, StoreError> {
        let answer = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        let place = answer.column_specs().get_by_name("[applied]").map(|(place, _)| place);
        let row: Option<Row> = answer.maybe_first_row()?;
        let applied = place.zip(row).and_then(|(place, row)| row.columns.get(place)?.as_ref()?.as_boolean());
        applied.ok_or_else(|| crate::stored::corrupt("a transaction was not answered with `[applied]`"))
    }

    /// The first row of an answer that is one page.
    pub(super) async fn first<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send,
    ) -> Result<Option<T>, StoreError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + Send,
    {
        let answer = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        Ok(answer.maybe_first_row::<T>()?)
    }

    /// All rows of an answer that a LIMIT bounds.
    pub(super) async fn limited<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + Send,
    {
        let answer = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        Ok(answer.rows::<T>()?.collect::<Result<_, _>>()?)
    }

    /// All rows, fetched page by page.
    pub(super) async fn all<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + Send + 'static,
    {
        self.pages(statement, values).await?.try_collect().await
    }

    /// Rows as they are wanted, fetched page by page.
    pub(super) async fn pages<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send,
    ) -> Result<impl Stream<Item = Result<T, StoreError>>, StoreError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + Send + 'static,
    {
        let pages = self.session.execute_iter(statement.clone(), values).await?;
        Ok(pages.rows_stream::<T>()?.map_err(StoreError::from))
    }

    pub(super) fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn session(config: &Config) -> Result<Session, StoreError> {
    let consistency = match config.consistency {
        Consistency::One => CqlConsistency::One,
        Consistency::LocalOne => CqlConsistency::LocalOne,
        Consistency::Quorum => CqlConsistency::Quorum,
        Consistency::LocalQuorum => CqlConsistency::LocalQuorum,
        Consistency::All => CqlConsistency::All,
    };
    let profile = ExecutionProfile::builder()
        .consistency(consistency)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .compression(Some(Compression::Lz4))
        .default_execution_profile_handle(profile.into_handle());
    if let Some(datacenter) = &config.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        builder = builder.user(user, password);
    }
    Ok(builder.build().await?)
}
