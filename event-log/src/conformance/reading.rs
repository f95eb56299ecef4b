//! What a reader outside of groups promises.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    CaseResult, Ground, broken, ensure,
    ground::{payloads, texts},
};
use crate::{contract::Start, error::LogError, record::Record};

pub(super) async fn reading_begins_in_the_middle(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("middle", 2).await?;
    ground.append(&topic, 1, "m", 20).await?;
    let mut reader = ground.read(&topic, 1, Start::At(13)).await?;
    let read = ground.take(&mut *reader, 7).await?;
    ensure!(texts(&read) == payloads("m", 20).skip(13).collect::<Vec<_>>(), "read {:?}", texts(&read));
    ground.append(&topic, 1, "later", 3).await?;
    let read = ground.take(&mut *reader, 3).await?;
    ensure!(texts(&read) == payloads("later", 3).collect::<Vec<_>>(), "then {:?}", texts(&read));
    Ok(())
}

pub(super) async fn the_tail_is_only_what_is_new(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("tail", 1).await?;
    ground.append(&topic, 0, "old", 5).await?;
    let mut reader = ground.read(&topic, 0, Start::Tail).await?;
    ensure!(timeout(ground.a_while(), reader.next()).await.is_err(), "something old was read");
    ground.append(&topic, 0, "new", 5).await?;
    let read = ground.take(&mut *reader, 5).await?;
    ensure!(texts(&read) == payloads("new", 5).collect::<Vec<_>>(), "read {:?}", texts(&read));
    Ok(())
}

pub(super) async fn a_waiting_reader_is_woken(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("woken", 1).await?;
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(ground.read(&topic, 0, Start::Earliest).await?);
    }
    let log = ground.log();
    for text in payloads("w", 30) {
        let appended = async {
            tokio::task::yield_now().await;
            log.append(&topic, 0, Record::new("", text.clone())).await
        };
        let [a, b, c] = &mut readers[..] else { broken!("three readers were opened") };
        let all = async { tokio::join!(appended, a.next(), b.next(), c.next()) };
        let (appended, a, b, c) = ground.soon("all readers", all).await?;
        let offset = appended?.offset;
        for read in [a?, b?, c?] {
            ensure!(texts(&read) == [text.clone()] && read[0].offset == offset, "read {:?}, not {text}", texts(&read));
        }
    }
    Ok(())
}

pub(super) async fn a_cancelled_read_loses_nothing(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("cancelled", 1).await?;
    let mut reader = ground.read(&topic, 0, Start::Earliest).await?;
    let log = ground.log();
    let (mut read, mut cancelled) = (Vec::new(), 0);
    for text in payloads("c", 200) {
        drop(log.append(&topic, 0, Record::new("", text)));
        match timeout(Duration::from_micros(200), reader.next()).await {
            Ok(records) => read.extend(records?),
            Err(_) => cancelled += 1,
        }
        // At times it is let go of right after its first look.
        tokio::select! {
            biased;
            records = reader.next() => read.extend(records?),
            () = tokio::task::yield_now() => cancelled += 1,
        }
    }
    read.extend(ground.take(&mut *reader, 200 - read.len()).await?);
    let expected: Vec<_> = payloads("c", 200).collect();
    ensure!(texts(&read) == expected, "{cancelled} reads were cancelled, and it read {:?}", texts(&read));
    Ok(())
}

pub(super) async fn an_offset_outside_of_the_log_is_an_error(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("range", 1).await?;
    ground.append(&topic, 0, "r", 4).await?;
    match ground.log().read(&topic, 0, Start::At(5)).await.err() {
        Some(LogError::OutOfRange { offset: 5, start: 0, end: 4, .. }) => {}
        other => broken!("reading at 5 of 4: {other:?}"),
    }
    let mut reader = ground.read(&topic, 0, Start::At(4)).await?;
    ground.append(&topic, 0, "s", 1).await?;
    let read = ground.take(&mut *reader, 1).await?;
    ensure!(texts(&read) == ["s0"], "at the end it read {:?}", texts(&read));
    Ok(())
}

pub(super) async fn a_reader_that_fell_behind_misses_nothing(ground: &mut Ground) -> CaseResult {
    const ROUNDS: usize = 40;
    const RECORDS: usize = 50;
    let topic = ground.topic("behind", 2).await?;
    let mut slow = ground.read(&topic, 0, Start::Earliest).await?;
    let log = ground.log();
    for round in 0..ROUNDS {
        let mut acks = Vec::new();
        for text in payloads(&format!("{round}:"), RECORDS) {
            let mut record = Record::new(text.clone(), vec![b'x'; 2_000]);
            record.headers.push("number", text);
            acks.push(log.append(&topic, 0, record.clone()));
            acks.push(log.append(&topic, 1, record));
        }
        for ack in acks {
            ground.soon("an ack", ack).await??;
        }
    }
    let read = ground.take(&mut *slow, ROUNDS * RECORDS).await?;
    let expected = (0..ROUNDS).flat_map(|round| payloads(&format!("{round}:"), RECORDS).collect::<Vec<_>>());
    for (at, (record, expected)) in read.iter().zip(expected).enumerate() {
        let number = record.record.headers.get_str("number");
        ensure!(
            record.offset == at as u64 && number == Some(&expected) && record.record.key == expected,
            "record {at} is {} with number {number:?}, not {expected}",
            record.offset
        );
    }
    Ok(())
}
