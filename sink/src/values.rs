//! Values by reference: put back before anything is shown, put away again before a row is written.

use std::sync::Arc;

use bytes::Bytes;
use graph::envelope::Key;
use run_store::{
    Blobs, StoreError,
    values::{FindError, ValueMissing, Values, await_values, find_values},
};
use schemas::{
    record::UpdateRecord,
    reference::{self, FillError, Layout, References, Referring},
};
use tracing::error;

/// Why a row can't be shown with its values.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Missing(#[from] ValueMissing),
    #[error("a row's references lead nowhere")]
    Astray(#[source] FillError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FindError> for Unread {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Missing(missing) => Unread::Missing(missing),
            FindError::Store(error) => Unread::Store(error),
        }
    }
}

/// The update with every value in its place. It keeps its table, which says what its text lacks.
///
/// Waits for a store that is away. Of a value that is gone it shows an empty one: its run has gone on without it.
pub async fn whole_update(blobs: &dyn Blobs, record: Arc<UpdateRecord>, payload: &Bytes) -> Arc<UpdateRecord> {
    let Some(references) = &record.references else { return record };
    let found = await_values(blobs, &references.owner, &references.wanted()).await;
    filled(&record, references, payload, found.map_err(|missing| missing.to_string()))
}

/// As [`whole_update`], asking the store once.
pub async fn whole_update_now(
    blobs: &dyn Blobs,
    record: UpdateRecord,
    payload: &Bytes,
) -> Result<Arc<UpdateRecord>, StoreError> {
    let Some(references) = &record.references else { return Ok(Arc::new(record)) };
    let found = match find_values(blobs, &references.owner, references.wanted()).await {
        Ok(values) => Ok(values),
        Err(FindError::Missing(missing)) => Err(missing.to_string()),
        Err(FindError::Store(error)) => return Err(error),
    };
    Ok(filled(&record, references, payload, found))
}

fn filled(
    record: &UpdateRecord,
    references: &References,
    payload: &Bytes,
    found: Result<Values, String>,
) -> Arc<UpdateRecord> {
    let whole =
        found.and_then(|values| UpdateRecord::filled(payload, references, &values).map_err(|error| error.to_string()));
    let mut whole = whole.unwrap_or_else(|reason| {
        error!(run.id = %record.envelope.run_id, reason, "an update is shown without a value that is gone");
        record.clone()
    });
    whole.references = Some(references.clone());
    Arc::new(whole)
}

/// An update's line as it was before values were put away.
pub fn line(record: &UpdateRecord, payload: &Bytes) -> Bytes {
    if record.references.is_none() {
        return payload.clone();
    }
    let whole = UpdateRecord { references: None, ..record.clone() };
    serde_json::to_vec(&whole).expect("an update's maps have strings as keys").into()
}

/// A row's JSON with every value in its place.
pub async fn whole_row(blobs: &dyn Blobs, row: Bytes) -> Result<Bytes, Unread> {
    let Some(references) = reference::references_of_row(&row) else { return Ok(row) };
    let values = find_values(blobs, &references.owner, references.wanted()).await?;
    reference::fill(&row, &references, &values).map(Bytes::from).map_err(Unread::Astray)
}

/// A row's JSON as it is stored. What has to be stored before it is added to `values`, unless `named` by an update.
pub fn put_away(row: Bytes, owner: &Key, named: impl Fn(&str) -> bool, values: &mut Values) -> Bytes {
    match reference::put_away(&row, owner, &Layout::ROW) {
        None => row,
        Some(put) => {
            values.extend(put.values.into_iter().filter(|(hash, _)| !named(hash)));
            put.json
        }
    }
}

/// As [`whole_row`] for one of many: a value that is gone doesn't take the list with it.
pub async fn listed(blobs: &dyn Blobs, row: Bytes) -> Result<Bytes, StoreError> {
    match whole_row(blobs, row.clone()).await {
        Ok(row) => Ok(row),
        Err(Unread::Store(error)) => Err(error),
        Err(unread) => {
            error!(error = %unread, "a row is listed without a value that is gone");
            Ok(reference::without_table(&row).into())
        }
    }
}
