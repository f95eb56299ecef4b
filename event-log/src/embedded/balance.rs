//! Who should own which partition: evenly, and moving as few as that takes. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::record::Partition;

pub(super) type MemberId = u64;
pub(super) type Key = (Arc<str>, Partition);

/// `members` with the topics of each; `current` says who has, or is about to get, what.
pub(super) fn balance(
    members: &BTreeMap<MemberId, BTreeSet<Arc<str>>>,
    partitions: &BTreeSet<Key>,
    current: &BTreeMap<Key, MemberId>,
) -> BTreeMap<Key, MemberId> {
    let wants = |member: &MemberId, key: &Key| members.get(member).is_some_and(|topics| topics.contains(&key.0));
    let mut load: BTreeMap<MemberId, usize> = members.keys().map(|member| (*member, 0)).collect();
    let mut target = BTreeMap::new();
    for key in partitions {
        if let Some(owner) = current.get(key).filter(|owner| wants(owner, key)) {
            *load.entry(*owner).or_default() += 1;
            target.insert(key.clone(), *owner);
        }
    }
    let least = |load: &BTreeMap<MemberId, usize>, key: &Key| {
        load.iter().filter(|(member, _)| wants(member, key)).min_by_key(|(_, load)| **load).map(|(member, _)| *member)
    };
    for key in partitions {
        if !target.contains_key(key)
            && let Some(member) = least(&load, key)
        {
            *load.entry(member).or_default() += 1;
            target.insert(key.clone(), member);
        }
    }
    // From who has most to who has least, until no move makes that more even: each narrows a difference, so it ends.
    loop {
        let moves = partitions.iter().rev().filter_map(|key| {
            let (owner, member) = (*target.get(key)?, least(&load, key)?);
            let difference = load[&owner].checked_sub(load[&member] + 2)?;
            Some((difference, key, owner, member))
        });
        let Some((_, key, owner, member)) = moves.max_by_key(|(difference, ..)| *difference) else { break };
        *load.entry(owner).or_default() -= 1;
        *load.entry(member).or_default() += 1;
        target.insert(key.clone(), member);
    }
    target
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(partitions: &BTreeMap<&'static str, u32>) -> BTreeSet<Key> {
        partitions.iter().flat_map(|(topic, count)| (0..*count).map(|p| (Arc::from(*topic), p))).collect()
    }

    proptest! {
        #[test]
        fn members_of_one_subscription_get_equal_shares(
            partitions in 1..40u32,
            joins in prop::collection::vec(0..8u64, 1..20),
        ) {
            let partitions = keys(&BTreeMap::from([("a", partitions), ("b", 3)]));
            let topics = BTreeSet::from([Arc::from("a"), Arc::from("b")]);
            let (mut members, mut current) = (BTreeMap::new(), BTreeMap::new());
            for member in joins {
                // The one who is there leaves, the one who is not joins.
                if members.remove(&member).is_none() {
                    members.insert(member, topics.clone());
                }
                let before = current;
                current = balance(&members, &partitions, &before);
                if members.is_empty() {
                    prop_assert!(current.is_empty());
                    continue;
                }
                prop_assert_eq!(current.len(), partitions.len());
                let share = |member: &u64| current.values().filter(|owner| *owner == member).count();
                let (least, most) = (members.keys().map(share).min().unwrap(), members.keys().map(share).max().unwrap());
                prop_assert!(most - least <= 1, "{least} to {most}");
                // Nobody hands over more than what makes others even.
                let moved = before.iter().filter(|(key, owner)| members.contains_key(owner) && current[key] != **owner);
                prop_assert!(moved.count() <= most);
            }
        }
    }

    #[test]
    fn a_partition_goes_to_who_asked_for_its_topic() {
        let members = BTreeMap::from([(1, BTreeSet::from([Arc::from("a")])), (2, BTreeSet::from([Arc::from("b")]))]);
        let partitions = keys(&BTreeMap::from([("a", 4), ("b", 1), ("c", 1)]));
        let target = balance(&members, &partitions, &BTreeMap::new());
        assert!(target.iter().all(|(key, owner)| (&*key.0 == "a") == (*owner == 1)));
        assert_eq!(target.len(), 5, "nobody asked for c");
    }
}
