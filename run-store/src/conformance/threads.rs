//! Threads by tenant and user, newest first.

use bytes::Bytes;

use super::bench::{Bench, Outcome, position, same};
use crate::rows::{PageRequest, ThreadFilter, ThreadRow};

const ALL: PageRequest = PageRequest { limit: 100, cursor: None };

fn threads(bench: &Bench<'_>) -> Vec<ThreadRow> {
    (0..9)
        .map(|n| ThreadRow {
            user: [Some("ada"), Some("bob"), None][n % 3].map(str::to_owned),
            graph: ["support", "triage"][n % 2].to_owned(),
            ..bench.thread(&format!("thread {n}/é"), n as u64)
        })
        .collect()
}

async fn check(bench: &Bench<'_>, filter: ThreadFilter, matches: impl Fn(&ThreadRow) -> bool) -> Outcome {
    let mut expected: Vec<ThreadRow> = threads(bench).into_iter().filter(|row| matches(row)).collect();
    expected.reverse();
    let page = bench.store.threads(&bench.tenant(), &filter, &ALL).await?;
    same!(page.rows, expected, "threads by {filter:?}");
    Ok(())
}

pub(super) async fn threads_are_newest_first(bench: &mut Bench<'_>) -> Outcome {
    let mut rows = threads(bench);
    rows.rotate_left(4);
    bench.write_threads(rows).await?;
    check(bench, ThreadFilter::default(), |_| true).await?;
    for row in threads(bench) {
        let found = bench.store.thread(&row.tenant, &row.thread_id).await?;
        same!(found.as_ref(), Some(&row), "the thread by its id");
    }
    Ok(())
}

pub(super) async fn threads_are_listed_by_user_and_graph(bench: &mut Bench<'_>) -> Outcome {
    bench.write_threads(threads(bench)).await?;
    let (ada, triage) = (Some("ada".to_owned()), Some("triage".to_owned()));
    let by_user = ThreadFilter { user: ada.clone(), graph: None };
    check(bench, by_user, |row| row.user.as_deref() == Some("ada")).await?;
    let by_graph = ThreadFilter { user: None, graph: triage.clone() };
    check(bench, by_graph, |row| row.graph == "triage").await?;
    let by_both = ThreadFilter { user: ada, graph: triage };
    check(bench, by_both, |row| row.user.as_deref() == Some("ada") && row.graph == "triage").await
}

pub(super) async fn a_threads_newest_view_is_listed_once(bench: &mut Bench<'_>) -> Outcome {
    let first = ThreadRow { user: Some("ada".into()), ..bench.thread("t", 1) };
    let mut last = first.clone();
    for n in 1..=5u64 {
        last.position = position(100 + n * 10);
        last.updated_at += 1_000;
        last.view = Bytes::from(format!("{{\"turn\":{n}}}"));
        bench.write_threads([last.clone()]).await?;
    }
    for user in [None, Some("ada".to_owned())] {
        let filter = ThreadFilter { user, graph: None };
        let page = bench.store.threads(&bench.tenant(), &filter, &ALL).await?;
        same!(page.rows, [last.clone()], "the list by {filter:?} after five views of one thread");
    }
    Ok(())
}

pub(super) async fn threads_page_completely(bench: &mut Bench<'_>) -> Outcome {
    // Three threads begin in each moment: ties must neither hide nor repeat one.
    let rows: Vec<ThreadRow> = (0..30)
        .map(|n| ThreadRow { created_at: bench.thread("", n / 3).created_at, ..bench.thread(&format!("t{n:02}"), n) })
        .collect();
    bench.write_threads(rows.clone()).await?;
    let mut expected: Vec<_> = rows.iter().map(|row| (row.created_at, row.thread_id.clone())).collect();
    expected.sort();
    expected.reverse();

    let mut found = Vec::new();
    let mut cursor = None;
    for _ in 0..=rows.len() {
        let page = PageRequest { limit: 7, cursor };
        let page = bench.store.threads(&bench.tenant(), &ThreadFilter::default(), &page).await?;
        found.extend(page.rows.into_iter().map(|row| (row.created_at, row.thread_id)));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    same!(cursor, None, "the cursor behind the last page");
    same!(found, expected, "all pages together");
    Ok(())
}
