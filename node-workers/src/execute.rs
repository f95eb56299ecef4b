//! One task, from its record to its result: attempts, retries, and how each ends.

use std::{any::Any, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use graph::{
    envelope::Millis,
    event::Event,
    spec::RetryPolicy,
    task::{LastToken, Task, TaskError, TaskResult},
    world::{Clock, Random},
};
use quota::Prices;
use schemas::record::TaskRecord;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use traces::TraceContext;
use uuid::Uuid;

use crate::{
    attempt::{Attempt, Came, Failure},
    cache::Cache,
    calls::{CallContent, CallRecorder},
    compiled::{CompiledGraph, CompiledNode},
    failure,
    metrics::NodeMetrics,
    nodes::{
        NodeContext,
        context::{Answers, failure_of},
    },
    pace::Pace,
    retry,
    specs::{SpecCache, SpecError},
    spending::Spending,
    store::NodeStore,
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
    pub cache: Cache<TaskResult>,
    pub tokens: TokenTarget,
    pub call_content: CallContent,
    pub attempt_timeout: Duration,
    pub retry_in_place_max: Duration,
    pub store: Option<NodeStore>,
    pub prices: Arc<Prices>,
    pub pace: Option<Pace>,
    pub spending: Option<Spending>,
}

/// What came of an attempt; None where nobody wants the result, or the process ends.
type Ended = Option<Came>;

/// What runs: a node, or the engine's own work where None.
type Runs<'a> = Option<&'a CompiledNode>;

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
        let named = (task.id, task.issue, id);
        let prices = Arc::clone(&self.prices);
        let calls = CallRecorder::new(named, Arc::clone(&self.clock), self.call_content, prices);
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
        let node = match self.task().work {
            Some(_) => None,
            None => match graph.node(&self.task().node) {
                Ok(node) => Some(node),
                Err(error) => return self.failed(self.task().attempt + 1, error),
            },
        };
        let own_work = RetryPolicy::default();
        let policy = node.map_or(Some(&own_work), |node| node.spec.retry.as_ref());
        let mut attempt = self.task().attempt + 1;
        loop {
            if self.stop.is_cancelled() {
                return self.given_back(attempt - 1, Duration::ZERO);
            }
            let answers = Answers::default();
            let failure = match self.attempt(&graph, node, attempt, &answers).await {
                Some(Ok(result)) => return self.finished(attempt, &answers, result),
                Some(Err(failure)) => failure,
                None => return self.given_back(attempt - 1, Duration::ZERO),
            };
            let drawn = self.executor.random.next_u64();
            let Some(wait) = retry::delay_ms(policy, attempt, &failure.error, drawn) else {
                return self.finished(attempt, &answers, given_up(*failure));
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

    async fn attempt(&self, graph: &CompiledGraph, node: Runs<'_>, attempt: u32, answers: &Answers) -> Ended {
        let mut span = trace::attempt(&self.record, self.trace, attempt);
        let below = trace::below(&span, &self.record.envelope);
        let ended = self.try_once(graph, node, attempt, answers.clone(), below).await;
        match &ended {
            Some(Ok(_)) => {}
            Some(Err(failure)) => {
                let error = &failure.error;
                span.fail(error.kind.as_deref().unwrap_or(&error.class), &error.message);
            }
            None => span.fail("cancelled", "nobody wants the result, or the process ends"),
        }
        ended
    }

    async fn try_once(
        &self,
        graph: &CompiledGraph,
        node: Runs<'_>,
        attempt: u32,
        answers: Answers,
        trace: Option<TraceContext>,
    ) -> Ended {
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
            answers,
            failure: failure_of(self.task()),
            trace,
            store: self.executor.store.clone(),
            spending: self.executor.spending.clone(),
            pace: self.executor.pace.clone(),
        };
        let services = self.executor.specs.services();
        let attempt = Attempt { graph, node, services, cache: &self.executor.cache, context: &context };
        let mut running = pin!(AssertUnwindSafe(attempt.make()).catch_unwind());
        // What ends without waiting needs no timer.
        if let Some(ended) = running.as_mut().now_or_never() {
            return Some(ended.unwrap_or_else(|panic| Err(panicked(&*panic).into())));
        }
        let idle = node.and_then(|node| node.spec.idle_timeout_ms).map(Duration::from_millis);
        tokio::select! {
            biased;
            ended = running => Some(ended.unwrap_or_else(|panic| Err(panicked(&*panic).into()))),
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep_until(deadline) => Some(Err(timed_out(self.task(), "timeout", timeout).into())),
            idle = self.idle(idle) => Some(Err(timed_out(self.task(), "idle timeout", idle).into())),
            never = self.tokens.flush_when_due() => match never {},
        }
    }

    /// The node's timeout, or what is left of the run's own time.
    fn timeout(&self, node: Runs<'_>) -> Duration {
        let own = node.and_then(|node| node.spec.timeout_ms);
        let own = own.map_or(self.executor.attempt_timeout, Duration::from_millis);
        let left = self.record.envelope.deadline.saturating_sub(self.executor.clock.now());
        own.min(Duration::from_millis(left.max(0) as u64))
    }

    /// Ends when the attempt has shown nothing for as long as it may.
    async fn idle(&self, timeout: Option<Duration>) -> Duration {
        match timeout {
            Some(timeout) => {
                self.tokens.idle_for(timeout).await;
                timeout
            }
            None => std::future::pending().await,
        }
    }

    fn failed(&self, attempt: u32, error: TaskError) -> Event {
        self.finished(attempt, &Answers::default(), TaskResult { error: Some(error), ..TaskResult::default() })
    }

    fn finished(&self, attempt: u32, answers: &Answers, ended: TaskResult) -> Event {
        let last_token: Option<LastToken> = self.tokens.finish();
        Event::TaskFinished(Box::new(TaskResult {
            task_id: self.task().id,
            issue: self.task().issue,
            execution: self.id,
            attempt,
            node: self.task().node.clone(),
            answered: answers.taken(),
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

/// No attempt is left: what the node wrote before a conditional edge failed is kept.
fn given_up(failure: Failure) -> TaskResult {
    let Failure { error, wrote } = failure;
    match wrote {
        Some(wrote) => TaskResult { branch_error: Some(error), ..wrote },
        None => TaskResult { error: Some(error), ..TaskResult::default() },
    }
}

fn timed_out(task: &Task, what: &str, after: Duration) -> TaskError {
    let error = failure::retryable(format!("node {} exceeded its {what} of {} ms", task.node, after.as_millis()));
    failure::of_kind(error, "NodeTimeoutError")
}

fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    failure::of_kind(failure::node_failed(format!("the node panicked: {}", said.unwrap_or("no message"))), "panic")
}
