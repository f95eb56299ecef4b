//! What a group promises: every record reaches it, whoever comes and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{CaseResult, Ground, Stop, broken, ensure, ground::texts, member::Member};
use crate::record::{Fetched, Record};

pub(super) async fn a_group_reads_every_record(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("all", 4).await?;
    for partition in 0..4 {
        ground.append(&topic, partition, "before", 50).await?;
    }
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_owns(4).await?;
    for assigned in member.owned.values() {
        ensure!(assigned.committed.is_none(), "a new group stands at {:?}", assigned.committed);
        ensure!((assigned.start, assigned.end) == (0, 50), "bounds {} to {}", assigned.start, assigned.end);
    }
    for partition in 0..4 {
        ground.append(&topic, partition, "after", 50).await?;
    }
    member.until_seen(400).await?;
    let mut offsets: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for record in &member.seen {
        offsets.entry(record.partition).or_default().push(record.offset);
    }
    for (partition, offsets) in offsets {
        ensure!(offsets == (0..100).collect::<Vec<_>>(), "of {partition} it read {offsets:?}");
    }
    Ok(())
}

pub(super) async fn members_share_the_partitions(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("shared", 4).await?;
    let mut first = ground.join("group", &[&topic]).await?;
    first.until_owns(4).await?;
    let mut second = ground.join("group", &[&topic]).await?;
    share(ground, &mut [&mut first, &mut second], 2).await?;
    let both: BTreeSet<_> = first.owned.keys().chain(second.owned.keys()).cloned().collect();
    ensure!(both.len() == 4, "together they own {both:?}");
    second.leave().await?;
    first.until_owns(4).await
}

pub(super) async fn a_partition_that_comes_back_is_read(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("back", 2).await?;
    let mut first = ground.join("group", &[&topic]).await?;
    first.until_owns(2).await?;
    for partition in 0..2 {
        ground.append(&topic, partition, "before", 5).await?;
    }
    first.until_seen(10).await?;
    let mut second = ground.join("group", &[&topic]).await?;
    share(ground, &mut [&mut first, &mut second], 1).await?;
    second.leave().await?;
    first.until_owns(2).await?;
    for partition in 0..2 {
        ground.append(&topic, partition, "after", 5).await?;
    }
    // What it did not commit comes a second time.
    let after = |member: &Member| texts(&member.seen).iter().filter(|text| text.starts_with("after")).count();
    let until = Instant::now() + 10 * ground.a_while();
    while after(&first) < 10 {
        first.listen(ground.a_while()).await?;
        ensure!(Instant::now() < until, "of 10 records appended to both partitions it read {}", after(&first));
    }
    Ok(())
}

pub(super) async fn joining_and_leaving_skips_nothing(ground: &mut Ground) -> CaseResult {
    const PARTITIONS: u32 = 6;
    const ROUNDS: usize = 12;
    const RECORDS: usize = 20;
    let topic = ground.topic("moving", PARTITIONS).await?;
    let mut members = vec![ground.join("group", &[&topic]).await?];
    let mut seen: Vec<Fetched> = Vec::new();
    for round in 0..ROUNDS {
        for partition in 0..PARTITIONS {
            ground.append(&topic, partition, &format!("{round}:"), RECORDS).await?;
        }
        // One comes, another goes: in turn, so that partitions keep moving while they hold unread records.
        match round % 4 {
            0 | 1 => members.push(ground.join("group", &[&topic]).await?),
            _ => {
                let mut leaver = members.remove(0);
                leaver.commit_all().await?;
                seen.extend(leaver.leave().await?);
            }
        }
        for member in &mut members {
            turn(member, Duration::from_millis(10)).await?;
        }
    }
    let all = ROUNDS * RECORDS * PARTITIONS as usize;
    let until = Instant::now() + 10 * ground.a_while();
    loop {
        for member in &mut members {
            turn(member, Duration::from_millis(10)).await?;
        }
        let found: BTreeSet<_> = seen
            .iter()
            .chain(members.iter().flat_map(|member| &member.seen))
            .map(|record| (record.partition, record.offset))
            .collect();
        if found.len() == all {
            break;
        }
        ensure!(Instant::now() < until, "{} of {all} records reached the group", found.len());
    }
    for member in &mut members {
        member.commit_all().await?;
    }
    for partition in 0..PARTITIONS {
        let committed = ground.committed("group", &topic, partition).await?.map(|(offset, _)| offset);
        let end = (ROUNDS * RECORDS) as u64;
        ensure!(committed == Some(end), "{partition} was committed at {committed:?}, not at {end}");
    }
    Ok(())
}

pub(super) async fn a_leaver_hands_over_at_its_commit(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("handed", 1).await?;
    ground.append(&topic, 0, "h", 10).await?;
    let mut first = ground.join("group", &[&topic]).await?;
    first.until_seen(10).await?;
    let key = first.seen[0].topic.clone();
    first.commit(&(key, 0), 6, "so far").await?;
    first.leave().await?;
    let mut second = ground.join("group", &[&topic]).await?;
    second.until_owns(1).await?;
    let Some(assigned) = second.owned.values().next() else { broken!("nothing was assigned") };
    ensure!(assigned.committed == Some((6, "so far".into())), "it was told {:?}", assigned.committed);
    ensure!((assigned.start, assigned.end) == (0, 10), "bounds {} to {}", assigned.start, assigned.end);
    second.until_seen(4).await?;
    ensure!(texts(&second.seen) == ["h6", "h7", "h8", "h9"], "it read {:?}", texts(&second.seen));
    Ok(())
}

pub(super) async fn two_groups_are_independent(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("both", 2).await?;
    for partition in 0..2 {
        ground.append(&topic, partition, "b", 10).await?;
    }
    let mut one = ground.join("one", &[&topic]).await?;
    one.until_owns(2).await?;
    one.until_seen(20).await?;
    one.commit_all().await?;
    let mut other = ground.join("other", &[&topic]).await?;
    other.until_owns(2).await?;
    ensure!(other.owned.values().all(|assigned| assigned.committed.is_none()), "it got the other's offsets");
    other.until_seen(20).await?;
    ensure!(one.owned.len() == 2 && one.revoked.is_empty(), "one group took partitions from the other");
    let committed = ground.committed("other", &topic, 0).await?;
    ensure!(committed.is_none(), "a group that never committed stands at {committed:?}");
    Ok(())
}

pub(super) async fn a_slow_consumer_holds_up_nobody(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("slow", 1).await?;
    let mut slow = ground.join("slow", &[&topic]).await?;
    slow.until_owns(1).await?;
    let mut quick = ground.join("quick", &[&topic]).await?;
    quick.until_owns(1).await?;
    let log = ground.log();
    for round in 0..20 {
        let acks: Vec<_> =
            (0..50).map(|n| log.append(&topic, 0, Record::new(format!("{round}"), vec![n; 4_000]))).collect();
        for ack in acks {
            ground.soon("an ack", ack).await??;
        }
        quick.until_seen((round + 1) * 50).await?;
    }
    slow.until_seen(1_000).await?;
    let offsets: Vec<_> = slow.seen.iter().map(|record| record.offset).collect();
    ensure!(offsets == (0..1_000).collect::<Vec<_>>(), "the slow one read {offsets:?}");
    Ok(())
}

pub(super) async fn a_cancelled_next_loses_nothing(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("dropped", 2).await?;
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_owns(2).await?;
    let log = ground.log();
    for number in 0..200u32 {
        drop(log.append(&topic, number % 2, Record::new("", number.to_string())));
        if let Ok(event) = timeout(Duration::from_micros(200), member.consumer.next()).await {
            member.note(event?)?;
        }
        let event = tokio::select! {
            biased;
            event = member.consumer.next() => Some(event),
            () = tokio::task::yield_now() => None,
        };
        if let Some(event) = event {
            member.note(event?)?;
        }
    }
    member.until_seen(200).await?;
    let found: BTreeSet<_> = member.seen.iter().map(|record| (record.partition, record.offset)).collect();
    ensure!(found.len() == 200 && member.seen.len() == 200, "{} of 200 in {}", found.len(), member.seen.len());
    Ok(())
}

/// Lets a member take in what comes, and give up what it must.
async fn turn(member: &mut Member, time: Duration) -> Result<(), Stop> {
    member.listen(time).await?;
    if !member.revoked.is_empty() {
        member.commit_all().await?;
        member.release().await?;
    }
    Ok(())
}

/// Lets members go on until each owns as many.
pub(super) async fn share(ground: &Ground, members: &mut [&mut Member], each: usize) -> Result<(), Stop> {
    let until = Instant::now() + 10 * ground.a_while();
    while members.iter().any(|member| member.owned.len() != each) {
        let owned: Vec<_> = members.iter().map(|member| member.owned.len()).collect();
        ensure!(Instant::now() < until, "they own {owned:?} partitions instead of {each} each");
        for member in members.iter_mut() {
            turn(member, Duration::from_millis(10)).await?;
        }
    }
    Ok(())
}
