//! One attempt of a task: the node and its conditional edges, or a piece of the engine's own work.

use std::{sync::Arc, time::Duration};

use graph::{
    branch::Decisions,
    by_name::ChannelValues,
    spec::{CacheKey, CachePolicy},
    task::{ParentCommand, Reduction, TaskError, TaskPath, TaskResult, Work},
};
use schemas::node_api::{AskKind, CacheKeyAnswer, ReduceAnswer, ReduceAsk, VERSION};
use serde_json::{Map, Value};

use crate::{
    cache::{Cache, Key},
    compiled::{CompiledGraph, CompiledNode, Written},
    decisions::decide,
    failure,
    nodes::{
        NodeContext, NodeInput, Stop,
        http::{
            ask::Ask,
            reply::error_from,
            service::{JSON, Post, Services},
        },
    },
};

/// What became of an attempt that wasn't cut off.
pub type Came = Result<TaskResult, Box<Failure>>;

/// Why it failed, and what the node had written by then: kept when no attempt is left.
pub struct Failure {
    pub error: TaskError,
    pub wrote: Option<TaskResult>,
}

impl From<TaskError> for Box<Failure> {
    fn from(error: TaskError) -> Self {
        Box::new(Failure { error, wrote: None })
    }
}

/// What an attempt works with.
pub struct Attempt<'a> {
    pub graph: &'a CompiledGraph,
    /// None where no node runs.
    pub node: Option<&'a CompiledNode>,
    pub services: &'a Services,
    pub cache: &'a Cache<TaskResult>,
    pub context: &'a NodeContext,
}

impl Attempt<'_> {
    pub async fn make(&self) -> Came {
        match (self.context.task().work.as_deref(), self.node) {
            (Some(Work::Reduction(reduction)), _) => self.reduce(reduction).await,
            (Some(Work::Decision { writes }), _) => {
                let wrote = TaskResult { writes: writes.clone(), ..TaskResult::default() };
                // What was written is known already: only the way on is asked for.
                self.decide(wrote, None).await.map(|decided| TaskResult { writes: Arc::default(), ..decided })
            }
            (None, Some(node)) => self.run(node).await,
            (None, None) => Err(failure::internal("a task without a node and without work").into()),
        }
    }

    async fn run(&self, node: &CompiledNode) -> Came {
        let task = self.context.task();
        let whole = match &task.path {
            TaskPath::Pull => NodeInput::State(&task.channels),
            TaskPath::Push { argument, .. } => NodeInput::Argument(argument),
        };
        let mapped: Option<Map<_, _>> = node.mapped_input(self.context, whole)?;
        let input = mapped.as_ref().map_or(whole, NodeInput::Mapped);
        let cached = match &node.spec.cache {
            // Who handles a failure sees more than its input.
            Some(policy) if task.handles.is_none() => Some((self.cache_key(node, policy, input).await?, policy)),
            Some(_) | None => None,
        };
        if let Some(known) = cached.as_ref().and_then(|(key, _)| self.cache.get(*key)) {
            return Ok(known);
        }
        let mut output = match node.node.run(input, self.context).await {
            Ok(output) => output,
            Err(stop) => return stopped(stop, None),
        };
        let (to_parent, extra) = (output.to_parent, output.extra.take());
        let Written { mut writes, goto } = node.written(self.context, input, output)?;
        if to_parent {
            return Ok(TaskResult {
                parent: Some(ParentCommand { writes: Arc::new(writes), goto }),
                ..TaskResult::default()
            });
        }
        self.graph.with_message_ids(task, &mut writes);
        let wrote = TaskResult { writes: Arc::new(writes), goto, ..TaskResult::default() };
        let result = self.decide(wrote, extra.as_ref()).await?;
        if let Some((key, policy)) = cached.filter(|_| result.interrupts.is_empty()) {
            self.cache.put(key, &result, policy.ttl_ms.map(Duration::from_millis));
        }
        Ok(result)
    }

    /// Adds where the node's conditional edges lead.
    async fn decide(&self, wrote: TaskResult, extra: Option<&Map<String, Value>>) -> Came {
        let decisions = match self.decisions(&wrote).await {
            Ok(decisions) => decisions,
            Err(error) => return stopped(error.into(), Some(wrote)),
        };
        let Some(decisions) = decisions else { return Ok(wrote) };
        match decide(decisions, self.services, self.context, extra).await {
            Ok(branches) => Ok(TaskResult { branches, ..wrote }),
            Err(stop) => stopped(stop, Some(wrote)),
        }
    }

    /// The conditional edges with the state that they see, all of it joined.
    async fn decisions(&self, wrote: &TaskResult) -> Result<Option<Decisions<'_>>, TaskError> {
        let task = self.context.task();
        let mut reduced = ChannelValues::new();
        for reduction in self.graph.reductions(task, &wrote.writes)? {
            let value = self.join(&reduction).await?;
            reduced.insert(reduction.channel, value);
        }
        self.graph.decisions(task, &wrote.writes, &reduced)
    }

    async fn reduce(&self, reduction: &Reduction) -> Came {
        let value = self.join(reduction).await?;
        let writes = Arc::new(vec![(Arc::from(reduction.channel.as_str()), value)]);
        Ok(TaskResult { writes, ..TaskResult::default() })
    }

    /// Asks the channel's program.
    async fn join(&self, reduction: &Reduction) -> Result<Arc<Value>, TaskError> {
        let Reduction { channel, value, values } = reduction;
        let (envelope, task) = (self.context.envelope(), self.context.task());
        let ask = ReduceAsk {
            version: VERSION,
            graph: task.graph.clone().unwrap_or_else(|| envelope.graph.clone()),
            run_id: envelope.run_id,
            tenant: envelope.tenant.clone(),
            channel: channel.clone(),
            left: Value::clone(value),
            writes: values.iter().map(|value| Value::clone(value)).collect(),
        };
        let key = self.context.idempotency_key();
        let post = Post { idempotency_key: &key, accept: JSON, trace: self.context.trace };
        match self.services.post_for(self.graph.reducer(channel)?, &ask, post).await? {
            ReduceAnswer::Value(value) => Ok(Arc::new(value)),
            ReduceAnswer::Error(error) => Err(error_from(error)),
        }
    }

    async fn cache_key(
        &self,
        node: &CompiledNode,
        policy: &CachePolicy,
        input: NodeInput<'_>,
    ) -> Result<Key, TaskError> {
        let named = match &policy.key {
            Some(CacheKey::Http(call)) => {
                let ask = Ask::new(AskKind::CacheKey, input, self.context);
                let post = Post { idempotency_key: &ask.idempotency_key, accept: JSON, trace: self.context.trace };
                match self.services.post_for(call, &ask, post).await? {
                    CacheKeyAnswer::Key(key) => key,
                    CacheKeyAnswer::Error(error) => return Err(error_from(error)),
                }
            }
            Some(CacheKey::Cel(_)) => node.cache_key(self.context, input)?.unwrap_or_default().to_string(),
            None => input.to_value().to_string(),
        };
        Ok(Key::of(&self.context.envelope().tenant, self.graph.hash(), &node.spec.name, &named))
    }
}

/// Questions are a task's result too; what it had written is dropped, for it runs again.
fn stopped(stop: Stop, wrote: Option<TaskResult>) -> Came {
    match stop {
        Stop::Asked(interrupts) => Ok(TaskResult { interrupts, ..TaskResult::default() }),
        Stop::Failed(error) => Err(Box::new(Failure { error, wrote })),
    }
}
