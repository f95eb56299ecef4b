//! The OpenAPI document, made from the table of routes and the types that they speak in.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    file::graph_file_schema,
    spec::{GraphSpec, Speaks},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use schemas::{
    client,
    error::ErrorBody,
    http::{RunView, UsageSum},
    keys, openai, record,
};
use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Components, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr,
    Required, ResponseBuilder, Schema, SecurityRequirement,
    path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    schema::{ObjectBuilder, Type},
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{
    langgraph::bodies,
    operations::{Health, Ready},
    published::Graph,
    refusal::Family,
    route::{self, Media, Param, Route},
};

const DESCRIPTION: &str = "Runs graphs of model calls as a stream. Start at `POST /graphs/{name}/runs`, or at a path \
    that a graph binds. Addresses under `/threads`, `/runs` and `/assistants` are LangGraph Server's.";

/// In the order that a reader wants them; a graph's own stand before these.
const TAGS: [(&str, &str); 8] = [
    ("runs", "Runs of graphs."),
    ("graphs", "The graphs themselves."),
    ("langgraph", "LangGraph Server's addresses, with its bodies, status codes and `{\"detail\"}` errors."),
    ("openai", "OpenAI's addresses: graphs that chat, as models."),
    ("usage", "What models took and cost."),
    ("keys", "Who may ask."),
    ("operations", "For those who run Millstream."),
    ("pages", "For people."),
];

/// The document without any graph's own paths: the same for every deployment.
pub fn document() -> Value {
    with_graphs(&[])
}

/// The document with the paths that the graphs bind.
pub(crate) fn with_graphs(graphs: &[Arc<Graph>]) -> Value {
    let mut paths = PathsBuilder::new();
    for route in route::all() {
        paths = paths.path(route.path, PathItem::new(method(&route), operation(&route)));
    }
    let mut components = Components::new();
    components
        .add_security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
    components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))));
    let document: OpenApi = OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Millstream").version(env!("CARGO_PKG_VERSION")).description(Some(DESCRIPTION)))
        .paths(paths)
        .components(Some(components))
        .build();
    let mut document = serde_json::to_value(document).expect("a document has a JSON form");
    document["components"]["schemas"] = Value::Object(components_of());
    let mut tags: Vec<Value> = Vec::new();
    for graph in graphs {
        bind(&mut document, graph);
        tags.extend(graph.spec.serve.is_some().then(|| json!({"name": graph.name})));
    }
    tags.extend(TAGS.map(|(name, description)| json!({"name": name, "description": description})));
    document["tags"] = Value::Array(tags);
    document
}

/// JSON Schemas of graph files and records, by the name of the file that they would be.
pub(crate) fn schemas() -> BTreeMap<String, Value> {
    fn of<T: JsonSchema>() -> Value {
        SchemaGenerator::default().into_root_schema_for::<T>().to_value()
    }
    BTreeMap::from([
        ("runs.v1.schema.json".to_owned(), of::<record::RunsRecord>()),
        ("task.v1.schema.json".to_owned(), of::<record::TaskRecord>()),
        ("update.v1.schema.json".to_owned(), of::<record::UpdateRecord>()),
        ("token.v1.schema.json".to_owned(), of::<record::TokenRecord>()),
        ("signal.v1.schema.json".to_owned(), of::<record::SignalRecord>()),
        ("control.v1.schema.json".to_owned(), of::<record::ControlRecord>()),
        ("dead-letter.v1.schema.json".to_owned(), of::<record::DeadLetter>()),
        ("graph-spec.v1.schema.json".to_owned(), of::<GraphSpec>()),
        ("graph.v1.schema.json".to_owned(), graph_file_schema()),
    ])
}

/// Every schema that a route names, and those that they are made of.
fn components_of() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<ErrorBody>();
    generator.subschema_for::<RunView>();
    generator.subschema_for::<UsageSum>();
    generator.subschema_for::<keys::CreateKey>();
    generator.subschema_for::<keys::RotateKey>();
    generator.subschema_for::<keys::KeyView>();
    generator.subschema_for::<keys::KeyMade>();
    generator.subschema_for::<client::CreateRun>();
    generator.subschema_for::<client::ResumeRun>();
    generator.subschema_for::<client::CancelRun>();
    generator.subschema_for::<client::ChatRequest>();
    generator.subschema_for::<client::ChatAnswer>();
    generator.subschema_for::<client::RunAccepted>();
    generator.subschema_for::<client::GraphPublished>();
    generator.subschema_for::<client::GraphSummary>();
    generator.subschema_for::<client::GraphView>();
    generator.subschema_for::<client::SetModelAlias>();
    generator.subschema_for::<client::ChangeModelAlias>();
    generator.subschema_for::<client::ModelAliasView>();
    generator.subschema_for::<client::Detail>();
    generator.subschema_for::<Health>();
    generator.subschema_for::<Ready>();
    generator.subschema_for::<openai::CompletionRequest>();
    generator.subschema_for::<openai::Completion>();
    generator.subschema_for::<openai::Models>();
    bodies::register(&mut generator);
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Document".to_owned(), json!({"type": "object", "additionalProperties": true}));
    schemas
}

fn method(route: &Route) -> HttpMethod {
    match route.method {
        http::Method::GET => HttpMethod::Get,
        http::Method::PUT => HttpMethod::Put,
        http::Method::PATCH => HttpMethod::Patch,
        http::Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Post,
    }
}

fn operation(route: &Route) -> Operation {
    let mut operation =
        OperationBuilder::new().tag(route.tag).summary(Some(route.summary)).operation_id(Some(operation_id(route)));
    for name in path_names(route.path) {
        operation = operation.parameter(parameter(&(name, ""), ParameterIn::Path));
    }
    for param in &route.query {
        operation = operation.parameter(parameter(param, ParameterIn::Query));
    }
    for param in &route.headers {
        operation = operation.parameter(parameter(param, ParameterIn::Header));
    }
    if let Some(media) = route.body {
        let body = RequestBodyBuilder::new();
        let body = contents(media).into_iter().fold(body, |body, (name, content)| body.content(name, content));
        operation = operation.request_body(Some(body.build()));
    }
    // Two answers of one status (JSON or events, by mode) are one response with two contents.
    let mut responses = BTreeMap::<u16, (Vec<&str>, Vec<Media>)>::new();
    for answers in &route.answers {
        let (says, media) = responses.entry(answers.status).or_default();
        says.push(answers.says);
        media.extend(answers.media);
    }
    for (status, (says, media)) in responses {
        let response = ResponseBuilder::new().description(says.join(" "));
        let response = media
            .into_iter()
            .flat_map(contents)
            .fold(response, |response, (name, content)| response.content(name, content));
        operation = operation.response(status.to_string(), response);
    }
    if let Some(scope) = route.scope {
        let error = match Family::of(route.path) {
            Family::Ours => "ErrorBody",
            Family::LangGraph => "Detail",
        };
        let response = ResponseBuilder::new().description("Why it was not done.");
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(error))).build();
        operation = operation
            .response("default", response.content("application/json", content))
            .description(Some(format!("Needs a key with the scope `{}`, where keys are set.", scope.as_str())))
            .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
            .security(SecurityRequirement::new("key", Vec::<String>::new()));
    }
    operation.build()
}

/// `post_graphs_name_runs`: stable, and what generated clients call the function.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '.']).map(|word| word.trim_matches(['{', '}'])).filter(|word| !word.is_empty());
    let slash = route.path.len() > 1 && route.path.ends_with('/');
    let parts = std::iter::once(route.method.as_str().to_ascii_lowercase())
        .chain(words.map(|word| word.replace('-', "_")))
        .chain(slash.then(|| "index".to_owned()));
    parts.collect::<Vec<_>>().join("_")
}

pub(crate) fn path_names(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter((name, says): &Param, place: ParameterIn) -> ParameterBuilder {
    let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    let schema = Schema::Object(ObjectBuilder::new().schema_type(Type::String).build());
    let says = (!says.is_empty()).then(|| says.to_string());
    ParameterBuilder::new().name(*name).parameter_in(place).required(required).description(says).schema(Some(schema))
}

fn contents(media: Media) -> Vec<(&'static str, utoipa::openapi::Content)> {
    let text = || RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(Type::String).build()));
    let content = |schema: RefOr<Schema>| ContentBuilder::new().schema(Some(schema)).build();
    match media {
        Media::Json(name) => vec![("application/json", content(RefOr::Ref(Ref::from_schema_name(name))))],
        Media::JsonArray(name) => {
            let items = utoipa::openapi::ArrayBuilder::new().items(Ref::from_schema_name(name)).build();
            vec![("application/json", content(RefOr::T(Schema::Array(items))))]
        }
        Media::JsonList(name) => {
            let items = utoipa::openapi::ArrayBuilder::new().items(Ref::from_schema_name(name));
            let list = ObjectBuilder::new()
                .property("data", items)
                .required("data")
                .property("next_cursor", ObjectBuilder::new().schema_type(Type::String));
            vec![("application/json", content(RefOr::T(Schema::Object(list.build()))))]
        }
        Media::GraphFile => vec![("application/yaml", content(text())), ("application/json", content(text()))],
        Media::Events => vec![("text/event-stream", content(text()))],
        Media::Text(name) => vec![(name, content(text()))],
    }
}

/// Adds the path that a graph binds, with its own input and output.
fn bind(document: &mut Value, graph: &Graph) {
    let Some(serve) = &graph.spec.serve else { return };
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let of = |names: Vec<&str>| {
        let property = |name: &str| {
            let schema = graph.spec.channels.get(name).and_then(|channel| channel.schema.clone());
            (name.to_owned(), schema.unwrap_or_else(|| json!({})))
        };
        json!({"type": "object", "properties": names.into_iter().map(property).collect::<Map<_, _>>()})
    };
    let output = of(graph.spec.output_channels());
    let run = json!({"allOf": [reference("RunView"), {"type": "object", "properties": {"output": output.clone()}}]});
    let chat = json!({"allOf": [reference("ChatAnswer"), {"type": "object", "properties": {"output": output}}]});
    let (input, status, answer) = match serve.speaks {
        Speaks::Chat => (reference("ChatRequest"), "200", chat),
        Speaks::Query => (of(graph.spec.input_channels()), "200", run),
        Speaks::Job => (of(graph.spec.input_channels()), "202", reference("RunAccepted")),
    };
    let mut content = json!({"application/json": {"schema": answer}});
    if serve.speaks == Speaks::Chat {
        content["text/event-stream"] = json!({"schema": {"type": "string"}});
    }
    document["paths"][&serve.path] = json!({"post": {
        "tags": [graph.name],
        "summary": graph.spec.description.clone().unwrap_or_else(|| format!("Runs the graph `{}`.", graph.name)),
        "operationId": format!("serve_{}", graph.name),
        "security": [{"bearer": []}, {"key": []}],
        "requestBody": {"required": true, "content": {"application/json": {"schema": input}}},
        "responses": {
            status: {"description": "The run's end, or its address.", "content": content},
            "default": {"description": "Why it was not done.", "content": {"application/json": {"schema": reference("ErrorBody")}}},
        },
    }});
}
