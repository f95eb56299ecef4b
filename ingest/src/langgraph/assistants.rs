//! `/assistants`: each graph is one assistant, made by the system.

use std::collections::BTreeMap;

use axum::{body::Body, extract::State};
use http::Method;
use serde_json::{Map, json};

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
    refusal::Answer,
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
    ]
}

async fn search(State(ingest): State<Ingest>, request: http::Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&ingest.config, &parts.headers, body, ingest.config.body_bytes_max).await?;
    let search = body::parse_compatible::<AssistantSearch>(&bytes)?;
    refuse_if(search.metadata.is_some_and(|metadata| !metadata.is_empty()), "metadata")?;
    let fits = |graph: &Graph| {
        search.graph_id.as_ref().is_none_or(|id| *id == graph.name)
            && search.name.as_ref().is_none_or(|name| graph.name.contains(name.as_str()))
    };
    let graphs = ingest.published.all();
    let page = graphs.iter().filter(|graph| fits(graph)).skip(search.offset.unwrap_or_default());
    let page = page.take(search.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX));
    Ok(json_of(&page.map(|graph| assistant(graph)).collect::<Vec<_>>()))
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
