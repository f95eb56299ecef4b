//! What an append promises, short of durability.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    CaseResult, Ground, broken, ensure,
    ground::{payloads, texts},
};
use crate::{
    contract::Start,
    error::LogError,
    record::Record,
    topic::{Class, TopicSpec, partition_for},
};

pub(super) async fn order_in_a_partition_is_the_order_of_calls(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("order", 2).await?;
    let log = ground.log();
    let mut acks = Vec::new();
    for number in 0..500 {
        for partition in 0..2 {
            acks.push(log.append(&topic, partition, Record::new("key", format!("{partition}:{number}"))));
        }
    }
    for ack in acks {
        ground.soon("an ack", ack).await??;
    }
    for partition in 0..2 {
        let read = ground.everything(&topic, partition).await?;
        let expected: Vec<_> = payloads(&format!("{partition}:"), 500).collect();
        ensure!(texts(&read) == expected, "partition {partition} holds {:?}", texts(&read));
        let offsets: Vec<_> = read.iter().map(|record| record.offset).collect();
        ensure!(offsets.is_sorted_by(|a, b| a < b), "offsets do not rise: {offsets:?}");
    }
    Ok(())
}

pub(super) async fn callers_at_once_keep_their_own_order(ground: &mut Ground) -> CaseResult {
    const CALLERS: usize = 8;
    let topic: Arc<str> = ground.topic("callers", 1).await?.into();
    let tasks = tokio_util::task::TaskTracker::new();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (log, topic) = (ground.log(), Arc::clone(&topic));
            tasks.spawn(async move {
                let mut acks = Vec::new();
                for text in payloads(&format!("{caller}:"), 100) {
                    acks.push(log.append(&topic, 0, Record::new("", text)));
                    tokio::task::yield_now().await;
                }
                join_all(acks).await
            })
        })
        .collect();
    let mut offsets = BTreeSet::new();
    for caller in callers {
        let Ok(acks) = ground.soon("the callers", caller).await? else { broken!("an append panicked") };
        for ack in acks {
            let offset = ack?.offset;
            ensure!(offsets.insert(offset), "offset {offset} was acked twice");
        }
    }
    let read = texts(&ground.everything(&topic, 0).await?);
    for caller in 0..CALLERS {
        let prefix = format!("{caller}:");
        let own: Vec<_> = read.iter().filter(|text| text.starts_with(&prefix)).cloned().collect();
        ensure!(own == payloads(&prefix, 100).collect::<Vec<_>>(), "caller {caller}'s records came as {own:?}");
    }
    Ok(())
}

pub(super) async fn an_ack_tells_the_offset_that_is_read(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("acks", 3).await?;
    let appended = ground.append(&topic, 2, "a", 50).await?;
    let read = ground.everything(&topic, 2).await?;
    for (appended, record) in appended.iter().zip(&read) {
        ensure!(appended.partition == 2, "acked for partition {}", appended.partition);
        ensure!(appended.offset == record.offset, "acked at {}, read at {}", appended.offset, record.offset);
        ensure!(record.partition == 2 && *record.topic == *topic, "read as {record:?}");
    }
    let (start, end) = ground.log().bounds(&topic, 2).await?;
    let ends = (appended[0].offset, appended[49].offset + 1);
    ensure!((start, end) == ends, "bounds are {start} to {end}, not {ends:?}");
    ensure!(ground.log().bounds(&topic, 0).await? == (0, 0), "an empty partition has bounds");
    Ok(())
}

pub(super) async fn a_key_has_one_partition(ground: &mut Ground) -> CaseResult {
    // Frozen: another answer would put a thread's records into two partitions.
    for (key, partitions, expected) in [("", 7, 4), ("thread-1", 16, 6), ("thread-2", 16, 14), ("default/é", 64, 23)] {
        let found = partition_for(key.as_bytes(), partitions);
        ensure!(found == expected, "{key:?} of {partitions} went to {found}, not {expected}");
    }
    let topic = ground.topic("keys", 4).await?;
    let log = ground.log();
    for key in payloads("key", 40) {
        let ack = log.append(&topic, partition_for(key.as_bytes(), 4), Record::new(key.clone(), "x"));
        ground.soon("an ack", ack).await??;
    }
    for partition in 0..4 {
        for record in ground.everything(&topic, partition).await? {
            let expected = partition_for(&record.record.key, 4);
            ensure!(partition == expected, "{:?} lies in {partition}, not in {expected}", record.record.key);
        }
    }
    Ok(())
}

pub(super) async fn headers_and_empty_payloads_come_back(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("headers", 1).await?;
    let mut full = Record::new("key", Bytes::from_static(&[0, 255, 10]));
    full.headers.push("ce_type", "requested");
    full.headers.push("empty", "");
    full.headers.push("ce_type", "again");
    full.headers.push("bytes", Bytes::from_static(&[0, 159]));
    let records = [full, Record::new("", ""), Record::new("key", ""), Record::new("", "payload")];
    let log = ground.log();
    for record in &records {
        ground.soon("an ack", log.append(&topic, 0, record.clone())).await??;
    }
    for reopened in [false, true] {
        let read = ground.everything(&topic, 0).await?;
        ensure!(read.len() == records.len(), "{} records came back", read.len());
        for (read, written) in read.iter().zip(&records) {
            let same = read.record.key == written.key
                && read.record.payload == written.payload
                && read.record.headers == written.headers;
            ensure!(same, "reopened: {reopened}; {:?} came back as {:?}", written, read.record);
            ensure!(read.timestamp > 0, "timestamp {}", read.timestamp);
        }
        if !reopened {
            ground.instance.reopen().await;
        }
    }
    Ok(())
}

pub(super) async fn a_record_over_the_limit_is_refused_and_nothing_after_it_lost(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("large", 1).await?;
    let log = ground.log();
    let limit = log.record_bytes_max();
    let before = log.append(&topic, 0, Record::new("", "before"));
    let largest = log.append(&topic, 0, Record::new("k", vec![b'x'; limit - 1]));
    let too_large = log.append(&topic, 0, Record::new("k", vec![b'x'; limit]));
    let after = log.append(&topic, 0, Record::new("", "after"));
    for ack in [before, largest] {
        ground.soon("an ack", ack).await??;
    }
    match ground.soon("the refusal", too_large).await? {
        Err(LogError::RecordTooLarge { bytes, limit: told }) if bytes == limit + 1 && told == limit => {}
        other => broken!("a record of {} bytes, limit {limit}: {other:?}", limit + 1),
    }
    ground.soon("an ack", after).await??;
    let sizes: Vec<_> = ground.everything(&topic, 0).await?.iter().map(|record| record.record.size()).collect();
    ensure!(sizes == [6, limit, 5], "the partition holds records of {sizes:?} bytes");
    Ok(())
}

pub(super) async fn an_unknown_topic_or_partition_is_an_error(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("known", 2).await?;
    let unknown = ground.instance.name("unknown");
    let log = ground.log();
    let errors = [
        ground.soon("an ack", log.append(&unknown, 0, Record::new("", ""))).await?.err(),
        log.partitions(&unknown).await.err(),
        log.bounds(&unknown, 0).await.err(),
        log.read(&unknown, 0, Start::Earliest).await.err(),
    ];
    for (at, error) in errors.into_iter().enumerate() {
        let told = matches!(&error, Some(LogError::UnknownTopic { topic }) if *topic == unknown);
        ensure!(told, "call {at} on an unknown topic: {error:?}");
    }
    ensure!(!log.append_lossy(&unknown, 0, Record::new("", "")), "a lossy append to an unknown topic was taken");
    let errors = [
        ground.soon("an ack", log.append(&topic, 2, Record::new("", ""))).await?.err(),
        log.bounds(&topic, 2).await.err(),
        log.read(&topic, 2, Start::Earliest).await.err(),
    ];
    for (at, error) in errors.into_iter().enumerate() {
        let told = matches!(&error, Some(LogError::UnknownPartition { partition: 2, partitions: 2, .. }));
        ensure!(told, "call {at} on an unknown partition: {error:?}");
    }
    Ok(())
}

pub(super) async fn a_topic_is_made_once(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("once", 3).await?;
    ground.append(&topic, 1, "kept", 3).await?;
    ground.topic("once", 3).await?;
    ensure!(ground.log().partitions(&topic).await? == 3, "another number of partitions");
    let class = Class::Durable { retention_ms: super::RETENTION_MS };
    let made = ground.log().create_topics(&[TopicSpec { name: topic.clone(), partitions: 5, class }]).await;
    ensure!(matches!(made, Err(LogError::UnknownPartition { partitions: 3, .. })), "with 5 partitions: {made:?}");
    ensure!(ground.everything(&topic, 1).await?.len() == 3, "records were lost");
    Ok(())
}

pub(super) async fn a_lossy_append_never_waits(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic_of("lossy", 1, Class::Ephemeral { retention_ms: 600_000 }).await?;
    let mut reader = ground.read(&topic, 0, Start::Tail).await?;
    let log = ground.log();
    let appends = async {
        let taken = payloads("token", 20_000).filter(|text| log.append_lossy(&topic, 0, Record::new("", text.clone())));
        taken.count()
    };
    let taken = ground.soon("20,000 lossy appends", appends).await?;
    ensure!(taken > 0, "none was taken");
    let read = ground.take(&mut *reader, taken.min(100)).await?;
    let offsets: Vec<_> = read.iter().map(|record| record.offset).collect();
    ensure!(offsets.is_sorted_by(|a, b| a < b), "offsets do not rise: {offsets:?}");
    Ok(())
}

pub(super) async fn a_closed_log_says_so(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("closed", 1).await?;
    let log = ground.log();
    let mut reader = ground.read(&topic, 0, Start::Tail).await?;
    let taken: Vec<_> = payloads("t", 100).map(|text| log.append(&topic, 0, Record::new("", text))).collect();
    ground.soon("closing", log.close()).await?;
    for ack in taken {
        ground.soon("the ack of what was taken before", ack).await??;
    }
    let refused = ground.soon("the refusal", log.append(&topic, 0, Record::new("", "late"))).await?;
    ensure!(matches!(refused, Err(LogError::Closed)), "an append to a closed log: {refused:?}");
    let ended = async { while reader.next().await.is_ok() {} };
    ground.soon("the end of the reader", ended).await
}
