//! What is taken once: idempotency keys, and what a deployment agrees on.

use futures_util::future::try_join_all;
use graph::envelope::Millis;
use uuid::Uuid;

use super::bench::{AT, Bench, Outcome, holds, same};
use crate::rows::{Claim, Claimed};

const HOUR_MS: Millis = 60 * 60 * 1000;

fn claim(bench: &Bench<'_>, run: u128) -> Claim {
    Claim {
        tenant: bench.tenant(),
        key: "order 66/é".into(),
        run_id: Uuid::from_u128(run),
        body_hash: [run as u8; 32],
        expires_at: AT + 24 * HOUR_MS,
    }
}

pub(super) async fn a_key_is_claimed_once(bench: &mut Bench<'_>) -> Outcome {
    let first = claim(bench, 1);
    same!(bench.store.claim(&first, AT).await?, Claimed::New, "the first claim");
    for later in [AT, AT + HOUR_MS] {
        same!(bench.store.claim(&first, later).await?, Claimed::Taken(first.clone()), "the repeated claim");
    }
    Ok(())
}

pub(super) async fn another_body_meets_the_first_claim(bench: &mut Bench<'_>) -> Outcome {
    let first = claim(bench, 1);
    bench.store.claim(&first, AT).await?;
    let other = claim(bench, 2);
    same!(bench.store.claim(&other, AT).await?, Claimed::Taken(first), "the claim of another body");
    Ok(())
}

pub(super) async fn an_expired_claim_is_free_again(bench: &mut Bench<'_>) -> Outcome {
    let first = claim(bench, 1);
    bench.store.claim(&first, AT).await?;
    let next = Claim { expires_at: AT + 48 * HOUR_MS, ..claim(bench, 2) };
    same!(bench.store.claim(&next, first.expires_at).await?, Claimed::New, "the claim at the first's end");
    let third = Claim { expires_at: AT + 72 * HOUR_MS, ..claim(bench, 3) };
    same!(bench.store.claim(&third, first.expires_at).await?, Claimed::Taken(next), "the claim after it");
    Ok(())
}

pub(super) async fn claims_of_tenants_are_apart(bench: &mut Bench<'_>) -> Outcome {
    bench.store.claim(&claim(bench, 1), AT).await?;
    let other = Claim { tenant: bench.name("bond"), ..claim(bench, 2) };
    same!(bench.store.claim(&other, AT).await?, Claimed::New, "the same key of another tenant");
    Ok(())
}

pub(super) async fn one_of_many_claimants_wins(bench: &mut Bench<'_>) -> Outcome {
    let claims: Vec<Claim> = (0..16).map(|run| claim(bench, run)).collect();
    let answers = try_join_all(claims.iter().map(|claim| bench.store.claim(claim, AT))).await?;
    let won: Vec<&Claim> =
        claims.iter().zip(&answers).filter(|(_, answer)| **answer == Claimed::New).map(|(claim, _)| claim).collect();
    same!(won.len(), 1, "claimants that were told they are the first");
    let losers = answers.iter().filter(|answer| **answer == Claimed::Taken(won[0].clone())).count();
    same!(losers, 15, "claimants that were told of the winner");
    Ok(())
}

pub(super) async fn set_once_keeps_the_first_value(bench: &mut Bench<'_>) -> Outcome {
    let name = bench.name("partitions");
    same!(bench.store.meta(&name).await?, None, "a name that was never set");
    same!(bench.store.set_once(&name, "64").await?, "64", "the first value");
    same!(bench.store.set_once(&name, "32").await?, "64", "the answer to a second value");
    same!(bench.store.meta(&name).await?.as_deref(), Some("64"), "the name's value");
    Ok(())
}

pub(super) async fn one_of_many_set_once_wins(bench: &mut Bench<'_>) -> Outcome {
    let name = bench.name("generation");
    let values: Vec<String> = (0..16).map(|n| n.to_string()).collect();
    let answers = try_join_all(values.iter().map(|value| bench.store.set_once(&name, value))).await?;
    holds!(answers.iter().all(|answer| *answer == answers[0]), "callers were told different values: {answers:?}");
    same!(bench.store.meta(&name).await?.as_ref(), Some(&answers[0]), "the name's value");
    Ok(())
}
