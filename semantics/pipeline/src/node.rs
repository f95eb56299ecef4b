//! The node type of cases: runs a program.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use graph::task::{TaskError, TaskId};
use node_workers::{Node, NodeContext, NodeInput, NodeOutput, Stop};
use semantics::{
    program::{self, Outcome, Step},
    worker::{CASE_ERROR, Executions, destination},
};
use serde_json::Value;

/// As in the recordings, a program fails when its siblings have finished: which failure of several is told is a race.
const FAILS_AFTER: Duration = Duration::from_millis(300);

pub struct ProgramNode {
    steps: Vec<Step>,
    book: ExecutionBook,
}

impl ProgramNode {
    pub fn new(settings: &Value, book: ExecutionBook) -> Result<Self, String> {
        let steps = serde_json::from_value(settings["do"].clone()).map_err(|error| error.to_string())?;
        Ok(ProgramNode { steps, book })
    }

    /// Which run of the task this is, where the program asks.
    fn execution(&self, context: &NodeContext) -> u32 {
        if self.steps.iter().any(|step| matches!(step, Step::Fail { .. })) {
            self.book.number(context.task().id, context.task().issue, context.attempt())
        } else {
            1
        }
    }
}

#[async_trait]
impl Node for ProgramNode {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let answers: Vec<Value> = context.task().answers.iter().map(|answer| Value::clone(answer)).collect();
        match program::run(&self.steps, &input.to_value(), self.execution(context), &answers) {
            Ok(outcome) => {
                take(context, outcome.answered)?;
                Ok(output(outcome))
            }
            Err(program::Stop::Asked { question, answered }) => {
                take(context, answered)?;
                context.interrupt(question).map(|_| NodeOutput::default())
            }
            Err(program::Stop::Failed { message, answered }) => {
                take(context, answered)?;
                tokio::time::sleep(FAILS_AFTER).await;
                Err(failed(message, CASE_ERROR).into())
            }
        }
    }
}

/// Takes up the answers that the program took.
fn take(context: &NodeContext, answered: usize) -> Result<(), Stop> {
    (0..answered).try_for_each(|_| context.interrupt(Value::Null).map(drop))
}

fn output(outcome: Outcome) -> NodeOutput {
    let Outcome { update, goto, to_parent, answered: _ } = outcome;
    let update = if update.is_empty() { Value::Null } else { Value::Object(update.into_iter().collect()) };
    NodeOutput { to_parent, ..NodeOutput::command(update, goto.into_iter().map(destination).collect()) }
}

fn failed(message: String, kind: &str) -> TaskError {
    TaskError {
        class: "node_failed".to_owned(),
        message,
        kind: Some(kind.to_owned()),
        retryable: true,
        ..TaskError::default()
    }
}

/// How often each task was run, kept through a kill: a line for each run.
#[derive(Clone)]
pub struct ExecutionBook(Arc<Mutex<(Executions, File)>>);

impl ExecutionBook {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut executions = Executions::default();
        for line in BufReader::new(&file).lines() {
            if let Ok((task_id, issue, attempt)) = serde_json::from_str(&line?) {
                executions.number(task_id, issue, attempt);
            }
        }
        Ok(ExecutionBook(Arc::new(Mutex::new((executions, file)))))
    }

    fn number(&self, task_id: TaskId, issue: u32, attempt: u32) -> u32 {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = book.0.number(task_id, issue, attempt);
        let line = serde_json::json!([task_id, issue, attempt]);
        writeln!(book.1, "{line}").expect("a line of the book of executions is written");
        number
    }
}
