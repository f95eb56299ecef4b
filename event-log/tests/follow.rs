//! A compacted topic that is followed from its beginning.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use event_log::{Class, EmbeddedLog, EventLog, Record, TopicSpec, follow};
use tokio_util::task::TaskTracker;

#[tokio::test]
async fn what_was_there_is_known_before_it_is_said_to_be_and_what_comes_follows() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = EmbeddedLog::open(folder.path(), Default::default(), Arc::new(|| 0)).unwrap();
    let (tasks, seen) = (TaskTracker::new(), Arc::new(Mutex::new(Vec::<u64>::new())));
    // Reading begins before there is anything to read.
    let noted = Arc::clone(&seen);
    let (early, mut is_known) =
        follow(Arc::clone(&log), "facts".to_owned(), move |value: &u64| noted.lock().unwrap().push(*value));
    let early = tasks.spawn(early);
    let topic = TopicSpec { name: "facts".to_owned(), partitions: 3, class: Class::Compacted };
    log.create_topics(&[topic]).await.unwrap();
    is_known.wait_for(|known| *known).await.unwrap();
    for (partition, text) in [(0, "1"), (2, "2"), (2, "nonsense"), (2, "3")] {
        log.append("facts", partition, Record::new(text, text)).await.unwrap();
    }
    let noted = Arc::new(Mutex::new(Vec::<u64>::new()));
    let late = Arc::clone(&noted);
    let (following, mut is_known) =
        follow(Arc::clone(&log), "facts".to_owned(), move |value: &u64| late.lock().unwrap().push(*value));
    let following = tasks.spawn(following);
    is_known.wait_for(|known| *known).await.unwrap();
    let mut known = noted.lock().unwrap().clone();
    known.sort_unstable();
    assert_eq!(known, [1, 2, 3]);
    log.append("facts", 1, Record::new("4", "4")).await.unwrap();
    while seen.lock().unwrap().len() < 4 || noted.lock().unwrap().len() < 4 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    early.abort();
    following.abort();
    log.close().await;
}
