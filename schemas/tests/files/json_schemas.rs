//! `json/` holds the schema of every record and of every body, as the types give it today.

use std::{collections::BTreeMap, fs};

use graph::{file::graph_file_schema, spec::GraphSpec};
use schemas::{
    client::{
        CancelRun, ChangeModelAlias, ChatAnswer, ChatRequest, CreateRun, Detail, GraphPublished, GraphSummary,
        GraphView, ModelAliasView, RunAccepted, SetModelAlias,
    },
    error::ErrorBody,
    http::{List, RunView},
    keys::{CreateKey, KeyMade, KeyView, RotateKey, StoredKey},
    node_api::{CacheKeyAnswer, NodeAnswer, NodeAsk, NodeLine, ReduceAnswer, ReduceAsk, StoreAnswer, StoreAsk},
    stream::Waited,
};
use serde_json::Value;

use crate::{file_names, folder, records, schema_of};

fn schemas() -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::from([
        ("graph.v1", graph_file_schema()),
        ("graph-spec.v1", schema_of::<GraphSpec>()),
        ("cache-key-answer.v1", schema_of::<CacheKeyAnswer>()),
        ("cancel-run.v1", schema_of::<CancelRun>()),
        ("change-model-alias.v1", schema_of::<ChangeModelAlias>()),
        ("chat-answer.v1", schema_of::<ChatAnswer>()),
        ("chat-request.v1", schema_of::<ChatRequest>()),
        ("create-key.v1", schema_of::<CreateKey>()),
        ("create-run.v1", schema_of::<CreateRun>()),
        ("detail.v1", schema_of::<Detail>()),
        ("error-body.v1", schema_of::<ErrorBody>()),
        ("graph-published.v1", schema_of::<GraphPublished>()),
        ("graph-summary.v1", schema_of::<GraphSummary>()),
        ("graph-view.v1", schema_of::<GraphView>()),
        ("key-list.v1", schema_of::<List<KeyView>>()),
        ("key-made.v1", schema_of::<KeyMade>()),
        ("model-alias-view.v1", schema_of::<ModelAliasView>()),
        ("node-answer.v1", schema_of::<NodeAnswer>()),
        ("node-ask.v1", schema_of::<NodeAsk>()),
        ("node-line.v1", schema_of::<NodeLine>()),
        ("reduce-answer.v1", schema_of::<ReduceAnswer>()),
        ("reduce-ask.v1", schema_of::<ReduceAsk>()),
        ("rotate-key.v1", schema_of::<RotateKey>()),
        ("run-accepted.v1", schema_of::<RunAccepted>()),
        ("run-list.v1", schema_of::<List<RunView>>()),
        ("run-view.v1", schema_of::<RunView>()),
        ("set-model-alias.v1", schema_of::<SetModelAlias>()),
        ("store-answer.v1", schema_of::<StoreAnswer>()),
        ("store-ask.v1", schema_of::<StoreAsk>()),
        ("stored-key.v1", schema_of::<StoredKey>()),
        ("waited.v1", schema_of::<Waited>()),
    ]);
    schemas.extend(records().into_iter().map(|record| (record.name, record.schema)));
    schemas.into_iter().map(|(name, schema)| (format!("{name}.schema.json"), schema)).collect()
}

#[test]
fn the_files_are_up_to_date() {
    let folder = folder("json");
    let schemas = schemas();
    let bless = std::env::var_os("BLESS").is_some();
    let mut stale = Vec::new();
    for name in file_names(&folder).into_iter().filter(|name| !schemas.contains_key(name)) {
        match bless {
            true => fs::remove_file(folder.join(name)).unwrap(),
            false => stale.push(name),
        }
    }
    for (name, schema) in schemas {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = folder.join(&name);
        if fs::read_to_string(&path).unwrap_or_default() == text {
            continue;
        }
        match bless {
            true => fs::write(path, text).unwrap(),
            false => stale.push(name),
        }
    }
    assert!(stale.is_empty(), "stale in schemas/json: {stale:?}; run `cargo xtask schemas`");
}

#[test]
fn every_schema_is_one() {
    for (name, schema) in schemas() {
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
