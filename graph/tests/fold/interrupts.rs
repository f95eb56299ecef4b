//! Questions and breakpoints: who is asked, which answer goes where, and what a thread keeps while it waits.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    envelope::Envelope,
    event::{CommandInput, Request},
    ids,
    task::{Interrupt, Task, TaskResult},
    update::RunStatus,
};
use serde_json::{Value, json};

use crate::rig::{Rig, chain, fork_and_join, named, result};

fn asking(task: &Task, answered: u32) -> TaskResult {
    let id = ids::interrupt_id(&task.checkpoint_ns, answered as usize);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    TaskResult { interrupts: vec![question], answered, ..result(task) }
}

fn resume_by_id(rig: &mut Rig, id: &str, answer: Value) -> Arc<Envelope> {
    let answers = Some(BTreeMap::from([(id.to_owned(), Arc::new(answer))]));
    let command = CommandInput { answers, ..CommandInput::default() };
    rig.request(Request { command: Some(command), ..Request::default() })
}

fn ask(rig: &mut Rig, run: &Arc<Envelope>, node: &str, answered: u32) {
    let task = rig.task(node);
    rig.finish(run, asking(&task, answered));
}

fn resume(rig: &mut Rig, answer: Value) -> Arc<Envelope> {
    let command = CommandInput { resume: Some(Arc::new(answer)), ..CommandInput::default() };
    rig.request(Request { command: Some(command), ..Request::default() })
}

#[track_caller]
fn check_paused(rig: &Rig, run: &Envelope, questions: usize, next: &[&str]) {
    let ended = rig.ended(run).expect("the run ended");
    assert_eq!((ended.status, ended.interrupts.len()), (RunStatus::Interrupted, questions), "{ended:?}");
    assert_eq!(ended.next, next);
    assert!(rig.state().is_idle() && !rig.state().is_closed());
}

#[test]
fn a_second_question_keeps_the_first_answer() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    check_paused(&rig, &run, 1, &["a"]);
    let run = resume(&mut rig, json!("one"));
    assert_eq!(rig.task("a").answers, [Arc::new(json!("one"))]);
    ask(&mut rig, &run, "a", 1);
    check_paused(&rig, &run, 1, &["a"]);
    let run = resume(&mut rig, json!("two"));
    let task = rig.task("a");
    assert_eq!(task.answers, [Arc::new(json!("one")), Arc::new(json!("two"))]);
    rig.finish(&run, TaskResult { answered: 2, ..named(&task) });
    rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn answers_by_id_find_their_question_or_none() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    let ns = rig.task("a").checkpoint_ns;
    // Nobody asked under this id.
    let run = resume_by_id(&mut rig, &ids::interrupt_id("elsewhere", 0), json!("lost"));
    assert!(rig.task("a").answers.is_empty());
    ask(&mut rig, &run, "a", 0);
    let run = resume_by_id(&mut rig, &ids::interrupt_id(&ns, 0), json!("one"));
    ask(&mut rig, &run, "a", 1);
    // A later question has an id of its own.
    let run = resume_by_id(&mut rig, &ids::interrupt_id(&ns, 1), json!("two"));
    assert_eq!(rig.task("a").answers, [Arc::new(json!("one")), Arc::new(json!("two"))]);
    ask(&mut rig, &run, "a", 2);
    // The first id answers it as well.
    resume_by_id(&mut rig, &ids::interrupt_id(&ns, 0), json!("three"));
    assert_eq!(rig.task("a").answers.last(), Some(&Arc::new(json!("three"))));
}

/// An answer without an id that an earlier run took up is there for a later question; the one by id is not given twice.
#[test]
fn an_answer_by_id_is_given_once_in_a_run() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    let run = resume(&mut rig, json!("yes"));
    ask(&mut rig, &run, "a", 1);
    let first = ids::interrupt_id(&rig.task("a").checkpoint_ns, 0);
    let run = resume_by_id(&mut rig, &first, json!("one"));
    ask(&mut rig, &run, "a", 2);
    let given = ["yes", "one", "yes"].map(|answer| Arc::new(json!(answer)));
    assert_eq!(rig.task("a").answers, given);
    assert!(rig.ended(&run).is_none(), "it is issued again");
}

#[test]
fn parallel_questions_are_answered_by_id_each_in_its_time() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    ask(&mut rig, &run, "b", 0);
    check_paused(&rig, &run, 2, &["a", "b"]);
    let alone = resume(&mut rig, json!("whom?"));
    rig.check_end(&alone, RunStatus::Error, Some("invalid_value"), json!([]));
    let id = ids::interrupt_id(&rig.task("b").checkpoint_ns, 0);
    let answers = Some(BTreeMap::from([(id, Arc::new(json!("b's")))]));
    let command = CommandInput { answers, ..CommandInput::default() };
    let run = rig.request(Request { command: Some(command), ..Request::default() });
    assert_eq!((rig.task("a").answers.len(), rig.task("b").answers.len()), (0, 1));
    ask(&mut rig, &run, "a", 0);
    let task = rig.task("b");
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    check_paused(&rig, &run, 1, &["a"]);
    let issued = rig.issued.len();
    let run = resume(&mut rig, json!("a's"));
    assert_eq!(rig.issued.len(), issued + 1, "what finished isn't run again");
    let task = rig.task("a");
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b", "c"]));
}

#[test]
fn an_answer_goes_to_one_task_and_on_to_the_next_that_asks() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    rig.fail_node(&run, "a");
    rig.fail_node(&run, "b");
    let run = resume(&mut rig, json!("yes"));
    assert_eq!((rig.task("a").answers.len(), rig.task("b").answers.len()), (1, 0));
    ask(&mut rig, &run, "b", 0);
    assert!(rig.done(&run).iter().all(|done| done.interrupts.is_empty()), "nobody is asked while an answer waits");
    rig.finish_node(&run, "a");
    let task = rig.task("b");
    assert_eq!((task.issue, task.answers.len()), (3, 1));
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b", "c"]));
}

#[test]
fn breakpoints_stop_before_and_after() {
    let mut rig = Rig::new(chain());
    let request = Request { interrupt_before: vec!["b".to_owned()], ..Request::default() };
    let run = rig.request(Request { input: Some(Arc::new(json!({}))), ..request });
    rig.finish_node(&run, "a");
    check_paused(&rig, &run, 0, &["b"]);
    let run = rig.request(Request { interrupt_after: vec!["*".to_owned()], ..Request::default() });
    rig.finish_node(&run, "b");
    check_paused(&rig, &run, 0, &[]);
}
