//! A worker for the nodes of cases: what a task's program comes to, as a result.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use graph::{
    branch::decide,
    graph::Graph,
    ids,
    task::{Destination, Interrupt, ParentCommand, Task, TaskError, TaskId, TaskPath, TaskResult},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    case::Programs,
    program::{self, Outcome, Stop},
};

/// How a program says that it failed: the recordings' type of error.
pub const CASE_ERROR: &str = "CaseError";

/// How often each task was run. A repeat of the same attempt of the same issue, as after a crash, counts once.
#[derive(Debug, Default)]
pub struct Executions(BTreeMap<TaskId, Vec<(u32, u32)>>);

impl Executions {
    /// Which run of the task this is, from 1.
    pub fn number(&mut self, task_id: TaskId, issue: u32, attempt: u32) -> u32 {
        let runs = match self.0.entry(task_id) {
            Entry::Occupied(runs) => runs.into_mut(),
            Entry::Vacant(place) => place.insert(Vec::new()),
        };
        let place = runs.iter().position(|run| *run == (issue, attempt)).unwrap_or_else(|| {
            runs.push((issue, attempt));
            runs.len() - 1
        });
        u32::try_from(place + 1).expect("a task is run a few times")
    }
}

#[derive(Debug)]
pub struct Worker {
    programs: Programs,
    executions: Executions,
}

impl Worker {
    pub fn new(programs: Programs) -> Self {
        Worker { programs, executions: Executions::default() }
    }

    /// Runs the program of the task's node, with all attempts that it has. `graph` is the one that declares the node.
    pub fn execute(&mut self, graph: &Graph, task: &Task) -> TaskResult {
        let program = &self.programs[&(graph.hash().to_owned(), task.node.to_string())];
        let input = match &task.path {
            TaskPath::Push { argument, .. } => Value::clone(argument),
            TaskPath::Pull => {
                json!(task.channels.iter().map(|(name, value)| (name.clone(), &**value)).collect::<BTreeMap<_, _>>())
            }
        };
        let answers: Vec<Value> = task.answers.iter().map(|answer| Value::clone(answer)).collect();
        let mut result = TaskResult {
            task_id: task.id,
            issue: task.issue,
            execution: Uuid::from_u128(task.id.as_u128() ^ u128::from(task.issue)),
            attempt: task.attempt,
            node: task.node.clone(),
            ..TaskResult::default()
        };
        loop {
            result.attempt += 1;
            let execution = self.executions.number(task.id, task.issue, result.attempt);
            match program::run(&program.steps, &input, execution, &answers) {
                Ok(outcome) => {
                    finish(graph, task, outcome, &mut result);
                    return result;
                }
                Err(Stop::Asked { question, answered }) => {
                    result.answered = taken(answered);
                    result.interrupts = vec![Interrupt {
                        id: ids::interrupt_id(&task.checkpoint_ns, answered),
                        value: Arc::new(question),
                        response_schema: None,
                    }];
                    return result;
                }
                Err(Stop::Failed { .. }) if result.attempt < program.attempts => {}
                Err(Stop::Failed { message, answered }) => {
                    result.answered = taken(answered);
                    result.error = Some(TaskError {
                        class: "node_failed".to_owned(),
                        message,
                        kind: Some(CASE_ERROR.to_owned()),
                        retryable: false,
                        ..TaskError::default()
                    });
                    return result;
                }
            }
        }
    }
}

fn finish(graph: &Graph, task: &Task, outcome: Outcome, result: &mut TaskResult) {
    result.answered = taken(outcome.answered);
    let writes = outcome.update.into_iter().map(|(name, value)| (Arc::from(name), Arc::new(value)));
    let writes = Arc::new(writes.collect());
    let goto = outcome.goto.into_iter().map(destination).collect();
    if outcome.to_parent {
        result.parent = Some(ParentCommand { writes, goto });
        return;
    }
    (result.writes, result.goto) = (writes, goto);
    match decide(graph, &task.node, &task.channels, &result.writes, &task.context) {
        Ok(branches) => result.branches = branches,
        Err(error) => result.branch_error = Some(error),
    }
}

/// A target of a program's goto.
pub fn destination((node, argument): (String, Option<Value>)) -> Destination {
    match argument {
        Some(argument) => Destination::Send { node, argument: Arc::new(argument) },
        None => Destination::Node(node),
    }
}

fn taken(answered: usize) -> u32 {
    u32::try_from(answered).expect("few answers")
}
