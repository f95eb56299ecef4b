//! A node that is a graph: its loop runs inside its task, in a namespace of its own.

use std::sync::Arc;

use serde_json::Value;

use super::{Turn, begin::fields, step::End};
use crate::{
    branch,
    channel::Fields,
    expression::Scope,
    graph::Graph,
    graph_loop::{Failure, GraphLoop, Progress},
    spec::Memory,
    step_task::{Finished, Stand},
    task::{ParentCommand, TaskError, TaskId, TaskPath},
    update::{Happened, IssuedTask, OuterCheckpoint, TaskDone},
    writes::{NodeUpdate, Writes},
};

impl Turn<'_> {
    /// Begins the subgraph of a task, or goes on with it; a subgraph that ends at once ends its task.
    pub(super) fn enter(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId) {
        let resuming = at.progress.as_ref().is_some_and(|progress| progress.resuming) && self.run.rewound.is_none();
        let Some(task) = at.tasks.get_mut(&id) else { return };
        let again = task.attempt > 0;
        let Some(subgraph) = graph.nodes.get(&task.node).and_then(|node| node.subgraph.as_ref()) else { return };
        let Some(inner_graph) = self.graphs.graph(&subgraph.graph.hash) else { return };
        task.issue += 1;
        self.run.last_issue = self.run.last_issue.max(task.issue);
        task.stand = Stand::Inside;
        self.limit_time(graph, &task.node, id);
        let ns = task.inner_ns(&at.ns, subgraph.memory);
        self.draft.issued.push(IssuedTask { inner: Some(ns.clone()), ..task.issued(&at.ns) });
        let input = match (&subgraph.input, &task.path) {
            (None, TaskPath::Push { argument, .. }) => Ok(fields(argument).unwrap_or_default()),
            (None, TaskPath::Pull) => {
                let mut values = at.head.values(graph);
                values.retain(|name, _| inner_graph.channels.get(name).is_some_and(|def| def.state));
                Ok(values)
            }
            (Some(mapping), path) => {
                let state = at.head.values(graph);
                let mut scope = Scope::new(&state, &self.run.context);
                if let TaskPath::Push { argument, .. } = path {
                    scope.argument = Some(argument);
                }
                mapping.evaluate(&scope)
            }
        };
        let input = match input {
            Ok(input) => input,
            Err(error) => return self.leave(at, id, End::Failed { node: None, error }),
        };
        let Some(task) = at.tasks.get_mut(&id) else { return };
        let rules = self.run.envelope.rules;
        let remembered = match subgraph.memory {
            Memory::None => None,
            Memory::Call => task.inner.take().filter(|_| self.run.rewound.is_none()),
            Memory::Thread => self.memory(&ns).map(Box::new),
        };
        let mut inner = remembered.unwrap_or_else(|| Box::new(GraphLoop::empty(ns, subgraph.graph.clone(), rules)));
        let stood = self.stands(&inner);
        inner.bind(&inner_graph);
        let stop = inner.head.step + 1 + i64::from(self.run.limit) + 1;
        let mut parents = at.parents();
        parents.push(OuterCheckpoint { ns: at.ns.clone(), checkpoint_id: at.head.id });
        inner.progress =
            Some(Box::new(Progress { parents, stood, ..Progress::new(stop, subgraph.memory, inner.head.passed) }));
        inner.reduced.clear();
        self.path.push(id);
        let end = if (resuming || again) && inner.has_begun() {
            if subgraph.memory == Memory::Thread {
                inner.become_twin(self.run.twin(inner.head.id, id));
            }
            self.resume_inner(&inner_graph, &mut inner)
        } else {
            self.take_input(&inner_graph, &mut inner, &input, (subgraph.graph.clone(), rules))
        };
        self.path.pop();
        if let Some(task) = at.tasks.get_mut(&id) {
            task.inner = Some(inner);
        }
        if let Some(end) = end {
            self.leave(at, id, end);
        }
    }

    /// Works on the loop that `path` leads to, and lets every outer one go on with what that gives.
    pub(super) fn within(
        &mut self,
        at: &mut GraphLoop,
        path: &[TaskId],
        work: &mut dyn FnMut(&mut Self, &mut GraphLoop),
    ) -> Option<End> {
        match path {
            [] => work(self, at),
            [id, rest @ ..] => self.within_task(at, *id, rest, work)?,
        }
        self.proceed(at)
    }

    /// The same on what runs in a task, where `at` itself doesn't go on yet.
    pub(super) fn within_task(
        &mut self,
        at: &mut GraphLoop,
        id: TaskId,
        rest: &[TaskId],
        work: &mut dyn FnMut(&mut Self, &mut GraphLoop),
    ) -> Option<()> {
        let mut inner = at.tasks.get_mut(&id).and_then(|task| task.inner.take())?;
        if let Some(graph) = self.graph_of(&inner) {
            inner.bind(&graph);
        }
        self.path.push(id);
        let end = self.within(&mut inner, rest, work);
        self.path.pop();
        if let Some(task) = at.tasks.get_mut(&id) {
            task.inner = Some(inner);
        }
        if let Some(end) = end {
            self.leave(at, id, end);
        }
        Some(())
    }

    /// What a subgraph that remembers for the thread knows: now, or at the checkpoint that the run went back to.
    fn memory(&mut self, ns: &str) -> Option<GraphLoop> {
        let now = self.memories.get(ns).cloned();
        match self.run.rewound.as_mut().and_then(|rewound| rewound.remove(ns)) {
            Some(then) => {
                // What is known now gets no successor, and is the past of runs to come.
                now.into_iter().for_each(|now| self.put_away(now));
                then
            }
            None => now,
        }
    }

    /// The subgraph of a task ended.
    pub(super) fn leave(&mut self, at: &mut GraphLoop, id: TaskId, end: End) {
        let Some(graph) = self.graph_of(at) else { return };
        self.run.disarm_task(id);
        let shown = at.tasks.get(&id).and_then(|task| task.inner.as_ref()?.progress.as_ref()?.shown.clone());
        self.keep_left(at, id, &end);
        self.remember(at, id);
        let Some(node) = at.tasks.get(&id).map(|task| task.node.clone()) else { return };
        match end {
            End::Done => match self.written(&graph, at, &node, shown.unwrap_or_default()) {
                Ok(writes) => {
                    let writes = Arc::new(writes);
                    self.finish_inside(&graph, at, id, &node, Finished { writes, ..Finished::default() });
                }
                Err(error) => self.leave(at, id, End::Failed { node: None, error }),
            },
            End::Left(ParentCommand { writes, goto }) => {
                self.finish_inside(&graph, at, id, &node, Finished { writes, goto, ..Finished::default() });
            }
            End::Paused(interrupts) => {
                let Some(task) = at.tasks.get_mut(&id) else { return };
                let asked = !interrupts.is_empty();
                task.stand = Stand::Paused { execution: id, asked };
                if asked {
                    task.interrupts.clone_from(&interrupts);
                    let done = TaskDone { interrupts, ..self.done(at, id) };
                    self.happened(Happened::TaskDone(Box::new(done)));
                }
                at.one_less();
            }
            End::Failed { error, .. } if self.retry_inside(&graph, at, id, &error) => {}
            End::Failed { node: inner, error } => {
                let done = TaskDone { error: Some(error.clone()), ..self.done(at, id) };
                self.happened(Happened::TaskDone(Box::new(done)));
                self.fail_task(&graph, at, id, inner.or(Some(node.to_string())), error, id);
            }
        }
    }

    /// A subgraph that remembers for the thread leaves what it knows there.
    fn remember(&mut self, at: &mut GraphLoop, id: TaskId) {
        let Some(task) = at.tasks.get_mut(&id) else { return };
        let Some(inner) = task.inner.as_deref_mut().filter(|inner| inner.memory() == Memory::Thread) else { return };
        let older = self.memories.get(&inner.ns).is_none_or(|memory| memory.head.id <= inner.head.id);
        if older && !inner.head.id.is_nil() {
            let mut memory = inner.clone();
            memory.rest(&|hash| self.graphs.graph(hash));
            self.run.without_twins(&mut memory);
            self.memories.insert(inner.ns.clone(), memory);
        }
    }

    /// What the node of a subgraph writes when that ends: its output channels that the outer graph has too, or what
    /// they are mapped to.
    fn written(&self, graph: &Graph, at: &GraphLoop, node: &str, shown: Fields) -> Result<Writes, TaskError> {
        let mapping = graph.nodes.get(node).and_then(|node| node.subgraph.as_ref()?.output.as_ref());
        let written = match mapping {
            None => shown,
            Some(mapping) => {
                let out: Value = shown.iter().map(|(name, value)| (&**name, Value::clone(value))).collect();
                let state = at.head.values(graph);
                mapping.evaluate(&Scope { out: Some(&out), ..Scope::new(&state, &self.run.context) })?
            }
        };
        let known = |name: &str| graph.channels.get(name).is_some_and(|def| def.state);
        Ok(written.into_iter().filter(|(name, _)| known(name)).collect())
    }

    fn finish_inside(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId, node: &str, mut finished: Finished) {
        finished.execution = id;
        if branch::asks(graph, node) {
            return self.ask_where(graph, at, id, finished);
        }
        let decided = self.decide(graph, at, node, &mut finished);
        let update = NodeUpdate::of(graph, at.is_root(), &finished.writes);
        let error = decided.err();
        let done = TaskDone { update, error: error.clone(), ..self.done(at, id) };
        self.happened(Happened::TaskDone(Box::new(done)));
        if let Some(error) = error {
            at.fail(Failure::Error { node: Some(node.to_owned()), error });
        }
        if let Some(task) = at.tasks.get_mut(&id) {
            task.stand = Stand::Finished(Arc::new(finished));
        }
        at.one_less();
    }

    /// The end of a task that no worker ran.
    pub(super) fn done(&self, at: &GraphLoop, id: TaskId) -> TaskDone {
        let task = at.tasks.get(&id);
        TaskDone {
            task_id: id,
            issue: task.map_or(0, |task| task.issue),
            execution: id,
            attempt: task.map_or(0, |task| task.attempt) + 1,
            node: task.map(|task| task.name()).unwrap_or_default(),
            ns: task.map(|task| task.ns(&at.ns)).unwrap_or_default(),
            update: None,
            error: None,
            interrupts: Vec::new(),
            last_token: None,
            calls: Vec::new(),
            restored: false,
            to_parent: false,
            answered: false,
        }
    }
}
