//! `model`: one call to a model, streamed, with its deltas on `tokens` and its usage in the result.

mod alike;
mod called;
mod route;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use graph::{
    envelope::Millis,
    expression::{Expression, Scope},
    spec::{ModelAlias, ModelNode},
    task::TaskError,
    template::Template,
};
use schemas::record::TokenKind;
use serde_json::{Map, Value, json};

use self::{
    alike::LookedFor,
    called::Called,
    route::{Route, Routed},
};
use super::{Node, NodeContext, NodeInput, NodeOutput, Stop, items, kind_of, scope};
use crate::{
    failure, metrics,
    models::{
        Answer, Answers, ModelError, ModelRegistry, ModelRequest, ModelSettings, Target,
        answers::{self, Known, Turn},
    },
    spending::Held,
};

/// The channel that a conversation lives in, where the graph has it.
pub(super) const MESSAGES: &str = "messages";

pub struct Model {
    spec: ModelNode,
    registry: Arc<ModelRegistry>,
    /// The graph's own.
    aliases: BTreeMap<String, ModelAlias>,
    /// None where the node's alias names a model itself.
    route: Option<Route>,
    system: Option<Template>,
    prompt: Option<Template>,
    messages: Option<Expression>,
    answer: Option<Arc<Value>>,
    /// The graph's expressions look at the answer: else it needs no second form.
    is_looked_at: bool,
}

impl Model {
    pub fn new(
        spec: &ModelNode,
        aliases: &BTreeMap<String, ModelAlias>,
        registry: &Arc<ModelRegistry>,
        is_looked_at: bool,
    ) -> Result<Self, TaskError> {
        let template = |text: &Option<String>| {
            text.as_deref()
                .map(Template::compile)
                .transpose()
                .map_err(|error| failure::node_failed(format!("the prompt is no template: {error}")))
        };
        let messages = spec.messages.as_deref().map(Expression::compile).transpose();
        Ok(Model {
            system: template(&spec.system)?,
            prompt: template(&spec.prompt)?,
            messages: messages
                .map_err(|error| failure::node_failed(format!("`messages` is no expression: {error}")))?,
            answer: spec.answer.clone().map(Arc::new),
            registry: Arc::clone(registry),
            route: Route::new(&spec.model, aliases, registry)?,
            aliases: aliases.clone(),
            is_looked_at,
            spec: spec.clone(),
        })
    }

    fn request(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<ModelRequest, TaskError> {
        let items = items(&input, context);
        let scope = scope(context.task(), input, &items);
        Ok(ModelRequest {
            model: String::new(),
            messages: self.ask(input, &scope, context)?.into(),
            answer: self.answer.clone(),
            settings: self.settings(&context.task().model_config),
            call_id: String::new(),
            trace: None,
        })
    }

    fn ask(
        &self,
        input: NodeInput<'_>,
        scope: &Scope<'_>,
        context: &NodeContext,
    ) -> Result<Vec<Arc<Value>>, TaskError> {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(Arc::new(json!({"type": "system", "content": system.render(scope)?})));
        }
        if let Some(expression) = self.messages.as_ref().filter(|expression| !is_messages(expression)) {
            extend(&mut messages, expression.evaluate(scope)?)?;
        } else if self.messages.is_some() || self.prompt.is_none() {
            let known = input.get(MESSAGES).or_else(|| context.task().channels.get(MESSAGES).map(|value| &**value));
            if let Some(known) = known {
                extend(&mut messages, known.clone())?;
            }
        }
        if let Some(prompt) = &self.prompt {
            messages.push(Arc::new(json!({"type": "human", "content": prompt.render(scope)?})));
        }
        if messages.is_empty() {
            return Err(failure::node_failed("there is nothing to ask: give the node a `prompt` or `messages`"));
        }
        Ok(messages)
    }

    /// The node's settings; the request's go above them.
    fn settings(&self, asked: &Value) -> ModelSettings {
        let number = |name: &str| asked.get(name).and_then(Value::as_f64);
        let max_tokens = asked.get("max_tokens").and_then(Value::as_u64).and_then(|count| count.try_into().ok());
        ModelSettings {
            temperature: number("temperature").or(self.spec.temperature),
            top_p: number("top_p").or(self.spec.top_p),
            max_tokens: max_tokens.or(self.spec.max_tokens),
            stop: self.spec.stop.clone(),
            seed: self.spec.seed,
        }
    }

    fn nobody_is_asked(alias: &str, soonest: Millis, now: Millis) -> TaskError {
        let wait_ms = u64::try_from(soonest.saturating_sub(now)).unwrap_or(0).max(1);
        let message = format!(
            "every model of {alias} has failed too often lately, so none is asked; the next is tried in {} s",
            wait_ms.div_ceil(1_000)
        );
        failure::all_providers_open(message, wait_ms)
    }

    /// What was given before to the same request, or else to a turn that means the same.
    async fn turn<'a>(
        &self,
        answers: &'a Answers,
        looked_for: Option<&mut LookedFor<'_>>,
        target: &Target,
        request: &ModelRequest,
        context: &NodeContext,
    ) -> Turn<'a> {
        let key = answers::key(&context.envelope().tenant, &target.full_name(), request);
        let asking = match answers.turn(key).await {
            Turn::Ask(asking) => asking,
            known => return known,
        };
        let Some(looked_for) = looked_for else { return Turn::Ask(asking) };
        match looked_for.at(target).await {
            Some(meant) => asking.alike(meant).await,
            None => Turn::Ask(asking),
        }
    }

    /// An answer that was given before. It is shown at once, and took nothing.
    fn known(
        &self,
        known: &Known,
        target: &Target,
        context: &NodeContext,
        message_id: &str,
        routed: Option<&Routed>,
    ) -> Result<NodeOutput, TaskError> {
        let answer = &*known.answer;
        context.calls().saved(known.kind(), target.provider.name(), target.name(), &answer.usage.unwrap_or_default());
        let calls = answer.tool_calls.iter().map(|call| (TokenKind::ToolCall, &call.arguments));
        let shown =
            [(TokenKind::Reasoning, &answer.reasoning), (TokenKind::Text, &answer.text)].into_iter().chain(calls);
        for (kind, delta) in shown.filter(|(_, delta)| !delta.is_empty()) {
            context.tokens().emit(kind, message_id, delta);
        }
        let mut message = Answer { usage: None, ..answer.clone() }.message(message_id)?;
        message["response_metadata"]["cache"] = known.kind().into();
        if let Some(alike) = &known.alike {
            message["response_metadata"]["cache_similarity"] = alike.similarity.into();
            message["response_metadata"]["cache_matched"] = alike.text.as_str().into();
        }
        self.output(answer, message, routed)
    }

    fn output(&self, answer: &Answer, mut message: Value, routed: Option<&Routed>) -> Result<NodeOutput, TaskError> {
        if let Some(routed) = routed {
            message["response_metadata"]["route"] = routed.told();
        }
        let seen = match &self.answer {
            Some(_) => Some(structured(&answer.text)?),
            None if self.is_looked_at => Some(json!({
                "text": answer.text,
                "reasoning": answer.reasoning,
                "tool_calls": message.get("tool_calls").cloned().unwrap_or_else(|| json!([])),
                "message": message.clone(),
            })),
            None => None,
        };
        let messages = Value::Array(vec![message]);
        let update = Value::Object(Map::from_iter([(MESSAGES.to_owned(), messages)]));
        Ok(NodeOutput { update, answer: seen, ..NodeOutput::default() })
    }
}

#[async_trait]
impl Node for Model {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let request = self.request(input, context)?;
        let routed = match &self.route {
            Some(route) => route.pick(!self.spec.tools.is_empty(), &request, context).await?,
            None => None,
        };
        let alias = routed.as_ref().map_or(&self.spec.model, |routed| &routed.tier);
        let targets = self.registry.resolve(alias, &self.aliases, context.envelope().key().as_str())?;
        let message_id = context.message_id(0);
        let breakers = self.registry.breakers();
        let (mut sent, mut soonest) = (routed.as_ref().map_or(0, |routed| routed.calls), None);
        let mut failed: Option<(&Target, ModelError)> = None;
        // What was kept may be why the attempt before failed.
        let answers = self.registry.answers(alias).filter(|_| context.attempt() == 1);
        let semantic = answers.and_then(Answers::semantic);
        let mut looked_for = semantic.and_then(|semantic| LookedFor::of(semantic, context, alias, &request));
        for target in &targets {
            let asking = match answers {
                Some(answers) => match self.turn(answers, looked_for.as_mut(), target, &request, context).await {
                    Turn::Take(known) => {
                        return Ok(self.known(&known, target, context, &message_id, routed.as_ref())?);
                    }
                    Turn::Ask(asking) => Some(asking),
                },
                None => None,
            };
            let admitted = match breakers.admit(target.full_name(), context.calls().now()) {
                Ok(admitted) => admitted,
                Err(until) => {
                    soonest = Some(soonest.map_or(until, |soonest: Millis| soonest.min(until)));
                    continue;
                }
            };
            if let Some((before, error)) = failed.take() {
                metrics::count_fallback(before.provider.name(), target.provider.name(), error.cause.as_str());
            }
            let (request, held) = reserve(target, &request, context, sent).await?;
            sent += 1;
            let mut called = Called::begin(target, request, held, context, &message_id);
            if let Some(routed) = &routed {
                called.routed(routed);
            }
            let answer = called.read().await;
            admitted.ended(answer.as_ref().err(), context.calls().now());
            let error = match answer {
                Ok(answer) => {
                    if let (Some(route), Some(routed)) = (&self.route, &routed) {
                        let saved = route.saved(routed, target, &answer.usage.unwrap_or_default(), context);
                        context.calls().saved_by_route(target, saved);
                    }
                    let output = self.output(&answer, answer.message(&message_id)?, routed.as_ref())?;
                    if let Some(asking) = asking {
                        if let Some(looked_for) = &looked_for {
                            looked_for.compare(&asking, &answer).await;
                        }
                        asking.keep(&answer).await;
                    }
                    return Ok(output);
                }
                Err(error) => error,
            };
            // What a client has seen of one answer must not be followed by another one's.
            if called.shown() || !error.cause.is_worth_another_target() {
                return Err(error.into_task_error(target.provider.name(), target.name()).into());
            }
            failed = Some((target, error));
        }
        Err(match (failed, soonest) {
            (Some((target, error)), _) => error.into_task_error(target.provider.name(), target.name()),
            (None, Some(soonest)) => Self::nobody_is_asked(alias, soonest, context.calls().now()),
            (None, None) => failure::internal("a model's alias has no target"),
        }
        .into())
    }
}

/// The request as far as budgets go, and what they set aside for it; as it is where there are none.
async fn reserve(
    target: &Target,
    request: &ModelRequest,
    context: &NodeContext,
    n: u32,
) -> Result<(ModelRequest, Option<Held>), Stop> {
    let (envelope, mut request) = (context.envelope(), request.clone());
    let Some(spending) = &context.spending else {
        return match envelope.budget.nano_usd {
            None => Ok((request, None)),
            Some(_) => Err(failure::node_failed(
                "nobody here keeps budgets, so the graph's `cost_usd` can't be held: on Kafka set [quota] redis for the \
                 workers, or take `cost_usd` out of the graph",
            )
            .into()),
        };
    };
    let id = format!("{}.{}.{}.{n}", context.idempotency_key(), context.execution, context.attempt);
    loop {
        match spending.reserve(envelope, &id, target, &mut request).await {
            Ok(held) => return Ok((request, held)),
            // Whatever the answer is, somebody wants to go on.
            Err(error) if envelope.budget.pauses && error.budget.is_some() => {
                context.interrupt(json!({"kind": error.class, "message": error.message, "budget": error.budget}))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Most nodes say just this: the channel as it is needs no evaluation.
fn is_messages(expression: &Expression) -> bool {
    expression.text().trim() == "state.messages"
}

/// The structured answer: an object as the schema says, or an attempt that failed.
fn structured(text: &str) -> Result<Value, TaskError> {
    let trimmed = text.trim().trim_start_matches("```json").trim_matches('`').trim();
    let fields: Map<String, Value> = serde_json::from_str(trimmed).map_err(|_| {
        let error = failure::retryable("the model's answer is no JSON object, as its schema demands");
        failure::of_kind(error, "bad_answer")
    })?;
    Ok(fields.into())
}

fn extend(messages: &mut Vec<Arc<Value>>, list: Value) -> Result<(), TaskError> {
    match list {
        Value::Array(list) => {
            messages.extend(list.into_iter().map(Arc::new));
            Ok(())
        }
        other => Err(failure::node_failed(format!("`messages` must give a list, it gave {}", kind_of(&other)))),
    }
}
