//! `model` nodes whose calls have a budget.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::stream::BoxStream;
use graph::{
    envelope::{Principal, RunBudget},
    task::TaskResult,
    world::Clock,
};
use node_workers::{
    NodeRegistry, Spending,
    models::{ModelError, ModelEvent, ModelProvider, ModelRequest, Target, scripted::Scripted},
};
use quota::{
    Account, Amount, Ask, Balance, BudgetLimits, Budgets, InProcess, InProcessRates, Limit, Prices, QuotaError,
    RateLimit, RateLimits, Rates, Reserved, Spender,
};
use schemas::record::TaskRecord;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::bench::{Bench, WallClock};

/// A dollar for a million tokens.
const NANO_A_TOKEN: u64 = 1_000;

fn spending(limits: BudgetLimits) -> Spending {
    Spending {
        prices: Arc::new(Prices::with(&prices()).expect("prices")),
        limits: Arc::new(limits.into()),
        budgets: Arc::new(InProcess::new(Arc::new(WallClock))),
        output_tokens_max: 50,
        clock: Arc::new(WallClock),
        settling: TaskTracker::new(),
    }
}

fn prices() -> quota::prices::Table {
    serde_json::from_value(json!({"scripted": {"*": {"input": 1.0, "output": 1.0}}})).expect("a table of prices")
}

fn a_day(tokens: Option<u64>, nano_usd: Option<u64>) -> BudgetLimits {
    BudgetLimits { global_day: Limit { tokens, nano_usd }, ..BudgetLimits::default() }
}

async fn balance(spending: &Spending, record: &TaskRecord) -> Balance {
    let spender = Spender { envelope: &record.envelope, now: WallClock.now() };
    let ask = spending
        .limits
        .of_run(&record.envelope)
        .ask(spender, "look", Amount::default(), 0)
        .expect("no limit of a call");
    spending.budgets.balance(&ask.accounts[0]).await.expect("budgets")
}

async fn bench(model: &str, spending: Spending) -> Bench {
    let mut bench = Bench::new(&format!(
        "
version: 1
name: g
state: {{topic: string, messages: {{type: messages}}}}
models: {{m: {{use: \"scripted/{model}\"}}}}
nodes:
  ask: {{kind: model, model: m, prompt: '{{{{ topic }}}}'}}
edges: [START -> ask, ask -> END]
"
    ))
    .await;
    bench.spending = Some(spending);
    bench
}

async fn ask_often(bench: &Bench, times: usize) -> Vec<TaskResult> {
    let worker = bench.start(NodeRegistry::new());
    let mut results = Vec::new();
    for _ in 0..times {
        results.push(bench.result_of(&bench.task("ask", json!({"topic": "hi"}))).await);
    }
    worker.stop().await;
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_the_budget_is_not_made() {
    // Room for what one call may take (50 tokens of an answer, and what it is asked), and not for one and a bit.
    let spending = spending(a_day(None, Some(110 * NANO_A_TOKEN)));
    let bench = bench("echo?tokens=20", spending.clone()).await;
    let results = ask_often(&bench, 2).await;
    assert_eq!((&results[0].error, results[0].calls.len()), (&None, 1));
    let error = results[1].error.as_ref().expect("the budget is used up");
    assert_eq!((error.class.as_str(), error.retryable), ("budget_exceeded", false));
    assert!(error.message.starts_with("the budget global_day of $0.00011 is used up: $0.0000"), "{}", error.message);
    assert!(error.message.contains("; it begins anew at 2"), "{}", error.message);
    assert_eq!((results[1].calls.len(), results[1].last_token), (0, None), "nothing was sent, and nothing shown");

    let usage = results[0].calls[0].usage;
    let tokens = usage.input_tokens + usage.output_tokens;
    let budget = error.budget.as_deref().expect("which budget it was");
    assert_eq!((&*budget.scope, &*budget.unit, budget.limit), ("global_day", "nano_usd", 110 * NANO_A_TOKEN));
    assert_eq!((budget.spent, budget.reserved), (tokens * NANO_A_TOKEN, 0));
    assert!(budget.resets_at.is_some_and(|at| at > WallClock.now()), "{budget:?}");
    let spent = Amount { tokens, nano_usd: tokens * NANO_A_TOKEN };
    let expect = Balance { spent, reserved: Amount::default() };
    assert_eq!(balance(&spending, &bench.task("ask", json!({}))).await, expect, "what the call took, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_settled_too() {
    let spending = spending(a_day(Some(1_000_000), None));
    let bench = bench("echo?truncate=2", spending.clone()).await;
    let results = ask_often(&bench, 1).await;
    assert_eq!(results[0].error.as_ref().and_then(|error| error.kind.as_deref()), Some("truncated"));
    let Balance { spent, reserved } = balance(&spending, &bench.task("ask", json!({}))).await;
    let usage = results[0].calls[0].usage;
    assert_eq!((spent.tokens, reserved.tokens), (usage.input_tokens + usage.output_tokens, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_not_made_where_nobody_knows_whether_it_may_be() {
    struct Away;
    #[async_trait::async_trait]
    impl Budgets for Away {
        async fn reserve(&self, _: &Ask) -> Result<Reserved, QuotaError> {
            Err(QuotaError::Unavailable { reason: "a test".to_owned() })
        }
        async fn renew(&self, _: &Ask) -> Result<(), QuotaError> {
            unreachable!("no call is under way")
        }
        async fn settle(&self, _: &Ask, _: Amount) -> Result<(), QuotaError> {
            Err(QuotaError::Unavailable { reason: "a test".to_owned() })
        }
        async fn balance(&self, _: &Account) -> Result<Balance, QuotaError> {
            unreachable!("nobody asks")
        }
    }
    let spending = Spending { budgets: Arc::new(Away), ..spending(a_day(Some(1), None)) };
    let results = ask_often(&bench("echo", spending).await, 1).await;
    let error = results[0].error.as_ref().expect("the budgets are away");
    assert_eq!((error.class.as_str(), error.retryable), ("budget_store_unavailable", true));
    assert!(results[0].calls.is_empty());
}

/// Budgets whose answers are lost for a while: what they were asked is done all the same.
struct Unheard(InProcess, AtomicUsize);

impl Unheard {
    fn answer<T>(&self, answer: T) -> Result<T, QuotaError> {
        let is_lost = self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if is_lost { Err(QuotaError::Unavailable { reason: "a test".to_owned() }) } else { Ok(answer) }
    }
}

#[async_trait::async_trait]
impl Budgets for Unheard {
    async fn reserve(&self, ask: &Ask) -> Result<Reserved, QuotaError> {
        let answer = self.0.reserve(ask).await?;
        self.answer(answer)
    }
    async fn renew(&self, ask: &Ask) -> Result<(), QuotaError> {
        self.0.renew(ask).await
    }
    async fn settle(&self, ask: &Ask, spent: Amount) -> Result<(), QuotaError> {
        self.answer(())?;
        self.0.settle(ask, spent).await
    }
    async fn balance(&self, account: &Account) -> Result<Balance, QuotaError> {
        self.0.balance(account).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_without_an_answer_is_given_back() {
    let budgets = Arc::new(Unheard(InProcess::new(Arc::new(WallClock)), AtomicUsize::new(3)));
    let spending = Spending { budgets, ..spending(a_day(Some(1_000_000), None)) };
    let bench = bench("echo", spending.clone()).await;
    let results = ask_often(&bench, 1).await;
    assert_eq!(results[0].error.as_ref().map(|error| error.class.as_str()), Some("budget_store_unavailable"));
    spending.settled(Duration::from_secs(10)).await;
    assert_eq!(balance(&spending, &bench.task("ask", json!({}))).await, Balance::default());
}

/// Sets aside, and never says so.
struct Mute(InProcess);

#[async_trait::async_trait]
impl Budgets for Mute {
    async fn reserve(&self, ask: &Ask) -> Result<Reserved, QuotaError> {
        self.0.reserve(ask).await?;
        std::future::pending().await
    }
    async fn renew(&self, ask: &Ask) -> Result<(), QuotaError> {
        self.0.renew(ask).await
    }
    async fn settle(&self, ask: &Ask, spent: Amount) -> Result<(), QuotaError> {
        self.0.settle(ask, spent).await
    }
    async fn balance(&self, account: &Account) -> Result<Balance, QuotaError> {
        self.0.balance(account).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_given_up_while_it_asks_leaves_nothing_set_aside() {
    let budgets = Arc::new(Mute(InProcess::new(Arc::new(WallClock))));
    let spending = Spending { budgets, ..spending(a_day(Some(1_000_000), None)) };
    let record = bench("echo", spending.clone()).await.task("ask", json!({}));
    let target = Target { provider: Arc::new(Scripted::default()), model: "echo".to_owned() };
    let mut request = ModelRequest::default();
    let asking = spending.reserve(&record.envelope, "call", &target, &mut request);
    assert!(tokio::time::timeout(Duration::from_millis(50), asking).await.is_err(), "it is given up");
    spending.settled(Duration::from_secs(10)).await;
    assert_eq!(balance(&spending, &record).await, Balance::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minutes_tokens_are_taken_by_calls() {
    let mut bench = bench("echo", spending(a_day(None, None))).await;
    let limits = RateLimits { user: RateLimit { requests: None, tokens: Some(1_000) }, ..RateLimits::default() };
    let rates = Arc::new(InProcessRates::new(limits, Arc::new(WallClock)));
    bench.rates = Some(Arc::clone(&rates) as _);
    let worker = bench.start(NodeRegistry::new());
    let mut task = bench.task("ask", json!({"topic": "x ".repeat(8_000)}));
    let ada = Principal { key: None, user: Some("ada".to_owned()) };
    Arc::make_mut(&mut task.envelope).principal = ada.clone();
    let usage = bench.result_of(&task).await.calls[0].usage;
    worker.stop().await;
    assert!(usage.input_tokens + usage.output_tokens > 1_000, "{usage:?}");
    let refused = rates.admit("default", &ada).await.expect("they are here").expect_err("her minute is used up");
    assert_eq!((refused.kind, refused.of, refused.limit), ("user", "tokens", 1_000));
    let bob = Principal { key: None, user: Some("bob".to_owned()) };
    assert!(rates.admit("default", &bob).await.expect("they are here").is_ok());
}

/// The scripted model under a name that no table knows.
struct Unknown(Scripted);

impl ModelProvider for Unknown {
    fn name(&self) -> &str {
        "acme"
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.0.stream(request)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_price_is_held_by_tokens_alone() {
    let record = bench("echo", spending(a_day(None, None))).await.task("ask", json!({}));
    let target = Target { provider: Arc::new(Unknown(Scripted::default())), model: "m-1".to_owned() };
    let reserve = async |limits| {
        let mut request = ModelRequest::default();
        let held = spending(limits).reserve(&record.envelope, "call", &target, &mut request).await;
        held.map(|_| request.settings.max_tokens)
    };
    let error = reserve(a_day(Some(1_000), Some(u64::MAX))).await.expect_err("it has no price");
    assert!(error.message.contains("add [prices.acme.\"m-1\"]"), "{}", error.message);
    assert_eq!(reserve(a_day(Some(1_000), None)).await.expect("room"), Some(50), "it may answer what is set aside");
    assert_eq!(reserve(a_day(Some(49), None)).await.expect_err("no room").class, "budget_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_graph_says_that_a_run_may_cost_is_held() {
    let bench = bench("echo?tokens=20", spending(BudgetLimits::default())).await;
    let ask = async |nano_usd| {
        let mut task = bench.task("ask", json!({"topic": "hi"}));
        Arc::make_mut(&mut task.envelope).budget = RunBudget { nano_usd, pauses: false };
        let worker = bench.start(NodeRegistry::new());
        let result = bench.result_of(&task).await;
        worker.stop().await;
        result
    };
    assert_eq!(ask(None).await.error, None, "nothing limits it");
    let error = ask(Some(40 * NANO_A_TOKEN)).await.error.expect("a call may take more");
    let budget = error.budget.as_deref().expect("which budget it was");
    assert_eq!((&*budget.scope, budget.limit, budget.resets_at), ("run", 40 * NANO_A_TOKEN, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_pauses_asks_until_there_is_room() {
    let bench = bench("echo?tokens=20", spending(a_day(None, Some(1)))).await;
    let mut asked = Vec::new();
    for answers in 0..2 {
        let mut task = bench.task("ask", json!({"topic": "hi"}));
        Arc::make_mut(&mut task.envelope).budget.pauses = true;
        task.task.answers = std::iter::repeat_with(|| Arc::new(json!("go on"))).take(answers).collect();
        let worker = bench.start(NodeRegistry::new());
        let result = bench.result_of(&task).await;
        worker.stop().await;
        assert_eq!((result.error, result.calls.len(), result.interrupts.len()), (None, 0, 1));
        let value = &result.interrupts[0].value;
        assert_eq!((&value["kind"], &value["budget"]["scope"]), (&json!("budget_exceeded"), &json!("global_day")));
        asked.push(result.interrupts[0].id.clone());
    }
    assert_ne!(asked[0], asked[1], "it was answered, and asks again");
}
