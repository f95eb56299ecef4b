//! What is posted to a service: `schemas::node_api::NodeAsk`, without a copy of the state.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    envelope::{GraphRef, Millis},
    task::{Handled, TaskPath},
};
use schemas::node_api::{AskKind, StoreAccess, VERSION};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::nodes::NodeContext;

#[derive(Serialize)]
pub struct Ask<'a, I> {
    version: u32,
    kind: AskKind,
    task_id: Uuid,
    issue: u32,
    attempt: u32,
    execution: Uuid,
    pub idempotency_key: String,
    node: &'a str,
    graph: &'a GraphRef,
    run_id: Uuid,
    thread_id: Option<&'a str>,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    step: i64,
    remaining_steps: i64,
    recursion_limit: u32,
    checkpoint_id: Uuid,
    checkpoint_ns: &'a str,
    path: &'a TaskPath,
    triggers: &'a [Arc<str>],
    input: I,
    context: &'a Value,
    configurable: &'a BTreeMap<String, Value>,
    metadata: &'a BTreeMap<String, Value>,
    tags: &'a [String],
    answers: &'a [Arc<Value>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure<'a>>,
    timeout_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreAccess>,
}

#[derive(Serialize)]
struct Failure<'a> {
    node: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
}

impl<'a, I> Ask<'a, I> {
    pub fn new(kind: AskKind, input: I, context: &'a NodeContext) -> Self {
        let (envelope, task) = (context.envelope(), context.task());
        let left = context.deadline().saturating_duration_since(tokio::time::Instant::now());
        Ask {
            version: VERSION,
            kind,
            task_id: task.id,
            issue: task.issue,
            attempt: context.attempt(),
            execution: context.execution(),
            idempotency_key: context.idempotency_key(),
            node: &task.node,
            graph: task.graph.as_ref().unwrap_or(&envelope.graph),
            run_id: envelope.run_id,
            thread_id: envelope.thread_id.as_deref(),
            tenant: &envelope.tenant,
            user: envelope.principal.user.as_deref(),
            step: task.step,
            remaining_steps: context.remaining_steps(),
            recursion_limit: task.recursion_limit,
            checkpoint_id: task.checkpoint_id,
            checkpoint_ns: &task.checkpoint_ns,
            // A decision sees a state, whatever its task was given.
            path: if kind == AskKind::Decision { &TaskPath::Pull } else { &task.path },
            triggers: &task.triggers,
            input,
            context: &task.context,
            configurable: &task.configurable,
            metadata: &envelope.metadata,
            tags: &envelope.tags,
            answers: context.answers.left(task),
            extra: None,
            failure: context.handles().map(|Handled { node, error, .. }| Failure {
                node,
                message: &error.message,
                r#type: error.kind.as_deref(),
            }),
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            store: context
                .store
                .as_ref()
                .and_then(|store| store.access(&envelope.tenant, task.id, task.issue, left.as_millis() as Millis)),
        }
    }
}
