//! A checked request becomes a record of `runs`: ids, claim, envelope, append.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use event_log::Record;
use graph::{
    envelope::{Envelope, GraphRef, Lane, Millis, RULES, RunBudget, RunId},
    event::{Event, Multitask, Request},
    ids,
    spec::{Limits, OnBudget},
    update::RunStatus,
};
use http::HeaderMap;
use quota::amount::nano_of_usd;
use run_store::{
    rows::{Claim, Claimed},
    values::put_values,
};
use schemas::{
    client::RunAccepted,
    error::Code,
    record::{RunsRecord, Wire},
    reference::{self, Layout, PutAway},
    topic::RUNS,
};
use tokio::time::Instant;
use tracing::Span;
use uuid::Uuid;

use crate::{
    ingest::Ingest, layers::Asked, metrics, options::Options, published::Graph, refusal::Refusal, sinks::whole,
    waiting::View,
};

const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// A request for a run, checked against its graph.
pub(crate) struct NewRun {
    pub graph: Arc<Graph>,
    pub thread: Thread,
    pub request: Request,
    pub options: Options,
    pub user: Option<String>,
    pub claim: Option<ClaimedKey>,
}

/// Where the run's state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    /// Nowhere beyond the run.
    None,
    /// A thread made for it, named after it.
    New,
    Named(String),
}

/// An `Idempotency-Key` and what it was sent with.
pub(crate) struct ClaimedKey {
    pub key: String,
    pub body_hash: [u8; 32],
}

impl ClaimedKey {
    /// Method and path count as body: a key belongs to one request.
    pub fn of(headers: &HeaderMap, method: &str, path: &str, body: &[u8]) -> Result<Option<Self>, Refusal> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let key = value.to_str().unwrap_or_default();
        if !(1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()) {
            let refusal = Refusal::new(Code::InvalidValue, "an idempotency key has 1 to 255 printable characters");
            return Err(refusal.param("idempotency-key"));
        }
        let mut hasher = blake3::Hasher::new();
        for part in [method.as_bytes(), b"\0", path.as_bytes(), b"\0", body] {
            hasher.update(part);
        }
        Ok(Some(ClaimedKey { key: key.to_owned(), body_hash: *hasher.finalize().as_bytes() }))
    }

    /// Names what a request makes, so that a repeat of it names the same.
    pub fn uuid(&self) -> Uuid {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *blake3::hash(self.key.as_bytes()).as_bytes();
        uuid::Builder::from_random_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]).into_uuid()
    }

    /// Tells what it was sent with from other requests.
    pub fn body(&self) -> String {
        blake3::Hash::from_bytes(self.body_hash).to_hex().to_string()
    }
}

/// A run with its ids, and the record that begins it.
pub(crate) struct Prepared {
    pub run_id: RunId,
    pub thread_id: Option<String>,
    pub graph: Arc<Graph>,
    /// An earlier request with the same key may have begun it.
    pub repeat: bool,
    multitask: Multitask,
    partition: u32,
    lane: Lane,
    record: Outgoing,
}

/// What a request waits for at its sink: the path of a wait or of a stream.
struct Watched<'a> {
    partition: u32,
    /// An earlier request with the same key may have begun it.
    repeat: bool,
    path: &'a str,
}

/// A record of `runs` on its way to the log, what has to stand in the store before it, and the span of that.
#[derive(Default)]
pub(crate) struct Outgoing {
    wire: Record,
    put: Option<PutAway>,
    span: traces::Span,
}

impl Prepared {
    pub fn accepted(&self) -> RunAccepted {
        RunAccepted {
            run_id: self.run_id.to_string(),
            thread_id: self.thread_id.clone(),
            graph: self.graph.name.clone(),
            hash: self.graph.hash.clone(),
            status: RunStatus::Pending,
        }
    }

    /// The run's address on our side.
    pub fn location(&self) -> String {
        location(&self.graph.name, self.run_id)
    }
}

pub(crate) fn location(graph: &str, run: RunId) -> String {
    format!("/graphs/{}/runs/{run}", crate::sinks::segment(graph))
}

impl Ingest {
    /// Gives the run its ids and takes its key. Nothing is in the log yet.
    pub(crate) async fn prepare(&self, asked: &Asked, new: NewRun) -> Result<Prepared, Refusal> {
        asked.caller.check_graph(&new.graph.name)?;
        let now = self.deps.clock.now();
        let tenant = &asked.caller.tenant;
        let drawn = self.draw(tenant, &new.thread, now);
        self.admit_to(u32::from(ids::partition_of(drawn)))?;
        self.admit_rate(asked, new.user.clone()).await?;
        let (run_id, repeat) = match &new.claim {
            None => (drawn, false),
            Some(claimed) => self.claim(tenant, claimed, drawn, now).await?,
        };
        Span::current().record("run_id", tracing::field::display(run_id));
        asked.trace.names_run(run_id);
        let partition = self.partition_of(run_id).ok_or_else(used_before)?;
        let NewRun { graph, thread, mut request, options, user, claim } = new;
        request.config = options.run.clone();
        request.claimed = claim.is_some();
        request.repeat = repeat;
        request.new_thread = thread == Thread::New && !repeat;
        request.ttl = self.config.thread_ttl.filter(|_| thread != Thread::None);
        let thread = match thread {
            Thread::None => None,
            Thread::New => Some(thread_of(run_id)),
            Thread::Named(thread) => Some(thread),
        };
        let version = GraphRef { name: graph.name.clone(), hash: graph.hash.clone() };
        let envelope = Envelope {
            lane: options.lane,
            priority: options.priority,
            // The time that a run takes doesn't begin before it does.
            deadline: options.deadline(&self.config, &graph, now) + request.after_ms.unwrap_or_default(),
            metadata: options.metadata,
            tags: options.tags,
            budget: budget(&graph.spec.limits),
            ..self.envelope(asked, user, run_id, thread, version, now)
        };
        Ok(Prepared {
            run_id,
            thread_id: envelope.thread_id.clone(),
            graph,
            repeat,
            multitask: request.multitask,
            partition,
            lane: envelope.lane,
            record: self.record(asked, envelope, now, Event::Requested(Box::new(request))),
        })
    }

    /// Refuses a run whose partition has no room, and says so where that is because the log is away: then no owner is
    /// heard.
    fn admit_to(&self, partition: u32) -> Result<(), Refusal> {
        self.admission.check(partition, Instant::now()).map_err(|refusal| {
            let checks = (self.deps.readiness)().checks;
            match checks.iter().any(|(name, says)| name == "log" && says != "ok") {
                true => Refusal::new(Code::LogUnavailable, "the log can't be reached at the moment; try again"),
                false => refusal,
            }
        })
    }

    /// Appends the run's first record and waits until it is durable.
    pub(crate) async fn begin(&self, prepared: &mut Prepared) -> Result<(), Refusal> {
        let record = std::mem::take(&mut prepared.record);
        self.append(prepared.partition, record).await.map_err(|refusal| refusal.run_id(prepared.run_id))?;
        if prepared.repeat {
            metrics::repeated();
        } else {
            metrics::run_started(&prepared.graph.name, lane_label(prepared.lane));
        }
        Ok(())
    }

    /// Whether the thread was busy and the run was to be refused then: only the thread's order can tell, so the run's
    /// first update is waited for.
    pub(crate) async fn check_rejected(&self, asked: &Asked, prepared: &Prepared) -> Result<(), Refusal> {
        if prepared.multitask != Multitask::Reject {
            return Ok(());
        }
        let found = match self.find_run(asked, prepared.run_id, &format!("/internal/runs/{}", prepared.run_id)).await {
            Ok(found) => whole(found).await?,
            // It was accepted; that its first update is slow is no reason to say otherwise.
            Err(_) => return Ok(()),
        };
        match View::of(&found)?.failure() {
            Some(failure) if failure.code() == Code::ThreadBusy => Err(failure),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins the run with a wait registered at its sink before, so that no end is missed however short the run is.
    pub(crate) async fn begin_waiting(&self, asked: &Asked, prepared: &mut Prepared) -> Result<Response, Refusal> {
        let path = self.wait_path(prepared.run_id, self.config.wait_timeout);
        self.begin_registered(asked, prepared, &path).await
    }

    /// Begins the run with an interest registered at its sink: the path of a wait or of a stream.
    pub(crate) async fn begin_registered(
        &self,
        asked: &Asked,
        prepared: &mut Prepared,
        path: &str,
    ) -> Result<Response, Refusal> {
        let Prepared { partition, repeat, .. } = *prepared;
        self.watch_and(asked, Watched { partition, repeat, path }, async || self.begin(prepared).await).await
    }

    pub(crate) async fn registered(&self, asked: &Asked, partition: u32, path: &str) -> Result<Response, Refusal> {
        let found = self.find(asked, Some(partition), path).await?;
        found.ok_or_else(|| Refusal::new(Code::StoreUnavailable, "the run could not be watched; try again"))
    }

    /// Takes the key of an edit that will follow; one that belongs to another request is refused.
    pub(crate) async fn claim_edit(&self, asked: &Asked, thread: &str, claim: &ClaimedKey) -> Result<(), Refusal> {
        let now = self.deps.clock.now();
        let drawn = self.draw(&asked.caller.tenant, &Thread::Named(thread.to_owned()), now);
        self.claim(&asked.caller.tenant, claim, drawn, now).await.map(drop)
    }

    /// Appends what a client does to a thread beside its runs, and waits until it is done: a view, as of a run. A repeat
    /// with the same key answers with what the first one did.
    pub(crate) async fn change_thread(
        &self,
        asked: &Asked,
        thread: &str,
        graph: GraphRef,
        event: Event,
        claim: Option<&ClaimedKey>,
    ) -> Result<Bytes, Refusal> {
        if matches!(event, Event::StateEdited(_)) {
            asked.caller.check_graph(&graph.name)?;
        }
        let now = self.deps.clock.now();
        let drawn = self.draw(&asked.caller.tenant, &Thread::Named(thread.to_owned()), now);
        let (id, repeat) = match claim {
            None => (drawn, false),
            Some(claimed) => self.claim(&asked.caller.tenant, claimed, drawn, now).await?,
        };
        let partition = self.partition_of(id).ok_or_else(used_before)?;
        let envelope = self.envelope(asked, None, id, Some(thread.to_owned()), graph, now);
        let path = self.wait_path(id, self.config.wait_timeout);
        let begin = async || self.append(partition, self.record(asked, envelope, now, event)).await;
        let watched = Watched { partition, repeat, path: &path };
        let registered = self.watch_and(asked, watched, begin).await?;
        self.ended(asked, id, registered, self.config.wait_timeout).await
    }

    /// Appends what a client says of a thread, where nothing is told of it. Returns when it is durable.
    pub(crate) async fn say_of_thread(
        &self,
        asked: &Asked,
        thread: &str,
        graph: GraphRef,
        event: Event,
    ) -> Result<(), Refusal> {
        let now = self.deps.clock.now();
        let id = self.draw(&asked.caller.tenant, &Thread::Named(thread.to_owned()), now);
        let envelope = self.envelope(asked, None, id, Some(thread.to_owned()), graph, now);
        self.append(u32::from(ids::partition_of(id)), self.record(asked, envelope, now, event)).await
    }

    /// Registers an interest before `begin` appends, so that no end is missed however soon it comes. A repeat appends only
    /// where nothing is known of the first request: that may have died before it began anything.
    async fn watch_and(
        &self,
        asked: &Asked,
        watched: Watched<'_>,
        begin: impl AsyncFnOnce() -> Result<(), Refusal>,
    ) -> Result<Response, Refusal> {
        let Watched { partition, repeat, path } = watched;
        if repeat && let Some(known) = self.find(asked, Some(partition), path).await? {
            return Ok(known);
        }
        let response = self.registered(asked, partition, &format!("{path}&register=true")).await?;
        begin().await?;
        Ok(response)
    }

    /// Who asks what of which run, where the request says no more of it.
    pub(crate) fn envelope(
        &self,
        asked: &Asked,
        user: Option<String>,
        run_id: RunId,
        thread_id: Option<String>,
        graph: GraphRef,
        now: Millis,
    ) -> Envelope {
        Envelope {
            tenant: asked.caller.tenant.to_string(),
            principal: asked.caller.principal(user),
            endpoint: asked.endpoint.to_string(),
            run_id,
            thread_id,
            graph,
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: now + self.config.run_deadline.as_millis() as Millis,
            metadata: Default::default(),
            tags: Vec::new(),
            batch: None,
            traceparent: asked.trace.traceparent(),
            budget: RunBudget::default(),
        }
    }

    /// A record of `runs` and its headers.
    pub(crate) fn record(&self, asked: &Asked, envelope: Envelope, at: Millis, event: Event) -> Outgoing {
        let record = RunsRecord { envelope: Arc::new(envelope), at, event, references: None };
        let (span, sent) = traces::send(&record.envelope, asked.trace.context(), &self.config.names.of(RUNS));
        let headers = record.headers(&self.config.source, sent.as_deref());
        let owner = record.envelope.key();
        let mut wire = Record::json(record.key().into_bytes(), headers, Arc::new(record));
        let put = reference::put_away(&wire.payload, &owner, &Layout::RUNS);
        if let Some(put) = &put {
            wire.headers.push(reference::BYTES_HEADER, wire.size().to_string());
            wire.replace_payload(put.json.clone());
        }
        Outgoing { wire, put, span }
    }

    pub(crate) async fn append(&self, partition: u32, outgoing: Outgoing) -> Result<(), Refusal> {
        let Outgoing { wire, put, mut span } = outgoing;
        if let Some(PutAway { references, values, json: _ }) = put {
            let stored = put_values(&*self.deps.blobs, &references.owner, &values);
            tokio::time::timeout(self.config.store_timeout, stored).await.map_err(|_| Refusal::store_slow())??;
        }
        let ack = self.deps.log.append(&self.config.names.of(RUNS), partition, wire);
        match tokio::time::timeout(self.config.append_timeout, ack).await {
            Ok(acked) => Ok(acked.map(|_| ()).inspect_err(|error| span.fail("log", &error.to_string()))?),
            Err(_) => Err(Refusal::new(
                Code::LogUnavailable,
                "the log did not acknowledge in time; the run may begin or not: look it up, or send an idempotency-key with the next try",
            )),
        }
    }

    /// A run id in the partition of the run's key.
    fn draw(&self, tenant: &str, thread: &Thread, now: Millis) -> RunId {
        let random = self.deps.random.next_u64();
        let partitions = self.config.runs_partitions;
        let partition = match thread {
            // The low bits are used up by the id's version and variant; any will do.
            Thread::None => (random >> 16) as u32 % partitions,
            Thread::New => self.partition_of_thread(tenant, &thread_of(ids::run_id(now, random, 0))),
            Thread::Named(thread) => self.partition_of_thread(tenant, thread),
        };
        ids::run_id(now, random, partition as u16)
    }

    async fn claim(
        &self,
        tenant: &str,
        claimed: &ClaimedKey,
        run_id: RunId,
        now: Millis,
    ) -> Result<(RunId, bool), Refusal> {
        let claim = Claim {
            tenant: tenant.to_owned(),
            key: claimed.key.clone(),
            run_id,
            body_hash: claimed.body_hash,
            expires_at: now + self.config.claim_ttl.as_millis() as Millis,
        };
        let taken = tokio::time::timeout(self.config.store_timeout, self.deps.claims.claim(&claim, now));
        match taken.await.map_err(|_| Refusal::store_slow())?? {
            Claimed::New => Ok((run_id, false)),
            Claimed::Taken(first) if first.body_hash == claimed.body_hash => Ok((first.run_id, true)),
            Claimed::Taken(first) => Err(mismatch().run_id(first.run_id)),
        }
    }
}

pub(crate) fn mismatch() -> Refusal {
    let message = "this idempotency key was used with another request; take a new key for a new request";
    Refusal::new(Code::IdempotencyMismatch, message).param("idempotency-key")
}

/// The thread made for a run: the run's id with the partition taken out, so that a repeat finds the same.
pub(crate) fn thread_of(run: RunId) -> String {
    let mut bytes = run.into_bytes();
    bytes[14..].copy_from_slice(&[0xff, 0xff]);
    Uuid::from_bytes(bytes).to_string()
}

/// What the graph says that a run of it may cost. The file was refused where that is no amount.
fn budget(limits: &Limits) -> RunBudget {
    RunBudget { nano_usd: limits.cost_usd.and_then(nano_of_usd), pauses: limits.on_budget == OnBudget::Pause }
}

fn used_before() -> Refusal {
    Refusal::new(Code::IdempotencyMismatch, "this idempotency key was used before the log was made anew")
}

fn lane_label(lane: Lane) -> &'static str {
    match lane {
        Lane::Interactive => "interactive",
        Lane::Batch => "batch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_own_thread_does_not_depend_on_its_partition() {
        let threads: Vec<String> = [0, 1, 63].map(|partition| thread_of(ids::run_id(5, 77, partition))).to_vec();
        assert!(threads.iter().all(|thread| *thread == threads[0]));
        assert_ne!(threads[0], thread_of(ids::run_id(5, 78, 0)));
    }
}
