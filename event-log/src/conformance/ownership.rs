//! What the owner of a partition may do, and a former one may not.

use super::{CaseResult, Ground, Stop, broken, ensure, ground::texts, member::Member};
use crate::{error::LogError, record::Record};

pub(super) async fn metadata_of_4096_bytes_comes_back_and_more_is_refused(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("metadata", 1).await?;
    ground.append(&topic, 0, "m", 3).await?;
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_seen(3).await?;
    let key = (member.seen[0].topic.clone(), 0);
    // Not all the same, so that a part or another commit's would show.
    let longest: String = (0..4_096u32).map(|at| char::from(b'!' + (at * 7 % 90) as u8)).collect();
    member.commit(&key, 1, "short").await?;
    member.commit(&key, 2, &longest).await?;
    match member.commit(&key, 3, &format!("{longest}x")).await {
        Err(LogError::MetadataTooLarge { bytes: 4_097 }) => {}
        other => broken!("metadata of 4097 bytes: {other:?}"),
    }
    let committed = ground.committed("group", &topic, 0).await?;
    ensure!(committed == Some((2, longest.clone())), "committed is {committed:?}");
    member.leave().await?;
    ground.instance.reopen().await;
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_owns(1).await?;
    let committed = member.owned.values().next().and_then(|assigned| assigned.committed.clone());
    ensure!(committed == Some((2, longest)), "after reopening it is {committed:?}");
    Ok(())
}

pub(super) async fn a_commit_by_a_stale_owner_is_refused(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("stale", 2).await?;
    for partition in 0..2 {
        ground.append(&topic, partition, "s", 10).await?;
    }
    let mut old = ground.join("group", &[&topic]).await?;
    old.until_owns(2).await?;
    old.until_seen(20).await?;
    let mut new = ground.join("group", &[&topic]).await?;
    old.until_revoked().await?;
    let moved = old.revoked[0].clone();
    // Until it lets go it is the owner.
    old.commit(&moved, 5, "mine").await?;
    old.release().await?;
    new.until_owns(1).await?;
    new.until_seen(5).await?;
    new.commit(&moved, 8, "now mine").await?;
    for (offset, when) in [(10, "behind the new owner's"), (6, "before it")] {
        match old.commit(&moved, offset, "still mine").await {
            Err(LogError::StaleOwner { .. }) => {}
            other => broken!("a former owner's commit {when}: {other:?}"),
        }
    }
    let committed = ground.committed("group", &topic, moved.1).await?;
    ensure!(committed == Some((8, "now mine".into())), "committed is {committed:?}");
    Ok(())
}

pub(super) async fn a_revoked_partition_waits_for_its_release(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("waits", 2).await?;
    let mut old = ground.join("group", &[&topic]).await?;
    old.until_owns(2).await?;
    let mut new = ground.join("group", &[&topic]).await?;
    old.until_revoked().await?;
    let moved = old.revoked[0].clone();
    ground.append(&topic, moved.1, "w", 5).await?;
    new.listen(ground.a_while()).await?;
    ensure!(new.owned.is_empty(), "it was assigned {:?} before the release", new.owned);
    old.listen(ground.a_while()).await?;
    ensure!(old.seen.is_empty(), "a revoked partition was read by its old owner: {:?}", texts(&old.seen));
    old.commit(&moved, 2, "").await?;
    old.release().await?;
    new.until_owns(1).await?;
    new.until_seen(3).await?;
    ensure!(texts(&new.seen) == ["w2", "w3", "w4"], "the new owner read {:?}", texts(&new.seen));
    Ok(())
}

pub(super) async fn a_paused_partition_is_silent_and_loses_nothing(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("paused", 2).await?;
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_owns(2).await?;
    ground.append(&topic, 0, "before", 10).await?;
    member.until_seen(10).await?;
    member.consumer.pause(&topic, 0).await?;
    ground.append(&topic, 0, "while", 10).await?;
    ground.append(&topic, 1, "other", 10).await?;
    member.until_seen(20).await?;
    member.listen(ground.a_while()).await?;
    let of_paused = member.seen.iter().filter(|record| record.partition == 0).count();
    ensure!(of_paused == 10, "{} records came from a paused partition", of_paused - 10);
    ensure!(member.seen.len() == 20, "the other partition gave {} records", member.seen.len() - 10);
    member.consumer.resume(&topic, 0).await?;
    ground.append(&topic, 0, "after", 10).await?;
    member.until_seen(40).await?;
    let offsets: Vec<_> = member.seen.iter().filter(|record| record.partition == 0).map(|r| r.offset).collect();
    ensure!(offsets == (0..30).collect::<Vec<_>>(), "of the paused partition it read {offsets:?}");
    Ok(())
}

pub(super) async fn reading_goes_on_where_it_is_told_to(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic("seek", 1).await?;
    ground.append(&topic, 0, "s", 10).await?;
    let mut member = ground.join("group", &[&topic]).await?;
    member.until_owns(1).await?;
    seek(&mut member, &topic, 7).await?;
    member.until_seen(3).await?;
    ensure!(texts(&member.seen) == ["s7", "s8", "s9"], "from 7 it read {:?}", texts(&member.seen));
    seek(&mut member, &topic, 2).await?;
    member.seen.clear();
    ground.soon("an ack", ground.log().append(&topic, 0, Record::new("", "new"))).await??;
    member.until_seen(9).await?;
    let offsets: Vec<_> = member.seen.iter().map(|record| record.offset).collect();
    ensure!(offsets == (2..=10).collect::<Vec<_>>(), "from 2 it read {offsets:?}");
    Ok(())
}

async fn seek(member: &mut Member, topic: &str, offset: u64) -> Result<(), Stop> {
    member.consumer.seek(topic, 0, offset).await?;
    for position in member.positions.values_mut() {
        *position = offset;
    }
    Ok(())
}
