//! Calls of which nothing is heard.

use super::bench::{Bench, Outcome, holds, same, tokens};
use crate::ledger::Ask;

const LEASE_MS: u64 = 1_000;

fn short(ask: Ask) -> Ask {
    Ask { lease_ms: LEASE_MS, ..ask }
}

pub(super) async fn a_lease_that_ends_frees_nothing(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    bench.held(&short(bench.ask("call", &[&account], tokens(60)))).await?;
    bench.harness.pass(2 * LEASE_MS).await;
    same!(bench.tokens(&account).await?, (60, 0), "after the lease has ended");
    let refusal = bench.refused(&bench.ask("next", &[&account], tokens(41))).await?;
    holds!(!refusal.may_clear(), "what is assumed to be spent is taken for spent: {refusal}");
    Ok(())
}

pub(super) async fn a_call_that_is_settled_late_is_set_right(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let ask = short(bench.ask("call", &[&account], tokens(60)));
    bench.held(&ask).await?;
    bench.harness.pass(2 * LEASE_MS).await;
    for _ in 0..2 {
        bench.clients[0].settle(&ask, tokens(5)).await?;
    }
    same!(bench.tokens(&account).await?, (5, 0), "after it was settled twice");
    bench.held(&bench.ask("next", &[&account], tokens(95))).await
}

pub(super) async fn a_renewed_lease_is_not_assumed_to_be_spent(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let ask = short(bench.ask("call", &[&account], tokens(60)));
    bench.held(&ask).await?;
    for _ in 0..4 {
        bench.harness.pass(LEASE_MS / 2).await;
        bench.clients[1].renew(&ask).await?;
    }
    same!(bench.tokens(&account).await?, (0, 60), "while it is renewed");
    Ok(())
}
