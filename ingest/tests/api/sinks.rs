//! A sink that speaks the internal HTTP over what it reads on `runs`, as if every run ended at once: by its first
//! message a run fails (`fail`), asks (`ask`), goes on for ever (`slow`), or is answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{body::Body, response::Response};
use event_log::{EventLog, Start};
use graph::{event::Event, task::Usage, update::RunStatus};
use http::{Request, StatusCode};
use ingest::{SinkUnavailable, Sinks};
use schemas::{
    error::{Code, ErrorBody},
    http::{List, RunView, UsageSum},
    record::RunsRecord,
    stream::{MOVED_STATUS, TENANT_HEADER, Waited},
    topic::RUNS,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::stage::PARTITIONS;

type Runs = BTreeMap<(String, String), RunView>;

pub struct TestSinks {
    runs: watch::Sender<Runs>,
    /// Partition and path with query of every call.
    pub calls: Mutex<Vec<(Option<u32>, String)>>,
    /// So many calls find no sink.
    pub down_for: Mutex<u32>,
    /// So many calls find one that does not serve the partition any more.
    pub moved_for: Mutex<u32>,
    /// What each answer takes.
    pub slow: Mutex<Duration>,
    /// The next stream ends at once, since its partition moves.
    pub moves_stream: Mutex<bool>,
}

impl TestSinks {
    pub async fn start(log: &Arc<dyn EventLog>, tasks: &TaskTracker, shutdown: &CancellationToken) -> Arc<Self> {
        let sinks = Arc::new(TestSinks {
            runs: watch::Sender::new(Runs::new()),
            calls: Mutex::new(Vec::new()),
            down_for: Mutex::new(0),
            moved_for: Mutex::new(0),
            slow: Mutex::new(Duration::ZERO),
            moves_stream: Mutex::new(false),
        });
        for partition in 0..PARTITIONS {
            let mut reader = log.read(RUNS, partition, Start::Earliest).await.unwrap();
            let (sinks, shutdown) = (Arc::clone(&sinks), shutdown.clone());
            tasks.spawn(async move {
                while let Some(Ok(fetched)) = shutdown.run_until_cancelled(reader.next()).await {
                    for record in fetched {
                        let record = record.json::<RunsRecord>().unwrap();
                        sinks.runs.send_modify(|runs| apply(runs, &record));
                    }
                }
            });
        }
        sinks
    }

    async fn answer(&self, path: &str, query: &str, tenant: &str) -> Response {
        let parts: Vec<&str> = path.trim_start_matches("/internal/").split('/').collect();
        let registers = query.contains("register=true");
        match parts[..] {
            ["runs"] => self.list(query, tenant),
            ["runs", run] => match self.view(tenant, run) {
                Some(view) => json_response(&view),
                None => not_found(Code::RunNotFound),
            },
            ["runs", run, "wait"] if registers || self.view(tenant, run).is_some() => {
                json_body(self.waited(tenant, run, param(query, "timeout_ms")))
            }
            ["runs", run, "stream"] if registers || self.view(tenant, run).is_some() => {
                if std::mem::take(&mut *self.moves_stream.lock().unwrap()) {
                    let moved = schemas::stream::moved_chunk("0.9");
                    return json_body(std::future::ready(moved));
                }
                events(self.runs.subscribe(), tenant, run, param(query, "after"))
            }
            ["usage"] => {
                let group = [("graph", "support"), ("user", "a, \"b\"")];
                let group = group.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
                let sum =
                    UsageSum { group, calls: 2, input_tokens: 7, cost_nano_usd: 1_500_000_001, ..UsageSum::default() };
                json_response(&List { data: vec![sum], next_cursor: None })
            }
            ["threads"] => {
                let runs = self.runs.borrow();
                let own = runs.iter().filter(|((owner, _), _)| owner == tenant);
                let threads: std::collections::BTreeSet<_> =
                    own.filter_map(|(_, view)| view.thread_id.clone()).collect();
                let thread = |id| json!({"thread_id": id, "status": "idle", "metadata": {"graph_id": "support"}});
                json_response(&List { data: threads.into_iter().map(thread).collect::<Vec<_>>(), next_cursor: None })
            }
            ["threads", thread] => self.thread(
                tenant,
                thread,
                |thread| json!({"thread_id": thread, "status": "idle", "metadata": {"graph_id": "support"}}),
            ),
            ["threads", thread, "state"] => {
                self.thread(tenant, thread, |_| json!({"values": {"topic": "x"}, "next": []}))
            }
            ["threads", thread, "history"] => self.thread(tenant, thread, |_| json!([{"values": {}, "query": query}])),
            _ => not_found(Code::NotFound),
        }
    }

    fn view(&self, tenant: &str, run: &str) -> Option<RunView> {
        self.runs.borrow().get(&(tenant.to_owned(), run.to_owned())).cloned()
    }

    fn list(&self, query: &str, tenant: &str) -> Response {
        let fits = |view: &RunView| {
            param(query, "graph").is_none_or(|graph| view.graph == graph)
                && param(query, "thread_id").is_none_or(|thread| view.thread_id.as_deref() == Some(&thread))
                && param(query, "user").is_none_or(|user| view.user.as_deref() == Some(&user))
                && param(query, "status").is_none_or(|status| view.status.as_str() == status)
        };
        let runs = self.runs.borrow();
        let data = runs.iter().filter(|((owner, _), view)| owner == tenant && fits(view)).map(|(_, view)| view.clone());
        json_response(&List { data: data.collect(), next_cursor: None })
    }

    fn thread(&self, tenant: &str, thread: &str, answer: impl Fn(&str) -> Value) -> Response {
        let thread = decoded(thread);
        let known = self
            .runs
            .borrow()
            .iter()
            .any(|((owner, _), view)| owner == tenant && view.thread_id.as_deref() == Some(&thread));
        if known { json_response(&answer(&thread)) } else { not_found(Code::ThreadNotFound) }
    }

    fn waited(&self, tenant: &str, run: &str, timeout: Option<String>) -> impl Future<Output = String> + Send + use<> {
        let key = (tenant.to_owned(), run.to_owned());
        let mut runs = self.runs.subscribe();
        let timeout = Duration::from_millis(timeout.and_then(|text| text.parse().ok()).unwrap());
        async move {
            let ended = runs.wait_for(|runs| runs.get(&key).is_some_and(|view| view.status.is_terminal()));
            let waited = match tokio::time::timeout(timeout, ended).await {
                Ok(Ok(runs)) => Waited::Ended(Box::new(runs[&key].clone())),
                Ok(Err(_)) => Waited::Moved,
                Err(_) => Waited::StillRunning,
            };
            serde_json::to_string(&waited).unwrap()
        }
    }
}

#[async_trait]
impl Sinks for TestSinks {
    async fn call(&self, partition: Option<u32>, request: Request<Body>) -> Result<Response, SinkUnavailable> {
        {
            let mut down = self.down_for.lock().unwrap();
            if *down > 0 {
                *down -= 1;
                return Err(SinkUnavailable { reason: "moving".to_owned() });
            }
        }
        {
            let mut moved = self.moved_for.lock().unwrap();
            if *moved > 0 {
                *moved -= 1;
                return Ok(status(StatusCode::from_u16(MOVED_STATUS).unwrap()));
            }
        }
        let path = request.uri().path_and_query().unwrap().to_string();
        self.calls.lock().unwrap().push((partition, path));
        let tenant = request.headers()[TENANT_HEADER].to_str().unwrap().to_owned();
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        Ok(self.answer(request.uri().path(), request.uri().query().unwrap_or_default(), &tenant).await)
    }
}

fn apply(runs: &mut Runs, record: &RunsRecord) {
    let envelope = &record.envelope;
    let key = (envelope.tenant.clone(), envelope.run_id.to_string());
    match &record.event {
        Event::Cancelled { .. } => {
            let view = runs.get_mut(&key).expect("only a known run is cancelled");
            view.status = RunStatus::Cancelled;
        }
        Event::Requested(request) => {
            if runs.contains_key(&key) {
                assert!(request.repeat, "a second record of one run says that it is one");
                return;
            }
            let input = request.input.as_deref().cloned().unwrap_or_default();
            let said = input.pointer("/messages/0/content").and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut messages = input["messages"].as_array().cloned().unwrap_or_default();
            messages.push(json!({"type": "ai", "content": format!("you said {said}")}));
            let total = input["left"].as_i64().unwrap_or_default() + input["right"].as_i64().unwrap_or_default();
            let output =
                if envelope.graph.name == "sum" { json!({"total": total}) } else { json!({"messages": messages}) };
            let (status, error) = match said.as_str() {
                "fail" => (
                    RunStatus::Error,
                    Some(ErrorBody::new(Code::NodeFailed, "node answer failed: boom").param("answer").error),
                ),
                "busy" => (RunStatus::Error, Some(ErrorBody::new(Code::ThreadBusy, "the thread has a run").error)),
                "ask" => (RunStatus::Interrupted, None),
                "slow" => (RunStatus::Running, None),
                _ => (RunStatus::Success, None),
            };
            let asks = status == RunStatus::Interrupted;
            let view = RunView {
                run_id: key.1.clone(),
                thread_id: envelope.thread_id.clone(),
                graph: envelope.graph.name.clone(),
                hash: envelope.graph.hash.clone(),
                status,
                user: envelope.principal.user.clone(),
                created_at: "2025-11-21T10:40:00Z".to_owned(),
                updated_at: "2025-11-21T10:40:00Z".to_owned(),
                input: None,
                output: Some(output),
                error,
                exception: None,
                interrupts: if asks { vec![json!({"id": "i", "value": "sure?"})] } else { Vec::new() },
                usage: Usage { input_tokens: 3, ..Usage::default() },
                metadata: envelope.metadata.clone(),
                tags: envelope.tags.clone(),
                resumes: None,
                number: 1,
            };
            runs.insert(key, view);
        }
        Event::StateEdited(edit) => {
            let values = edit.supersteps[0][0].values.clone().unwrap_or_default();
            let busy = values["topic"] == "busy";
            let error = busy.then(|| ErrorBody::new(Code::ThreadBusy, "the thread has a run").error);
            let output = (!busy).then(|| json!({"checkpoint_id": envelope.run_id}));
            let status = if busy { RunStatus::Error } else { RunStatus::Success };
            let before = runs.values().next().expect("a thread is edited that had a run").clone();
            let run_id = key.1.clone();
            runs.insert(key, RunView { run_id, status, error, output, thread_id: None, ..before });
        }
        Event::ThreadDeleted => {
            let of_thread = |view: &RunView| view.thread_id == envelope.thread_id;
            let before = runs.values().find(|view| of_thread(view)).cloned();
            runs.retain(|(tenant, _), view| *tenant != envelope.tenant || !of_thread(view));
            if let Some(before) = before {
                let run_id = key.1.clone();
                runs.insert(key, RunView { run_id, thread_id: None, status: RunStatus::Success, ..before });
            }
        }
        Event::ThreadPruned => {
            let of_thread = |view: &&RunView| view.thread_id == envelope.thread_id;
            let before = runs.values().find(of_thread).expect("a thread is pruned that had a run").clone();
            let (run_id, busy) = (key.1.clone(), before.status == RunStatus::Running);
            let error = busy.then(|| ErrorBody::new(Code::ThreadBusy, "the thread has a run").error);
            let status = if busy { RunStatus::Error } else { RunStatus::Success };
            runs.insert(key, RunView { run_id, thread_id: None, status, error, ..before });
        }
        Event::ThreadCopied { to } => {
            let of_thread = |view: &&RunView| view.thread_id == envelope.thread_id;
            let before = runs.values().find(of_thread).expect("a thread is copied that had a run").clone();
            let (run_id, busy) = (key.1.clone(), before.status == RunStatus::Running);
            let error = busy.then(|| ErrorBody::new(Code::ThreadBusy, "the thread has a run").error);
            let status = if busy { RunStatus::Error } else { RunStatus::Success };
            let thread_id = (!busy).then(|| to.clone());
            runs.insert(key, RunView { run_id, thread_id, status, error, ..before });
        }
        Event::ThreadTimed(_) => {}
        other => panic!("ingest wrote {other:?}"),
    }
}

fn events(mut runs: watch::Receiver<Runs>, tenant: &str, run: &str, after: Option<String>) -> Response {
    if after.as_deref() == Some("1.0") {
        return status(StatusCode::NO_CONTENT);
    }
    let key = (tenant.to_owned(), run.to_owned());
    let body = async move {
        let known = runs.wait_for(|runs| runs.contains_key(&key)).await;
        let status = known.map(|runs| runs[&key].status.as_str()).unwrap_or("moved");
        format!("id: 1.0\nevent: final\ndata: {}\n\ndata: [DONE]\n\n", json!({"status": status}))
    };
    let mut response = json_body(body);
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response.headers_mut().insert("x-accel-buffering", "no".parse().unwrap());
    response
}

/// The head at once, the body when it is there.
fn json_body(body: impl Future<Output = String> + Send + 'static) -> Response {
    use futures_util::FutureExt;
    Response::new(Body::from_stream(body.map(Ok::<_, std::convert::Infallible>).into_stream()))
}

fn json_response(value: &impl serde::Serialize) -> Response {
    Response::new(Body::from(serde_json::to_vec(value).unwrap()))
}

fn not_found(code: Code) -> Response {
    let mut response = json_response(&ErrorBody::new(code, "not here"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn param(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(decoded(value))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
