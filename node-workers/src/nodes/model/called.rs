//! One call under way: its deltas are put out, and its usage is reported however it ends.

use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use graph::{message, task::UsageSource};
use schemas::record::TokenKind;
use serde_json::Value;
use traces::{Span, names};

use super::Routed;

use crate::{
    calls::CallUnderWay,
    metrics,
    models::{Answer, Cause, ModelError, ModelEvent, ModelRequest, Target, estimated_usage},
    nodes::NodeContext,
    spending::Held,
    trace,
};

pub struct Called<'a> {
    context: &'a NodeContext,
    target: &'a Target,
    /// None for an answer that nobody is to see.
    message_id: Option<&'a str>,
    request: ModelRequest,
    /// None once its end is reported.
    call: Option<CallUnderWay>,
    /// What is set aside for it.
    held: Option<Held>,
    answer: Answer,
    shown: bool,
    span: Span,
}

impl<'a> Called<'a> {
    pub fn begin(
        target: &'a Target,
        request: ModelRequest,
        held: Option<Held>,
        context: &'a NodeContext,
        message_id: &'a str,
    ) -> Self {
        let mut called = Called::quiet(target, request, held, context);
        called.message_id = Some(message_id);
        called
    }

    /// A call that is none of the conversation.
    pub fn quiet(target: &'a Target, request: ModelRequest, held: Option<Held>, context: &'a NodeContext) -> Self {
        let call = context.calls().begin(target.provider.name(), target.name(), || {
            shown_prompt(&request.messages, context.calls().content_bytes_max())
        });
        let call_id = call.id();
        let span = trace::chat(context.envelope(), context.trace, target, &request.settings, &call_id);
        let below = span.context().or(context.trace);
        let request = ModelRequest { model: target.model.clone(), call_id, trace: below, ..request };
        let (call, answer) = (Some(call), Answer::default());
        Called { context, target, message_id: None, request, call, held, answer, shown: false, span }
    }

    /// Tells its span why this model is asked.
    pub fn routed(&mut self, routed: &Routed) {
        let Some(span) = self.span.recorded() else { return };
        span.set(names::ROUTE_ALIAS, routed.alias.clone());
        span.set(names::ROUTE_TIER, routed.tier.clone());
        span.set(names::ROUTE_BY, routed.by);
    }

    /// Something of the answer was put out.
    pub fn shown(&self) -> bool {
        self.shown
    }

    pub async fn read(&mut self) -> Result<Answer, ModelError> {
        let mut events = self.target.provider.stream(self.request.clone());
        while let Some(event) = self.next(&mut events).await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => return Err(self.failed(error)),
            }
        }
        if self.answer.stop_reason.is_none() {
            return Err(self.failed(ModelError::new(Cause::Truncated, "the answer ended without its end")));
        }
        self.report("ok", "");
        Ok(std::mem::take(&mut self.answer))
    }

    /// Speaks up for what is set aside while the answer comes.
    async fn next<T>(&self, events: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
        let Some(held) = &self.held else { return events.next().await };
        loop {
            tokio::select! {
                event = events.next() => return event,
                () = tokio::time::sleep(Held::SPEAK_UP) => held.renew().await,
            }
        }
    }

    fn take(&mut self, event: ModelEvent) {
        let delta = match &event {
            ModelEvent::Text(delta) => Some((TokenKind::Text, delta)),
            ModelEvent::Reasoning(delta) => Some((TokenKind::Reasoning, delta)),
            ModelEvent::ToolCall { arguments, .. } => Some((TokenKind::ToolCall, arguments)),
            ModelEvent::Usage(_) | ModelEvent::Done { .. } => None,
        };
        if let Some((kind, delta)) = delta {
            if let (false, Some(call)) = (self.shown, &self.call) {
                let seconds = call.elapsed_seconds();
                metrics::count_first_token(self.target.provider.name(), self.target.name(), seconds);
                self.span.set(names::TIME_TO_FIRST_CHUNK, seconds);
            }
            self.shown = true;
            if let Some(message_id) = self.message_id {
                self.context.tokens().emit(kind, message_id, delta);
            }
        }
        self.answer.take(event);
    }

    fn failed(&mut self, error: ModelError) -> ModelError {
        self.report(error.cause.as_str(), &error.message);
        error
    }

    /// What a provider doesn't report is estimated: sent is spent, also where little or nothing came back.
    fn report(&mut self, outcome: &str, why: &str) {
        let Some(mut call) = self.call.take() else { return };
        let (usage, source) = match self.answer.usage {
            Some(usage) => (usage, UsageSource::Reported),
            None => (estimated_usage(&self.request, &self.answer), UsageSource::Estimated),
        };
        call.used(usage, source);
        self.context.took(&usage);
        if let Some(held) = self.held.take() {
            held.settle(&usage);
        }
        trace::chat_ended(&mut self.span, &self.answer, &usage, source, outcome, why);
        self.span.end();
        self.answer.usage = Some(usage);
        call.end(outcome, || self.answer.text.as_str().into());
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        self.report(Cause::Cancelled.as_str(), "the call was given up");
    }
}

/// The last messages, as many as fit: a long conversation isn't copied into each of its calls.
fn shown_prompt(messages: &[Arc<Value>], bytes_max: usize) -> Value {
    let mut bytes = 0;
    let fits = |message: &&Arc<Value>| {
        bytes += message::text(message).len();
        bytes <= bytes_max
    };
    let kept = messages.iter().rev().take_while(fits).count().max(1);
    let first = messages.len().saturating_sub(kept);
    messages[first..].iter().map(|message| Value::clone(message)).collect()
}
