//! `millstream runs list|show`.

use anyhow::{Context, bail};
use schemas::{
    http::{List, RunView},
    record::UpdateRecord,
};
use serde_json::Value;

use super::{Server, tree};
use crate::cli::RunsCommand;

pub async fn runs(command: RunsCommand) -> anyhow::Result<()> {
    match command {
        RunsCommand::List { target, graph, user, thread, status, limit, json } => {
            let server = Server::new(target);
            let query: Vec<(&str, String)> =
                [("user", user), ("thread_id", thread), ("status", status), ("limit", Some(limit.to_string()))]
                    .into_iter()
                    .filter_map(|(name, value)| value.map(|value| (name, value)))
                    .collect();
            let graphs = match graph {
                Some(graph) => vec![graph],
                None => graph_names(&server).await?,
            };
            let mut runs = Vec::new();
            for graph in &graphs {
                let path = format!("/graphs/{graph}/runs");
                let Some(response) = server.send(server.get(&path).query(&query)).await? else {
                    bail!("there is no graph {graph}; `millstream runs list` without --graph lists the runs of all");
                };
                runs.extend(
                    response.json::<List<RunView>>().await.context("the server's answer is no list of runs")?.data,
                );
            }
            runs.sort_by(|a, b| b.run_id.cmp(&a.run_id));
            runs.truncate(limit as usize);
            print_list(&runs, json)
        }
        RunsCommand::Show { target, id, json } => show(&Server::new(target), &id, json).await,
    }
}

async fn graph_names(server: &Server) -> anyhow::Result<Vec<String>> {
    let Some(response) = server.send(server.get("/graphs")).await? else { bail!("this server serves no graphs") };
    let list: List<Value> = response.json().await.context("the server's answer is no list of graphs")?;
    Ok(list.data.iter().filter_map(|graph| graph["name"].as_str().map(str::to_owned)).collect())
}

async fn show(server: &Server, id: &str, json: bool) -> anyhow::Result<()> {
    for graph in graph_names(server).await? {
        let path = format!("/graphs/{graph}/runs/{id}/updates");
        let Some(response) = server.send(server.get(&path)).await? else { continue };
        let text = response.text().await?;
        if json {
            print!("{text}");
            return Ok(());
        }
        let updates = text
            .lines()
            .map(serde_json::from_str::<UpdateRecord>)
            .collect::<Result<Vec<_>, _>>()
            .context("the server's answer is no list of updates")?;
        print!("{}", tree::render(&updates));
        return Ok(());
    }
    bail!("there is no run {id} that this key may see; `millstream runs list` shows the newest")
}

fn print_list(runs: &[RunView], json: bool) -> anyhow::Result<()> {
    if json {
        for run in runs {
            println!("{}", serde_json::to_string(run)?);
        }
        return Ok(());
    }
    println!("{:36}  {:11}  {:20}  {:24}  {:24}", "RUN", "STATUS", "GRAPH", "THREAD", "CREATED");
    for run in runs {
        println!(
            "{:36}  {:11}  {:20}  {:24}  {:24}",
            run.run_id,
            run.status.as_str(),
            run.graph,
            run.thread_id.as_deref().unwrap_or("-"),
            run.created_at
        );
    }
    Ok(())
}
