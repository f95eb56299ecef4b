//! The faults of appends and readers.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_log::{
    Ack, Appended, Consumer, EventLog, Fetched, LogError, Offset, Partition, Reader, Record, Start, Subscription,
    layer::LogLayer,
};

use super::{Fault, Hidden, consumer::BrokenConsumer};

/// Records that the log that acks too early holds back: more than it is asked to write before it is killed.
const HELD_BACK: usize = 100_000;

pub struct BrokenLog {
    good: Arc<dyn EventLog>,
    fault: Fault,
    hidden: Hidden,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    records: Vec<(String, Partition, Record)>,
    next: [Offset; 8],
}

impl BrokenLog {
    pub fn new(good: Arc<dyn EventLog>, fault: Fault, hidden: Hidden) -> Self {
        BrokenLog { good, fault, hidden, held: Mutex::default() }
    }

    /// Tells the offset that the record will have, if all goes well.
    fn ack_early(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        let mut held = self.held.lock().unwrap();
        let offset = held.next[partition as usize];
        held.next[partition as usize] += 1;
        held.records.push((topic.to_owned(), partition, record));
        if held.records.len() >= HELD_BACK {
            for (topic, partition, record) in held.records.drain(..) {
                drop(self.good.append(&topic, partition, record));
            }
        }
        Box::pin(async move { Ok(Appended { partition, offset }) })
    }
}

#[async_trait]
impl LogLayer for BrokenLog {
    fn inner(&self) -> &dyn EventLog {
        &*self.good
    }

    fn append(&self, topic: &str, partition: Partition, mut record: Record) -> Ack {
        match self.fault {
            Fault::AcksBeforeTheSync => return self.ack_early(topic, partition, record),
            Fault::CutsALargeRecordShort => {
                let over = record.size().saturating_sub(self.good.record_bytes_max());
                record.payload.truncate(record.payload.len() - over.min(record.payload.len()));
            }
            _ => {}
        }
        let ack = self.good.append(topic, partition, record);
        if self.fault == Fault::AcksAnOffsetTwice {
            return Box::pin(
                async move { ack.await.map(|appended| Appended { offset: appended.offset & !1, ..appended }) },
            );
        }
        ack
    }

    async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError> {
        let (start, end) = self.good.bounds(topic, partition).await?;
        let hidden = self.hidden.lock().unwrap().get(&(topic.to_owned(), partition)).copied();
        Ok((start, if hidden.is_some_and(|hidden| hidden + 1 == end) { end - 1 } else { end }))
    }

    async fn subscribe(&self, mut subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        if self.fault == Fault::SharesOffsetsBetweenGroups {
            subscription.group = "everyone".into();
        }
        let good = self.good.subscribe(subscription).await?;
        Ok(Box::new(BrokenConsumer::new(good, self.fault)))
    }

    async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, LogError> {
        let good = self.good.read(topic, partition, start).await?;
        let hidden = self.hidden.lock().unwrap().get(&(topic.to_owned(), partition)).copied();
        let misses = self.fault == Fault::MissesTheFirstAtTheTail && start == Start::Tail;
        Ok(Box::new(BrokenReader { good, fault: self.fault, hidden, misses }))
    }
}

struct BrokenReader {
    good: Box<dyn Reader>,
    fault: Fault,
    hidden: Option<Offset>,
    misses: bool,
}

#[async_trait]
impl Reader for BrokenReader {
    async fn next(&mut self) -> Result<Vec<Fetched>, LogError> {
        loop {
            let mut records = self.good.next().await?;
            if self.fault == Fault::LosesWhatACancelledReadHad {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            if std::mem::take(&mut self.misses) {
                records.remove(0);
            }
            records.retain(|record| Some(record.offset) != self.hidden);
            if self.fault == Fault::SwapsTwoRecords && records.len() > 3 {
                let (a, b) = (records[1].record.clone(), records[2].record.clone());
                (records[1].record, records[2].record) = (b, a);
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}
