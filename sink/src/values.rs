//! Values by reference: put back before anything is shown, put away again before a row is written.

use std::sync::Arc;

use bytes::Bytes;
use graph::envelope::Key;
use run_store::{
    Blobs, StoreError,
    values::{FindError, ValueMissing, Values, await_values, find_values},
};
use schemas::{
    error::Code,
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
/// Waits for a store that is away. In place of a value that is gone stands an object that says so: its run has gone on.
pub async fn whole_update(blobs: &dyn Blobs, record: Arc<UpdateRecord>, payload: &Bytes) -> Arc<UpdateRecord> {
    let Some(references) = &record.references else { return record };
    loop {
        if let Ok(values) = await_values(blobs, &references.owner, &references.wanted()).await {
            return Arc::new(filled(&record, payload, Left::all(references, values)));
        }
        // The store has answered for ten seconds; one that is away now is waited for again.
        if let Ok(left) = what_is_left(blobs, references).await {
            return Arc::new(filled(&record, payload, left));
        }
    }
}

/// As [`whole_update`], asking the store once.
pub async fn whole_update_now(
    blobs: &dyn Blobs,
    record: UpdateRecord,
    payload: &Bytes,
) -> Result<Arc<UpdateRecord>, StoreError> {
    let Some(references) = &record.references else { return Ok(Arc::new(record)) };
    let left = what_is_left(blobs, references).await?;
    Ok(Arc::new(filled(&record, payload, left)))
}

/// The values of a table that are there, and what stands in place of those that are not.
struct Left {
    references: References,
    values: Values,
    gone: Vec<String>,
}

impl Left {
    fn all(references: &References, values: Values) -> Self {
        Left { references: references.clone(), values, gone: Vec::new() }
    }
}

async fn what_is_left(blobs: &dyn Blobs, references: &References) -> Result<Left, StoreError> {
    match find_values(blobs, &references.owner, references.wanted()).await {
        Ok(values) => return Ok(Left::all(references, values)),
        Err(FindError::Store(error)) => return Err(error),
        Err(FindError::Missing(_)) => {}
    }
    let (mut values, mut gone, mut gone_at) = (Values::new(), Vec::new(), Vec::<String>::new());
    let mut kept = Vec::new();
    for value in &references.values {
        // What was taken out of a part that is gone has no place any more.
        if gone_at.iter().any(|at| value.at.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))) {
            continue;
        }
        kept.push(value.clone());
        match find_values(blobs, &references.owner, [(value.hash.as_str(), value.bytes)]).await {
            Ok(found) => values.extend(found),
            Err(FindError::Store(error)) => return Err(error),
            Err(FindError::Missing(missing)) => {
                error!(error = %missing, at = value.at, "a value is gone; what names it is shown without it");
                values.insert(value.hash.clone(), stand_in(&missing, value.bytes));
                gone.push(value.hash.clone());
                gone_at.push(value.at.clone());
            }
        }
    }
    let References { version, owner, values: _ } = references.clone();
    Ok(Left { references: References { version, owner, values: kept }, values, gone })
}

/// Never an empty value, which might be the truth.
fn stand_in(missing: &ValueMissing, bytes: u64) -> Bytes {
    let text = format!("{missing}, of {bytes} bytes");
    event_log::to_json(&serde_json::json!({Code::ValueMissing.as_str(): text}))
}

fn filled(record: &UpdateRecord, payload: &Bytes, mut left: Left) -> UpdateRecord {
    let mut whole = UpdateRecord::filled(payload, &left.references, &left.values);
    for hash in &left.gone {
        if whole.is_ok() {
            break;
        }
        // A list of ours, such as tasks, has no place for what stands in for it.
        left.values.insert(hash.clone(), Bytes::from_static(b"[]"));
        whole = UpdateRecord::filled(payload, &left.references, &left.values);
    }
    let mut whole = whole.unwrap_or_else(|reason| {
        error!(run.id = %record.envelope.run_id, %reason, "an update is shown without values that have no place in it");
        record.clone()
    });
    whole.references.clone_from(&record.references);
    whole
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
    let Some(references) = reference::references_of_row(&row) else { return Ok(row) };
    let left = what_is_left(blobs, &references).await?;
    Ok(reference::fill(&row, &left.references, &left.values).map(Bytes::from).unwrap_or_else(|reason| {
        error!(%reason, "a row is listed without values that have no place in it");
        reference::without_table(&row).into()
    }))
}
