//! A run as an orchestrator and its workers would tell it.

use std::sync::Arc;

use graph::{
    envelope::{Envelope, GraphRef, Lane, Millis, Principal, RunBudget},
    event::TimeToLive,
    ids,
    task::{Call, CallId, LastToken, TaskPath, Usage, UsageSource},
    update::{Checkpointed, Ended, Happened, IssuedTask, RunStatus, StartedRun, TaskDone, Update},
};
use schemas::record::{RunsPosition, Token, TokenKind, TokenRecord, UpdateRecord};
use serde_json::{Value, json};
use uuid::Uuid;

pub const NOW: Millis = 1_763_721_600_000;

/// Two nodes, `prepare` and `answer`.
#[derive(Clone)]
pub struct Run {
    pub id: Uuid,
    pub partition: u32,
    pub envelope: Arc<Envelope>,
    pub words: Vec<String>,
    pub execution: Uuid,
}

impl Run {
    pub fn new(number: u64, partition: u32) -> Self {
        Self::of("default", None, number, partition)
    }

    pub fn of(tenant: &str, thread_id: Option<&str>, number: u64, partition: u32) -> Self {
        let id = ids::run_id(NOW, number, partition as u16);
        let envelope = Envelope {
            tenant: tenant.to_owned(),
            principal: Principal { key: None, user: Some("ann".to_owned()) },
            endpoint: "/chat".to_owned(),
            run_id: id,
            thread_id: thread_id.map(str::to_owned),
            graph: GraphRef { name: "support".to_owned(), hash: "h1".to_owned() },
            rules: 1,
            lane: Lane::Interactive,
            priority: 0,
            deadline: NOW + 60_000,
            metadata: [("team".to_owned(), json!("red"))].into(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
            budget: RunBudget::default(),
        };
        let words = ["Hello", " wor", "ld", "!"].map(str::to_owned).to_vec();
        let execution = Uuid::from_u128(u128::from(number) << 64 | 0xe);
        Run { id, partition, envelope: Arc::new(envelope), words, execution }
    }

    pub fn task(&self, n: u128) -> Uuid {
        Uuid::from_u128(self.id.as_u128() ^ (n << 100))
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/internal/runs/{}{rest}", self.id)
    }

    pub fn text(&self) -> String {
        self.words.concat()
    }

    pub fn update(
        &self,
        number: u64,
        offset: u64,
        status: RunStatus,
        issued: Vec<IssuedTask>,
        happened: Vec<Happened>,
    ) -> UpdateRecord {
        UpdateRecord {
            envelope: Arc::clone(&self.envelope),
            position: RunsPosition { generation: 0, partition: self.partition, offset },
            update: Update { number: Some(number), status, at: NOW + number as i64, issued, happened },
            references: None,
        }
    }

    pub fn issued(&self, n: u128, node: &str) -> IssuedTask {
        IssuedTask {
            task_id: self.task(n),
            issue: 1,
            node: node.into(),
            ns: "".into(),
            path: TaskPath::Pull,
            triggers: [].into(),
            inner: None,
        }
    }

    pub fn done(&self, n: u128, node: &str, update: Value) -> TaskDone {
        TaskDone {
            task_id: self.task(n),
            issue: 1,
            execution: self.execution,
            attempt: 1,
            node: node.into(),
            ns: "".into(),
            update: serde_json::from_value(update).expect("what a node wrote"),
            error: None,
            interrupts: Vec::new(),
            last_token: None,
            calls: Vec::new(),
            restored: false,
            to_parent: false,
            answered: false,
        }
    }

    pub fn step(&self, step: i64, values: Value, next: Vec<IssuedTask>) -> Happened {
        let values = values.as_object().unwrap().iter().map(|(name, value)| (name.clone(), Arc::new(value.clone())));
        Happened::StepDone(Box::new(Checkpointed {
            checkpoint_id: ids::checkpoint_id(NOW + step, self.id, step),
            parent_id: (step > -1).then(|| ids::checkpoint_id(NOW + step - 1, self.id, step - 1)),
            ns: "".into(),
            step,
            source: if step < 0 { "input" } else { "loop" }.to_owned(),
            values: values.collect(),
            next,
            metadata: Default::default(),
            wrote: true,
            untracked: Default::default(),
            parents: Default::default(),
            unsaved: false,
            passing: false,
        }))
    }

    /// As [`Run::started`], on a thread that ends by itself.
    pub fn started_on_timed(&self, offset: u64, ttl: TimeToLive) -> UpdateRecord {
        let mut record = self.started(offset);
        for happened in &mut record.update.happened {
            if let Happened::Started(started) = happened {
                started.ttl = Some(ttl);
            }
        }
        record
    }

    pub fn started(&self, offset: u64) -> UpdateRecord {
        let prepare = self.issued(1, "prepare");
        let input = Some(Arc::new(json!({"question": "?"})));
        let started =
            Happened::Started(StartedRun { input, resumes: None, requested_at: NOW, keeps_last: false, ttl: None });
        let step = self.step(-1, json!({"question": "?"}), vec![prepare.clone()]);
        self.update(1, offset, RunStatus::Running, vec![prepare], vec![started, step])
    }

    pub fn prepared(&self, offset: u64) -> UpdateRecord {
        let answer = self.issued(2, "answer");
        let done = self.done(1, "prepare", json!({"prompt": "p"}));
        let step = self.step(0, json!({"question": "?", "prompt": "p"}), vec![answer.clone()]);
        self.update(2, offset, RunStatus::Running, vec![answer], vec![Happened::TaskDone(Box::new(done)), step])
    }

    pub fn message(&self) -> Value {
        json!({"type": "ai", "id": "m1", "content": self.text()})
    }

    pub fn ended(&self, offset: u64) -> UpdateRecord {
        let last = LastToken { execution: self.execution, attempt: 1, n: self.words.len() as u64 - 1 };
        let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
        let call = Call {
            id: CallId { task_id: self.task(2), issue: 1, execution: self.execution, n: 0 },
            provider: "scripted".to_owned(),
            model: "small".to_owned(),
            started_at: NOW,
            duration_ms: 5,
            outcome: "ok".to_owned(),
            usage,
            usage_source: UsageSource::Reported,
            prompt: None,
            answer: None,
        };
        let messages = json!({"messages": [self.message()]});
        let done = TaskDone { last_token: Some(last), calls: vec![call], ..self.done(2, "answer", messages.clone()) };
        let step = self.step(1, json!({"question": "?", "prompt": "p", "messages": [self.message()]}), Vec::new());
        let ended = Ended {
            status: RunStatus::Success,
            output: Some(serde_json::from_value(messages).expect("channels")),
            error: None,
            interrupts: Vec::new(),
            next: Vec::new(),
            values: None,
            inner: Default::default(),
            usage,
            rolled_back: false,
        };
        let happened = vec![Happened::TaskDone(Box::new(done)), step, Happened::Ended(Box::new(ended))];
        self.update(3, offset, RunStatus::Success, Vec::new(), happened)
    }

    pub fn token(&self, n: usize) -> TokenRecord {
        TokenRecord {
            envelope: Arc::clone(&self.envelope),
            at: NOW,
            token: Token {
                task_id: self.task(2),
                issue: 1,
                execution: self.execution,
                attempt: 1,
                n: n as u64,
                node: "answer".into(),
                checkpoint_ns: "".into(),
                message_id: "m1".to_owned(),
                kind: TokenKind::Text,
                delta: self.words[n].clone(),
            },
        }
    }
}
