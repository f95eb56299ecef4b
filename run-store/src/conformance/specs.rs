//! Versions of graphs by hash, and the current one by name.

use bytes::Bytes;
use graph::envelope::Millis;

use super::bench::{AT, Bench, Outcome, same};
use crate::rows::SpecRow;

fn spec(bench: &Bench<'_>, name: &str, version: u8) -> SpecRow {
    SpecRow {
        hash: bench.name(&format!("{name}-v{version}")),
        name: bench.name(name),
        spec: Bytes::from(format!("{{\"version\":{version}}}")),
        created_at: AT + Millis::from(version),
    }
}

pub(super) async fn a_spec_is_found_by_its_hash(bench: &mut Bench<'_>) -> Outcome {
    let row = spec(bench, "support", 1);
    same!(bench.store.spec(&row.hash).await?, None, "a spec that was never put");
    for _ in 0..2 {
        bench.store.put_spec(&row).await?;
    }
    // The same content at another time is the same version.
    bench.store.put_spec(&SpecRow { created_at: AT + 9_000, ..row.clone() }).await?;
    same!(bench.store.spec(&row.hash).await?, Some(row), "the spec");
    Ok(())
}

pub(super) async fn the_latest_publish_wins(bench: &mut Bench<'_>) -> Outcome {
    let (first, second) = (spec(bench, "support", 1), spec(bench, "support", 2));
    bench.store.put_spec(&first).await?;
    bench.store.put_spec(&second).await?;
    same!(bench.store.current_of(&first.name).await?, None, "the current version before a publish");
    bench.store.publish(&first.name, &second.hash, AT + 20).await?;
    bench.store.publish(&first.name, &first.hash, AT + 10).await?;
    same!(bench.store.current_of(&first.name).await?, Some(second), "the current version after a late publish");
    bench.store.publish(&first.name, &first.hash, AT + 30).await?;
    same!(bench.store.current_of(&first.name).await?, Some(first), "the current version after going back");
    Ok(())
}

pub(super) async fn the_current_version_of_every_graph_is_listed(bench: &mut Bench<'_>) -> Outcome {
    let rows = [spec(bench, "alpha", 1), spec(bench, "beta", 4), spec(bench, "gamma", 2)];
    for row in &rows {
        bench.store.put_spec(row).await?;
        bench.store.publish(&row.name, &row.hash, row.created_at).await?;
    }
    bench.store.put_spec(&spec(bench, "beta", 5)).await?;
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let current: Vec<SpecRow> =
        bench.store.current().await?.into_iter().filter(|row| names.contains(&row.name)).collect();
    same!(current, rows, "the current versions, by name");
    Ok(())
}

pub(super) async fn versions_are_newest_first(bench: &mut Bench<'_>) -> Outcome {
    for version in [2, 3, 1] {
        bench.store.put_spec(&spec(bench, "support", version)).await?;
        bench.store.put_spec(&spec(bench, "other", version)).await?;
    }
    let expected = [3, 2, 1].map(|version| spec(bench, "support", version));
    same!(bench.store.versions(&bench.name("support")).await?, expected, "the versions");
    Ok(())
}
