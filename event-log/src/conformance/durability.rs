//! What is there after a restart, however the process ended, and what retention takes away.

use super::{
    CaseResult, Ground, Stop, broken, ensure,
    ground::{payloads, texts},
};
use crate::{contract::Start, error::LogError, topic::Class};

pub(super) async fn acked_records_survive_a_reopen(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("reopened", 3).await?;
    for round in 0..3 {
        for partition in 0..3 {
            let appended = ground.append(&topic, partition, &format!("{round}:"), 20).await?;
            ensure!(
                appended[0].offset == round * 20,
                "offsets of round {round} begin at {}, not {}",
                appended[0].offset,
                round * 20
            );
        }
        ground.instance.reopen().await;
        for partition in 0..3 {
            let expected: Vec<_> =
                (0..=round).flat_map(|round| payloads(&format!("{round}:"), 20).collect::<Vec<_>>()).collect();
            let read = ground.everything(&topic, partition).await?;
            ensure!(texts(&read) == expected, "after reopening, {partition} holds {:?}", texts(&read));
        }
    }
    Ok(())
}

pub(super) async fn acked_records_survive_a_kill(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("killed", super::writer::PARTITIONS).await?;
    let mut acked = Vec::new();
    for kill in 1..=3 {
        let Some(more) = ground.instance.write_and_kill(&topic, 400 * kill).await else {
            return Err(Stop::NotHere("this log is not killed with its writer"));
        };
        ensure!(more.len() >= 400 * kill, "the writer was acked {} records only", more.len());
        acked.extend(more);
        for partition in 0..super::writer::PARTITIONS {
            let read = ground.everything(&topic, partition).await?;
            for (at, record) in read.iter().enumerate() {
                ensure!(record.offset == at as u64, "record {at} of {partition} has offset {}", record.offset);
            }
            let texts = texts(&read);
            for acked in acked.iter().filter(|acked| acked.partition == partition) {
                let found = texts.get(acked.offset as usize);
                ensure!(found == Some(&acked.payload), "{acked:?} was acked before kill {kill}, found {found:?}");
            }
            // Each writer numbers its records from 0: what is there is a prefix of what each appended.
            let mut expected = 0;
            for text in &texts {
                let Some(number) = text.rsplit(':').next().and_then(|number| number.parse::<u64>().ok()) else {
                    broken!("no number in {text:?}")
                };
                ensure!(number == expected || number == 0, "{number} stands where {expected} should in {partition}");
                expected = number + 1;
            }
        }
    }
    Ok(())
}

pub(super) async fn commits_survive_a_reopen(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("commits", 2).await?;
    for partition in 0..2 {
        ground.append(&topic, partition, "c", 10).await?;
    }
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_owns(2).await?;
    member.until_seen(20).await?;
    let keys: Vec<_> = member.owned.keys().cloned().collect();
    for (key, (offset, metadata)) in keys.iter().zip([(4, "four"), (10, "")]) {
        member.commit(key, offset, metadata).await?;
    }
    member.leave().await?;
    ground.instance.reopen().await;
    for (partition, expected) in [(0, (4, "four".to_owned())), (1, (10, String::new()))] {
        let committed = ground.committed("group", &topic, partition).await?;
        ensure!(committed == Some(expected), "partition {partition} stands at {committed:?}");
    }
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_seen(6).await?;
    member.listen(ground.a_while()).await?;
    let offsets: Vec<_> = member.seen.iter().map(|record| (record.partition, record.offset)).collect();
    ensure!(offsets == [4, 5, 6, 7, 8, 9].map(|offset| (0, offset)), "after reopening it read {offsets:?}");
    Ok(())
}

pub(super) async fn ephemeral_offsets_never_repeat(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic_of("tokens", 2, Class::Ephemeral { retention_ms: 600_000 }).await?;
    let mut last = None;
    for round in 0..4 {
        let mut reader = ground.read(&topic, 1, Start::Tail).await?;
        let appended = ground.append(&topic, 1, "token", 10).await?;
        let offsets: Vec<_> = appended.iter().map(|appended| appended.offset).collect();
        ensure!(last < offsets.first().copied(), "round {round}: offsets {offsets:?} after {last:?}");
        ensure!(offsets.is_sorted_by(|a, b| a < b), "offsets do not rise: {offsets:?}");
        last = offsets.last().copied();
        let read: Vec<_> = ground.take(&mut *reader, 10).await?.iter().map(|record| record.offset).collect();
        ensure!(read == offsets, "acked {offsets:?}, read {read:?}");
        ground.instance.reopen().await;
    }
    Ok(())
}

pub(super) async fn old_records_go_and_new_ones_stay(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("retention", 2).await?;
    let kept = ground.topic_of("kept", 1, Class::Durable { retention_ms: 1_000 * super::RETENTION_MS }).await?;
    ground.append(&topic, 0, "old", 30).await?;
    ground.append(&kept, 0, "kept", 5).await?;
    if !ground.instance.pass_retention().await {
        return Err(Stop::NotHere("time can't be made to pass"));
    }
    ground.append(&topic, 0, "new", 5).await?;
    if !ground.instance.pass_retention().await {
        return Err(Stop::NotHere("time can't be made to pass"));
    }
    let fresh = ground.append(&topic, 0, "fresh", 5).await?;
    ensure!(fresh[0].offset == 35, "offsets went on at {}, not at 35", fresh[0].offset);
    for reopened in [false, true] {
        let bounds = ground.log().bounds(&topic, 0).await?;
        ensure!(bounds == (35, 40), "reopened: {reopened}; bounds are {bounds:?}, not 35 to 40");
        let read = texts(&ground.everything(&topic, 0).await?);
        ensure!(read == payloads("fresh", 5).collect::<Vec<_>>(), "what is left is {read:?}");
        match ground.log().read(&topic, 0, Start::At(3)).await.err() {
            Some(LogError::OutOfRange { offset: 3, start: 35, end: 40, .. }) => {}
            other => broken!("reading what is gone: {other:?}"),
        }
        let others = texts(&ground.everything(&kept, 0).await?);
        ensure!(others.len() == 5, "another class lost records: {others:?}");
        ground.instance.reopen().await;
    }
    Ok(())
}
