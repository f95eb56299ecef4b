//! Brings the file's schema to this binary's: numbered migrations, each applied once and known by its checksum.

use rusqlite::{Connection, OptionalExtension, params};

use crate::{error::StoreError, stored::corrupt};

/// In order; a number is never used twice and a shipped file never changed.
const MIGRATIONS: [(u32, &str); 7] = [
    (1, include_str!("migrations/0001_first.sql")),
    (2, include_str!("migrations/0002_archive.sql")),
    (3, include_str!("migrations/0003_items.sql")),
    (4, include_str!("migrations/0004_blobs_written.sql")),
    (5, include_str!("migrations/0005_cache_write_tokens.sql")),
    (6, include_str!("migrations/0006_cost.sql")),
    (7, include_str!("migrations/0007_api_keys.sql")),
];

/// Applies what is missing where `create` allows it, and refuses a file that a newer binary has written.
pub(super) fn migrate(connection: &mut Connection, create: bool) -> Result<(), StoreError> {
    let wanted = MIGRATIONS.last().map_or(0, |(number, _)| *number);
    let found = found(connection)?;
    if found > wanted || (found < wanted && !create) {
        return Err(StoreError::Schema { found, wanted });
    }
    apply(connection, &MIGRATIONS)
}

fn apply(connection: &mut Connection, migrations: &[(u32, &str)]) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (number INTEGER NOT NULL PRIMARY KEY, checksum TEXT NOT NULL) STRICT",
    )?;
    for &(number, sql) in migrations {
        let checksum = blake3::hash(sql.as_bytes()).to_hex().to_string();
        match applied(connection, number)? {
            Some(known) if known == checksum => {}
            Some(_) => {
                return Err(corrupt(format!("migration {number} of the store is not the one this binary has")));
            }
            None => {
                let step = connection.transaction()?;
                step.execute_batch(sql)?;
                step.execute(
                    "INSERT INTO schema_migrations (number, checksum) VALUES (?1, ?2)",
                    params![number, checksum],
                )?;
                step.commit()?;
            }
        }
    }
    Ok(())
}

fn found(connection: &Connection) -> Result<u32, StoreError> {
    let known: Option<String> = connection
        .query_row("SELECT name FROM sqlite_schema WHERE name = 'schema_migrations'", [], |row| row.get(0))
        .optional()?;
    if known.is_none() {
        return Ok(0);
    }
    Ok(connection.query_row("SELECT coalesce(max(number), 0) FROM schema_migrations", [], |row| row.get(0))?)
}

fn applied(connection: &Connection, number: u32) -> Result<Option<String>, StoreError> {
    Ok(connection
        .query_row("SELECT checksum FROM schema_migrations WHERE number = ?1", [number], |row| row.get(0))
        .optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_applied_once_and_a_changed_one_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(matches!(migrate(&mut connection, false), Err(StoreError::Schema { found: 0, wanted: 7 })));
        migrate(&mut connection, true).unwrap();
        migrate(&mut connection, false).unwrap();

        connection.execute("UPDATE schema_migrations SET checksum = 'another'", []).unwrap();
        assert!(matches!(migrate(&mut connection, true), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn an_older_binarys_file_is_brought_up_to_date() {
        for kept in 1..MIGRATIONS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            apply(&mut connection, &MIGRATIONS[..kept]).unwrap();
            connection.execute("INSERT INTO meta (name, value) VALUES ('generation', '7')", []).unwrap();
            assert!(matches!(migrate(&mut connection, false), Err(StoreError::Schema { .. })));
            migrate(&mut connection, true).unwrap();
            migrate(&mut connection, false).unwrap();
            let held: String = connection.query_row("SELECT value FROM meta", [], |row| row.get(0)).unwrap();
            assert_eq!(held, "7");
        }
    }

    #[test]
    fn a_newer_binarys_file_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, true).unwrap();
        connection.execute("INSERT INTO schema_migrations VALUES (99, 'of tomorrow')", []).unwrap();
        assert!(matches!(migrate(&mut connection, true), Err(StoreError::Schema { found: 99, wanted: 7 })));
    }
}
