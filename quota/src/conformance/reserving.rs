//! One call after another.

use super::bench::{Bench, Outcome, holds, same, tokens};
use crate::{
    amount::Amount,
    ledger::{Scope, Unit},
};

pub(super) async fn what_is_set_aside_is_not_there_for_others(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    bench.held(&bench.ask("first", &[&account], tokens(60))).await?;
    same!(bench.tokens(&account).await?, (0, 60), "after the first call was let in");
    let refusal = bench.refused(&bench.ask("second", &[&account], tokens(41))).await?;
    same!(
        (refusal.scope, refusal.unit, refusal.limit, refusal.spent, refusal.reserved, refusal.wanted),
        (Scope::Key, Unit::Tokens, 100, 0, 60, 41),
        "what the second call is told"
    );
    holds!(refusal.may_clear(), "there is room again when the first call has ended");
    same!(bench.tokens(&account).await?, (0, 60), "after the second call was refused");
    Ok(())
}

pub(super) async fn a_budget_may_be_used_up_whole(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let first = bench.ask("first", &[&account], tokens(60));
    bench.held(&first).await?;
    bench.held(&bench.ask("second", &[&account], tokens(40))).await?;
    bench.clients[0].settle(&first, tokens(60)).await?;
    same!(bench.tokens(&account).await?, (60, 40), "one call settled, one under way");
    bench.refused(&bench.ask("third", &[&account], tokens(1))).await?;
    Ok(())
}

pub(super) async fn each_unit_has_its_own_limit(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), Some(1_000));
    let dear = bench.refused(&bench.ask("dear", &[&account], Amount { tokens: 1, nano_usd: 1_001 })).await?;
    same!((dear.unit, dear.limit), (Unit::NanoUsd, 1_000), "a call that is too dear");
    let long = bench.refused(&bench.ask("long", &[&account], Amount { tokens: 101, nano_usd: 1 })).await?;
    same!((long.unit, long.limit), (Unit::Tokens, 100), "a call that is too long");
    bench.held(&bench.ask("whole", &[&account], Amount { tokens: 100, nano_usd: 1_000 })).await
}

pub(super) async fn all_accounts_are_charged_or_none(bench: &Bench<'_>) -> Outcome {
    let (wide, narrow) = (bench.account("wide", Some(100), None), bench.account("narrow", Some(10), None));
    let refusal = bench.refused(&bench.ask("large", &[&wide, &narrow], tokens(11))).await?;
    same!(refusal.limit, 10, "the budget that has no room");
    same!(bench.tokens(&wide).await?, (0, 0), "the one that has, after the call was refused");
    let small = bench.ask("small", &[&wide, &narrow], tokens(10));
    bench.held(&small).await?;
    bench.clients[1].settle(&small, tokens(7)).await?;
    same!((bench.tokens(&wide).await?, bench.tokens(&narrow).await?), ((7, 0), (7, 0)), "after a call was settled");
    Ok(())
}

pub(super) async fn a_call_is_set_aside_once(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let ask = bench.ask("call", &[&account], tokens(60));
    for client in &bench.clients {
        bench.held(&ask).await?;
        client.reserve(&ask).await?;
    }
    same!(bench.tokens(&account).await?, (0, 60), "after it was asked four times");
    Ok(())
}

pub(super) async fn a_call_is_settled_once(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let ask = bench.ask("call", &[&account], tokens(60));
    bench.held(&ask).await?;
    for client in [&bench.clients[0], &bench.clients[1], &bench.clients[0]] {
        client.settle(&ask, tokens(20)).await?;
    }
    same!(bench.tokens(&account).await?, (20, 0), "after it was settled three times");
    bench.clients[0].renew(&ask).await?;
    bench.held(&ask).await?;
    same!(bench.tokens(&account).await?, (20, 0), "after what is settled was renewed and asked again");
    Ok(())
}

pub(super) async fn what_was_not_taken_is_given_back(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let never_sent = bench.ask("never-sent", &[&account], tokens(100));
    bench.held(&never_sent).await?;
    bench.clients[0].settle(&never_sent, Amount::default()).await?;
    bench.held(&bench.ask("next", &[&account], tokens(100))).await?;
    same!(bench.tokens(&account).await?, (0, 100), "after a call that was never sent");
    Ok(())
}

pub(super) async fn more_than_was_set_aside_is_charged_too(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let ask = bench.ask("call", &[&account], tokens(60));
    bench.held(&ask).await?;
    bench.clients[0].settle(&ask, tokens(130)).await?;
    same!(bench.tokens(&account).await?, (130, 0), "after a call took more than it was let in for");
    let refusal = bench.refused(&bench.ask("next", &[&account], tokens(1))).await?;
    holds!(!refusal.may_clear(), "what is spent does not come back");
    Ok(())
}

pub(super) async fn a_call_that_nobody_knows_is_charged(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", Some(100), None);
    let ask = bench.ask("lost", &[&account], tokens(60));
    for _ in 0..2 {
        bench.clients[0].settle(&ask, tokens(20)).await?;
    }
    same!(bench.tokens(&account).await?, (20, 0), "after a call was settled of which nothing was set aside");
    Ok(())
}

pub(super) async fn an_account_without_a_limit_is_charged_too(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("a", None, None);
    let ask = bench.ask("call", &[&account], tokens(1_000_000_000_000));
    bench.held(&ask).await?;
    bench.clients[0].settle(&ask, tokens(7)).await?;
    same!(bench.tokens(&account).await?, (7, 0), "after a call");
    Ok(())
}

pub(super) async fn a_refusal_names_the_budget_that_lasts(bench: &Bench<'_>) -> Outcome {
    let (busy, spent) = (bench.account("busy", Some(100), None), bench.account("spent", Some(50), None));
    bench.held(&bench.ask("under-way", &[&busy], tokens(100))).await?;
    bench.clients[0].settle(&bench.ask("ended", &[&spent], tokens(0)), tokens(50)).await?;
    let refusal = bench.refused(&bench.ask("call", &[&busy, &spent], tokens(1))).await?;
    same!((refusal.limit, refusal.may_clear()), (50, false), "what a call is told that two budgets refuse");
    Ok(())
}
