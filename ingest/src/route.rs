//! The table of routes, grouped by who calls them. Router and OpenAPI document are both made of it, so neither can
//! know a route that the other doesn't.

use std::fmt::Debug;

use axum::{
    handler::Handler,
    middleware::from_fn_with_state,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;

use crate::{
    auth::Scope, docs, graphs, ingest::Ingest, keys, langgraph, layers, models, openai, operations, refusal::Refusal,
    runs, usage,
};

pub(crate) fn all() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(runs::routes());
    routes.extend(graphs::routes());
    routes.extend(models::routes());
    routes.extend(langgraph::routes());
    routes.extend(openai::routes());
    routes.extend(usage::routes());
    routes.extend(keys::routes());
    routes.extend(operations::routes());
    routes.extend(docs::routes());
    routes
}

/// One method of one path.
pub(crate) struct Route {
    pub path: &'static str,
    pub method: Method,
    /// None: everybody may.
    pub scope: Option<Scope>,
    pub tag: &'static str,
    pub summary: &'static str,
    pub body: Option<Media>,
    pub query: Vec<Param>,
    pub headers: Vec<Param>,
    pub answers: Vec<Answers>,
    handler: MethodRouter<Ingest>,
}

/// A parameter of the query or a header: its name and what it does.
pub(crate) type Param = (&'static str, &'static str);

/// One status that a route answers with.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub status: u16,
    pub says: &'static str,
    pub media: Option<Media>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// JSON of a schema by name; the registry is [`crate::openapi`].
    Json(&'static str),
    /// A bare array of them, as LangGraph has it.
    JsonArray(&'static str),
    /// A page of them: `data`, `next_cursor`.
    JsonList(&'static str),
    /// A graph file.
    GraphFile,
    Events,
    Text(&'static str),
}

/// A route that needs a key with the scope.
pub(crate) fn route<H, T>(scope: Scope, method: Method, path: &'static str, handler: H) -> Route
where
    H: Handler<T, Ingest>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("routes have methods that axum knows");
    Route {
        path,
        method,
        scope: Some(scope),
        tag: "",
        summary: "",
        body: None,
        query: Vec::new(),
        headers: Vec::new(),
        answers: Vec::new(),
        handler: on(filter, handler),
    }
}

/// A route that everybody may call.
pub(crate) fn open<H, T>(path: &'static str, handler: H) -> Route
where
    H: Handler<T, Ingest>,
    T: 'static,
{
    Route { scope: None, ..route(Scope::Read, Method::GET, path, handler) }
}

/// A route that is known and not built: 501 and its name, never silence.
pub(crate) fn unbuilt(method: Method, path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    let says = format!("{method} {path}");
    let handler = move || std::future::ready(Refusal::not_built(says.clone()));
    route(Scope::Run, method, path, handler).says(tag, summary).bare(501, "Not built yet.")
}

impl Route {
    pub fn handler(self, ingest: &Ingest) -> MethodRouter<Ingest> {
        match self.scope {
            None => self.handler,
            Some(scope) => self.handler.layer(from_fn_with_state((ingest.clone(), scope), layers::authorize)),
        }
    }

    pub fn says(mut self, tag: &'static str, summary: &'static str) -> Self {
        self.tag = tag;
        self.summary = summary;
        self
    }

    pub fn takes(mut self, body: Media) -> Self {
        self.body = Some(body);
        self
    }

    pub fn query(mut self, params: &[Param]) -> Self {
        self.query.extend_from_slice(params);
        self
    }

    pub fn header(mut self, name: &'static str, says: &'static str) -> Self {
        self.headers.push((name, says));
        self
    }

    pub fn answers(mut self, status: u16, says: &'static str, media: Media) -> Self {
        self.answers.push(Answers { status, says, media: Some(media) });
        self
    }

    /// A status without a body.
    pub fn bare(mut self, status: u16, says: &'static str) -> Self {
        self.answers.push(Answers { status, says, media: None });
        self
    }
}

impl Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
