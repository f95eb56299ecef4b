//! `millstream graph test FILE`: the example cases beside a graph file, run in this process (docs/graph-tests.md).

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::{StreamExt, stream, stream::BoxStream};
use graph::{
    alias::Routes,
    file,
    spec::{GraphSpec, ModelAlias, NodeKind, RustNode},
    update::RunStatus,
};
use node_workers::{
    AloneDeps, ModelRegistry, Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop,
    classifier::Classifier,
    failure,
    models::{Cause, ModelError, ModelEvent, ModelProvider, ModelRequest, StopReason, scripted::Scripted},
    nodes::http,
};
use quota::Prices;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    classifiers, config,
    trial::{Asked, Seen, Trial},
    world::{SystemRandom, WallClock},
};

/// Runs of one case: an answer each, and as many breakpoints.
const RUNS_MAX: usize = 100;
/// The provider that all aliases point at, and the Rust type that stands for services.
const CASE: &str = "case";

/// One example: what goes in, what the world answers, and what has to come out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    input: Map<String, Value>,
    #[serde(default)]
    context: Value,
    /// By alias, in the order of its calls: a text, or an object where the node wants one.
    #[serde(default)]
    models: BTreeMap<String, VecDeque<Value>>,
    /// By node of kind http, in the order of its tasks: what its service answers.
    #[serde(default)]
    services: BTreeMap<String, VecDeque<Value>>,
    /// To the run's questions, in order.
    #[serde(default)]
    answers: VecDeque<Value>,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// `success` unless told.
    status: Option<RunStatus>,
    /// Channels that have to hold this; the others aren't looked at.
    #[serde(default)]
    state: BTreeMap<String, Value>,
    /// Every question that was asked, in order.
    questions: Option<Vec<Value>>,
    /// A part of the error's message.
    error: Option<String>,
}

/// Prints what became of each case. True where all passed.
pub async fn test(path: &Path, config: Option<&Path>) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    let checked = file::read(&text, None);
    eprint!("{}", checked.report(&path.display().to_string()));
    let Some(spec) = checked.spec else { bail!("the graph has mistakes: see above") };
    // Only a graph that names one needs a configuration.
    let classifiers = match checked.subgraphs.iter().chain([&spec]).any(|spec| spec.classifiers().next().is_some()) {
        true => classifiers::configured(&config::load(config.map(Path::to_owned))?)?,
        false => BTreeMap::new(),
    };
    let cases_path = beside(path);
    let name = cases_path.display();
    let text = std::fs::read_to_string(&cases_path)
        .with_context(|| format!("{name} can't be read; it holds the cases of {}", path.display()))?;
    let cases =
        file::value(&text).map_err(|diagnostic| anyhow::anyhow!("{}", diagnostic.in_file(&name.to_string())))?;
    let Value::Object(cases) = cases else { bail!("{name} holds no cases: write `name: {{input: …, expect: …}}`") };
    let (mut passed, mut failed) = (0, 0);
    for (case_name, case) in cases {
        let case: Case = serde_json::from_value(case).with_context(|| format!("{name}: case `{case_name}`"))?;
        let wrong = run(&spec, &checked.subgraphs, case, &classifiers)
            .await
            .with_context(|| format!("{name}: case `{case_name}`"))?;
        match wrong.is_empty() {
            true => passed += 1,
            false => failed += 1,
        }
        println!("{case_name}: {}", if wrong.is_empty() { "passed" } else { "FAILED" });
        wrong.iter().for_each(|line| println!("  {line}"));
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// `graph.yaml` has its cases in `graph.test.yaml`.
fn beside(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}.test.yaml"))
}

/// What isn't as the case expects.
async fn run(
    spec: &GraphSpec,
    subgraphs: &[GraphSpec],
    case: Case,
    classifiers: &BTreeMap<String, Classifier>,
) -> anyhow::Result<Vec<String>> {
    let Case { input, context, models, services, mut answers, expect } = case;
    let graphs = scripted(spec, subgraphs, &services);
    let Some(outer) = graphs.last().cloned() else { bail!("there is no graph") };
    let mut trial = Trial::new(&outer, deps(graphs, models, services, classifiers)?)?;
    let mut asked: Vec<Value> = Vec::new();
    let mut seen = trial.run(Asked::Input(Value::Object(input)), context.clone()).await?;
    for _ in 0..RUNS_MAX {
        asked.extend(seen.questions.iter().map(|question| Value::clone(&question.value)));
        if seen.status != Some(RunStatus::Interrupted) {
            break;
        }
        // Questions of one step are answered one by one: those that are open are asked again.
        let open = seen.questions.len();
        let next = match (open, answers.pop_front()) {
            (0, given) => {
                answers.extend(given);
                Asked::GoOn
            }
            (_, Some(answer)) => Asked::Answer(answer),
            (_, None) => break,
        };
        let before = seen;
        seen = trial.run(next, context.clone()).await?;
        if seen.state.is_empty() {
            seen.state = before.state;
        }
        let again = before.questions.iter().filter(|old| seen.questions.iter().any(|new| new.id == old.id)).count();
        asked.truncate(asked.len() - again);
    }
    let mut wrong = compare(&seen, &expect, &asked);
    if !answers.is_empty() && wrong.is_empty() {
        wrong.push(format!("answers: {} were not asked for", answers.len()));
    }
    Ok(wrong)
}

fn compare(seen: &Seen, expect: &Expected, asked: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let status = expect.status.unwrap_or(match expect.error {
        Some(_) => RunStatus::Error,
        None => RunStatus::Success,
    });
    if seen.status != Some(status) {
        let got = seen.status.map_or("none", RunStatus::as_str);
        let why = seen.error.as_ref().map(|error| format!(": {}: {}", error.code, error.message)).unwrap_or_default();
        wrong.push(format!("status: expected {}, got {got}{why}", status.as_str()));
    }
    for (name, expected) in &expect.state {
        match seen.state.get(name) {
            Some(got) if got == expected => {}
            Some(got) => wrong.push(format!("state.{name}: expected {expected}, got {got}")),
            None => wrong.push(format!("state.{name}: expected {expected}, and it has no value")),
        }
    }
    if let Some(questions) = expect.questions.as_ref().filter(|questions| *questions != asked) {
        wrong.push(format!(
            "questions: expected {}, got {}",
            Value::from(questions.clone()),
            Value::from(asked.to_vec())
        ));
    }
    let message = seen.error.as_ref().map_or("", |error| error.message.as_str());
    if let Some(part) = expect.error.as_ref().filter(|part| !message.contains(part.as_str())) {
        wrong.push(format!("error: expected one with {part:?}, got {message:?}"));
    }
    wrong
}

/// The graphs with all aliases pointing at the case's answers, and its services in place of addresses. What a graph
/// names by hash is patched, innermost first.
fn scripted(spec: &GraphSpec, subgraphs: &[GraphSpec], services: &BTreeMap<String, VecDeque<Value>>) -> Vec<GraphSpec> {
    let mut hashes: BTreeMap<String, String> = BTreeMap::new();
    let mut graphs = Vec::new();
    for spec in subgraphs.iter().chain([spec]) {
        let mut scripted = spec.clone();
        for (alias, model) in &mut scripted.models {
            // A route is taken as it is: what it leads to answers as the case says.
            if model.route.is_empty() {
                *model = ModelAlias { target: format!("{CASE}/{alias}"), ..ModelAlias::default() };
            }
        }
        for node in &mut scripted.nodes {
            match &mut node.kind {
                NodeKind::Http(_) if services.contains_key(&node.name) => {
                    let settings = Value::from(node.name.clone());
                    node.kind = NodeKind::Rust(RustNode { type_name: CASE.to_owned(), settings });
                }
                NodeKind::Subgraph(inner) => {
                    if let Some(hash) = hashes.get(&inner.hash) {
                        inner.hash.clone_from(hash);
                    }
                }
                _ => {}
            }
        }
        hashes.insert(spec.hash(), scripted.hash());
        graphs.push(scripted);
    }
    graphs
}

fn deps(
    graphs: Vec<GraphSpec>,
    models: BTreeMap<String, VecDeque<Value>>,
    services: BTreeMap<String, VecDeque<Value>>,
    classifiers: &BTreeMap<String, Classifier>,
) -> anyhow::Result<AloneDeps> {
    let mut registry = ModelRegistry::new();
    for (name, classifier) in classifiers {
        registry = registry.with_classifier(name, classifier.clone());
    }
    let named = graphs.iter().flat_map(GraphSpec::aliases);
    for alias in named {
        registry = registry.alias(alias, Routes::to(format!("{CASE}/{alias}")));
    }
    let services = Arc::new(Mutex::new(services));
    let service = move |settings: &Value| {
        let node = settings.as_str().unwrap_or_default().to_owned();
        Ok(Service { node, answers: Arc::clone(&services) })
    };
    Ok(AloneDeps {
        graphs,
        models: registry.provider(Models { answers: Mutex::new(models), echo: Scripted::default() }),
        nodes: NodeRegistry::new().with_type(CASE, service),
        http: node_workers::http_client()?,
        environment: Arc::new(|name| std::env::var(name).ok()),
        clock: Arc::new(WallClock),
        random: Arc::new(SystemRandom::new()),
        prices: Arc::new(Prices::with(&quota::prices::Table::new())?),
    })
}

/// Answers as the case says; an alias that it says nothing of echoes.
struct Models {
    answers: Mutex<BTreeMap<String, VecDeque<Value>>>,
    echo: Scripted,
}

impl ModelProvider for Models {
    fn name(&self) -> &str {
        CASE
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = answers.get_mut(&request.model) else {
            return self.echo.stream(ModelRequest { model: "echo".to_owned(), ..request });
        };
        let text = match left.pop_front() {
            Some(Value::String(text)) => text,
            Some(answer) => answer.to_string(),
            None => {
                let message = format!("the case has no more answers for the model `{}`", request.model);
                let error = ModelError::new(Cause::BadRequest, message);
                return stream::iter([Err(error)]).boxed();
            }
        };
        stream::iter([Ok(ModelEvent::Text(text)), Ok(ModelEvent::Done { stop_reason: StopReason::Stop })]).boxed()
    }
}

/// A node's service, as the case has it.
struct Service {
    node: String,
    answers: Arc<Mutex<BTreeMap<String, VecDeque<Value>>>>,
}

#[async_trait]
impl Node for Service {
    async fn run(&self, _: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.get_mut(&self.node).and_then(VecDeque::pop_front)
        };
        let Some(answer) = answer else {
            let message = format!("the case has no more answers for the service of node `{}`", self.node);
            return Err(failure::node_failed(message).into());
        };
        let answer = serde_json::from_value(answer)
            .map_err(|error| failure::node_failed(format!("the case's answer is none of the node API: {error}")))?;
        http::output(answer, context)
    }
}
