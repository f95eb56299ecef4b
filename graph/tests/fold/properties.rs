//! Whatever comes, in whatever order and however often: nothing is applied twice, no number is missing, and the state
//! that is stored is enough to go on with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::{
    advance::{Command, Step, advance},
    envelope::Envelope,
    event::{
        CommandInput, Edit, Event, Multitask, Request, RunConfig, StateUpdate, TimeToLive, Timer, TimerKind,
        TtlStrategy,
    },
    graph_loop::GraphLoop,
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Destination, Interrupt, Task, TaskResult},
    update::{Happened, RunStatus},
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::rig::{Rig, call, failed, named, plain, result, spec};

/// Events of one run of a property.
const EVENTS_MAX: usize = 60;
/// Events that bring every run to its end once nothing more is asked.
const DRAIN_EVENTS_MAX: usize = 2_000;

/// What happens next; numbers choose among what is at hand.
#[derive(Clone, Debug)]
enum Move {
    Request {
        input: bool,
        multitask: Multitask,
        claimed: bool,
        limit: u32,
        delay: Option<i64>,
    },
    /// A command: an answer, an update, a goto, or several of them; from an earlier checkpoint too.
    Command {
        resume: bool,
        update: bool,
        goto: bool,
        at: Option<usize>,
    },
    /// ChannelValues by hand.
    Edit {
        as_node: Option<usize>,
        at: Option<usize>,
    },
    Repeat(usize),
    Finish(usize, How),
    /// A result for any issue that ever was.
    Late(usize),
    Keep(usize),
    GiveBack(usize, i64),
    Fire(usize),
    FireStale(usize),
    Cancel(usize),
    Fail(usize),
    /// Says how long the thread lives.
    Time(i64, TtlStrategy),
    Delete,
    Stray,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Writes,
    Nothing,
    Fails,
    BranchFails,
    Sends,
    Conflicts,
    /// Asks, and finishes where it is given an answer.
    Asks,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let how = prop_oneof![
        6 => Just(How::Writes),
        2 => Just(How::Nothing),
        1 => Just(How::Fails),
        1 => Just(How::BranchFails),
        2 => Just(How::Sends),
        1 => Just(How::Conflicts),
        3 => Just(How::Asks),
    ];
    let multitask = prop_oneof![
        4 => Just(Multitask::Enqueue),
        1 => Just(Multitask::Reject),
        1 => Just(Multitask::Interrupt),
        1 => Just(Multitask::Rollback),
    ];
    let which = 0usize..1_000;
    let one = prop_oneof![
        4 => (any::<bool>(), multitask, any::<bool>(), 1u32..8, prop_oneof![3 => Just(None), 1 => (0i64..40).prop_map(Some)])
            .prop_map(|(input, multitask, claimed, limit, delay)| Move::Request {
                input, multitask, claimed, limit, delay
            }),
        1 => which.clone().prop_map(Move::Repeat),
        20 => (which.clone(), how).prop_map(|(task, how)| Move::Finish(task, how)),
        4 => which.clone().prop_map(Move::Late),
        3 => (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(0usize..50)).prop_map(
            |(resume, update, goto, at)| Move::Command { resume, update, goto, at }
        ),
        2 => (prop::option::of(0usize..8), prop::option::of(0usize..50)).prop_map(
            |(as_node, at)| Move::Edit { as_node, at }
        ),
        2 => which.clone().prop_map(Move::Keep),
        3 => (which.clone(), -5i64..5).prop_map(|(task, delay)| Move::GiveBack(task, delay)),
        3 => which.clone().prop_map(Move::Fire),
        1 => which.clone().prop_map(Move::FireStale),
        1 => which.clone().prop_map(Move::Cancel),
        1 => which.clone().prop_map(Move::Fail),
        1 => (1i64..40, prop_oneof![Just(TtlStrategy::Delete), Just(TtlStrategy::KeepLatest)])
            .prop_map(|(ms, strategy)| Move::Time(ms, strategy)),
        1 => Just(Move::Delete),
        1 => Just(Move::Stray),
    ];
    prop::collection::vec(one, 1..EVENTS_MAX)
}

/// Branches, a join, a loop, a deferred node and a channel that conflicts.
fn rich() -> GraphSpec {
    let again = json!({"when": {"from": "c", "cases": [
        {"if": "size(state.log) < 9", "to": [{"node": "a"}, {"node": "b"}]}, {"to": [{"node": "END"}]}
    ]}});
    let edges =
        json!([plain(&["START"], "a"), plain(&["START"], "b"), plain(&["a", "b"], "c"), plain(&["a"], "d"), again]);
    let channels = json!({
        "log": {"reducer": "append"}, "one": {}, "messages": {"reducer": "messages"}, "now": {"reducer": "untracked"}
    });
    let mut spec = spec(channels, &["d", "c", "b", "a"], edges);
    spec.nodes[0].defer = true;
    spec
}

/// The log being made, and what must hold of it.
struct Play {
    rig: Rig,
    requests: Vec<(Arc<Envelope>, Request)>,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    numbers: BTreeMap<Uuid, u64>,
    ended: BTreeSet<Uuid>,
    started: BTreeSet<Uuid>,
    issued: BTreeSet<(Uuid, u32)>,
    /// Task and issue of every result that counted.
    done: BTreeSet<(Uuid, u32)>,
    /// Tasks that finished: they are issued again only by a run that goes back in time.
    finished: BTreeSet<Uuid>,
    back: BTreeSet<Uuid>,
}

impl Play {
    fn new() -> Self {
        Play { rig: Rig::new(rich()), requests: Vec::new(), seen: Seen::default() }
    }

    fn step(&mut self, next: &Move) {
        let open = self.open();
        let pick = |index: &usize| (!open.is_empty()).then(|| open[index % open.len()].clone());
        match next {
            Move::Request { input, multitask, claimed, limit, delay } => {
                let input =
                    input.then(|| Arc::new(json!({"log": ["in"], "messages": [{"role": "user", "content": "hi"}]})));
                let config = RunConfig { recursion_limit: Some(*limit), ..RunConfig::default() };
                let (multitask, claimed, after_ms) = (*multitask, *claimed, *delay);
                let request = Request { input, config, multitask, claimed, after_ms, ..Request::default() };
                let run = self.rig.envelope();
                self.requests.push((run.clone(), request.clone()));
                self.fold(&run, Event::Requested(Box::new(request)));
            }
            Move::Command { resume, update, goto, at } => {
                let command = CommandInput {
                    resume: resume.then(|| Arc::new(json!("yes"))),
                    update: update.then(|| Arc::new(json!({"log": ["told"]}))),
                    goto: if *goto { vec![Destination::Node("d".to_owned())] } else { Vec::new() },
                    ..CommandInput::default()
                };
                let checkpoint_id = at.and_then(|place| self.checkpoint(place));
                let config = RunConfig { recursion_limit: Some(9), ..RunConfig::default() };
                let request = Request { command: Some(command), checkpoint_id, config, ..Request::default() };
                let run = self.rig.envelope();
                self.requests.push((run.clone(), request.clone()));
                if checkpoint_id.is_some() {
                    self.seen.back.insert(run.run_id);
                }
                self.fold(&run, Event::Requested(Box::new(request)));
            }
            Move::Edit { as_node, at } => {
                let nodes = ["a", "b", "c", "d", "__copy__", "__end__", "__input__", "nobody"];
                let as_node = as_node.map(|place| nodes[place].to_owned());
                let values = (as_node.as_deref() != Some("__end__")).then(|| Arc::new(json!({"log": ["edit"]})));
                let checkpoint_id = at.and_then(|place| self.checkpoint(place));
                let edit =
                    Edit { checkpoint_id, supersteps: vec![vec![StateUpdate { values, as_node }]], ..Edit::default() };
                let idle = self.rig.state().is_idle();
                let run = self.rig.envelope();
                let commands = self.fold(&run, Event::StateEdited(Box::new(edit)));
                let refused = commands.iter().any(|command| match command {
                    Command::Update { update, .. } => update.status == RunStatus::Error,
                    Command::Issue { .. } | Command::Cancel { .. } | Command::Archive { .. } | Command::Copy { .. } => {
                        false
                    }
                });
                assert!(idle || refused, "a thread at work is not edited");
            }
            Move::Repeat(index) if !self.requests.is_empty() => {
                let (run, request) = self.requests[index % self.requests.len()].clone();
                let known = request.claimed || !self.seen.ended.contains(&run.run_id);
                if known {
                    let commands = self.fold(&run, Event::Requested(Box::new(request)));
                    assert_eq!(commands, [], "a repeat starts nothing");
                }
            }
            Move::Finish(index, how) => {
                if let Some((run, task)) = pick(index) {
                    let commands = self.fold(&run, Event::TaskFinished(Box::new(outcome(&task, *how))));
                    let held = matches!(how, How::Asks);
                    assert!(held || !commands.is_empty(), "the open issue's first result counts");
                }
            }
            Move::Late(index) if !self.rig.issued.is_empty() => {
                let (run, task) = self.rig.issued[index % self.rig.issued.len()].clone();
                let mut late = TaskResult { execution: Uuid::from_u128(*index as u128), ..named(&task) };
                late.calls = vec![call(&late, 0)];
                self.fold(&run, Event::TaskFinished(Box::new(late)));
            }
            Move::Keep(index) => {
                if let Some((run, task)) = pick(index) {
                    let until = self.rig.at + 10;
                    let commands = self.fold(&run, Event::TaskKept { task_id: task.id, issue: task.issue, until });
                    assert_eq!(commands, []);
                }
            }
            Move::GiveBack(index, delay) => {
                if let Some((run, task)) = pick(index) {
                    let not_before = self.rig.at + delay;
                    let calls = vec![call(&result(&task), 0)];
                    let back =
                        Event::TaskGivenBack { task_id: task.id, issue: task.issue, attempt: 1, not_before, calls };
                    self.fold(&run, back);
                }
            }
            Move::Fire(index) => self.fire(*index, 0),
            Move::FireStale(index) => self.fire(*index, 1),
            Move::Cancel(index) if !self.requests.is_empty() => {
                let run = self.requests[index % self.requests.len()].0.clone();
                self.fold(&run, Event::Cancelled { reason: String::new(), rollback: false });
            }
            Move::Fail(index) if !self.requests.is_empty() => {
                let run = self.requests[index % self.requests.len()].0.clone();
                self.fold(&run, Event::RunFailed { message: "no".to_owned() });
            }
            Move::Time(ms, strategy) => {
                let commands = self.time(*ms, *strategy);
                assert_eq!(commands, [], "nothing is told of it");
            }
            Move::Delete => {
                let deletes = self.rig.envelope();
                self.fold(&deletes, Event::ThreadDeleted);
                assert!(self.rig.state().expires_for().is_none() && self.rig.state().head().is_none());
            }
            Move::Stray => self.stray(),
            Move::Repeat(_) | Move::Late(_) | Move::Cancel(_) | Move::Fail(_) => {}
        }
    }

    /// A checkpoint that the thread has, or had.
    fn checkpoint(&self, place: usize) -> Option<Uuid> {
        let made: Vec<Uuid> = self.rig.made();
        (!made.is_empty()).then(|| made[place % made.len()])
    }

    /// The tasks whose result is awaited, with the run that awaits it.
    fn open(&self) -> Vec<(Arc<Envelope>, Task)> {
        let open: BTreeSet<_> = self.rig.state().open_tasks().map(|(_, task, issue)| (task, issue)).collect();
        self.rig.issued.iter().filter(|(_, task)| open.contains(&(task.id, task.issue))).cloned().collect()
    }

    fn fire(&mut self, index: usize, older: u32) {
        let timers: Vec<Timer> = self.rig.state().timers().map(|(timer, _)| timer.clone()).collect();
        if timers.is_empty() {
            return;
        }
        let armed = &timers[index % timers.len()];
        let timer = Timer { generation: armed.generation.wrapping_sub(older), ..armed.clone() };
        let run = self.of_timer(&timer);
        let commands = self.fold(&run, Event::TimerDue { timer: timer.clone() });
        let armed = self.rig.state().timers().any(|(armed, _)| *armed == timer);
        assert!(!armed, "a timer that fires is armed no more");
        // A run whose time has come may have to wait for its turn, and a thread may have been used since.
        let waits = matches!(timer.kind, TimerKind::Begin | TimerKind::Expire) && older == 0;
        assert!(waits || commands.is_empty() == (older > 0), "a timer fires if it is armed as it is");
    }

    fn time(&mut self, ms: i64, strategy: TtlStrategy) -> Vec<Command> {
        let saying = self.rig.envelope();
        self.fold(&saying, Event::ThreadTimed(TimeToLive { ms, strategy }))
    }

    /// The record that armed a timer: of a run, or of what timed the thread.
    fn of_timer(&self, timer: &Timer) -> Arc<Envelope> {
        let runs = self.requests.iter().map(|(run, _)| run);
        let timed = self.rig.state().expires_for();
        runs.chain(timed).find(|envelope| envelope.run_id == timer.run_id).expect("a record").clone()
    }

    /// Records of runs and tasks that nobody knows.
    fn stray(&mut self) {
        let run = Arc::new(Envelope { run_id: Uuid::from_u128(99), ..Envelope::clone(&self.rig.envelope()) });
        let (task_id, issue) = (Uuid::from_u128(98), 1);
        let timer = Timer { run_id: run.run_id, kind: TimerKind::Retry(task_id), generation: 1 };
        for event in [
            Event::TaskFinished(Box::new(TaskResult { task_id, issue, ..TaskResult::default() })),
            Event::TaskKept { task_id, issue, until: 0 },
            Event::TaskGivenBack { task_id, issue, attempt: 1, not_before: 0, calls: Vec::new() },
            Event::TimerDue { timer },
            Event::Cancelled { reason: String::new(), rollback: false },
            Event::RunFailed { message: String::new() },
        ] {
            assert_eq!(self.fold(&run, event), []);
        }
    }

    /// Folds an event, once from memory and once from what is stored.
    fn fold(&mut self, run: &Arc<Envelope>, event: Event) -> Vec<Command> {
        let stored = KeyState::decode(&self.rig.state().encode()).expect("a state that was encoded");
        let mut recalled = self.rig.recalled.clone();
        let commands = self.rig.fold(run, event.clone());
        self.rig.unknown.iter().for_each(|wanted| {
            recalled.entry(wanted.clone()).or_default();
        });
        let Step::Done { mut state, commands: again } =
            advance(&self.rig.graphs, &recalled, stored, run, self.rig.at, &event)
        else {
            panic!("a graph is missing")
        };
        for (once, again) in stored_forms(&commands).into_iter().zip(stored_forms(&again)) {
            assert_eq!(once, again, "a crash before the event changes nothing");
        }
        assert_eq!(commands.len(), again.len());
        // Where a pruning stands in the log is told by whoever reads it.
        self.rig.state().forgets_up_to().into_iter().for_each(|place| state.pruned_at(place));
        assert_eq!(text(&state), text(self.rig.state()));
        self.seen.see(&commands);
        commands
    }

    /// Brings every run to its end.
    fn drain(&mut self) {
        for _ in 0..DRAIN_EVENTS_MAX {
            let timer = self.rig.state().timers().find(|(timer, _)| timer.kind != TimerKind::Deadline);
            let timer = timer.map(|(timer, due)| (timer.clone(), due));
            if let Some((run, task)) = self.open().first() {
                let (run, task) = (run.clone(), task.clone());
                self.fold(&run, Event::TaskFinished(Box::new(named(&task))));
            } else if let Some((timer, due)) = timer {
                let run = self.of_timer(&timer);
                if timer.kind == TimerKind::Expire {
                    self.rig.at = self.rig.at.max(due);
                }
                self.fold(&run, Event::TimerDue { timer });
            } else {
                break;
            }
        }
        assert!(self.rig.state().is_idle(), "nothing moves, and a run isn't done");
        assert_eq!(self.rig.state().timers().count(), 0);
        for (run, _) in &self.requests {
            assert!(self.seen.ended.contains(&run.run_id), "every run ends");
        }
    }
}

impl Seen {
    fn see(&mut self, commands: &[Command]) {
        let mut told = BTreeSet::new();
        for command in commands {
            match command {
                Command::Issue { envelope, task } => {
                    assert!(self.issued.insert((task.id, task.issue)), "an issue goes out once");
                    let back = self.back.contains(&envelope.run_id);
                    assert!(back || !self.finished.contains(&task.id), "what finished isn't run again");
                    assert!(!self.ended.contains(&envelope.run_id), "an ended run issues nothing");
                }
                Command::Cancel { .. } | Command::Archive { .. } | Command::Copy { .. } => {}
                Command::Update { envelope, update } => {
                    assert!(told.insert(envelope.run_id), "one event, one update of a run");
                    let Some(number) = update.number else {
                        assert!(matches!(update.happened[..], [Happened::Spent { .. }]));
                        continue;
                    };
                    let last = self.numbers.entry(envelope.run_id).or_default();
                    assert_eq!(number, *last + 1, "update numbers have no holes");
                    *last = number;
                    assert!(!self.ended.contains(&envelope.run_id), "the end is the last update");
                    update.happened.iter().for_each(|happened| self.happened(envelope, update.status, happened));
                }
            }
        }
    }

    fn happened(&mut self, run: &Envelope, status: RunStatus, happened: &Happened) {
        match happened {
            Happened::Started(_) => assert!(self.started.insert(run.run_id), "a run begins once"),
            Happened::TaskDone(done) if !done.restored => {
                assert!(self.done.insert((done.task_id, done.issue)), "a task counts once");
                if done.error.is_none() && done.interrupts.is_empty() && !done.answered {
                    let first = self.finished.insert(done.task_id);
                    assert!(first || self.back.contains(&run.run_id), "a task finishes once");
                }
            }
            Happened::Ended(ended) => {
                assert!(status.is_terminal() && ended.status == status);
                assert!(self.ended.insert(run.run_id), "a run ends once");
                if ended.rolled_back {
                    // What an undone run finished is to be done.
                    self.finished.clear();
                }
            }
            Happened::TaskDone(_)
            | Happened::StepDone(_)
            | Happened::Queued(_)
            | Happened::Continued(_)
            | Happened::Paused(_)
            | Happened::Kept(_)
            | Happened::Edited(_)
            | Happened::Spent { .. } => {}
        }
    }
}

fn outcome(task: &Task, how: How) -> TaskResult {
    let write = |name: &str, value| (Arc::from(name), Arc::new(value));
    match how {
        How::Writes => {
            let mut result = named(task);
            Arc::make_mut(&mut result.writes)
                .push(write("messages", json!([{"role": "assistant", "content": task.node}])));
            result
        }
        How::Nothing => result(task),
        How::Asks if task.answers.is_empty() => {
            let id = ids::interrupt_id(&task.checkpoint_ns, 0);
            let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
            TaskResult { interrupts: vec![question], ..result(task) }
        }
        How::Asks => TaskResult { answered: 1, ..named(task) },
        How::Fails => failed(task),
        How::BranchFails => TaskResult { branch_error: failed(task).error, ..named(task) },
        How::Sends => {
            let argument = Arc::new(json!({"log": [], "now": 1}));
            let sends = [("b", 2), ("nobody", 1), ("c", 1)];
            let send = |(node, count): (&str, usize)| {
                vec![Destination::Send { node: node.to_owned(), argument: argument.clone() }; count]
            };
            TaskResult { branches: sends.into_iter().flat_map(send).collect(), ..named(task) }
        }
        How::Conflicts => {
            TaskResult { writes: Arc::new(vec![write("one", json!(1)), write("now", json!(2))]), ..result(task) }
        }
    }
}

/// Commands without what lives in memory only.
fn stored_forms(commands: &[Command]) -> Vec<Command> {
    let stored = |command: &Command| match command {
        Command::Archive { envelope, checkpoint } => {
            let checkpoint = GraphLoop::decode(&checkpoint.encode()).expect("a checkpoint that was encoded");
            Command::Archive { envelope: envelope.clone(), checkpoint: Box::new(checkpoint) }
        }
        Command::Issue { .. } | Command::Update { .. } | Command::Cancel { .. } | Command::Copy { .. } => {
            command.clone()
        }
    };
    commands.iter().map(stored).collect()
}

fn text(state: &KeyState) -> String {
    String::from_utf8(state.encode()).expect("a state is JSON")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_log_keeps_the_promises(moves in moves()) {
        let mut play = Play::new();
        moves.iter().for_each(|next| play.step(next));
        play.drain();
    }

    /// The order in which the tasks of a step end decides nothing but the order of their `task done`.
    #[test]
    fn the_order_of_results_does_not_count(order in prop::collection::vec(0usize..1_000, 1..80)) {
        let ended = |order: &[usize]| {
            let mut play = Play::new();
            play.step(&Move::Request { input: true, multitask: Multitask::Enqueue, claimed: false, limit: 30, delay: None });
            let mut order = order.iter().cycle();
            for _ in 0..DRAIN_EVENTS_MAX {
                let open = play.open();
                let (Some(next), false) = (order.next(), open.is_empty()) else { break };
                let (run, task) = open[next % open.len()].clone();
                let writes = Arc::new(vec![("log".into(), Arc::new(json!([task.node])))]);
                let last = matches!(task.path, graph::task::TaskPath::Push { .. }) || *task.node != *"b";
                let how = if last { TaskResult { writes, ..result(&task) } } else { outcome(&task, How::Sends) };
                play.fold(&run, Event::TaskFinished(Box::new(how)));
            }
            let run = play.requests[0].0.clone();
            play.rig.ended(&run).expect("the run ended").output.clone()
        };
        prop_assert_eq!(ended(&order), ended(&[0]));
    }
}

/// The same log gives the same bytes, whoever folds it.
#[test]
fn a_replay_gives_the_same_bytes() {
    let mut play = Play::new();
    for index in 0..40 {
        play.step(&Move::Request {
            input: index % 3 > 0,
            multitask: Multitask::Enqueue,
            claimed: true,
            limit: 6,
            delay: None,
        });
        play.step(&Move::Finish(index * 7, How::Writes));
        play.step(&Move::Finish(index * 5, if index % 4 == 0 { How::Fails } else { How::Sends }));
        play.step(&Move::GiveBack(index, 3));
        play.step(&Move::Fire(index * 3 + 1));
    }
    play.drain();
    let fold = || {
        let mut state = KeyState::new(play.rig.state().key().clone());
        let mut all = Vec::new();
        for (run, at, event) in &play.rig.log {
            let Step::Done { state: next, commands } =
                advance(&play.rig.graphs, &play.rig.recalled, state, run, *at, event)
            else {
                panic!("a graph is missing")
            };
            state = next;
            all.extend(commands);
        }
        (text(&state), all)
    };
    assert!(play.rig.log.len() > 150, "{} events", play.rig.log.len());
    assert_eq!(fold(), fold());
    assert_eq!(fold().0, text(play.rig.state()));
}

/// The run that went back is undone; whoever goes back to the same checkpoint later issues the same tasks.
#[test]
fn no_issue_of_an_undone_run_that_went_back_is_given_again() {
    let back = Move::Command { resume: true, update: false, goto: false, at: Some(2) };
    let mut play = Play::new();
    for next in [
        Move::Edit { as_node: None, at: None },
        Move::Command { resume: true, update: false, goto: false, at: None },
        Move::Finish(29, How::Writes),
        Move::Finish(0, How::Conflicts),
        back.clone(),
        Move::Finish(0, How::Asks),
        Move::Request { input: false, multitask: Multitask::Rollback, claimed: false, limit: 1, delay: None },
        back,
    ] {
        play.step(&next);
    }
    play.drain();
}

/// A run that is refused at its beginning shows the thread's state, whether it lay in memory or in the store.
#[test]
fn what_a_refused_run_shows_does_not_hang_on_where_its_state_was() {
    let mut play = Play::new();
    play.step(&Move::Edit { as_node: Some(5), at: None });
    play.step(&Move::Edit { as_node: None, at: None });
    play.step(&Move::Command { resume: false, update: false, goto: false, at: Some(20) });
    play.drain();
}
