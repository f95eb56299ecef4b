//! One trace from the request to the sink, as an OTLP receiver sees it: the tree, the tokens, the errors, the sampling.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, body::Bytes, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::{PATIENCE, Process, folder, free_address};

const CLIENT_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

const GRAPH: &str = r#"
version: 1
name: traced
state: {messages: messages, found: string}
input: [messages]
output: [messages, found]
nodes:
  look: {kind: http, url: "${env.LOOK_URL}/look"}
  answer: {kind: model, model: default, messages: state.messages, temperature: 0.5}
edges:
  - START -> look
  - look -> answer
  - answer -> END
"#;

#[tokio::test]
async fn a_run_is_one_trace_below_its_client() {
    let (receiver, world) = (Receiver::start().await, World::start().await);
    let (folder, server) = serve(&receiver, &world, &[]).await;
    let (status, run) = ask(&server, Some(&client("01"))).await;
    assert_eq!((status, &run["status"]), (200, &json!("success")), "{run}");
    let run_id = run["run_id"].as_str().unwrap();

    let tree =
        receiver.tree(run_id, |tree| tree.has("invoke_workflow traced") && tree.count("process updates") >= 3).await;
    for span in &tree.spans {
        assert_eq!(hex(&span.trace_id), CLIENT_TRACE, "{}", span.name);
        assert!(
            hex(&span.parent_span_id) == CLIENT_SPAN || tree.parent(span).is_some(),
            "{} hangs in the air",
            span.name
        );
    }
    let request = tree.one("POST /graphs/{name}/runs");
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind()), (CLIENT_SPAN, SpanKind::Server));
    assert_eq!(text(request, "millstream.run.id"), run_id);
    assert_eq!(text(request, "millstream.request.id"), "req-of-the-test");
    assert_eq!(number(request, "http.response.status_code"), 200);

    let workflow = tree.one("invoke_workflow traced");
    assert_eq!(workflow.parent_span_id, request.span_id);
    assert_eq!(text(workflow, "gen_ai.workflow.name"), "traced");
    assert!(workflow.end_time_unix_nano > workflow.start_time_unix_nano, "it lasts as long as the run");

    // Each hop hangs below the run, and links who sent it.
    for topic in ["runs", "node.traced.look", "node.traced.answer", "updates"] {
        for process in tree.named(&format!("process {topic}")) {
            assert_eq!(process.parent_span_id, workflow.span_id, "{topic}");
            assert_eq!(process.kind(), SpanKind::Consumer);
            let [link] = &process.links[..] else { panic!("process {topic} links {:?}", process.links) };
            let sent = tree.by_id(&link.span_id).unwrap_or_else(|| panic!("what sent {topic} is not there"));
            assert_eq!((sent.name.as_str(), sent.kind()), (format!("send {topic}").as_str(), SpanKind::Producer));
            assert_eq!(text(process, "millstream.run.id"), run_id);
            assert_eq!(text(process, "messaging.destination.name"), topic);
        }
    }
    // The request, and the results of two nodes.
    assert_eq!((tree.count("process runs"), tree.count("send runs")), (3, 3));
    let senders = |name: &str| -> Vec<&str> {
        tree.named(name).filter_map(|span| tree.parent(span)).map(|span| span.name.as_str()).collect()
    };
    let mut of_runs = senders("send runs");
    of_runs.sort_unstable();
    assert_eq!(of_runs, ["POST /graphs/{name}/runs", "process node.traced.answer", "process node.traced.look"]);
    assert_eq!(senders("send node.traced.answer"), ["process runs"]);

    let look = tree.one("invoke_agent look");
    assert_eq!(tree.parent(look).unwrap().name, "process node.traced.look");
    assert_eq!(number(look, "millstream.task.attempt"), 1);
    let asked = tree.named("POST").find(|span| span.parent_span_id == look.span_id).expect("the call of the service");
    assert_eq!(world.look_heard(), [format!("00-{CLIENT_TRACE}-{}-01", hex(&asked.span_id))], "it can go on");

    let answer = tree.one("invoke_agent answer");
    let chat = tree.one("chat echo");
    assert_eq!((&chat.parent_span_id, chat.kind()), (&answer.span_id, SpanKind::Client));
    assert_eq!(text(chat, "gen_ai.provider.name"), "openai", "a provider owns the address, an alias only the model");
    assert_eq!(text(chat, "gen_ai.request.model"), "echo");
    assert!(number(chat, "gen_ai.usage.input_tokens") > 0 && number(chat, "gen_ai.usage.output_tokens") > 0);
    let posted = tree.named("POST").find(|span| span.parent_span_id == chat.span_id).expect("the call's own request");
    assert_eq!(world.model_heard(), [format!("00-{CLIENT_TRACE}-{}-01", hex(&posted.span_id))]);
    let failed: Vec<&str> = tree.spans.iter().filter(|span| is_error(span)).map(|span| span.name.as_str()).collect();
    assert_eq!(failed, [""; 0]);
    drop(folder);
}

#[tokio::test]
async fn what_fails_says_so_up_to_the_run() {
    let (receiver, world) = (Receiver::start().await, World::start().await);
    let (_folder, server) = serve(&receiver, &world, &[]).await;
    world.refuse();
    let (_, run) = ask(&server, None).await;
    let run_id = run.pointer("/run_id").or(run.pointer("/error/run_id")).and_then(Value::as_str).expect("a run");
    let tree = receiver.tree(run_id, |tree| tree.has("invoke_workflow traced")).await;
    let workflow = tree.one("invoke_workflow traced");
    assert_eq!((is_error(workflow), text(workflow, "error.type")), (true, "node_failed"));
    let look = tree.one("invoke_agent look");
    assert_eq!((is_error(look), text(look, "error.type")), (true, "OrderError"));
    assert!(look.status.as_ref().unwrap().message.contains("no such order"), "{:?}", look.status);
    assert_eq!((is_error(tree.one("POST")), text(tree.one("POST"), "error.type")), (true, "422"));
    assert!(
        tree.one("POST /graphs/{name}/runs").parent_span_id.is_empty(),
        "no client's context: the request is the first"
    );
}

#[tokio::test]
async fn the_caller_decides_what_is_sampled_and_else_the_sampler() {
    let (receiver, world) = (Receiver::start().await, World::start().await);
    let sampler = [("OTEL_TRACES_SAMPLER", "parentbased_always_off".to_owned())];
    let (_folder, server) = serve(&receiver, &world, &sampler).await;
    let (_, unasked) = ask(&server, None).await;
    let (_, unsampled) = ask(&server, Some(&client("00"))).await;
    let (_, sampled) = ask(&server, Some(&client("01"))).await;
    let id = |run: &Value| run["run_id"].as_str().unwrap().to_owned();
    // Spans are sent in order: with those of the last run, what there is of the others would be there, too.
    receiver.tree(&id(&sampled), |tree| tree.has("invoke_workflow traced")).await;
    for run in [unasked, unsampled] {
        assert_eq!(run["status"], "success");
        assert_eq!(receiver.of_run(&id(&run)).spans.len(), 0);
    }
    let heard = world.look_heard();
    assert!(heard[0].ends_with("-00") && !heard[0].contains(CLIENT_TRACE), "not sampled, and said so: {heard:?}");
    assert!(heard[1].starts_with(&format!("00-{CLIENT_TRACE}-")) && heard[1].ends_with("-00"), "{heard:?}");
    assert!(heard[2].ends_with("-01"), "{heard:?}");
}

#[tokio::test]
async fn without_an_endpoint_the_clients_context_is_passed_on_as_it_is() {
    let (receiver, world) = (Receiver::start().await, World::start().await);
    let (_folder, server) = serve(&receiver, &world, &[("OTEL_EXPORTER_OTLP_ENDPOINT", String::new())]).await;
    ask(&server, Some(&client("01"))).await;
    ask(&server, None).await;
    assert_eq!(world.look_heard(), [client("01"), "nothing".to_owned()]);
    assert_eq!(world.model_heard(), [client("01"), "nothing".to_owned()]);
    assert!(receiver.all().is_empty());
}

fn client(flags: &str) -> String {
    format!("00-{CLIENT_TRACE}-{CLIENT_SPAN}-{flags}")
}

/// All in one process, with the graph.
async fn serve(receiver: &Receiver, world: &World, more: &[(&str, String)]) -> (tempfile::TempDir, Process) {
    let folder = folder();
    let data = folder.path().join("data");
    let mut environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.clone()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", world.url)),
        ("OPENAI_MODEL", "echo".to_owned()),
        ("LOOK_URL", world.url.clone()),
    ];
    environment.extend(more.iter().cloned());
    let arguments = ["dev", "--data-dir", data.to_str().unwrap()];
    let mut server = Process::start(&arguments, &environment, free_address(), folder.path());
    server.wait_until_ready().await;
    let published = reqwest::Client::new().put(server.url("/graphs/traced")).body(GRAPH).send().await.unwrap();
    assert!(published.status().is_success(), "{}", published.text().await.unwrap());
    (folder, server)
}

async fn ask(server: &Process, traceparent: Option<&str>) -> (u16, Value) {
    let body = json!({"input": {"messages": [{"role": "user", "content": "hello"}]}, "mode": "wait"});
    let mut request = reqwest::Client::new()
        .post(server.url("/graphs/traced/runs"))
        .header("x-request-id", "req-of-the-test")
        .timeout(PATIENCE)
        .json(&body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Takes OTLP over HTTP and keeps all spans.
struct Receiver {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    async fn start() -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let take = move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
            let scopes = request.resource_spans.into_iter().flat_map(|resource| {
                let named = resource.resource.iter().flat_map(|resource| &resource.attributes);
                assert!(named.clone().any(|pair| pair.key == "service.name" && text_of(pair) == Some("millstream")));
                resource.scope_spans
            });
            kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        };
        let url = listen(Router::new().route("/v1/traces", post(take))).await;
        Receiver { url, spans }
    }

    fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// The spans of the trace that one run belongs to.
    fn of_run(&self, run: &str) -> Tree {
        let all = self.all();
        let trace =
            all.iter().find(|span| text_at(span, "millstream.run.id") == Some(run)).map(|span| span.trace_id.clone());
        let of_it = |span: &Span| Some(&span.trace_id) == trace.as_ref();
        Tree { spans: all.into_iter().filter(of_it).collect() }
    }

    /// The same, when it is complete.
    async fn tree(&self, run: &str, complete: impl Fn(&Tree) -> bool) -> Tree {
        let began = Instant::now();
        loop {
            let tree = self.of_run(run);
            // What was ended last is sent with the next batch.
            let whole = complete(&tree) && tree.spans.iter().all(|span| tree.is_rooted(span));
            if whole {
                return tree;
            }
            assert!(began.elapsed() < PATIENCE, "the trace is not complete: {:#?}", tree.names());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Tree {
    spans: Vec<Span>,
}

impl Tree {
    fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }

    fn has(&self, name: &str) -> bool {
        self.count(name) > 0
    }

    fn one(&self, name: &str) -> &Span {
        let mut all = self.named(name);
        let (first, more) = (all.next(), all.next());
        assert!(first.is_some() && more.is_none(), "one {name} in {:#?}", self.names());
        first.unwrap()
    }

    fn by_id(&self, id: &[u8]) -> Option<&Span> {
        self.spans.iter().find(|span| span.span_id == id)
    }

    fn parent(&self, span: &Span) -> Option<&Span> {
        self.by_id(&span.parent_span_id)
    }

    fn is_rooted(&self, span: &Span) -> bool {
        let parent = &span.parent_span_id;
        let linked = span.links.iter().all(|link| self.by_id(&link.span_id).is_some());
        linked && (parent.is_empty() || hex(parent) == CLIENT_SPAN || self.by_id(parent).is_some())
    }

    fn names(&self) -> BTreeMap<&str, usize> {
        let mut names = BTreeMap::new();
        for span in &self.spans {
            *names.entry(span.name.as_str()).or_default() += 1;
        }
        names
    }
}

/// A node of somebody's own and a model, and the `traceparent` that each request to them had.
struct World {
    url: String,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    look: Vec<String>,
    model: Vec<String>,
    refuses: bool,
}

impl World {
    async fn start() -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (looks, models) = (Arc::clone(&heard), Arc::clone(&heard));
        let look = move |headers: HeaderMap| async move {
            let mut heard = looks.lock().unwrap();
            heard.look.push(traceparent(&headers));
            if heard.refuses {
                let error = json!({"error": {"message": "no such order", "type": "OrderError"}});
                return (axum::http::StatusCode::UNPROCESSABLE_ENTITY, Json(error));
            }
            (axum::http::StatusCode::OK, Json(json!({"update": {"found": "it"}})))
        };
        let model = node_workers::models::mock_server::mock_model_router().layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                // Readiness asks for the list of models, which is of no trace.
                if request.method() == axum::http::Method::POST {
                    models.lock().unwrap().model.push(traceparent(request.headers()));
                }
                next.run(request)
            },
        ));
        let url = listen(model.route("/look", post(look))).await;
        World { url, heard }
    }

    fn refuse(&self) {
        self.heard.lock().unwrap().refuses = true;
    }

    fn look_heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().look.clone()
    }

    fn model_heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().model.clone()
    }
}

fn traceparent(headers: &HeaderMap) -> String {
    let value = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
    value.unwrap_or_else(|| "nothing".to_owned())
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[allow(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value<'a>(span: &'a Span, name: &str) -> Option<&'a Any> {
    let pair = span.attributes.iter().find(|pair| pair.key == name)?;
    pair.value.as_ref().and_then(|AnyValue { value, .. }| value.as_ref())
}

fn text_of(pair: &KeyValue) -> Option<&str> {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn text_at<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    match value(span, name) {
        Some(Any::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn text<'a>(span: &'a Span, name: &str) -> &'a str {
    text_at(span, name).unwrap_or_else(|| panic!("{} has no {name}: {:?}", span.name, span.attributes))
}

fn number(span: &Span, name: &str) -> i64 {
    match value(span, name) {
        Some(Any::IntValue(number)) => *number,
        other => panic!("{} has {name} = {other:?}", span.name),
    }
}
