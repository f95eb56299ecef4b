//! `/info` and `/ok`: what LangGraph's clients ask a server first.

use std::collections::BTreeMap;

use axum::response::Response;

use super::{
    TAG,
    bodies::{Alive, Info},
};
use crate::{
    route::{Media, Route, open},
    runs::json_of,
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        open("/ok", ok).says(TAG, "Whether the server is alive.").answers(200, "It is.", Media::Json("Alive")),
        open("/info", info).says(TAG, "What the server can do.").answers(200, "Its features.", Media::Json("Info")),
    ]
}

async fn ok() -> Response {
    json_of(&Alive { ok: true })
}

async fn info() -> Response {
    json_of(&Info {
        version: env!("CARGO_PKG_VERSION"),
        flags: BTreeMap::from([("assistants", true), ("crons", false), ("langsmith", false)]),
        host: BTreeMap::from([("kind", "self-hosted")]),
    })
}
