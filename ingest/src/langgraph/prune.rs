//! Threads by their ids: deleted, or left with where they stand.

use axum::{body::Body, extract::State};
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::event::Event;
use http::Method;
use schemas::error::Code;

use super::{
    TAG,
    bodies::{PruneStrategy, Pruned, ThreadsPrune},
    threads::{late, thread_not_found, unprocessable, unrested},
};
use crate::{
    auth::Scope,
    body,
    ingest::Ingest,
    layers::Asked,
    options::check_thread_id,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
};

/// Threads that one request prunes.
const PRUNED_MAX: usize = 1_000;
const DELETED_AT_ONCE: usize = 16;
/// Each waits until its state is stored, which costs little.
const KEPT_AT_ONCE: usize = 64;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::POST, "/threads/prune", prune)
            .says(TAG, "Deletes threads and ends their runs, or forgets the history of threads that rest.")
            .takes(Media::Json("ThreadsPrune"))
            .answers(200, "How many there were.", Media::Json("Pruned")),
    ]
}

/// A few at a time: what was pruned before a failure stays so, and the same request goes on from there.
async fn prune(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let ThreadsPrune { thread_ids, strategy } = body::compatible::<ThreadsPrune>(&ingest.config, request).await?;
    if thread_ids.len() > PRUNED_MAX {
        let says = format!("thread_ids: at most {PRUNED_MAX} at once");
        return Err(unprocessable(Refusal::new(Code::InvalidValue, says)));
    }
    thread_ids.iter().try_for_each(|thread| check_thread_id(thread)).map_err(unprocessable)?;
    let (ingest, asked) = (&ingest, &asked);
    let pruned = thread_ids.into_iter().map(|thread| async move {
        let pruned = match strategy {
            PruneStrategy::Delete => ingest.delete_thread(asked, &thread).await,
            PruneStrategy::KeepLatest => ingest.forget_history(asked, &thread).await,
        };
        match pruned {
            Ok(()) => Ok(1),
            Err(refusal) if refusal.code() == Code::ThreadNotFound => Ok(0),
            Err(refusal) => Err(refusal),
        }
    });
    let at_once = match strategy {
        PruneStrategy::Delete => DELETED_AT_ONCE,
        PruneStrategy::KeepLatest => KEPT_AT_ONCE,
    };
    let pruned = stream::iter(pruned).buffer_unordered(at_once);
    let pruned_count = pruned.try_fold(0, |sum, one| async move { Ok(sum + one) }).await?;
    Ok(json_of(&Pruned { pruned_count }))
}

impl Ingest {
    /// Forgets what was before the place where a thread rests. Returns when the store has forgotten it too.
    async fn forget_history(&self, asked: &Asked, thread: &str) -> Result<(), Refusal> {
        let metadata = self.thread_metadata(asked, thread).await?.ok_or_else(|| thread_not_found(thread))?;
        // Without a run there is no history.
        if !self.has_run(asked, thread).await? {
            return Ok(());
        }
        let says = "the thread's history will be pruned as soon as the store takes it; nothing else is needed";
        let changed = self.change_whole(asked, thread, &metadata, Event::ThreadPruned).await;
        let Some(failure) = changed.map_err(|refusal| late(refusal, says))? else { return Ok(()) };
        let busy =
            format!("Thread {thread} has in-flight runs; wait for them to end, or cancel them, and prune it then");
        Err(unrested(failure, busy))
    }
}
