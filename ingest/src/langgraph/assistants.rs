//! `/assistants`: each graph is one assistant, made by the system.

use std::collections::BTreeMap;

use axum::{body::Body, extract::State};
use graph::spec::{END, EdgeSpec, START, Target};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    TAG,
    bodies::{Assistant, AssistantSearch},
};
use crate::{
    auth::Scope,
    body,
    extract::{At, rfc3339},
    ingest::Ingest,
    options::refuse_if,
    published::Graph,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 1_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Read, Method::POST, "/assistants/search", search)
            .says(TAG, "Lists assistants: one for each graph.")
            .takes(Media::Json("AssistantSearch"))
            .answers(200, "The assistants.", Media::JsonArray("Assistant")),
        route(Scope::Read, Method::GET, "/assistants/{assistant_id}", get)
            .says(TAG, "An assistant, by its id or its graph's name.")
            .answers(200, "The assistant.", Media::Json("Assistant")),
        route(Scope::Read, Method::POST, "/assistants/count", count)
            .says(TAG, "Counts assistants.")
            .takes(Media::Json("AssistantSearch"))
            .answers(200, "How many.", Media::Json("Document")),
        route(Scope::Read, Method::GET, "/assistants/{assistant_id}/schemas", schemas)
            .says(TAG, "The JSON Schemas of a graph's state, input, output and context.")
            .answers(200, "The schemas.", Media::Json("Document")),
        route(Scope::Read, Method::GET, "/assistants/{assistant_id}/graph", drawn)
            .says(TAG, "A graph's nodes and edges.")
            .answers(200, "The graph.", Media::Json("Document")),
    ]
}

async fn search(State(ingest): State<Ingest>, request: http::Request<Body>) -> Answer {
    let search = wanted(&ingest, request).await?;
    let graphs = ingest.published.all();
    let offset = search.offset.unwrap_or_default();
    let page = graphs.iter().filter(|graph| fits(graph, &search)).skip(offset);
    let page = page.take(search.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX));
    Ok(json_of(&page.map(|graph| assistant(graph)).collect::<Vec<_>>()))
}

async fn count(State(ingest): State<Ingest>, request: http::Request<Body>) -> Answer {
    let search = wanted(&ingest, request).await?;
    Ok(json_of(&ingest.published.all().iter().filter(|graph| fits(graph, &search)).count()))
}

async fn wanted(ingest: &Ingest, request: http::Request<Body>) -> Result<AssistantSearch, Refusal> {
    let search = body::compatible::<AssistantSearch>(&ingest.config, request).await?;
    refuse_if(search.metadata.as_ref().is_some_and(|metadata| !metadata.is_empty()), "metadata")?;
    Ok(search)
}

fn fits(graph: &Graph, search: &AssistantSearch) -> bool {
    search.graph_id.as_ref().is_none_or(|id| *id == graph.name)
        && search.name.as_ref().is_none_or(|name| graph.name.contains(name.as_str()))
}

async fn schemas(State(ingest): State<Ingest>, At(id): At<String>) -> Answer {
    let graph = ingest.assistant(&id).await?;
    let spec = &graph.spec;
    let of = |title: &str, names: Vec<&str>| {
        let schema = |name: &str| spec.channels.get(name).and_then(|channel| channel.schema.clone());
        let property = |name: &str| (name.to_owned(), schema(name).unwrap_or_else(|| json!({})));
        let properties: Map<String, Value> = names.into_iter().map(property).collect();
        json!({"title": format!("{}_{title}", graph.name), "type": "object", "properties": properties})
    };
    let context = (!spec.context.is_empty()).then(|| json!({"type": "object", "properties": spec.context}));
    Ok(json_of(&json!({
        "graph_id": graph.name,
        "input_schema": of("input", spec.input_channels()),
        "output_schema": of("output", spec.output_channels()),
        "state_schema": of("state", spec.channels.keys().map(String::as_str).collect()),
        "config_schema": {},
        "context_schema": context,
    })))
}

async fn drawn(State(ingest): State<Ingest>, At(id): At<String>) -> Answer {
    let graph = ingest.assistant(&id).await?;
    let node = |name: &str| json!({"id": name, "type": "runnable", "data": {"name": name}});
    let names = graph.spec.nodes.iter().map(|node| node.name.as_str());
    let mut nodes: Vec<Value> = std::iter::once("__start__").chain(names).map(node).collect();
    nodes.push(json!({"id": "__end__"}));
    let edges: Vec<Value> = graph.spec.edges.iter().flat_map(edges_of).collect();
    Ok(json_of(&json!({"nodes": nodes, "edges": edges})))
}

/// An edge of a file as LangGraph draws it: one for each source and target.
fn edges_of(edge: &EdgeSpec) -> Vec<Value> {
    let name = |name: &str| match name {
        START => "__start__".to_owned(),
        END => "__end__".to_owned(),
        name => name.to_owned(),
    };
    let conditional = |from: &str, to: &str| json!({"source": name(from), "target": name(to), "conditional": true});
    match edge {
        EdgeSpec::Plain { from, to } => {
            from.iter().map(|from| json!({"source": name(from), "target": name(to)})).collect()
        }
        EdgeSpec::When { from, cases } | EdgeSpec::Every { from, cases } => {
            let target = |target: &Target| match target {
                Target::Node(to) => conditional(from, to),
                Target::Send(send) => conditional(from, &send.to),
            };
            cases.iter().flat_map(|case| &case.to).map(target).collect()
        }
        EdgeSpec::Send { from, send } => vec![conditional(from, &send.to)],
        // Where a program leads is known when it answers, unless the file names the places.
        EdgeSpec::Decide { from, to, .. } => to.iter().flatten().map(|to| conditional(from, to)).collect(),
    }
}

async fn get(State(ingest): State<Ingest>, At(id): At<String>) -> Answer {
    match ingest.assistant(&id).await {
        Ok(graph) => Ok(json_of(&assistant(&graph))),
        Err(refusal) => Err(refusal),
    }
}

fn assistant(graph: &Graph) -> Assistant {
    let at = rfc3339(graph.created_at);
    Assistant {
        assistant_id: graph.assistant_id.to_string(),
        graph_id: graph.name.clone(),
        config: Map::new(),
        context: Map::new(),
        created_at: at.clone(),
        updated_at: at,
        metadata: BTreeMap::from([("created_by".to_owned(), json!("system"))]),
        version: 1,
        name: graph.name.clone(),
        description: graph.spec.description.clone(),
    }
}
