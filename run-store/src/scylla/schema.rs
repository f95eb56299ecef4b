//! Brings the keyspace to this binary's schema: numbered migrations with checksums, by one process at a time.

use std::time::Duration;

use ::scylla::{client::session::Session, value::Row};
use tokio::time::sleep;

use super::connect::Config;
use crate::{error::StoreError, stored::corrupt};

/// In order; a number is never used twice and a shipped file never changed.
const MIGRATIONS: [(i32, &str); 6] = [
    (1, include_str!("migrations/0001_first.cql")),
    (2, include_str!("migrations/0002_archive.cql")),
    (3, include_str!("migrations/0003_items.cql")),
    (4, include_str!("migrations/0004_cache_write_tokens.cql")),
    (5, include_str!("migrations/0005_cost.cql")),
    (6, include_str!("migrations/0006_api_keys.cql")),
];

/// A lock whose holder died is free after this long.
const LOCK_SECONDS: u32 = 120;
/// How often, and for how long, a process asks for the lock that another one holds.
const LOCK_ASK_EVERY: Duration = Duration::from_millis(500);
const LOCK_ASKS_MAX: u32 = 300;

/// Enters the keyspace. Makes it, and applies what is missing, where `config.create` allows it.
pub(super) async fn migrate(session: &Session, config: &Config) -> Result<(), StoreError> {
    check_name(&config.keyspace)?;
    let wanted = MIGRATIONS.last().map_or(0, |(number, _)| *number);
    if config.create {
        make_keyspace(session, config).await?;
    } else if !exists(session, &config.keyspace, None).await? {
        return Err(StoreError::Schema { found: 0, wanted: wanted as u32 });
    }
    session.use_keyspace(&config.keyspace, true).await?;
    let found = found(session, config).await?;
    if found > wanted || (found < wanted && !config.create) {
        return Err(StoreError::Schema { found: found as u32, wanted: wanted as u32 });
    }
    if found < wanted {
        let holder = session.session_id().to_string();
        lock(session, &holder).await?;
        let outcome = apply(session, &config.keyspace).await;
        unlock(session, &holder).await?;
        outcome?;
    }
    check(session).await
}

async fn make_keyspace(session: &Session, config: &Config) -> Result<(), StoreError> {
    let Config { keyspace, replication_factor, datacenter, .. } = config;
    let place = datacenter.as_deref().unwrap_or("replication_factor").replace('\'', "''");
    let cql = format!(
        "CREATE KEYSPACE IF NOT EXISTS \"{keyspace}\" WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{place}': {replication_factor}}}"
    );
    session.query_unpaged(cql, ()).await?;
    session.await_schema_agreement().await?;
    session.use_keyspace(keyspace, true).await?;
    for cql in [
        "CREATE TABLE IF NOT EXISTS schema_migrations (number int PRIMARY KEY, checksum text)",
        "CREATE TABLE IF NOT EXISTS schema_lock (name text PRIMARY KEY, holder text)",
    ] {
        session.query_unpaged(cql, ()).await?;
        session.await_schema_agreement().await?;
    }
    Ok(())
}

async fn found(session: &Session, config: &Config) -> Result<i32, StoreError> {
    if !exists(session, &config.keyspace, Some("schema_migrations")).await? {
        return Ok(0);
    }
    Ok(applied(session).await?.into_iter().map(|(number, _)| number).max().unwrap_or(0))
}

async fn applied(session: &Session) -> Result<Vec<(i32, String)>, StoreError> {
    let answer = session.query_unpaged("SELECT number, checksum FROM schema_migrations", ()).await?;
    Ok(answer.into_rows_result()?.rows::<(i32, String)>()?.collect::<Result<_, _>>()?)
}

async fn apply(session: &Session, keyspace: &str) -> Result<(), StoreError> {
    // Another process may have been first.
    let done = applied(session).await?;
    for (number, file) in MIGRATIONS.iter().filter(|(number, _)| !done.iter().any(|(known, _)| known == number)) {
        for statement in statements(file) {
            if !is_done(session, keyspace, &statement).await? {
                session.query_unpaged(statement, ()).await?;
            }
        }
        session.await_schema_agreement().await?;
        let insert = "INSERT INTO schema_migrations (number, checksum) VALUES (?, ?)";
        session.query_unpaged(insert, (number, checksum(file))).await?;
    }
    Ok(())
}

/// A process that died in the middle of a file has added the column already: CQL can't be told to add it where it isn't.
async fn is_done(session: &Session, keyspace: &str, statement: &str) -> Result<bool, StoreError> {
    let Some((table, column)) = added_column(statement) else { return Ok(false) };
    let cql = "SELECT column_name FROM system_schema.columns
        WHERE keyspace_name = ? AND table_name = ? AND column_name = ?";
    Ok(session.query_unpaged(cql, (keyspace, table, column)).await?.into_rows_result()?.rows_num() > 0)
}

/// Table and column of `ALTER TABLE table ADD column type`.
fn added_column(statement: &str) -> Option<(&str, &str)> {
    let (table, column) = statement.strip_prefix("ALTER TABLE ")?.split_once(" ADD ")?;
    let (column, kind) = column.split_once(' ')?;
    kind.bytes().all(|byte| byte.is_ascii_lowercase()).then_some((table, column))
}

async fn check(session: &Session) -> Result<(), StoreError> {
    let done = applied(session).await?;
    for (number, file) in MIGRATIONS {
        if !done.contains(&(number, checksum(file))) {
            return Err(corrupt(format!("migration {number} of the keyspace is not the one this binary has")));
        }
    }
    Ok(())
}

async fn lock(session: &Session, holder: &str) -> Result<(), StoreError> {
    let ask = format!(
        "INSERT INTO schema_lock (name, holder) VALUES ('migrations', ?) IF NOT EXISTS USING TTL {LOCK_SECONDS}"
    );
    for _ in 0..LOCK_ASKS_MAX {
        let answer = session.query_unpaged(ask.as_str(), (holder,)).await?.into_rows_result()?;
        let place = answer.column_specs().get_by_name("[applied]").map(|(place, _)| place);
        let row: Option<Row> = answer.maybe_first_row()?;
        let applied = place.zip(row).and_then(|(place, row)| row.columns.get(place)?.as_ref()?.as_boolean());
        if applied == Some(true) {
            return Ok(());
        }
        sleep(LOCK_ASK_EVERY).await;
    }
    Err(StoreError::Unavailable { reason: "another process has been changing the schema for too long".into() })
}

async fn unlock(session: &Session, holder: &str) -> Result<(), StoreError> {
    session.query_unpaged("DELETE FROM schema_lock WHERE name = 'migrations' IF holder = ?", (holder,)).await?;
    Ok(())
}

async fn exists(session: &Session, keyspace: &str, table: Option<&str>) -> Result<bool, StoreError> {
    let answer = match table {
        None => {
            let cql = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
            session.query_unpaged(cql, (keyspace,)).await?
        }
        Some(table) => {
            let cql = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
            session.query_unpaged(cql, (keyspace, table)).await?
        }
    };
    Ok(answer.into_rows_result()?.rows_num() > 0)
}

/// The statements of a file, without its comments.
fn statements(file: &str) -> Vec<String> {
    let lines: Vec<&str> = file.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    lines.join("\n").split(';').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn checksum(file: &str) -> String {
    blake3::hash(file.as_bytes()).to_hex().to_string()
}

fn check_name(keyspace: &str) -> Result<(), StoreError> {
    let is_name =
        (1..=48).contains(&keyspace.len()) && keyspace.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name {
        return Ok(());
    }
    Err(StoreError::Unavailable {
        reason: format!("{keyspace:?} is no name for a keyspace: use 1 to 48 letters, digits and underscores"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_can_be_repeated() {
        for (number, file) in MIGRATIONS {
            let statements = statements(file);
            assert!(!statements.is_empty());
            for statement in statements {
                let can = statement.starts_with("CREATE TABLE IF NOT EXISTS ") || added_column(&statement).is_some();
                assert!(can, "migration {number}: {statement}");
            }
        }
    }
}
