//! A thread that is copied: what reads show of it is written under the name of its copy, when all that was read before is
//! written and before anything else of either is applied.
//!
//! Runs are not copied. What came of their tasks goes with the checkpoints, so that nothing of the copy leads back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use graph::{
    envelope::Key,
    update::{Checkpointed, Happened},
};
use run_store::{
    StoreError,
    rows::{RunWrite, ThreadRow},
    values::{THREAD_BLOB, Values, put_values},
};
use schemas::record::UpdateRecord;
use serde_json::{Map, Value};

use crate::{
    live::{Shard, lock},
    load::{self, Waits},
    materialize::thread_row,
    rewrite::{PAGE, Rewriting},
    routes::{Reading, Refusal},
    shared::Shared,
    thread::ThreadState,
    values,
};

/// To which thread an update says that its own was copied.
pub fn copied_to(record: &UpdateRecord) -> Option<&str> {
    record.update.happened.iter().find_map(|happened| match happened {
        Happened::Edited(edited) => edited.copied_to.as_deref(),
        _ => None,
    })
}

/// Copies the thread of an update to `to`. The copy's own row goes last: until then nobody finds it.
pub async fn copy_thread(shared: &Shared, shard: &Mutex<Shard>, waits: &Waits, to: &str) -> Result<(), Refusal> {
    let envelope = &waits.record.envelope;
    let Some(from) = &envelope.thread_id else { return Ok(()) };
    let deleted = shared.deps.deletes.deleted(&envelope.tenant, to).await?;
    if deleted.is_some_and(|at| at >= waits.position) {
        return Ok(());
    }
    let Some(state) = source(shared, shard, &envelope.tenant, from).await? else { return Ok(()) };
    let owner = Key::thread(&envelope.tenant, to);
    let blobs = &shared.deps.blobs;
    if let Some(made) = blobs.blob(&Key::thread(&envelope.tenant, from), THREAD_BLOB).await? {
        blobs.put_blob(&owner, THREAD_BLOB, untimed(made)).await?;
    }
    let rewriting = Rewriting { shared, shard, waits, state: &state, owner };
    history(&rewriting).await?;
    thread(&rewriting, to).await?;
    Ok(())
}

/// The thread as its updates left it. None where there is none.
pub async fn source(
    shared: &Shared,
    shard: &Mutex<Shard>,
    tenant: &str,
    from: &str,
) -> Result<Option<ThreadState>, StoreError> {
    let known = lock(shard).threads.get(&(tenant.to_owned(), from.to_owned())).map(|thread| thread.state.clone());
    match known {
        Some(state) => Ok(Some(state)),
        None => load::listed_thread(shared, shared.deps.results.thread(tenant, from).await?).await,
    }
}

/// What is kept beside a thread, but how long it lives: nobody has said that of its copy.
fn untimed(made: Bytes) -> Bytes {
    let Ok(mut kept) = serde_json::from_slice::<Map<String, Value>>(&made) else { return made };
    match kept.remove("ttl") {
        Some(_) => event_log::to_json(&kept),
        None => made,
    }
}

/// Every checkpoint that a read could come to, with what is shown there.
async fn history(copy: &Rewriting<'_>) -> Result<(), Refusal> {
    let (mut wanted, mut seen) = (vec![String::new()], BTreeSet::new());
    while let Some(ns) = wanted.pop() {
        if !seen.insert(ns.clone()) {
            continue;
        }
        let mut before = None;
        loop {
            let reading = Reading::listing(copy.shared, copy.shard, copy.state);
            let page = reading.checkpoints(&ns, before, PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.checkpoint.checkpoint_id);
            wanted.extend(page.iter().flat_map(|saved| inner(&saved.checkpoint)));
            copy.page(reading, page).await?;
        }
    }
    Ok(())
}

async fn thread(copy: &Rewriting<'_>, to: &str) -> Result<(), StoreError> {
    let mut large = Values::new();
    let row = thread_row(&copy.state.copied(to, copy.waits.record.update.at, copy.waits.position));
    let view = values::put_away(row.view, &copy.owner, |_| false, &mut large);
    put_values(&*copy.shared.deps.blobs, &copy.owner, &large).await?;
    let thread = Some(ThreadRow { view, ..row });
    copy.shared.deps.results.write(Arc::new(vec![RunWrite { thread, ..copy.nothing() }])).await
}

/// Namespaces in which subgraphs of the checkpoint's tasks stand.
fn inner(checkpoint: &Checkpointed) -> impl Iterator<Item = String> {
    checkpoint.next.iter().filter_map(|task| task.inner.clone())
}
