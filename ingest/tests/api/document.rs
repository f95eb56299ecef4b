//! The OpenAPI document and the router are one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::{ACME, Stage};

/// One operation of the document.
#[derive(Debug)]
pub struct Operation {
    pub method: String,
    pub path: String,
    pub is_open: bool,
    /// Known, and 501 until it is built.
    pub is_unbuilt: bool,
}

impl Operation {
    /// The path with each name filled in.
    pub fn path_with(&self, fill: impl Fn(&str) -> String) -> String {
        let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => fill(name),
            None => part.to_owned(),
        };
        self.path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    pub fn names(&self, name: &str) -> bool {
        self.path.contains(&format!("{{{name}}}"))
    }
}

pub fn operations() -> Vec<Operation> {
    let document = ingest::document();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let statuses: BTreeSet<&String> = operation["responses"].as_object().unwrap().keys().collect();
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                is_open: operation["security"].is_null(),
                is_unbuilt: statuses.contains(&"501".to_owned()),
            });
        }
    }
    assert!(operations.len() > 50, "{}", operations.len());
    operations
}

#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let stage = Stage::new().await;
    for operation in operations() {
        let path = operation.path_with(|_| "x".to_owned());
        let reply = stage.ask(ACME, &operation.method, &path, Some(json!({}))).await;
        let nowhere = reply.text.contains("there is nothing at this path") || reply.text == r#"{"detail":"Not Found"}"#;
        assert!(!nowhere && reply.status != 405, "{operation:?}: {} {}", reply.status, reply.text);
        assert_eq!(reply.status == 501, operation.is_unbuilt, "{operation:?}: {}", reply.text);
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
    let document = ingest::document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
        }
    }
    check_references(&document, &document);
}

fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(document, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `BLESS=1 cargo test -p ingest` writes it.
#[test]
fn the_documents_file_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/openapi.json");
    let document = format!("{}\n", serde_json::to_string_pretty(&ingest::document()).unwrap());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == document, "schemas/openapi.json is stale: run `BLESS=1 cargo test -p ingest`");
}

#[tokio::test]
async fn a_graphs_own_path_is_in_the_document_with_its_input_and_output() {
    let stage = Stage::new().await;
    let document = stage.get("/openapi.json").await.expect(200).json();
    let sum = &document["paths"]["/sum"]["post"];
    let input = &sum["requestBody"]["content"]["application/json"]["schema"]["properties"];
    assert!(input["left"]["type"] == "integer" && input["total"].is_null(), "{input}");
    assert!(document["paths"]["/support"]["post"]["responses"]["200"]["content"]["text/event-stream"].is_object());
    check_references(&document, &document);
}

#[tokio::test]
async fn schemas_are_served_by_name() {
    let stage = Stage::new().await;
    let all = stage.get("/schemas").await.expect(200).json();
    for name in all.as_object().unwrap().keys() {
        let one = stage.get(&format!("/schemas/{name}")).await.expect(200).json();
        assert_eq!(one, all[name]);
        jsonschema::validator_for(&one).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    stage.get("/schemas/none.json").await.expect(404);
}
