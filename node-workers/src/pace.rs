//! What calls take of a minute's tokens: whoever begins runs too fast learns it by that.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use graph::{envelope::Envelope, task::Usage};
use quota::Rates;
use tokio_util::task::TaskTracker;

#[derive(Clone)]
pub struct Pace {
    rates: Arc<dyn Rates>,
    /// What could not be told at once.
    telling: TaskTracker,
}

impl Pace {
    pub fn new(rates: Arc<dyn Rates>) -> Self {
        Pace { rates, telling: TaskTracker::new() }
    }

    /// Nobody waits for it. Where it can't be told it isn't told again: it may have been heard.
    pub fn took(&self, envelope: &Arc<Envelope>, usage: &Usage) {
        let (rates, envelope) = (Arc::clone(&self.rates), Arc::clone(envelope));
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let mut told: BoxFuture<'static, ()> = Box::pin(async move {
            if let Err(error) = rates.spent(&envelope.tenant, &envelope.principal, tokens).await {
                tracing::warn!(tokens, error = %error, "what a call took could not be told to the rates");
            }
        });
        if told.as_mut().now_or_never().is_none() {
            self.telling.spawn(told);
        }
    }

    /// Returns when all is told that can be.
    pub async fn told(&self) {
        self.telling.close();
        self.telling.wait().await;
    }
}
