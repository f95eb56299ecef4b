//! What processes share and may forget: values and lists, each for its time.

use std::{sync::Arc, time::Duration};

use quota::{Cache, RedisCache};

use crate::server::Shared;

const MINUTE: Duration = Duration::from_secs(60);

fn cache(shared: &Shared) -> RedisCache {
    RedisCache::new(Arc::new(shared.redis()))
}

#[tokio::test]
async fn a_value_is_found_by_every_process_for_its_time() {
    let Some(shared) = Shared::find() else { return };
    let (one, other) = (cache(&shared), cache(&shared));
    one.put("a", b"\xff\x00", MINUTE).await.expect("Redis");
    one.put("short", b"x", Duration::from_millis(50)).await.expect("Redis");
    assert_eq!(other.get("a").await.expect("Redis"), Some(b"\xff\x00".to_vec()));
    assert_eq!(other.get("b").await.expect("Redis"), None);
    assert_eq!(cache(&shared.apart()).get("a").await.expect("Redis"), None, "another prefix");
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(other.get("short").await.expect("Redis"), None);
}

#[tokio::test]
async fn a_list_keeps_its_newest_for_its_time() {
    let Some(shared) = Shared::find() else { return };
    let (one, other) = (cache(&shared), cache(&shared));
    for value in [b"\xff1", b"\xff2", b"\xff3", b"\xff4"] {
        one.push("a", value, 3, MINUTE).await.expect("Redis");
    }
    assert_eq!(other.items("a").await.expect("Redis"), [b"\xff4", b"\xff3", b"\xff2"]);
    assert_eq!(other.get("a").await.expect("Redis"), None, "a value of the same name is another thing");
    one.put("a", b"x", MINUTE).await.expect("Redis");
    assert_eq!(other.items("a").await.expect("Redis").len(), 3);
    assert_eq!(other.items("b").await.expect("Redis"), Vec::<Vec<u8>>::new());
    assert_eq!(cache(&shared.apart()).items("a").await.expect("Redis"), Vec::<Vec<u8>>::new(), "another prefix");
    one.push("short", b"x", 3, Duration::from_millis(50)).await.expect("Redis");
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(other.items("short").await.expect("Redis"), Vec::<Vec<u8>>::new());
}
