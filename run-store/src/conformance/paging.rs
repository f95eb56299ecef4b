//! Pages: complete, without repeats, whatever is written meanwhile.

use graph::{envelope::Millis, ids, update::RunStatus};
use uuid::Uuid;

use super::bench::{Bench, Failure, Outcome, holds, ids_of, same};
use crate::{
    error::StoreError,
    page::PAGE_ROWS_MAX,
    rows::{PageRequest, RunFilter, RunRow, ThreadFilter},
};

/// More pages than any case has.
const PAGES_MAX: usize = 500;

async fn walk(bench: &Bench<'_>, filter: &RunFilter, limit: u32) -> Result<Vec<Uuid>, Failure> {
    let mut found = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = bench.store.runs(&bench.tenant(), filter, &PageRequest { limit, cursor }).await?;
        holds!(page.rows.len() <= limit as usize, "a page of {limit} had {} rows", page.rows.len());
        found.extend(ids_of(&page.rows));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
    Err(Failure(format!("the list did not end within {PAGES_MAX} pages")))
}

fn newest_first<'a>(rows: impl IntoIterator<Item = &'a RunRow>) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = rows.into_iter().map(|row| row.run_id).collect();
    ids.sort();
    ids.reverse();
    ids
}

pub(super) async fn pages_are_complete_without_repeats(bench: &mut Bench<'_>) -> Outcome {
    let rows: Vec<RunRow> = (0..50).map(|n| bench.run(n)).collect();
    bench.write_runs(rows.clone()).await?;
    for limit in [1, 7, 10, 49, 50, 51] {
        same!(walk(bench, &RunFilter::default(), limit).await?, newest_first(&rows), "pages of {limit}");
    }
    Ok(())
}

pub(super) async fn a_filtered_list_pages_completely(bench: &mut Bench<'_>) -> Outcome {
    let rows: Vec<RunRow> = (0..60)
        .map(|n| RunRow {
            user: Some(["ada", "bob"][n as usize % 2].into()),
            status: [RunStatus::Success, RunStatus::Error, RunStatus::Cancelled][n as usize % 3],
            ..bench.run(n)
        })
        .collect();
    bench.write_runs(rows.clone()).await?;
    let filters = [
        RunFilter { user: Some("ada".into()), ..RunFilter::default() },
        RunFilter { status: Some(RunStatus::Error), ..RunFilter::default() },
        RunFilter { user: Some("bob".into()), status: Some(RunStatus::Cancelled), ..RunFilter::default() },
        RunFilter { since: Some(rows[20].created_at), until: Some(rows[41].created_at), ..RunFilter::default() },
    ];
    for filter in filters {
        let expected = newest_first(rows.iter().filter(|row| {
            (filter.user.is_none() || filter.user == row.user)
                && filter.status.is_none_or(|status| status == row.status)
                && filter.since.is_none_or(|since| row.created_at >= since)
                && filter.until.is_none_or(|until| row.created_at < until)
        }));
        same!(walk(bench, &filter, 4).await?, expected, "pages by {filter:?}");
    }
    Ok(())
}

pub(super) async fn pages_go_on_while_runs_are_added(bench: &mut Bench<'_>) -> Outcome {
    let rows: Vec<RunRow> = (0..30).map(|n| bench.run(n)).collect();
    bench.write_runs(rows.clone()).await?;
    let mut found = Vec::new();
    let mut cursor = None;
    for round in 0..PAGES_MAX as u64 {
        let page = bench.store.runs(&bench.tenant(), &RunFilter::default(), &PageRequest { limit: 4, cursor }).await?;
        found.extend(ids_of(&page.rows));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
        // New runs, and a new view of an old one, come in between two pages.
        let mut touched = bench.run(round % 30);
        touched.position = super::bench::position(10_000 + round);
        bench.write_runs([bench.run(100 + round), touched]).await?;
    }
    same!(found, newest_first(&rows), "the pages of what was there at the first");
    Ok(())
}

pub(super) async fn runs_of_many_days_page_completely(bench: &mut Bench<'_>) -> Outcome {
    const DAY_MS: Millis = 24 * 60 * 60 * 1000;
    let rows: Vec<RunRow> = (0..40)
        .map(|n| {
            // Several a day, days without any, and a gap of a year.
            let day = (n / 4) * 3 + if n >= 20 { 365 } else { 0 };
            let created_at = super::bench::AT + day as Millis * DAY_MS + n as Millis;
            let run_id = ids::run_id(created_at, bench.run(n).run_id.as_u64_pair().1 ^ n, 1);
            RunRow { created_at, run_id, ..bench.run(n) }
        })
        .collect();
    bench.write_runs(rows.clone()).await?;
    same!(walk(bench, &RunFilter::default(), 3).await?, newest_first(&rows), "all runs");
    let by_graph = RunFilter { graph: Some("support".into()), ..RunFilter::default() };
    same!(walk(bench, &by_graph, 3).await?, newest_first(&rows), "the graph's runs");
    let filter =
        RunFilter { since: Some(rows[10].created_at), until: Some(rows[30].created_at), ..RunFilter::default() };
    same!(walk(bench, &filter, 3).await?, newest_first(&rows[10..30]), "runs between two days");
    Ok(())
}

pub(super) async fn a_limit_is_bounded(bench: &mut Bench<'_>) -> Outcome {
    let rows: Vec<RunRow> = (0..u64::from(PAGE_ROWS_MAX) + 5).map(|n| bench.run(n)).collect();
    bench.write_runs(rows).await?;
    for (limit, expected) in [(0, 1), (1, 1), (u32::MAX, PAGE_ROWS_MAX as usize)] {
        let page = PageRequest { limit, cursor: None };
        let page = bench.store.runs(&bench.tenant(), &RunFilter::default(), &page).await?;
        same!(page.rows.len(), expected, "rows of a page of {limit}");
        holds!(page.cursor.is_some(), "a page of {limit} said that it was the last");
    }
    Ok(())
}

pub(super) async fn a_foreign_cursor_is_refused(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs((0..5).map(|n| bench.run(n))).await?;
    let tenant = bench.tenant();
    let first = bench.store.runs(&tenant, &RunFilter::default(), &PageRequest { limit: 2, cursor: None }).await?;
    let page = PageRequest { limit: 2, cursor: first.cursor };
    holds!(page.cursor.is_some(), "a page of 2 of 5 runs had no cursor");

    let filtered = RunFilter { graph: Some("support".into()), ..RunFilter::default() };
    let garbage = PageRequest { limit: 2, cursor: Some("é not a cursor".into()) };
    for answer in [
        bench.store.runs(&tenant, &filtered, &page).await.map(|page| page.rows.len()),
        bench.store.runs(&bench.name("bond"), &RunFilter::default(), &page).await.map(|page| page.rows.len()),
        bench.store.runs(&tenant, &RunFilter::default(), &garbage).await.map(|page| page.rows.len()),
        bench.store.threads(&tenant, &ThreadFilter::default(), &page).await.map(|page| page.rows.len()),
    ] {
        holds!(matches!(answer, Err(StoreError::BadCursor)), "a foreign cursor was answered {answer:?}");
    }
    Ok(())
}
