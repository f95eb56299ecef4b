//! One task, from its record to its result: attempts, retries, writes and conditions.

use std::{any::Any, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use graph::{
    envelope::Millis,
    event::Event,
    task::{Destination, LastToken, Task, TaskError, TaskPath, TaskResult},
    world::{Clock, Random},
};
use schemas::record::TaskRecord;
use serde_json::Map;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use traces::TraceContext;
use uuid::Uuid;

use crate::{
    calls::{CallContent, CallRecorder},
    compiled::{CompiledGraph, CompiledNode, Writes},
    failure,
    metrics::NodeMetrics,
    nodes::{NodeContext, NodeInput},
    retry,
    specs::{SpecCache, SpecError},
    tokens::{TokenSink, TokenTarget},
    trace,
};

/// A task that can't be begun now is issued again after this.
const GIVEN_BACK_FOR: Duration = Duration::from_secs(5);

/// What executions share.
pub struct Executor {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub specs: SpecCache,
    pub tokens: TokenTarget,
    pub call_content: CallContent,
    pub attempt_timeout: Duration,
    pub retry_in_place_max: Duration,
}

/// How an attempt ended.
enum Attempt {
    Ended(Result<(Writes, Vec<Destination>), TaskError>),
    /// Nobody wants the result, or the process ends.
    Stopped,
}

/// One execution of a task: what its attempts have in common.
struct Execution<'a> {
    executor: &'a Executor,
    record: Arc<TaskRecord>,
    id: Uuid,
    tokens: Arc<TokenSink>,
    calls: CallRecorder,
    stop: CancellationToken,
    metrics: &'a NodeMetrics,
    /// The span of the task's record.
    trace: Option<TraceContext>,
}

impl Executor {
    /// Runs the task to the event that tells its run what came of it.
    pub async fn execute(
        &self,
        record: Arc<TaskRecord>,
        stop: CancellationToken,
        metrics: &NodeMetrics,
        trace: Option<TraceContext>,
    ) -> Event {
        self.execution(record, stop, metrics, trace).run().await
    }

    /// Fails a task that can't be begun.
    pub fn refuse(
        &self,
        record: Arc<TaskRecord>,
        error: TaskError,
        stop: CancellationToken,
        metrics: &NodeMetrics,
        trace: Option<TraceContext>,
    ) -> Event {
        let attempt = record.task.attempt + 1;
        self.execution(record, stop, metrics, trace).failed(attempt, error)
    }

    fn execution<'a>(
        &'a self,
        record: Arc<TaskRecord>,
        stop: CancellationToken,
        metrics: &'a NodeMetrics,
        trace: Option<TraceContext>,
    ) -> Execution<'a> {
        let id = self.random.uuid();
        let task = &record.task;
        let tokens = Arc::new(TokenSink::new(&self.tokens, Arc::clone(&record), id));
        let calls = CallRecorder::new((task.id, task.issue, id), Arc::clone(&self.clock), self.call_content);
        Execution { executor: self, record, id, tokens, calls, stop, metrics, trace }
    }
}

impl Execution<'_> {
    async fn run(&self) -> Event {
        let declares = self.task().graph.as_ref().unwrap_or(&self.record.envelope.graph);
        let graph = match self.executor.specs.get(&declares.hash).await {
            Ok(graph) => graph,
            Err(SpecError::Unusable { error, .. }) => return self.failed(self.task().attempt + 1, error),
            Err(error @ SpecError::NotYet { .. }) => {
                tracing::warn!(error = %error, run = %self.record.envelope.run_id, "a task is given back");
                return self.given_back(self.task().attempt, GIVEN_BACK_FOR);
            }
        };
        let node = match graph.node(&self.task().node) {
            Ok(node) => node,
            Err(error) => return self.failed(self.task().attempt + 1, error),
        };
        let mut attempt = self.task().attempt + 1;
        loop {
            if self.stop.is_cancelled() {
                return self.given_back(attempt - 1, Duration::ZERO);
            }
            let error = match self.attempt(&graph, node, attempt).await {
                Attempt::Ended(Ok((writes, goto))) => return self.succeeded(&graph, attempt, writes, goto),
                Attempt::Ended(Err(error)) => error,
                Attempt::Stopped => return self.given_back(attempt - 1, Duration::ZERO),
            };
            let drawn = self.executor.random.next_u64();
            let Some(wait) = retry::delay_ms(node.spec.retry.as_ref(), attempt, &error, drawn) else {
                return self.failed(attempt, error);
            };
            self.metrics.retries.increment(1);
            let wait = Duration::from_millis(wait);
            if wait > self.executor.retry_in_place_max {
                return self.given_back(attempt, wait);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => attempt += 1,
                () = self.stop.cancelled() => return self.given_back(attempt, Duration::ZERO),
            }
        }
    }

    async fn attempt(&self, graph: &CompiledGraph, node: &CompiledNode, attempt: u32) -> Attempt {
        let mut span = trace::attempt(&self.record, self.trace, attempt);
        let ended = self.try_once(graph, node, attempt, trace::below(&span, &self.record.envelope)).await;
        match &ended {
            Attempt::Ended(Ok(_)) => {}
            Attempt::Ended(Err(error)) => span.fail(error.kind.as_deref().unwrap_or(&error.class), &error.message),
            Attempt::Stopped => span.fail("cancelled", "nobody wants the result, or the process ends"),
        }
        ended
    }

    async fn try_once(
        &self,
        graph: &CompiledGraph,
        node: &CompiledNode,
        attempt: u32,
        trace: Option<TraceContext>,
    ) -> Attempt {
        let timeout = self.timeout(node);
        let deadline = Instant::now() + timeout;
        self.tokens.begin_attempt(attempt);
        let context = NodeContext {
            record: Arc::clone(&self.record),
            execution: self.id,
            attempt,
            deadline,
            cancelled: self.stop.clone(),
            tokens: Arc::clone(&self.tokens),
            calls: self.calls.clone(),
            trace,
        };
        let mut running = pin!(AssertUnwindSafe(run_node(graph, node, &context)).catch_unwind());
        // What ends without waiting needs no timer.
        if let Some(ended) = running.as_mut().now_or_never() {
            return Attempt::Ended(ended.unwrap_or_else(|panic| Err(panicked(&*panic))));
        }
        tokio::select! {
            biased;
            ended = running => Attempt::Ended(ended.unwrap_or_else(|panic| Err(panicked(&*panic)))),
            () = self.stop.cancelled() => Attempt::Stopped,
            () = tokio::time::sleep_until(deadline) => Attempt::Ended(Err(timed_out(self.task(), timeout))),
            never = self.tokens.flush_when_due() => match never {},
        }
    }

    /// The node's timeout, or what is left of the run's own time.
    fn timeout(&self, node: &CompiledNode) -> Duration {
        let own = node.spec.timeout_ms.map_or(self.executor.attempt_timeout, Duration::from_millis);
        let left = self.record.envelope.deadline.saturating_sub(self.executor.clock.now());
        own.min(Duration::from_millis(left.max(0) as u64))
    }

    fn succeeded(&self, graph: &CompiledGraph, attempt: u32, writes: Writes, goto: Vec<Destination>) -> Event {
        let (branches, branch_error) = match graph.decide(self.task(), &writes) {
            Ok(branches) => (branches, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let ended = TaskResult { writes, goto, branches, branch_error, ..TaskResult::default() };
        self.finished(attempt, ended)
    }

    fn failed(&self, attempt: u32, error: TaskError) -> Event {
        self.finished(attempt, TaskResult { error: Some(error), ..TaskResult::default() })
    }

    fn finished(&self, attempt: u32, ended: TaskResult) -> Event {
        let last_token: Option<LastToken> = self.tokens.finish();
        Event::TaskFinished(Box::new(TaskResult {
            task_id: self.task().id,
            issue: self.task().issue,
            execution: self.id,
            attempt,
            node: self.task().node.clone(),
            calls: self.calls.take(),
            last_token,
            ..ended
        }))
    }

    fn given_back(&self, attempt: u32, wait: Duration) -> Event {
        self.tokens.finish();
        let not_before: Millis = self.executor.clock.now() + wait.as_millis() as Millis;
        let Task { id: task_id, issue, .. } = *self.task();
        Event::TaskGivenBack { task_id, issue, attempt, not_before, calls: self.calls.take() }
    }

    fn task(&self) -> &Task {
        &self.record.task
    }
}

async fn run_node(
    graph: &CompiledGraph,
    node: &CompiledNode,
    context: &NodeContext,
) -> Result<(Writes, Vec<Destination>), TaskError> {
    let task = context.task();
    let whole = match &task.path {
        TaskPath::Pull => NodeInput::State(&task.channels),
        TaskPath::Push { argument, .. } => NodeInput::Argument(argument),
    };
    let mapped: Option<Map<_, _>> = node.mapped_input(task, whole)?;
    let input = mapped.as_ref().map_or(whole, NodeInput::Mapped);
    let output = node.node.run(input, context).await?;
    let (mut writes, goto) = node.written(task, input, output)?;
    graph.with_message_ids(task, &mut writes);
    Ok((writes, goto))
}

fn timed_out(task: &Task, timeout: Duration) -> TaskError {
    let error = failure::retryable(format!("node {} exceeded its timeout of {} ms", task.node, timeout.as_millis()));
    failure::of_kind(error, "NodeTimeoutError")
}

fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    failure::of_kind(failure::node_failed(format!("the node panicked: {}", said.unwrap_or("no message"))), "panic")
}
