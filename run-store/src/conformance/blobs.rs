//! Immutable values by owner and content hash, never shared between owners.

use bytes::Bytes;
use graph::envelope::Key;

use super::bench::{Bench, Failure, Outcome, holds, same};
use crate::{
    error::StoreError,
    stored::VALUE_BYTES_MAX,
    values::{FindError, Values, find_values, put_values},
};

pub(super) async fn a_blob_belongs_to_its_owner(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    bench.store.put_blob(&owner, "cafe", Bytes::from_static(b"value")).await?;
    same!(bench.store.blob(&owner, "cafe").await?, Some(Bytes::from_static(b"value")), "the blob");
    same!(bench.store.blob(&owner, "beef").await?, None, "another hash");
    for other in [bench.key("another thread"), Key::thread(&bench.name("bond"), "t")] {
        same!(bench.store.blob(&other, "cafe").await?, None, "the same hash of {other:?}");
    }
    Ok(())
}

pub(super) async fn a_blob_may_be_written_again(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    for _ in 0..3 {
        bench.store.put_blob(&owner, "cafe", Bytes::from_static(b"value")).await?;
    }
    bench.store.put_blob(&owner, "none", Bytes::new()).await?;
    same!(bench.store.blob(&owner, "cafe").await?, Some(Bytes::from_static(b"value")), "the blob");
    same!(bench.store.blob(&owner, "none").await?, Some(Bytes::new()), "the empty blob");
    Ok(())
}

pub(super) async fn a_megabyte_comes_back_whole(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    for bytes in [32 * 1024, 1024 * 1024, 3 * 1024 * 1024 + 17] {
        let value: Bytes = (0..bytes).map(|n| (n % 251) as u8).collect();
        let hash = blake3::hash(&value).to_hex();
        bench.store.put_blob(&owner, &hash, value.clone()).await?;
        let found = bench.store.blob(&owner, &hash).await?;
        holds!(
            found.as_ref() == Some(&value),
            "a blob of {bytes} bytes came back as {:?} bytes",
            found.map(|b| b.len())
        );
    }
    Ok(())
}

pub(super) async fn a_value_over_the_limit_is_refused(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let refused = bench.store.put_blob(&owner, "cafe", Bytes::from(vec![0; VALUE_BYTES_MAX + 1])).await;
    holds!(
        matches!(refused, Err(StoreError::TooLarge { bytes, .. }) if bytes == VALUE_BYTES_MAX + 1),
        "a blob over the limit was answered {refused:?}"
    );
    same!(bench.store.blob(&owner, "cafe").await?, None, "the refused blob");
    Ok(())
}

pub(super) async fn values_of_any_size_come_back(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let value = |bytes: usize| -> Bytes { (0..bytes).map(|n| (n % 249) as u8).collect() };
    let values: Values = [0, 33_000, 8 << 20, (8 << 20) + 1, 20 << 20]
        .map(value)
        .map(|value| (blake3::hash(&value).to_hex().to_string(), value))
        .into();
    for _ in 0..2 {
        put_values(&*bench.store, &owner, &values).await?;
    }
    let wanted = values.iter().map(|(hash, value)| (hash.as_str(), value.len() as u64));
    match find_values(&*bench.store, &owner, wanted).await {
        Ok(found) => holds!(found == values, "values came back as others"),
        Err(error) => return Err(Failure(format!("values did not come back: {error}"))),
    }
    Ok(())
}

pub(super) async fn a_value_that_is_not_whole_is_missing(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let value = Bytes::from(vec![7; (8 << 20) + 1]);
    let hash = blake3::hash(&value).to_hex().to_string();
    let wanted = [(hash.as_str(), value.len() as u64)];
    let missing = Some(hash.clone());
    let found = async |bench: &Bench<'_>| match find_values(&*bench.store, &owner, wanted).await {
        Err(FindError::Missing(missing)) => Ok(Some(missing.hash)),
        Err(FindError::Store(error)) => Err(error),
        Ok(_) => Ok(None),
    };
    same!(found(bench).await?, missing, "a value that nobody wrote");
    bench.store.put_blob(&owner, &format!("{hash}.0"), value.slice(..8 << 20)).await?;
    same!(found(bench).await?, missing, "half a value");
    bench.store.put_blob(&owner, &format!("{hash}.1"), Bytes::from_static(b"x")).await?;
    same!(found(bench).await?, missing, "a value with another end");
    bench.store.put_blob(&owner, &format!("{hash}.1"), value.slice(8 << 20..)).await?;
    same!(found(bench).await?, None, "the whole value");
    Ok(())
}
