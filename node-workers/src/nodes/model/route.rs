//! Which alias a call asks, where the node's own leads to others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use graph::{
    by_name::ChannelValues,
    expression::{Expression, Scope},
    message,
    spec::{ModelAlias, RouteStep},
    task::{TaskError, Usage},
};
use serde_json::{Value, json};

use super::{Called, reserve};
use crate::{
    classifier::Classifier,
    failure, metrics,
    models::{
        Answer, ModelRegistry, ModelRequest, ModelSettings, Target,
        content::{self, Role},
    },
    nodes::NodeContext,
};

/// How long a model may take to say a label. Without one the next step decides.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of such an answer.
const TOKENS_MAX: u32 = 256;

pub struct Route {
    alias: String,
    steps: Vec<Step>,
    registry: Arc<ModelRegistry>,
    /// The graph's own.
    aliases: BTreeMap<String, ModelAlias>,
}

enum Step {
    If { condition: Expression, to: String },
    Classifier { classifier: Arc<Classifier>, min_score: f32, to: BTreeMap<String, String> },
    Model { alias: String, to: BTreeMap<String, String>, answer: Arc<Value> },
    Else { to: String },
}

/// What was decided for a call, and by what.
#[derive(Clone, Debug)]
pub struct Routed {
    pub alias: String,
    pub tier: String,
    /// `rule`, `classifier`, `model` or `else`.
    pub by: &'static str,
    /// Calls that it took to decide, and what they cost.
    pub calls: u32,
    cost_nano_usd: u64,
}

impl Route {
    /// None where the alias names a model itself.
    pub fn new(
        alias: &str,
        aliases: &BTreeMap<String, ModelAlias>,
        registry: &Arc<ModelRegistry>,
    ) -> Result<Option<Self>, TaskError> {
        let steps = aliases.get(alias).map(|model| model.route.as_slice()).unwrap_or_default();
        if steps.is_empty() {
            return Ok(None);
        }
        let steps = steps.iter().map(|step| Step::new(step, registry)).collect::<Result<_, _>>()?;
        Ok(Some(Route { alias: alias.to_owned(), steps, registry: Arc::clone(registry), aliases: aliases.clone() }))
    }

    /// The alias to ask. None where somebody pointed the route's own alias at a model over the API: that counts.
    pub async fn pick(
        &self,
        tools: bool,
        request: &ModelRequest,
        context: &NodeContext,
    ) -> Result<Option<Routed>, TaskError> {
        if self.registry.is_said(&self.alias) {
            return Ok(None);
        }
        let mut asked = Asked::default();
        let seen = Seen::new(tools, request, context);
        for step in &self.steps {
            if let Some((tier, by)) = self.take(step, &seen, context, &mut asked).await? {
                metrics::count_route(&self.alias, &tier, by);
                let Asked { calls, cost_nano_usd } = asked;
                return Ok(Some(Routed { alias: self.alias.clone(), tier, by, calls, cost_nano_usd }));
            }
        }
        Err(failure::node_failed(format!("the route of {} leads nowhere: end it with `else`", self.alias)))
    }

    async fn take(
        &self,
        step: &Step,
        seen: &Seen,
        context: &NodeContext,
        asked: &mut Asked,
    ) -> Result<Option<(String, &'static str)>, TaskError> {
        Ok(match step {
            Step::If { condition, to } => seen.fits(condition, context)?.then(|| (to.clone(), "rule")),
            Step::Classifier { classifier, min_score, to } => {
                let said = classifier.classify(&seen.text);
                let tier = to.get(said.label).filter(|_| said.score >= *min_score);
                tier.map(|tier| (tier.clone(), "classifier"))
            }
            Step::Model { alias, to, answer } => {
                let label = self.ask(alias, to, answer, seen, context, asked).await;
                label.and_then(|label| to.get(&label)).map(|tier| (tier.clone(), "model"))
            }
            Step::Else { to } => Some((to.clone(), "else")),
        })
    }

    /// One structured call, that is paid for, held to budgets and recorded like any other. Whatever it comes to, the node's own
    /// call is made: one that fails says nothing.
    async fn ask(
        &self,
        alias: &str,
        to: &BTreeMap<String, String>,
        answer: &Arc<Value>,
        seen: &Seen,
        context: &NodeContext,
        asked: &mut Asked,
    ) -> Option<String> {
        let targets = self.registry.resolve(alias, &self.aliases, context.envelope().key().as_str()).ok()?;
        let target = targets.first()?;
        let admitted = self.registry.breakers().admit(target.full_name(), context.calls().now()).ok()?;
        let labels: Vec<&str> = to.keys().map(String::as_str).collect();
        let system = format!(
            "Say which of these labels fits what the user asks best, and nothing else: {}. Do not answer the question.",
            labels.join(", ")
        );
        let request = ModelRequest {
            messages: [json!({"type": "system", "content": system}), json!({"type": "human", "content": seen.text})]
                .map(Arc::new)
                .into(),
            answer: Some(Arc::clone(answer)),
            settings: ModelSettings { max_tokens: Some(TOKENS_MAX), ..ModelSettings::default() },
            ..ModelRequest::default()
        };
        let (request, held) = reserve(target, &request, context, asked.calls).await.ok()?;
        asked.calls += 1;
        let mut called = Called::quiet(target, request, held, context);
        let came = tokio::time::timeout(PATIENCE, called.read()).await.ok()?;
        admitted.ended(came.as_ref().err(), context.calls().now());
        let Answer { text, usage, .. } = came.ok()?;
        asked.cost_nano_usd += context.calls().cost(target, &usage.unwrap_or_default()).unwrap_or(0);
        let said: Value = serde_json::from_str(text.trim()).ok()?;
        Some(said.get("label")?.as_str()?.to_owned())
    }

    /// What the dearest of the tiers would have taken for the same tokens, less what this one and the decision took. A
    /// decision may cost more than it saves.
    pub fn saved(&self, routed: &Routed, target: &Target, usage: &Usage, context: &NodeContext) -> i128 {
        let tiers = self.aliases.get(&self.alias).into_iter().flat_map(|alias| &alias.route).flat_map(RouteStep::tiers);
        let key = context.envelope().key();
        let costs = tiers.filter_map(|tier| {
            let targets = self.registry.resolve(tier, &self.aliases, key.as_str()).ok()?;
            context.calls().cost(targets.first()?, usage)
        });
        let Some(taken) = context.calls().cost(target, usage) else { return 0 };
        let dearest = costs.max().unwrap_or(taken).max(taken);
        i128::from(dearest) - i128::from(taken) - i128::from(routed.cost_nano_usd)
    }
}

impl Step {
    fn new(step: &RouteStep, registry: &ModelRegistry) -> Result<Self, TaskError> {
        Ok(match step {
            RouteStep::If { condition, to } => {
                let compiled = Expression::compile(condition).map_err(|error| {
                    failure::node_failed(format!("`{condition}` in a route is no expression: {error}"))
                })?;
                Step::If { condition: compiled, to: to.clone() }
            }
            RouteStep::Classifier { name, min_score, to } => Step::Classifier {
                classifier: registry.classifier(name)?,
                min_score: min_score.unwrap_or(0.0) as f32,
                to: to.clone(),
            },
            RouteStep::Model { alias, to } => {
                let labels: Vec<&String> = to.keys().collect();
                let answer = json!({
                    "type": "object",
                    "properties": {"label": {"type": "string", "enum": labels}},
                    "required": ["label"],
                    "additionalProperties": false,
                });
                Step::Model { alias: alias.clone(), to: to.clone(), answer: Arc::new(answer) }
            }
            RouteStep::Else { to } => Step::Else { to: to.clone() },
        })
    }
}

impl Routed {
    /// As a message tells it.
    pub fn told(&self) -> Value {
        json!({"alias": self.alias, "tier": self.tier, "by": self.by})
    }
}

#[derive(Default)]
struct Asked {
    calls: u32,
    cost_nano_usd: u64,
}

/// What of a call its route sees.
struct Seen {
    text: String,
    items: [(&'static str, Value); 4],
}

impl Seen {
    fn new(tools: bool, request: &ModelRequest, context: &NodeContext) -> Self {
        let last = request.messages.iter().rfind(|message| content::role(message) == Role::User);
        let text = last.map(|message| message::text(message)).unwrap_or_default();
        let messages = request.messages.iter().filter(|message| content::role(message) != Role::System).count();
        let items = [
            ("text", text.as_str().into()),
            ("tools", tools.into()),
            ("messages", messages.into()),
            ("thread_age_seconds", (context.task().thread_age_ms / 1_000).into()),
        ];
        Seen { text, items }
    }

    fn fits(&self, condition: &Expression, context: &NodeContext) -> Result<bool, TaskError> {
        let items = self.items.each_ref().map(|(name, value)| (*name, value));
        let none = ChannelValues::new();
        condition.holds(&Scope { items: &items, ..Scope::new(&none, &context.task().context) })
    }
}
