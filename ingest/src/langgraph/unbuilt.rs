//! What LangGraph's server has and this one not yet: listed, so that a client is told, and the document is whole.

use http::Method;

use super::TAG;
use crate::route::{Route, unbuilt};

pub(crate) fn routes() -> Vec<Route> {
    let get = |path, says| unbuilt(Method::GET, path, TAG, says);
    let post = |path, says| unbuilt(Method::POST, path, TAG, says);
    let patch = |path, says| unbuilt(Method::PATCH, path, TAG, says);
    let delete = |path, says| unbuilt(Method::DELETE, path, TAG, says);
    vec![
        get("/threads/{thread_id}/stream", "A thread's events."),
        post("/threads/{thread_id}/runs/crons", "Starts runs by the clock."),
        delete("/threads/{thread_id}/runs/{run_id}", "Deletes a run."),
        post("/runs/batch", "Starts several runs."),
        post("/runs/cancel", "Cancels several runs."),
        post("/runs/crons", "Starts runs by the clock."),
        post("/runs/crons/search", "Searches crons."),
        post("/assistants", "Makes an assistant."),
        patch("/assistants/{assistant_id}", "Changes an assistant."),
        delete("/assistants/{assistant_id}", "Deletes an assistant."),
        get("/assistants/{assistant_id}/subgraphs", "An assistant's subgraphs."),
        post("/assistants/{assistant_id}/versions", "An assistant's versions."),
    ]
}
