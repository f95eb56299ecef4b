//! OpenAI's chat completions in chunks: the text of the answer as it comes, then why it ended.
//!
//! Its clients know no second attempt, no gap and no end without a word: where one of them comes, the stream ends with an
//! error, which they raise (<https://platform.openai.com/docs/api-reference/chat-streaming>).

use std::{borrow::Cow, collections::BTreeSet};

use graph::{
    envelope::RunId,
    task::TaskId,
    update::{Ended, RunStatus},
};
use schemas::{
    error::{Code, ErrorBody},
    openai::{Choice, Completion, CompletionUsage, FinishReason, Said, ToolCall, error_frame, question},
    record::TokenKind,
};
use serde_json::json;

use super::{DONE, frame};
use crate::{
    answer,
    facts::{Fact, Resumed, Shown},
    run_error,
};

const CHUNK: &str = "chat.completion.chunk";

pub struct Stream {
    usage: bool,
    /// What every chunk begins with, once the run is known.
    head: Option<Completion>,
    run: RunId,
    /// The tasks whose text was put out.
    written: BTreeSet<TaskId>,
    failed: bool,
}

impl Stream {
    /// `usage`: the last chunk says what the run took.
    pub fn new(usage: bool) -> Self {
        Stream { usage, head: None, run: RunId::nil(), written: BTreeSet::new(), failed: false }
    }

    pub fn render(&mut self, shown: &Shown, out: &mut Vec<u8>) {
        if self.failed {
            return;
        }
        match &shown.fact {
            Fact::Metadata { envelope, resumed } => {
                let head = Completion::of(envelope.run_id, &envelope.graph.name, CHUNK);
                self.run = envelope.run_id;
                self.head = Some(Completion { thread_id: envelope.thread_id.clone(), ..head });
                match resumed {
                    None => self.delta(Said { role: Some("assistant".to_owned()), ..text("") }, out),
                    Some(Resumed::Recovered) => {}
                    Some(Resumed::Lost(_)) => self.fail("a part of the stream is gone; the run's answer is whole", out),
                }
            }
            Fact::Token(record) if record.token.kind == TokenKind::Text => {
                self.written.insert(record.token.task_id);
                self.delta(text(&record.token.delta), out);
            }
            Fact::Token(record) if record.token.kind == TokenKind::Reasoning => {
                self.delta(Said { reasoning_content: Some(record.token.delta.clone()), ..Said::default() }, out);
            }
            Fact::WholeText(whole) => {
                self.written.insert(whole.task_id);
                self.delta(text(&whole.text), out);
            }
            Fact::AttemptReset { task_id, .. } if self.written.contains(task_id) => {
                self.fail("an attempt failed after a part of its answer was sent; the run goes on with another", out);
            }
            Fact::Interrupt(of) => {
                for interrupt in of.get().into_iter().flat_map(|ended| &ended.interrupts) {
                    self.delta(text(&question(&interrupt.value)), out);
                }
            }
            Fact::Error(of) => {
                if let Some(error) = of.get().and_then(|ended| run_error::of(ended, of.record.envelope.run_id)) {
                    self.fail_with(&ErrorBody { error }, out);
                }
            }
            Fact::Final(of) => {
                if let Some(ended) = of.get() {
                    self.end(ended, out);
                }
            }
            Fact::Token(_)
            | Fact::Happened(_)
            | Fact::NodeStarted(_)
            | Fact::NodeFinished(_)
            | Fact::AttemptReset { .. } => {}
        }
    }

    /// A chunk, for clients that take a stream of comments for dead.
    pub fn heartbeat(&self) -> Cow<'static, [u8]> {
        let mut out = Vec::new();
        self.delta(Said::default(), &mut out);
        if out.is_empty() { Cow::Borrowed(b": keep-alive\n\n") } else { Cow::Owned(out) }
    }

    fn end(&mut self, ended: &Ended, out: &mut Vec<u8>) {
        if ended.status == RunStatus::Cancelled {
            return self.fail_with(&ErrorBody::new(Code::RunCancelled, "the run was cancelled"), out);
        }
        let last = ended.output.as_ref().and_then(answer::last_message);
        let (said, reason) = last.map_or((Said::default(), FinishReason::Stop), Said::of);
        let tool_calls = said.tool_calls.into_iter().zip(0..).map(|(call, n)| ToolCall { index: Some(n), ..call });
        let tool_calls: Vec<ToolCall> = tool_calls.collect();
        if !tool_calls.is_empty() {
            self.delta(Said { tool_calls, ..Said::default() }, out);
        }
        let questions = (!ended.interrupts.is_empty()).then(|| json!(ended.interrupts));
        let choice = Choice { delta: Some(Said::default()), finish_reason: Some(reason), ..Choice::default() };
        self.chunk(|head| Completion { choices: vec![choice], interrupts: questions, ..head }, out);
        if self.usage {
            let usage = Some(Some(CompletionUsage::from(ended.usage)));
            self.chunk(|head| Completion { usage, ..head }, out);
        }
        frame(None, None, DONE, out);
    }

    fn delta(&self, said: Said, out: &mut Vec<u8>) {
        let choice = Choice { delta: Some(said), ..Choice::default() };
        self.chunk(|head| Completion { choices: vec![choice], ..head }, out);
    }

    fn chunk(&self, fill: impl FnOnce(Completion) -> Completion, out: &mut Vec<u8>) {
        let Some(head) = &self.head else { return };
        let head = Completion { usage: self.usage.then_some(None), ..head.clone() };
        frame(None, None, &serde_json::to_vec(&fill(head)).unwrap_or_default(), out);
    }

    fn fail(&mut self, says: &str, out: &mut Vec<u8>) {
        let Some(Completion { model, .. }) = &self.head else { return };
        let run = self.run;
        let says = format!("{says}: GET /graphs/{model}/runs/{run}");
        self.fail_with(&ErrorBody::new(Code::StreamCut, says).run_id(run), out);
    }

    fn fail_with(&mut self, error: &ErrorBody, out: &mut Vec<u8>) {
        self.failed = true;
        out.extend(error_frame(error));
    }
}

fn text(text: &str) -> Said {
    Said { content: Some(Some(text.to_owned())), ..Said::default() }
}
