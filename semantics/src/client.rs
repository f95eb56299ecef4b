//! Who makes the calls of one case, and what they see of it.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    envelope::{Envelope, GraphRef, Lane, Millis, Principal, RULES, RunBudget},
    event::{CommandInput, Edit, Event, Request, RunConfig, StateUpdate},
    ids,
    task::{Destination, TaskResult},
    update::Update,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    case::{Call, Case},
    compare::Called,
    random::Random,
};

mod view;

use view::View;

/// The name that a case's graph has.
pub const GRAPH: &str = "case";
/// When the first call is made.
pub const BEGAN: Millis = 1_763_721_600_000;
/// What LangGraph's cases were run with where a call says nothing.
const RECURSION_LIMIT: u32 = 12;

/// The client of one case: a thread of its own.
pub struct Client<'a> {
    case: &'a Case,
    hash: String,
    view: View,
    clock: Millis,
    runs: u64,
}

impl<'a> Client<'a> {
    /// `hash` is that of the case's graph.
    pub fn new(case: &'a Case, hash: String) -> Self {
        Client { case, hash, view: View::default(), clock: BEGAN, runs: 0 }
    }

    /// What a call adds to the log.
    pub fn begin(&mut self, call: &Call) -> (Arc<Envelope>, Event) {
        self.runs += 1;
        let envelope = Arc::new(self.envelope());
        let checkpoint_id = call.at.and_then(|place| self.view.checkpoint(place));
        let event = self.event(call, checkpoint_id);
        self.view.begin();
        (envelope, event)
    }

    /// The time of the next record.
    pub fn tick(&mut self) -> Millis {
        self.clock += 1;
        self.clock
    }

    pub fn see(&mut self, update: Update) {
        self.view.see(update);
    }

    /// What the call gave, once its run has ended.
    pub fn called(&mut self) -> Called {
        self.view.called()
    }

    fn event(&self, call: &Call, checkpoint_id: Option<Uuid>) -> Event {
        let shared = |value: &Value| Arc::new(value.clone());
        if call.call == "update_state" {
            let update = StateUpdate { values: call.values.as_ref().map(shared), as_node: call.as_node.clone() };
            let supersteps = vec![vec![update]];
            return Event::StateEdited(Box::new(Edit { checkpoint_id, supersteps, ..Edit::default() }));
        }
        let goto = match &call.goto {
            None => Vec::new(),
            Some(Value::Array(targets)) => targets.iter().map(to).collect(),
            Some(target) => vec![to(target)],
        };
        let update = call.update.as_ref().map(shared);
        let (input, command) = match call.call.as_str() {
            "invoke" => (call.input.as_ref().map(shared), None),
            "continue" => (None, None),
            "command" => (None, Some(CommandInput { update, goto, ..CommandInput::default() })),
            "resume" => {
                let answers = call.by_id.as_ref().map(|answers| {
                    let ids = self.view.questions(checkpoint_id).into_iter();
                    ids.zip(answers.iter().map(shared)).collect::<BTreeMap<_, _>>()
                });
                let resume = call.value.as_ref().filter(|_| answers.is_none()).map(shared);
                (None, Some(CommandInput { resume, answers, update, goto }))
            }
            other => panic!("the call {other} is not known"),
        };
        let config = RunConfig {
            recursion_limit: Some(call.recursion_limit.unwrap_or(RECURSION_LIMIT)),
            ..RunConfig::default()
        };
        let keeps_last = call.durability.as_deref() == Some("exit");
        let request = Request { input, command, checkpoint_id, config, keeps_last, ..Request::default() };
        Event::Requested(Box::new(request))
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            tenant: "default".to_owned(),
            principal: Principal::default(),
            endpoint: "/threads/{thread_id}/runs".to_owned(),
            run_id: ids::run_id(self.clock, self.runs, 0),
            thread_id: Some(self.case.id.clone()),
            graph: GraphRef { name: GRAPH.to_owned(), hash: self.hash.clone() },
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: self.clock + 86_400_000,
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
            budget: RunBudget::default(),
        }
    }
}

/// A node's name, or `{send, arg}` with a plain value as argument.
fn to(target: &Value) -> Destination {
    let name = |name: &Value| name.as_str().expect("a node's name").to_owned();
    match target {
        Value::Object(send) => Destination::Send { node: name(&send["send"]), argument: Arc::new(send["arg"].clone()) },
        target => Destination::Node(name(target)),
    }
}

/// Results that are still to be told, in the order in which the recorder had them: tasks that fail end after all others,
/// failures of programs last.
#[derive(Default)]
pub struct Results(Vec<(u8, TaskResult)>);

impl Results {
    pub fn push(&mut self, result: TaskResult) {
        let rank = match (&result.error, &result.branch_error) {
            (Some(_), _) => 2,
            (None, Some(_)) => 1,
            (None, None) => 0,
        };
        self.0.push((rank, result));
    }

    pub fn take_next(&mut self) -> Option<TaskResult> {
        let next = (0..self.0.len()).min_by_key(|place| (self.0[*place].0, *place))?;
        Some(self.0.remove(next).1)
    }

    /// In any order.
    pub fn take_any(&mut self, random: &mut Random) -> Option<TaskResult> {
        let count = u64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        let place = usize::try_from(random.within(0..count)).ok()?;
        Some(self.0.remove(place).1)
    }
}
