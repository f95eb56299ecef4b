//! Two producers: one that never leaves a hole, and one that drops what it can't send soon.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{answers::misconfigured, config::Config, context::Context, topics::Topic};
use crate::{Ack, Appended, LogError, Partition, Record, metrics as names};

/// How long a poll thread sleeps in librdkafka at most: what it takes to see that it shall stop.
const POLL: Duration = Duration::from_millis(100);

/// For how long after an ack a broker is taken to know this producer: well below the day for which brokers remember
/// one by default (`producer.id.expiration.ms`).
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Reports on one record: whoever holds it owes an answer.
pub(super) struct AckSender(oneshot::Sender<Result<Appended, LogError>>);

pub(super) fn ack() -> (AckSender, Ack) {
    let (sender, receiver) = oneshot::channel();
    let future = async move {
        receiver.await.unwrap_or_else(|_| {
            Err(LogError::Unavailable { reason: "the producer ended before kafka acked the record".to_string() })
        })
    };
    (AckSender(sender), Box::pin(future))
}

/// An answer without an append.
pub(super) fn refused(error: LogError) -> Ack {
    Box::pin(async move { Err(error) })
}

impl AckSender {
    /// A caller that dropped the future doesn't want to know.
    pub fn answer(self, answer: Result<Appended, LogError>) {
        let _ = self.0.send(answer);
    }

    pub fn fail(self, error: LogError) {
        self.answer(Err(error));
    }
}

/// Records in order, acked by all replicas in sync. After an error that might leave a hole it takes none any more.
pub(super) struct RecordProducer {
    producer: Arc<BaseProducer<Deliveries>>,
    deliveries: Arc<Shared>,
    bytes_max: usize,
}

/// What the poll thread, appends and deliveries share.
#[derive(Default)]
struct Shared {
    /// Weak, for the producer holds this.
    producer: OnceLock<Weak<BaseProducer<Deliveries>>>,
    in_flight: AtomicUsize,
    bytes: AtomicUsize,
    drained: Notify,
    stop: AtomicBool,
    /// Why nothing is taken any more.
    failed: Mutex<Option<String>>,
    has_failed: AtomicBool,
}

struct Pending {
    ack: AckSender,
    topic: Arc<Topic>,
    partition: Partition,
    bytes: usize,
    taken: Instant,
}

/// What was appended to a partition and is not acked.
///
/// The first record goes alone, and what is appended behind it waits for its ack. A broker that has no state of a
/// producer takes a batch whatever its sequence number; where it refused the first one, as one does that doesn't lead
/// the partition yet, it would take the second. librdkafka then holds the first for persisted, and acks what is not
/// there (`rd_kafka_handle_idempotent_Produce_success`). Once a broker has acked something, it refuses a gap.
#[derive(Default)]
pub(super) struct Line {
    /// Records in librdkafka's hands.
    sent: usize,
    acked: Option<Instant>,
    waiting: VecDeque<(Record, Box<Pending>)>,
}

impl Line {
    fn is_open(&self, now: Instant) -> bool {
        self.sent == 0 || self.acked.is_some_and(|acked| now.duration_since(acked) < KNOWN_FOR)
    }
}

impl RecordProducer {
    pub fn start(config: &Config) -> Result<Self, LogError> {
        let deliveries = Arc::new(Shared::default());
        let context = Deliveries {
            shared: Arc::clone(&deliveries),
            context: Context::default(),
            seconds: metrics::histogram!(names::APPEND_SECONDS),
        };
        let producer = BaseProducer::from_config_and_context(&config.producing_records(), context);
        let producer = Arc::new(producer.map_err(misconfigured)?);
        let _ = deliveries.producer.set(Arc::downgrade(&producer));
        let (polled, shared) = (Arc::clone(&producer), Arc::clone(&deliveries));
        spawn("kafka-records", move || {
            let queued = metrics::gauge!(names::QUEUE_BYTES);
            while !shared.stop.load(Ordering::SeqCst) {
                polled.poll(POLL);
                queued.set(shared.bytes.load(Ordering::Acquire) as f64);
                if let Some((code, reason)) = polled.client().fatal_error() {
                    shared.fail(format!("kafka's producer can't go on without a hole ({code}: {reason})"));
                }
            }
        })?;
        Ok(RecordProducer { producer, deliveries, bytes_max: config.queue_bytes_max })
    }

    /// Takes the record, unless too much waits for Kafka.
    pub fn append(&self, topic: &Arc<Topic>, partition: Partition, record: &Record) -> Ack {
        let full = self.deliveries.bytes.load(Ordering::Acquire) + record.size() > self.bytes_max;
        if full || topic.refuses(partition) {
            metrics::counter!(names::APPENDS_REFUSED, "reason" => names::REASON_FULL).increment(1);
            let (refusal, bytes_max) = (topic.refuse(partition), self.bytes_max);
            return Box::pin(async move {
                drop(refusal);
                let reason = format!("the log's queue is full: {bytes_max} bytes wait for kafka");
                Err(LogError::Unavailable { reason })
            });
        }
        let (ack, future) = ack();
        self.send(topic, partition, record, ack);
        future
    }

    /// Takes the record into its partition's line, which keeps the order of calls.
    pub fn send(&self, topic: &Arc<Topic>, partition: Partition, record: &Record, ack: AckSender) {
        if self.deliveries.has_failed.load(Ordering::Acquire) {
            metrics::counter!(names::APPENDS_REFUSED, "reason" => names::REASON_ENDED).increment(1);
            return ack.fail(self.deliveries.failure());
        }
        let bytes = record.size();
        self.deliveries.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.deliveries.in_flight.fetch_add(1, Ordering::AcqRel);
        let taken = Instant::now();
        let pending = Box::new(Pending { ack, topic: Arc::clone(topic), partition, bytes, taken });
        let mut line = topic.line(partition);
        if line.waiting.is_empty() && line.is_open(taken) {
            self.deliveries.hand_over(&self.producer, &mut line, record, pending);
        } else {
            line.waiting.push_back((record.clone(), pending));
        }
    }

    pub fn queued_bytes(&self) -> usize {
        self.deliveries.bytes.load(Ordering::Acquire)
    }

    /// Returns when everything taken is acked or failed.
    pub async fn drained(&self) {
        loop {
            let drained = self.deliveries.drained.notified();
            if self.deliveries.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            drained.await;
        }
    }

    pub fn stop(&self) {
        self.deliveries.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// Puts the record into librdkafka's queue, which keeps the order.
    fn hand_over(&self, producer: &BaseProducer<Deliveries>, line: &mut Line, record: &Record, pending: Box<Pending>) {
        let (topic, partition) = (Arc::clone(&pending.topic), pending.partition);
        let Err((error, refused)) = producer.send(base_record(&topic.name, partition, record, pending)) else {
            line.sent += 1;
            return;
        };
        // librdkafka's queue has no bound, so this is no lack of room: what follows must not be taken either.
        let unknown = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition)
        );
        if !unknown {
            self.fail(format!("kafka's producer refused a record ({error})"));
        }
        self.end(*refused.delivery_opaque, Err(self.explain(&error, &topic.name)));
    }

    /// Sends what waited for a record that has its answer now.
    fn go_on(&self, line: &mut Line, now: Instant) {
        if line.waiting.is_empty() {
            return;
        }
        let producer = self.producer.get().and_then(Weak::upgrade);
        while line.is_open(now)
            && let Some((record, pending)) = line.waiting.pop_front()
        {
            match &producer {
                Some(producer) => self.hand_over(producer, line, &record, pending),
                None => self.end(*pending, Err(LogError::Closed)),
            }
        }
    }

    fn end(&self, pending: Pending, answer: Result<Appended, LogError>) {
        pending.ack.answer(answer);
        self.settle(pending.bytes);
    }

    fn settle(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.drained.notify_waiters();
        }
    }

    fn fail(&self, reason: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() {
            tracing::error!(kafka.error = %reason, "the log takes no records any more; this process has to be restarted");
            *failed = Some(reason);
            self.has_failed.store(true, Ordering::Release);
        }
    }

    /// Without an offset librdkafka only supposes that the record was written, from a later one that was.
    fn acked(&self, message: &impl Message, topic: &str) -> Result<Appended, LogError> {
        match u64::try_from(message.offset()) {
            Ok(offset) => Ok(Appended { partition: message.partition() as u32, offset }),
            Err(_) => {
                self.fail(format!("kafka never acked a record for topic {topic}, but one behind it"));
                Err(self.failure())
            }
        }
    }

    fn failure(&self) -> LogError {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = failed.clone().unwrap_or_default();
        LogError::Corrupt { reason: format!("{reason}; restart this process, which recovers from the log") }
    }

    fn explain(&self, error: &KafkaError, topic: &str) -> LogError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            ) => LogError::UnknownTopic { topic: topic.to_string() },
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => LogError::Closed,
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                LogError::Unavailable { reason: format!("the user under [log] may not write to topic {topic}") }
            }
            _ if self.has_failed.load(Ordering::Acquire) => self.failure(),
            _ => LogError::Unavailable { reason: format!("kafka did not take a record for topic {topic}: {error}") },
        }
    }
}

/// Gets the deliveries of the record producer.
struct Deliveries {
    shared: Arc<Shared>,
    context: Context,
    seconds: metrics::Histogram,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let (topic, now) = (Arc::clone(&pending.topic), Instant::now());
        let answer = match result {
            Ok(message) => self.shared.acked(message, &topic.name),
            Err((error, _)) => Err(self.shared.explain(error, &topic.name)),
        };
        self.seconds.record(now.duration_since(pending.taken).as_secs_f64());
        let mut line = topic.line(pending.partition);
        line.sent -= 1;
        if answer.is_ok() {
            line.acked = Some(now);
        }
        self.shared.end(*pending, answer);
        self.shared.go_on(&mut line, now);
    }
}

/// Ephemeral records: acked by the leader alone, and dropped when its queue is full or Kafka is away.
pub(super) struct LossyProducer {
    producer: Arc<BaseProducer<Dropped>>,
    stop: Arc<AtomicBool>,
}

impl LossyProducer {
    pub fn start(config: &Config) -> Result<Self, LogError> {
        let producer = BaseProducer::from_config_and_context(&config.producing_tokens(), Dropped(Context::default()));
        let producer = Arc::new(producer.map_err(misconfigured)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        spawn("kafka-tokens", move || {
            while !stopped.load(Ordering::SeqCst) {
                polled.poll(POLL);
            }
        })?;
        Ok(LossyProducer { producer, stop })
    }

    pub fn append(&self, topic: &str, partition: Partition, record: &Record) -> bool {
        self.producer.send(base_record(topic, partition, record, ())).is_ok()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Hears of ephemeral records that did not arrive, and lets them go.
struct Dropped(Context);

impl ClientContext for Dropped {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Dropped {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            tracing::debug!(kafka.error = %error, "an ephemeral record was dropped");
        }
    }
}

fn base_record<'a, D: rdkafka::util::IntoOpaque>(
    topic: &'a str,
    partition: Partition,
    record: &'a Record,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let mut base = BaseRecord::with_opaque_to(topic, opaque).partition(partition as i32).payload(&record.payload[..]);
    if !record.key.is_empty() {
        base = base.key(&record.key[..]);
    }
    if !record.headers.is_empty() {
        let room = OwnedHeaders::new_with_capacity(record.headers.iter().count());
        let headers = record
            .headers
            .iter()
            .fold(room, |headers, (key, value)| headers.insert(Header { key, value: Some(&value[..]) }));
        base = base.headers(headers);
    }
    base
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
    let spawned = thread::Builder::new().name(name.to_string()).spawn(work);
    spawned.map(drop).map_err(|error| LogError::Unavailable { reason: format!("no thread for kafka: {error}") })
}
