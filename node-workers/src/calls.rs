//! What an execution called and what it used: reported whatever became of the attempt that called.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use graph::{
    envelope::Millis,
    task::{Call, CallId, TaskId, Usage, UsageSource},
    world::Clock,
};
use quota::Prices;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{metrics, models::Target};

/// Whether prompts and answers are kept with a call, and how much of each.
#[derive(Clone, Copy, Debug)]
pub struct CallContent {
    pub kept: bool,
    pub bytes_max: usize,
}

impl Default for CallContent {
    fn default() -> Self {
        CallContent { kept: true, bytes_max: 16 * 1024 }
    }
}

/// The calls of one execution, in the order in which they began.
#[derive(Clone)]
pub struct CallRecorder(Arc<Recording>);

struct Recording {
    task_id: TaskId,
    issue: u32,
    execution: Uuid,
    clock: Arc<dyn Clock>,
    content: CallContent,
    prices: Arc<Prices>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    begun: u32,
    ended: Vec<Call>,
}

impl CallRecorder {
    pub(crate) fn new(
        (task_id, issue, execution): (TaskId, u32, Uuid),
        clock: Arc<dyn Clock>,
        content: CallContent,
        prices: Arc<Prices>,
    ) -> Self {
        CallRecorder(Arc::new(Recording { task_id, issue, execution, clock, content, prices, calls: Mutex::default() }))
    }

    /// Begins a call. Dropped without [`CallUnderWay::end`] it was cancelled, and is reported as that.
    pub fn begin(&self, provider: &str, model: &str, prompt: impl FnOnce() -> Value) -> CallUnderWay {
        let recording = &self.0;
        let n = {
            let mut calls = recording.lock();
            let n = calls.begun;
            calls.begun += 1;
            n
        };
        let id = CallId { task_id: recording.task_id, issue: recording.issue, execution: recording.execution, n };
        let call = Call {
            id,
            provider: provider.to_owned(),
            model: model.to_owned(),
            started_at: recording.clock.now(),
            duration_ms: 0,
            outcome: "cancelled".to_owned(),
            usage: Usage::default(),
            usage_source: UsageSource::Missing,
            prompt: recording.content.kept.then(|| bounded(prompt(), recording.content.bytes_max)),
            answer: None,
        };
        CallUnderWay { recorder: self.clone(), call: Some(call), started: Instant::now() }
    }

    /// What an answer cost that is not asked for again.
    pub(crate) fn saved(&self, kind: &'static str, provider: &str, model: &str, usage: &Usage) {
        let cost = self.0.prices.cost(provider, model, usage);
        metrics::saved(kind, provider, model, cost.unwrap_or(0));
    }

    /// What these tokens cost there. None without a price.
    pub(crate) fn cost(&self, target: &Target, usage: &Usage) -> Option<u64> {
        self.0.prices.cost(target.provider.name(), target.name(), usage)
    }

    /// What asking this target in place of the dearest one has saved; what it has lost counts as nothing.
    pub(crate) fn saved_by_route(&self, target: &Target, nano_usd: i128) {
        let saved = u64::try_from(nano_usd.max(0)).unwrap_or(u64::MAX);
        metrics::saved("route", target.provider.name(), target.name(), saved);
    }

    pub(crate) fn now(&self) -> Millis {
        self.0.clock.now()
    }

    /// Bytes of a prompt that are kept.
    pub(crate) fn content_bytes_max(&self) -> usize {
        self.0.content.bytes_max
    }

    pub(crate) fn take(&self) -> Vec<Call> {
        let mut calls = std::mem::take(&mut self.0.lock().ended);
        calls.sort_by_key(|call| call.id.n);
        calls
    }
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose end is not known yet.
pub struct CallUnderWay {
    recorder: CallRecorder,
    call: Option<Call>,
    started: Instant,
}

impl CallUnderWay {
    pub fn id(&self) -> String {
        self.call.as_ref().map(|call| call.id.to_string()).unwrap_or_default()
    }

    /// What is known so far, for the case that nothing follows.
    pub fn used(&mut self, usage: Usage, source: UsageSource) {
        if let Some(call) = &mut self.call {
            (call.usage, call.usage_source) = (usage, source);
        }
    }

    /// `outcome` is `ok` or why it failed.
    pub fn end(mut self, outcome: &str, answer: impl FnOnce() -> Value) {
        let content = self.recorder.0.content;
        if let Some(call) = &mut self.call {
            outcome.clone_into(&mut call.outcome);
            call.answer = content.kept.then(|| bounded(answer(), content.bytes_max));
        }
    }

    pub fn elapsed_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let Some(mut call) = self.call.take() else { return };
        call.duration_ms = self.started.elapsed().as_millis() as u64;
        price(&mut call, &self.recorder.0.prices);
        metrics::count_call(&call);
        self.recorder.0.lock().ended.push(call);
    }
}

/// A cost that the service which called tells stands; of a call whose tokens are not known neither is the cost.
fn price(call: &mut Call, prices: &Prices) {
    if call.usage.cost_nano_usd > 0 {
        return;
    }
    let known = (call.usage_source != UsageSource::Missing).then_some(());
    let cost = known.and_then(|()| prices.cost(&call.provider, &call.model, &call.usage));
    call.usage.cost_nano_usd = cost.unwrap_or(0);
    call.usage.calls_unpriced = u64::from(cost.is_none());
}

/// The value, or the beginning of its text where it is larger.
fn bounded(value: Value, bytes_max: usize) -> Arc<Value> {
    let text = match &value {
        Value::String(text) if text.len() <= bytes_max => return Arc::new(value),
        Value::String(text) => text.clone(),
        other => {
            let text = other.to_string();
            if text.len() <= bytes_max {
                return Arc::new(value);
            }
            text
        }
    };
    Arc::new(format!("{}… ({} bytes)", &text[..text.floor_char_boundary(bytes_max)], text.len()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> i64 {
            self.0
        }
    }

    fn prices() -> Prices {
        let own = serde_json::from_value(serde_json::json!({"p": {"m": {"input": 2.0, "output": 8.0}}}));
        Prices::with(&own.expect("a table")).expect("prices")
    }

    fn recorder(content: CallContent) -> CallRecorder {
        CallRecorder::new((Uuid::from_u128(1), 2, Uuid::from_u128(3)), Arc::new(At(9)), content, Arc::new(prices()))
    }

    #[tokio::test]
    async fn a_dropped_call_is_reported_as_cancelled_with_what_it_used() {
        let recorder = recorder(CallContent::default());
        let first = recorder.begin("p", "m", || "asked".into());
        let mut second = recorder.begin("p", "m", || Value::Null);
        second.used(Usage { input_tokens: 3, ..Usage::default() }, UsageSource::Estimated);
        drop(second);
        first.end("ok", || "said".into());
        let calls = recorder.take();
        let seen: Vec<_> =
            calls.iter().map(|call| (call.id.n, &*call.outcome, call.usage.input_tokens, call.usage_source)).collect();
        assert_eq!(
            seen,
            [(0, "ok", 0, UsageSource::Missing), (1, "cancelled", 3, UsageSource::Estimated)],
            "in the order in which they began"
        );
        assert_eq!(calls[0].answer.as_deref(), Some(&Value::from("said")));
    }

    #[tokio::test]
    async fn every_call_is_priced_or_said_to_have_no_price() {
        let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        let told = Usage { cost_nano_usd: 7, ..usage };
        for (model, used, expect) in [
            ("m", Some((usage, UsageSource::Reported)), (60_000, 0)),
            ("m", Some((usage, UsageSource::Estimated)), (60_000, 0)),
            ("m", Some((told, UsageSource::Reported)), (7, 0)),
            ("unknown", Some((usage, UsageSource::Reported)), (0, 1)),
            // Cut off before anybody knew what it took.
            ("m", None, (0, 1)),
        ] {
            let recorder = recorder(CallContent::default());
            let mut call = recorder.begin("p", model, || Value::Null);
            if let Some((usage, source)) = used {
                call.used(usage, source);
            }
            drop(call);
            let usage = recorder.take().remove(0).usage;
            assert_eq!((usage.cost_nano_usd, usage.calls_unpriced), expect, "{model}, {used:?}");
        }
    }

    #[tokio::test]
    async fn content_is_bounded_or_left_out() {
        let long = || Value::from("ä".repeat(20));
        let small = recorder(CallContent { kept: true, bytes_max: 5 });
        small.begin("p", "m", long).end("ok", || Value::from("short"));
        let call = small.take().remove(0);
        assert_eq!(call.prompt.as_deref(), Some(&Value::from("ää… (40 bytes)")));
        assert_eq!(call.answer.as_deref(), Some(&Value::from("short")));
        let off = recorder(CallContent { kept: false, bytes_max: 5 });
        off.begin("p", "m", || panic!("not even made")).end("ok", long);
        let call = off.take().remove(0);
        assert_eq!((call.prompt, call.answer), (None, None));
    }
}
