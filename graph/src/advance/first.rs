//! How a run takes up its loop: with new input, or where the thread stands, with what a command says.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Turn,
    begin::{fields, invalid_value},
    recall::bound,
    step::{End, invalid_update},
};
use crate::{
    apply::{Applied, Purpose, Writer, apply},
    channel::{Fields, UpdateError},
    checkpoint::Source,
    envelope::GraphRef,
    event::{CommandInput, Request},
    graph::Graph,
    graph_loop::{Found, GraphLoop, Progress, Recalled, Wanted},
    message,
    prepare::in_snapshot_order,
    spec::Memory,
    step_task::Finished,
    update::{Continued, Happened, RunError},
    writes::Writes,
};

impl Turn<'_> {
    /// The run's own graph begins. `addressed`: the request named a checkpoint; `superseded`: the thread has moved past it.
    pub(super) fn first(
        &mut self,
        root: &mut GraphLoop,
        request: &Request,
        addressed: bool,
        superseded: bool,
        recalled: &Recalled,
    ) -> Option<End> {
        let graph = self.graphs.graph(&self.run.envelope.graph.hash)?;
        let command = request.command.as_ref();
        let resuming = root.has_begun() && request.input.is_none();
        // An answer is for who asked; everything else that names a checkpoint goes back to it.
        let answers = command.is_some_and(|command| command.resume.is_some() || command.answers.is_some());
        let travels = addressed && !answers;
        let forks = resuming && travels && (superseded || !root.head.source.is_edited());
        if resuming && travels {
            self.rewind(root, recalled);
        }
        let stood = self.stands(root).filter(|_| resuming);
        let mut written = Finished::default();
        if let Some(command) = command {
            written = match self.take_command(&graph, root, command) {
                Ok(written) => written,
                Err(error) => return Some(End::run_error(error)),
            };
        }
        if resuming && !travels && self.run.resume.is_none() && written.is_empty() {
            self.run.resume.clone_from(&root.resume);
        }
        let entry = written.goto.clone();
        let carried = match forks {
            true => Some(written),
            false => {
                store(root, command, written);
                None
            }
        };
        let stop = root.head.step + 1 + i64::from(self.run.limit) + 1;
        root.progress = Some(Box::new(Progress { stood, ..Progress::new(stop, Memory::Call, root.head.passed) }));
        root.reduced.clear();
        root.bind(&graph);
        if let Err(error) = write_commands(&graph, root, carried.as_ref()) {
            if let Some(stood) = root.progress.take().and_then(|progress| progress.stood) {
                *root = *stood;
            }
            return Some(End::error(invalid_update(error)));
        }
        if resuming {
            self.resume(&graph, root, forks, travels, superseded)
        } else {
            let input = match (&request.input, command) {
                (Some(input), _) => fields(input),
                // On an empty thread a command is input too.
                (None, Some(command)) => {
                    root.progress.iter_mut().for_each(|progress| progress.entry.clone_from(&entry));
                    Some(command.update.as_deref().and_then(fields).unwrap_or_default())
                }
                (None, None) => {
                    let message = "Received no input for __start__; give `input`, for the thread is empty";
                    return Some(End::run_error(invalid_value("EmptyInputError", message)));
                }
            };
            let Some(input) = input else {
                let message = "the input must be an object of channels and values";
                return Some(End::run_error(invalid_value("InvalidUpdateError", message)));
            };
            let version = root.head.made_by(&self.run.envelope.graph);
            let rules = self.run.envelope.rules;
            self.take_input(&graph, root, &input, (version, rules))
        }
    }

    /// What subgraphs remember is as it was at the checkpoint.
    fn rewind(&mut self, root: &GraphLoop, recalled: &Recalled) {
        let bound = bound(root);
        let newer = self.memories.iter().filter(|(_, memory)| memory.head.id >= bound);
        let then = newer.map(|(ns, _)| {
            let found = recalled.get(&Wanted::Before { ns: ns.clone(), id: bound });
            (ns.clone(), found.and_then(Found::there).map(|found| GraphLoop::clone(found)))
        });
        self.run.rewound = Some(then.collect());
    }

    /// What a command writes, and its answers.
    fn take_command(&mut self, graph: &Graph, root: &GraphLoop, command: &CommandInput) -> Result<Finished, RunError> {
        let CommandInput { resume, answers, update, goto } = command;
        if resume.is_some() && open_questions(root) > 1 {
            let message =
                "When there are multiple pending interrupts, you must specify the interrupt id when resuming.";
            return Err(invalid_value("RuntimeError", message));
        }
        self.run.resume.clone_from(resume);
        self.run.answers.clone_from(answers);
        let written = Finished {
            writes: Arc::new(update_writes(graph, update.as_deref(), self.run.envelope.run_id)?),
            goto: goto.clone(),
            ..Finished::default()
        };
        if written.is_empty() && resume.is_none() && answers.is_none() {
            let message = "Received empty Command input; give `resume`, `update` or `goto`";
            return Err(invalid_value("EmptyInputError", message));
        }
        Ok(written)
    }

    /// Goes on from the head: tasks that had finished don't run again, unless the run goes back in time.
    fn resume(
        &mut self,
        graph: &Graph,
        root: &mut GraphLoop,
        forks: bool,
        travels: bool,
        superseded: bool,
    ) -> Option<End> {
        root.head.passed = root.head.version;
        if forks {
            self.fork(graph, root);
        } else {
            if travels || superseded {
                root.forget_results();
            }
            root.prepare(graph);
        }
        if let Some(progress) = root.progress.as_deref_mut() {
            progress.resuming = true;
            progress.asks_anew = travels;
        }
        self.continued(graph, root);
        self.tick(graph, root).or_else(|| self.proceed(root))
    }

    /// A subgraph goes on from where its memory stands.
    pub(super) fn resume_inner(&mut self, graph: &Graph, inner: &mut GraphLoop) -> Option<End> {
        inner.head.passed = inner.head.version;
        inner.prepare(graph);
        if let Some(progress) = inner.progress.as_deref_mut() {
            progress.resuming = true;
        }
        self.continued(graph, inner);
        self.tick(graph, inner).or_else(|| self.proceed(inner))
    }

    /// New input gives up what the loop had yet to do.
    pub(super) fn take_input(
        &mut self,
        graph: &Graph,
        at: &mut GraphLoop,
        input: &Fields,
        (version, rules): (Arc<GraphRef>, u32),
    ) -> Option<End> {
        // What comes from the archive knows only the tasks that were worked on.
        at.prepare(graph);
        (at.head.graph, at.head.rules) = (version, rules);
        let before = self.before(at);
        let mut given_up = std::mem::take(&mut at.tasks);
        let applied = {
            let mut writers: Vec<Writer<'_>> = Writer::of_tasks(graph, given_up.values());
            writers.iter_mut().for_each(Writer::give_up);
            writers.push(Writer::of_input(input));
            apply(graph, &mut at.head, &writers, Purpose::Step)
        };
        if let Err(error) = applied {
            at.tasks = given_up;
            return Some(End::error(invalid_update(error)));
        }
        given_up.append(&mut at.aside);
        self.archive(at, before, given_up);
        self.checkpoint(graph, at, Source::Input, Applied::default());
        self.tick(graph, at).or_else(|| self.proceed(at))
    }

    fn fork(&mut self, graph: &Graph, root: &mut GraphLoop) {
        // What a command wrote is part of the fork; the checkpoint that it goes back to stays as it is.
        let before = self.before(root);
        let mut tasks = std::mem::take(&mut root.tasks);
        tasks.append(&mut root.aside);
        match self.newest.take() {
            None => self.archive(root, before, tasks),
            // An earlier checkpoint lies in the archive already.
            Some(newest) => self.put_away(*newest),
        }
        self.checkpoint(graph, root, Source::Fork, Applied::default());
    }

    fn continued(&mut self, graph: &Graph, at: &mut GraphLoop) {
        self.show(graph, at);
        let continued = Continued {
            ns: at.ns.clone(),
            checkpoint_id: at.head.id,
            values: at.head.tracked(graph),
            untracked: at.head.untracked(graph),
            commanded: at.command.is_some() && !self.run.keeps_last,
            parent_id: at.head.parent,
            step: at.head.step,
            source: at.head.source.as_str().to_owned(),
            next: in_snapshot_order(graph, at.tasks.values()).into_iter().map(|task| at.issued(graph, task)).collect(),
            parents: at.parents(),
        };
        self.happened(Happened::Continued(Box::new(continued)));
    }
}

impl Progress {
    pub(super) fn new(stop: i64, memory: Memory, passed: u64) -> Self {
        Progress {
            stop,
            unfinished: 0,
            failure: None,
            resuming: false,
            asks_anew: false,
            memory,
            passed,
            shown: None,
            parents: Vec::new(),
            entry: Vec::new(),
            passing: false,
            stood: None,
        }
    }
}

/// Questions of tasks that haven't finished, each counted once.
fn open_questions(root: &GraphLoop) -> usize {
    let asked = root.tasks.values().filter(|task| task.has_asked()).flat_map(|task| &task.interrupts);
    asked.map(|interrupt| &interrupt.id).collect::<std::collections::BTreeSet<_>>().len()
}

/// A command's writes are stored at the head: they belong to it until the next checkpoint.
fn store(root: &mut GraphLoop, command: Option<&CommandInput>, written: Finished) {
    if let Some(answer) = command.and_then(|command| command.resume.as_ref()) {
        root.resume = Some(answer.clone());
    }
    if written.is_empty() {
        return;
    }
    let stored = root.command.get_or_insert_default();
    Arc::make_mut(&mut stored.writes).extend(written.writes.iter().cloned());
    stored.goto.extend(written.goto);
}

/// Applies what commands have written at the head.
fn write_commands(graph: &Graph, root: &mut GraphLoop, carried: Option<&Finished>) -> Result<(), UpdateError> {
    let carried = carried.filter(|carried| !carried.is_empty());
    if root.command.is_none() && carried.is_none() {
        return Ok(());
    }
    root.stored = Some(Box::new(root.head.clone()));
    let mut all = root.command.as_deref().cloned().unwrap_or_default();
    if let Some(carried) = carried {
        Arc::make_mut(&mut all.writes).extend(carried.writes.iter().cloned());
        all.goto.extend(carried.goto.iter().cloned());
    }
    apply(graph, &mut root.head, &[Writer::of_command(&all)], Purpose::Step).map(|_| ())
}

/// `update` as writes: an object, or a list of (channel, value) pairs in which a channel may repeat.
pub(super) fn update_writes(graph: &Graph, update: Option<&Value>, seed: uuid::Uuid) -> Result<Writes, RunError> {
    let write = |name: &str, value: &Value| {
        let value = Arc::new(value.clone());
        (Arc::from(name), if graph.holds_messages(name) { message::with_ids(&value, seed, name) } else { value })
    };
    let wrong = || invalid_value("InvalidUpdateError", "Expected dict or list of pairs as `update`");
    match update {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(fields)) => Ok(fields.iter().map(|(name, value)| write(name, value)).collect()),
        Some(Value::Array(pairs)) => {
            let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
                Some([Value::String(name), value]) => Ok(write(name, value)),
                Some(_) | None => Err(wrong()),
            };
            pairs.iter().map(pair).collect()
        }
        Some(_) => Err(wrong()),
    }
}
