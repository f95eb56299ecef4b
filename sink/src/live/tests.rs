//! What clients see in the end, however records arrive and wherever a stream is cut.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use graph::{
    task::{LastToken, TaskId},
    update::{Ended, Happened, RunStatus},
};
use proptest::prelude::*;
use run_store::Position as RowPosition;
use schemas::{
    record::{TokenRecord, UpdateRecord},
    stream::{Dialect, Rendering},
};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Joined, LiveRun, Stored};
use crate::{
    dialects::Stream,
    facts::{Fact, Resumed, Shown},
    position::{Origin, Position},
    sample::Run,
};

const HOLD: Duration = Duration::from_millis(200);
const TASKS: usize = 2;
const WORDS: u64 = 4;

/// What happens: tokens of two tasks by up to two executions each, some lost on the way, and which one is the record's.
#[derive(Clone, Debug)]
struct Story {
    /// Task, execution and whether the token reaches the log; n counts by (task, execution).
    tokens: Vec<(usize, usize, bool)>,
    record: [usize; TASKS],
}

/// In what order a sink reads it: before which token each of the three updates comes.
type Reading = [usize; 3];

fn story() -> impl Strategy<Value = Story> {
    let token = (0..TASKS, 0..2usize, prop::bool::weighted(0.9));
    (prop::collection::vec(token, 0..14), [0..2usize, 0..2usize]).prop_map(|(tokens, record)| Story { tokens, record })
}

fn reading() -> impl Strategy<Value = Reading> {
    [0..16usize, 0..16usize, 0..16usize].prop_map(|mut reading| {
        reading.sort_unstable();
        reading
    })
}

fn execution(task: usize, execution: usize) -> Uuid {
    Uuid::from_u128((task * 10 + execution + 1) as u128)
}

fn word(task: usize, execution: usize, n: u64) -> String {
    format!("{task}{execution}{n} ")
}

fn answer(task: usize, execution: usize) -> String {
    (0..WORDS).map(|n| word(task, execution, n)).collect()
}

impl Story {
    /// Tokens by offset. An execution that says more than its words says no more.
    fn tokens(&self, run: &Run) -> Vec<(u64, Arc<TokenRecord>)> {
        let mut said = BTreeMap::new();
        let mut tokens = Vec::new();
        for (index, (task, by, arrives)) in self.tokens.iter().enumerate() {
            let n: &mut u64 = said.entry((*task, *by)).or_default();
            if *arrives && *n < WORDS {
                let mut record = run.token(0);
                record.token.task_id = run.task(*task as u128);
                record.token.execution = execution(*task, *by);
                (record.token.n, record.token.delta) = (*n, word(*task, *by, *n));
                tokens.push((100 + index as u64, Arc::new(record)));
            }
            *n += 1;
        }
        tokens
    }

    fn updates(&self, run: &Run) -> Vec<Arc<UpdateRecord>> {
        let done = |task: usize| {
            let by = self.record[task];
            let message = json!({"messages": {"type": "ai", "id": "m", "content": answer(task, by)}});
            let mut done = run.done(task as u128, "answer", message);
            done.execution = execution(task, by);
            done.last_token = Some(LastToken { execution: done.execution, attempt: 1, n: WORDS - 1 });
            Happened::TaskDone(Box::new(done))
        };
        let issued = (0..TASKS).map(|task| run.issued(task as u128, "answer")).collect();
        let ended = Happened::Ended(Box::new(Ended {
            status: RunStatus::Success,
            output: None,
            error: None,
            interrupts: Vec::new(),
            next: Vec::new(),
            values: None,
            inner: Default::default(),
            usage: Default::default(),
            rolled_back: false,
        }));
        vec![
            Arc::new(run.update(1, 1, RunStatus::Running, issued, Vec::new())),
            Arc::new(run.update(2, 2, RunStatus::Running, Vec::new(), vec![done(0)])),
            Arc::new(run.update(3, 3, RunStatus::Success, Vec::new(), vec![done(1), ended])),
        ]
    }

    /// Reads the records into `live` in this order.
    fn read(&self, run: &Run, reading: Reading, live: &mut LiveRun) {
        let now = Instant::now();
        let mut tokens = self.tokens(run).into_iter().peekable();
        for (record, before) in self.updates(run).into_iter().zip(reading) {
            while let Some((offset, token)) = tokens.next_if(|(offset, _)| *offset < 100 + before as u64) {
                live.token(offset, token, now);
            }
            live.apply(Stored { record, payload: Default::default() }, RowPosition::default(), now);
        }
        for (offset, token) in tokens {
            live.token(offset, token, now);
        }
        while live.held_since().is_some() {
            live.expire(now);
        }
    }
}

fn join(live: &mut LiveRun, after: Option<Position>) -> Option<Vec<Arc<Shown>>> {
    let Joined::Stream(viewing) = live.join(after, 1_000, HOLD) else { return None };
    while live.held_since().is_some() {
        live.expire(Instant::now());
    }
    let mut filter = viewing.filter;
    let mut seen = viewing.prelude;
    if let Some(mut facts) = viewing.facts {
        while let Ok(shown) = facts.try_recv() {
            seen.push(shown);
        }
    }
    let mut passed = Vec::new();
    for shown in seen {
        filter.pass(&shown, |shown| passed.push(Arc::new(shown.clone())));
    }
    Some(passed)
}

/// Watches from the beginning while the records are read.
fn watch(story: &Story, run: &Run, reading: Reading) -> (LiveRun, Vec<Arc<Shown>>) {
    let mut live = LiveRun::new(&story.updates(run)[0], 0, Instant::now());
    let Joined::Stream(viewing) = live.join(None, 1_000, HOLD) else { panic!("nothing to watch") };
    story.read(run, reading, &mut live);
    let mut seen = viewing.prelude;
    let mut facts = viewing.facts.unwrap();
    while let Ok(shown) = facts.try_recv() {
        seen.push(shown);
    }
    (live, seen)
}

/// What a client has of each task's answer, and whether it saw the task finish.
#[derive(Clone, Debug, Default, PartialEq)]
struct Client {
    texts: BTreeMap<TaskId, String>,
    finished: Vec<TaskId>,
    finals: usize,
}

impl Client {
    fn see(&mut self, shown: &Shown) {
        match &shown.fact {
            Fact::Token(record) => {
                assert!(!self.finished.contains(&record.token.task_id), "a token after its node finished");
                self.texts.entry(record.token.task_id).or_default().push_str(&record.token.delta);
            }
            Fact::WholeText(whole) => self.texts.entry(whole.task_id).or_default().push_str(&whole.text),
            Fact::AttemptReset { task_id, .. } => drop(self.texts.insert(*task_id, String::new())),
            Fact::NodeFinished(of) => self.finished.push(of.get().unwrap().task_id),
            Fact::Final(_) => self.finals += 1,
            _ => {}
        }
    }

    fn check(&self, story: &Story, run: &Run) {
        for task in 0..TASKS {
            let text = self.texts.get(&run.task(task as u128)).map_or("", String::as_str);
            assert_eq!(text, answer(task, story.record[task]));
        }
        assert_eq!(self.finished, [run.task(0), run.task(1)]);
        assert_eq!(self.finals, 1);
    }
}

fn bytes(shown: &[Arc<Shown>]) -> String {
    let mut out = Vec::new();
    let mut stream = Stream::new(Rendering::Ours(Dialect::Events));
    shown.iter().for_each(|shown| stream.render(shown, &mut out));
    String::from_utf8(out).unwrap()
}

#[test]
fn an_update_waits_for_the_last_token_that_it_names() {
    let run = Run::new(1, 0);
    let said = |task, by| (0..WORDS).map(move |_| (task, by, true));
    let story = Story { tokens: said(0, 0).chain(said(1, 1)).collect(), record: [0, 1] };
    // Every update is read before the first token.
    let (_, seen) = watch(&story, &run, [0, 0, 0]);
    let repaired = |shown: &Arc<Shown>| matches!(shown.fact, Fact::WholeText(_) | Fact::AttemptReset { .. });
    assert!(!seen.iter().any(repaired), "{}", bytes(&seen));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_has_the_answer_of_record(story in story(), reading in reading()) {
        let run = Run::new(1, 0);
        let (_, seen) = watch(&story, &run, reading);
        let mut client = Client::default();
        seen.iter().for_each(|shown| client.see(shown));
        client.check(&story, &run);
        let ids: Vec<(u64, u64)> = seen.iter().map(|shown| (shown.position.update, shown.position.tokens)).collect();
        prop_assert!(ids.is_sorted(), "{ids:?}");
        // Two executions don't braid: a task goes from one to the other, and not back.
        let resets = seen.iter().filter(|shown| matches!(shown.origin, Origin::TokenReset { .. })).count();
        prop_assert!(resets <= TASKS, "{}", bytes(&seen));
    }

    #[test]
    fn a_stream_cut_anywhere_goes_on_where_it_was(story in story(), reading in reading()) {
        let run = Run::new(1, 0);
        let (mut live, seen) = watch(&story, &run, reading);
        for cut in 0..seen.len() {
            let position = seen[cut].position;
            let Some(resumed) = join(&mut live, Some(position)) else {
                prop_assert_eq!(cut, seen.len() - 1, "whole before its end");
                continue;
            };
            let recovered = matches!(resumed[0].fact, Fact::Metadata { resumed: Some(Resumed::Recovered), .. });
            prop_assert!(recovered);
            prop_assert_eq!(bytes(&resumed[1..]), bytes(&seen[cut + 1..]), "after {}", position);
        }
    }

    #[test]
    fn another_sink_goes_on_where_the_first_one_was(
        story in story(),
        reading in reading(),
        other in reading(),
        tokens_from in prop::option::weighted(0.3, 100..114u64),
    ) {
        let run = Run::new(1, 0);
        let (_, seen) = watch(&story, &run, reading);
        // It has the same updates, read in its own time, and tokens from some offset on.
        let from = tokens_from.unwrap_or(0);
        let mut live = LiveRun::new(&story.updates(&run)[0], from, Instant::now());
        let kept = Story {
            tokens: story
                .tokens
                .iter()
                .enumerate()
                .map(|(index, (task, by, arrives))| (*task, *by, *arrives && 100 + index as u64 >= from))
                .collect(),
            ..story.clone()
        };
        kept.read(&run, other, &mut live);
        let mut client = Client::default();
        for shown in &seen {
            client.see(shown);
            let mut client = client.clone();
            if let Some(resumed) = join(&mut live, Some(shown.position)) {
                resumed.iter().for_each(|shown| client.see(shown));
            }
            client.check(&story, &run);
        }
    }

    #[test]
    fn who_comes_late_has_the_answer_too(story in story(), reading in reading()) {
        let run = Run::new(1, 0);
        let mut live = LiveRun::new(&story.updates(&run)[0], 0, Instant::now());
        story.read(&run, reading, &mut live);
        let Joined::Stream(viewing) = live.join(None, 1_000, Duration::ZERO) else { panic!("nothing to watch") };
        let mut client = Client::default();
        viewing.prelude.iter().for_each(|shown| client.see(shown));
        client.check(&story, &run);
    }
}
