//! Topics of which the newest record of each key is kept.

use std::collections::BTreeMap;

use super::{CaseResult, Ground, ensure, ground::payloads};
use crate::{contract::Start, record::Record, topic::Class};

pub(super) async fn the_newest_record_of_a_key_is_kept(ground: &mut Ground) -> CaseResult {
    let topic = ground.topic_of("control", 1, Class::Compacted).await?;
    let log = ground.log();
    for text in payloads("", 60) {
        let key = format!("key{}", text.parse::<u32>().unwrap_or(0) % 3);
        ground.soon("an ack", log.append(&topic, 0, Record::new(key, text))).await??;
    }
    for round in 0..2 {
        let mut reader = ground.read(&topic, 0, Start::Earliest).await?;
        let mut newest = BTreeMap::new();
        let mut last = None;
        // Older ones may still be there; the last of each key is what counts.
        while last != Some(59) {
            for record in ground.take(&mut *reader, 1).await? {
                ensure!(last < Some(record.offset), "offset {} after {last:?}", record.offset);
                last = Some(record.offset);
                newest.insert(record.record.key.clone(), record.record.payload.clone());
            }
        }
        let newest: Vec<_> = newest.into_iter().collect();
        let expected = [("key0", "57"), ("key1", "58"), ("key2", "59")];
        ensure!(
            newest
                .iter()
                .map(|(key, payload)| (&key[..], &payload[..]))
                .eq(expected.map(|(key, payload)| (key.as_bytes(), payload.as_bytes()))),
            "round {round}: the newest are {newest:?}"
        );
        ground.instance.reopen().await;
    }
    let appended = ground.append(&topic, 0, "more", 1).await?;
    ensure!(appended[0].offset == 60, "offsets went on at {}, not at 60", appended[0].offset);
    Ok(())
}
