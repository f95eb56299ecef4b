//! `/graphs`: what new runs may name, and publishing a version.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use graph::{
    file::{self, Diagnostic, Severity},
    spec::GraphSpec,
};
use http::Method;
use schemas::{
    client::{GraphPublished, GraphSummary, GraphVersion, GraphView},
    error::Code,
    http::List,
};
use serde_json::{Value, json};

use crate::{
    auth::Scope,
    body,
    extract::{At, rfc3339},
    ingest::Ingest,
    layers::Asked,
    published::Graph,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
};

const TAG: &str = "graphs";
/// Graphs within one graph that are drawn.
const SUBGRAPHS_MAX: usize = 100;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Read, Method::GET, "/graphs", list)
            .says(TAG, "Lists the graphs that runs can be started of.")
            .answers(200, "All of them, by name.", Media::JsonList("GraphSummary")),
        route(Scope::Read, Method::GET, "/graphs/{name}", get)
            .says(TAG, "A graph's current version: its spec, its drawing, and the versions before it.")
            .answers(200, "The graph.", Media::Json("GraphView")),
        route(Scope::Publish, Method::PUT, "/graphs/{name}", put)
            .says(TAG, "Publishes a version of a graph; its topics exist when this answers.")
            .takes(Media::GraphFile)
            .answers(200, "New runs begin with it.", Media::Json("GraphPublished")),
    ]
}

async fn list(State(ingest): State<Ingest>) -> Answer {
    let data = ingest.published.all().iter().map(|graph| summary(graph)).collect();
    Ok(json_of(&List::<GraphSummary> { data, next_cursor: None }))
}

fn summary(graph: &Graph) -> GraphSummary {
    GraphSummary {
        name: graph.name.clone(),
        hash: graph.hash.clone(),
        description: graph.spec.description.clone(),
        serve: graph.spec.serve.clone(),
        created_at: rfc3339(graph.created_at),
    }
}

async fn get(State(ingest): State<Ingest>, At(name): At<String>) -> Answer {
    let graph = ingest.graph(&name).await?;
    let versions = ingest.deps.specs.versions(&graph.name).await?;
    Ok(json_of(&GraphView {
        name: graph.name.clone(),
        hash: graph.hash.clone(),
        spec: graph.spec.clone(),
        mermaid: graph::mermaid::mermaid(&graph.spec, &ingest.subgraphs(&graph.spec).await?),
        versions: versions
            .into_iter()
            .map(|row| GraphVersion { hash: row.hash, created_at: rfc3339(row.created_at) })
            .collect(),
    }))
}

async fn put(State(ingest): State<Ingest>, At(name): At<String>, asked: Asked, request: http::Request<Body>) -> Answer {
    asked.caller.check_graph(&name)?;
    let (parts, body) = request.into_parts();
    let bytes = body::read(&ingest.config, &parts.headers, body, ingest.config.graph_bytes_max).await?;
    let checked = file::read_bytes(&bytes, ingest.config.models.as_deref());
    let warnings = checked.diagnostics.iter().map(Diagnostic::to_string).collect();
    let Some(spec) = checked.spec.clone() else {
        let diagnostics = checked.diagnostics.iter().map(diagnostic).collect();
        return Err(Refusal::new(Code::GraphInvalid, checked.report(&format!("{name}.yaml")).trim_end().to_owned())
            .beside("diagnostics", Value::Array(diagnostics)));
    };
    if spec.name != name {
        let says = format!("the file's name is `{}` and the path's is `{name}`; make them the same", spec.name);
        return Err(Refusal::new(Code::GraphInvalid, says).param("name"));
    }
    let published = ingest.publish_version(spec, checked.subgraphs).await?;
    Ok(json_of(&GraphPublished { warnings, ..published }))
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    let Diagnostic { code, severity, line, column, message, hint } = diagnostic;
    let severity = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({"code": code.to_string(), "severity": severity, "line": line, "column": column, "message": message, "hint": hint})
}

impl Ingest {
    /// The current version of a graph. A name that is not in the table is looked up in the store: another ingest may
    /// have published it this moment.
    pub(crate) async fn graph(&self, name: &str) -> Result<Arc<Graph>, Refusal> {
        if let Some(graph) = self.published.get(name) {
            return Ok(graph);
        }
        let found = tokio::time::timeout(self.config.store_timeout, self.deps.specs.current_of(name));
        let row = found.await.map_err(|_| Refusal::store_slow())??;
        let graph = row.as_ref().and_then(Graph::read).map(Arc::new).ok_or_else(|| Refusal::graph_not_found(name))?;
        self.published.put(Arc::clone(&graph));
        Ok(graph)
    }

    /// The graphs that nodes are, at any depth, as far as the store has them.
    pub(crate) async fn subgraphs(&self, spec: &GraphSpec) -> Result<Vec<GraphSpec>, Refusal> {
        let mut found: Vec<GraphSpec> = Vec::new();
        let mut open: Vec<String> = spec.subgraphs().map(|inner| inner.hash.clone()).collect();
        while let Some(hash) = open.pop() {
            if found.len() >= SUBGRAPHS_MAX || found.iter().any(|known| known.hash() == hash) {
                continue;
            }
            let row = self.deps.specs.spec(&hash).await?;
            let inner = row.and_then(|row| serde_json::from_slice::<GraphSpec>(&row.spec).ok());
            open.extend(inner.iter().flat_map(|inner| inner.subgraphs()).map(|inner| inner.hash.clone()));
            found.extend(inner);
        }
        Ok(found)
    }

    /// As [`Ingest::graph`], by an assistant's id or a graph's name.
    pub(crate) async fn assistant(&self, id: &str) -> Result<Arc<Graph>, Refusal> {
        if let Some(graph) = self.published.assistant(id) {
            return Ok(graph);
        }
        if !self.published.is_loaded() {
            return Err(Refusal::new(Code::StoreUnavailable, "the graphs are not loaded yet; try again"));
        }
        match self.graph(id).await {
            Err(refusal) if refusal.code() == Code::GraphNotFound => Err(self.invalid_assistant(id)),
            other => other,
        }
    }

    fn invalid_assistant(&self, id: &str) -> Refusal {
        let graphs: Vec<String> = self.published.all().iter().map(|graph| graph.name.clone()).collect();
        let message = format!(
            "Invalid assistant: '{id}'. Must be either:\n- A valid assistant UUID, or\n- One of the registered graphs: {}",
            graphs.join(", ")
        );
        Refusal::new(Code::AssistantNotFound, message)
    }
}
