//! `millstream usage`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use quota::amount::shown_usd;
use reqwest::{Response, header};
use schemas::http::{List, UsageSum};

use super::{Server, table::laid_out};
use crate::cli::UsageArgs;

pub async fn usage(args: UsageArgs) -> anyhow::Result<()> {
    let UsageArgs { target, by, last, compare, csv, json } = args;
    let server = Server::new(target);
    let now = jiff::Timestamp::now().as_millisecond();
    let since = now - i64::try_from(last).context("--last is too long")?;
    if csv {
        print!("{}", ask(&server, &by, since, now, "text/csv").await?.text().await?);
        return Ok(());
    }
    let sums = sums(&server, &by, since, now).await?;
    if json {
        for sum in &sums {
            println!("{}", serde_json::to_string(sum)?);
        }
        return Ok(());
    }
    let before = match compare {
        true => Some(self::sums(&server, &by, since - (now - since), since).await?),
        false => None,
    };
    print!("{}", table(&by, &sums, before.as_deref()));
    Ok(())
}

async fn sums(server: &Server, by: &[String], since: i64, until: i64) -> anyhow::Result<Vec<UsageSum>> {
    let answer = ask(server, by, since, until, "application/json").await?;
    Ok(answer.json::<List<UsageSum>>().await.context("the server's answer is no list of sums")?.data)
}

async fn ask(server: &Server, by: &[String], since: i64, until: i64, accept: &str) -> anyhow::Result<Response> {
    let query = [("by", by.join(",")), ("since", since.to_string()), ("until", until.to_string())];
    let request = server.get("/usage").query(&query).header(header::ACCEPT, accept);
    match server.send(request).await? {
        Some(answer) => Ok(answer),
        None => bail!("this server does not know /usage; is it an older one?"),
    }
}

/// The dearest groups first; a group that is only in one of the two times counts as nothing in the other.
fn table(by: &[String], now: &[UsageSum], before: Option<&[UsageSum]>) -> String {
    let key =
        |sum: &UsageSum| by.iter().map(|name| sum.group.get(name).cloned().unwrap_or_default()).collect::<Vec<_>>();
    let mut groups: BTreeMap<Vec<String>, (UsageSum, UsageSum)> = BTreeMap::new();
    for sum in now {
        groups.entry(key(sum)).or_default().0 = sum.clone();
    }
    for sum in before.unwrap_or_default() {
        groups.entry(key(sum)).or_default().1 = sum.clone();
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (now, before))| {
        std::cmp::Reverse((now.cost_nano_usd, now.input_tokens, before.cost_nano_usd))
    });
    let titles = by.iter().map(|name| name.to_uppercase());
    let mut rows = vec![titles.chain(["CALLS", "INPUT", "OUTPUT", "COST"].map(str::to_owned)).collect::<Vec<String>>()];
    rows[0].extend(before.iter().flat_map(|_| ["BEFORE", "CHANGE"].map(str::to_owned)));
    for (key, (now, then)) in &groups {
        let names = key.iter().map(|name| if name.is_empty() { "-".to_owned() } else { name.clone() });
        let sums = [now.calls.to_string(), now.input_tokens.to_string(), now.output_tokens.to_string(), cost(now)];
        let mut row: Vec<String> = names.chain(sums).collect();
        if before.is_some() {
            row.extend([cost(then), change(then.cost_nano_usd, now.cost_nano_usd)]);
        }
        rows.push(row);
    }
    laid_out(&rows, by.len())
}

/// A cost that is not all of it says so.
fn cost(sum: &UsageSum) -> String {
    let unpriced = if sum.calls_unpriced > 0 { format!(" + {} unpriced", sum.calls_unpriced) } else { String::new() };
    shown_usd(sum.cost_nano_usd) + &unpriced
}

fn change(before: u64, now: u64) -> String {
    match before {
        0 if now == 0 => "-".to_owned(),
        0 => "new".to_owned(),
        _ => format!("{:+.0}%", (now as f64 / before as f64 - 1.0) * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(graph: &str, calls: u64, cost_nano_usd: u64, calls_unpriced: u64) -> UsageSum {
        let group = BTreeMap::from([("graph".to_owned(), graph.to_owned())]);
        UsageSum {
            group,
            calls,
            cost_nano_usd,
            calls_unpriced,
            input_tokens: 10,
            output_tokens: 2,
            ..UsageSum::default()
        }
    }

    #[test]
    fn two_times_stand_beside_each_other() {
        let now = [sum("chat", 3, 1_500_000_000, 0), sum("new", 1, 20_000_000, 2), sum("", 1, 0, 0)];
        let before = [sum("chat", 2, 1_000_000_000, 0), sum("gone", 9, 70_000_000, 0)];
        assert_eq!(
            table(&["graph".to_owned()], &now, Some(&before)),
            "GRAPH  CALLS  INPUT  OUTPUT                COST  BEFORE  CHANGE\n\
             chat       3     10       2               $1.50   $1.00    +50%\n\
             new        1     10       2  $0.02 + 2 unpriced   $0.00     new\n\
             -          1     10       2               $0.00   $0.00       -\n\
             gone       0      0       0               $0.00   $0.07   -100%\n"
        );
        assert_eq!(
            table(&["graph".to_owned()], &now[..1], None),
            "GRAPH  CALLS  INPUT  OUTPUT   COST\nchat       3     10       2  $1.50\n"
        );
    }
}
