//! Clients that go away before their run has ended, where the run or its graph says that it ends then, too.

use graph::{envelope::RunId, spec::OnDisconnect};

use crate::{ingest::Ingest, layers::Asked, refusal::Refusal, sinks::whole, submit::Prepared, waiting::View};

/// Cancels the run when it is dropped before [`Leaving::stays`].
pub(crate) struct Leaving {
    /// None once the client has heard of the end, or that it can come back.
    left: Option<(Ingest, Asked, RunId)>,
}

impl Leaving {
    pub fn new(ingest: &Ingest, asked: &Asked, run: RunId) -> Self {
        Leaving { left: Some((ingest.clone(), asked.clone(), run)) }
    }

    pub fn stays(mut self) {
        self.left = None;
    }
}

impl Prepared {
    /// What is to become of the run when its client goes away: what the request says stands above the graph's policy.
    pub fn is_cancelled_by_leaving(&self, said: Option<OnDisconnect>) -> bool {
        said.unwrap_or(self.graph.spec.on_disconnect) == OnDisconnect::Cancel
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some((ingest, asked, run)) = self.left.take() else { return };
        let background = ingest.background.clone();
        background.spawn(async move {
            if let Err(refusal) = ingest.cancel_left(&asked, run).await {
                tracing::warn!(run.id = %run, reason = refusal.message(), "a run whose client went away goes on");
            }
        });
    }
}

impl Ingest {
    async fn cancel_left(&self, asked: &Asked, run: RunId) -> Result<(), Refusal> {
        let found = self.find_run(asked, run, &format!("/internal/runs/{run}")).await?;
        let view = whole(found).await?;
        self.cancel(asked, run, &View::of(&view)?, "its client went away".to_owned(), false).await.map(|_| ())
    }
}
