//! `millstream dev`: everything in one process, graph files served and read again whenever they are saved.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use graph::file::{self, Checked};
use ingest::Ingest;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{cli::DevArgs, config::Config, run::Process, saved::Saved};

/// The graph that is served where no file is named.
const DEMO: &str = include_str!("../../examples/chat.yaml");
/// How often a graph file's time of change is looked at: no watcher works on every file system that editors save to.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub async fn dev(mut config: Config, args: DevArgs, metrics: PrometheusHandle) -> anyhow::Result<()> {
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    if let Some(data_dir) = args.data_dir {
        config.server.data_dir = data_dir;
    }
    config.log.create = true;
    config.store.create = true;
    let aliases: Vec<String> = config.models.keys().cloned().collect();
    let address = config.server.listen;
    let Some(process) = Process::open(config, metrics).await? else { return Ok(()) };
    let ingest = process.start_all()?;
    if args.graph.is_empty() {
        publish(&ingest, DEMO, "examples/chat.yaml", &aliases).await?;
    }
    for path in &args.graph {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
        publish(&ingest, &text, &path.display().to_string(), &aliases).await?;
    }
    process.serve_clients(ingest.clone(), process.node_store.router())?;
    let shutdown = process.stages.shutdown();
    process.stages.start("graph-files", async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow(ingest, args.graph, aliases) => {}
        }
        anyhow::Ok(())
    });
    eprintln!("Millstream is at http://{address}  (stop it with Ctrl-C)");
    eprintln!("  curl -N http://{address}/chat --json '{{\"message\":\"Hello\",\"stream\":true}}'");
    process.run_until_stopped().await
}

async fn publish(ingest: &Ingest, text: &str, name: &str, aliases: &[String]) -> anyhow::Result<()> {
    let checked = file::read(text, Some(aliases));
    eprint!("{}", checked.report(name));
    let Checked { spec: Some(spec), subgraphs, .. } = checked else {
        bail!("{name} is not served: see above what is wrong with it")
    };
    ingest
        .publish_with(spec, subgraphs)
        .await
        .map_err(|error| anyhow::anyhow!("{name} can't be served: {}", error.message))?;
    Ok(())
}

/// Publishes a file anew whenever it was saved. A mistake is explained, and the version before it stays.
async fn follow(ingest: Ingest, paths: Vec<PathBuf>, aliases: Vec<String>) {
    let mut files: Vec<Saved> = paths.into_iter().map(Saved::new).collect();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for file in files.iter_mut() {
            if !file.is_new() {
                continue;
            }
            let path = file.path();
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let name = path.display().to_string();
            match publish(&ingest, &text, &name, &aliases).await {
                Ok(()) => eprintln!("{name} was read again"),
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
}
