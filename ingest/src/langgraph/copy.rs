//! A thread's copy: the same history and state under another id, which goes on alone.

use axum::extract::State;
use graph::event::Event;
use http::Method;

use super::{
    TAG,
    threads::{thread_not_found, unprocessable, unrested},
};
use crate::{
    auth::Scope,
    extract::At,
    ingest::Ingest,
    layers::Asked,
    options::check_thread_id,
    refusal::Answer,
    route::{Media, Route, route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::POST, "/threads/{thread_id}/copy", copy)
            .says(TAG, "Copies a thread that rests: its state, its open questions and its history, but not its runs.")
            .answers(200, "The copy.", Media::Json("Thread")),
    ]
}

async fn copy(State(ingest): State<Ingest>, At(thread): At<String>, asked: Asked) -> Answer {
    check_thread_id(&thread).map_err(unprocessable)?;
    let metadata = ingest.thread_metadata(&asked, &thread).await?.ok_or_else(|| thread_not_found(&thread))?;
    let to = ingest.thread_beside(&asked, &thread);
    // Without a run there is nothing of it but what was said when it was made.
    if !ingest.has_run(&asked, &thread).await? {
        ingest.copy_made(&asked, &thread, &to).await?;
        return ingest.copied(&asked, &to).await;
    }
    let event = Event::ThreadCopied { to: to.clone() };
    if let Some(failure) = ingest.change_whole(&asked, &thread, &metadata, event).await? {
        let busy = "Thread has in-flight runs; wait for them to end, or cancel them, and copy it then";
        return Err(unrested(failure, busy.to_owned()));
    }
    ingest.copied(&asked, &to).await
}

impl Ingest {
    /// A copy is a thread that nobody has timed.
    async fn copied(&self, asked: &Asked, copy: &str) -> Answer {
        if let Some(timed) = self.timed_by_default() {
            self.keep_ttl(asked, copy, timed).await?;
            self.time_thread(asked, copy, timed.ttl).await?;
        }
        self.thread(asked, copy).await
    }

    /// A new thread's id in the same partition: whoever owns one owns the other.
    fn thread_beside(&self, asked: &Asked, thread: &str) -> String {
        let tenant = &asked.caller.tenant;
        let partition = self.partition_of_thread(tenant, thread);
        loop {
            let drawn = self.deps.random.uuid().to_string();
            if self.partition_of_thread(tenant, &drawn) == partition {
                return drawn;
            }
        }
    }
}
