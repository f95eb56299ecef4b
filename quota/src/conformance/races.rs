//! Many calls at once, from two clients.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::bench::{Bench, Failure, Outcome, holds, same};
use crate::{
    amount::Amount,
    contract::{Reserved, reserve_in_time},
};

const CALLERS: u64 = 1_000;
/// A cent.
const BUDGET: u64 = 10_000_000;
/// What a call may take at most: fifty of them are a cent.
const MOST: u64 = 200_000;

fn money(nano_usd: u64) -> Amount {
    Amount { tokens: 0, nano_usd }
}

pub(super) async fn a_thousand_callers_spend_a_cent_and_no_more(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("cent", None, Some(BUDGET));
    let calls = (0..CALLERS).map(|n| {
        let ask = bench.ask(&format!("call-{n}"), &[&account], money(MOST));
        let client = Arc::clone(&bench.clients[n as usize % 2]);
        async move {
            let held = client.reserve(&ask).await? == Reserved::Held;
            if held {
                client.settle(&ask, money(MOST)).await?;
            }
            Ok::<u64, Failure>(u64::from(held))
        }
    });
    let held: u64 = join_all(calls).await.into_iter().collect::<Result<Vec<u64>, _>>()?.iter().sum();
    let balance = bench.clients[1].balance(&account).await?;
    same!((held, balance.spent, balance.reserved), (BUDGET / MOST, money(BUDGET), money(0)), "calls and spend");
    Ok(())
}

/// Each takes a third of what was set aside for it: what it gives back is there for others.
pub(super) async fn who_waits_for_room_gets_what_others_give_back(bench: &Bench<'_>) -> Outcome {
    let account = bench.account("cent", None, Some(BUDGET));
    let calls = (0..CALLERS).map(|n| {
        let ask = bench.ask(&format!("call-{n}"), &[&account], money(MOST));
        let client = Arc::clone(&bench.clients[n as usize % 2]);
        async move {
            if reserve_in_time(&*client, &ask, Duration::from_secs(20)).await? == Reserved::Held {
                tokio::time::sleep(Duration::from_millis(1)).await;
                client.settle(&ask, money(MOST / 3)).await?;
            }
            Ok::<(), Failure>(())
        }
    });
    join_all(calls).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    let balance = bench.clients[1].balance(&account).await?;
    same!(balance.reserved, money(0), "what is set aside when all calls have ended");
    let spent = balance.spent.nano_usd;
    holds!(spent <= BUDGET, "{spent} nano-dollars of {BUDGET} are spent");
    holds!(spent >= BUDGET / 10 * 9, "only {spent} nano-dollars of {BUDGET} are spent, though all was wanted");
    Ok(())
}
