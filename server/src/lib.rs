//! All stages put together: the binary `millstream`, and what a program needs that brings along nodes of its own.

mod cli;
pub mod config;
pub mod embed;

mod dev;
mod opening;
mod reach;
mod roles;
mod run;
mod saved;
mod stages;

mod parts;
mod quotas;
mod readiness;
mod sinks;
mod telemetry;
mod world;

mod classifiers;
mod client;
mod graph_test;
mod graphs;
mod init;
mod issuer;
mod keys;
mod measure;
mod models;
mod restore;
mod trial;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    roles::Role,
};

/// What the binary does.
pub fn command_line() -> ExitCode {
    let cli = Cli::parse();
    // Two crates of TLS could be asked for a provider; one is chosen here, before either is used.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = cli.config;
    match cli.command {
        Command::Init { folder } => init::init(&folder)?,
        Command::Chat(args) => client::chat(args).await?,
        Command::Runs(command) => client::runs(command).await?,
        Command::Usage(args) => client::usage(args).await?,
        Command::Keys(command) => client::keys(command).await?,
        Command::Models(command) => client::models(command).await?,
        Command::Cache(command) => measure::cache(config::load(config)?, command).await?,
        Command::Graph(command) => return graphs::graph(command, config).await,
        Command::Classifier(command) => return classifiers::classifier(command),
        Command::Key(args) => keys::key(&args)?,
        Command::Config => print!("{}", config::load(config)?.printed()?),
        Command::MockModel { listen } => roles::mock_model(listen).await?,
        Command::Topics(cli::TopicsCommand::Apply) => roles::apply_topics(config::load(config)?).await?,
        Command::Store(cli::StoreCommand::Migrate) => roles::migrate_store(config::load(config)?).await?,
        Command::Budgets(cli::BudgetsCommand::Restore) => restore::restore(config::load(config)?).await?,
        serving => serve(config::load(config)?, serving).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs until it is stopped.
async fn serve(config: config::Config, command: Command) -> anyhow::Result<()> {
    let telemetry = telemetry::start(&config.telemetry.log, command.name())?;
    let metrics = telemetry.metrics.clone();
    let result = match command {
        Command::Dev(args) => dev::dev(config, args, metrics).await,
        Command::Serve => roles::run(Role::All, config, metrics).await,
        Command::Ingest => roles::run(Role::Ingest, config, metrics).await,
        Command::Orchestrator => roles::run(Role::Orchestrator, config, metrics).await,
        Command::NodeWorker(args) => roles::run(Role::NodeWorker(args.serve()), config, metrics).await,
        Command::Sink => roles::run(Role::Sink, config, metrics).await,
        Command::Init { .. }
        | Command::Chat(_)
        | Command::Runs(_)
        | Command::Usage(_)
        | Command::Keys(_)
        | Command::Models(_)
        | Command::Cache(_)
        | Command::Graph(_)
        | Command::Classifier(_)
        | Command::Topics(_)
        | Command::Store(_)
        | Command::Budgets(_)
        | Command::Config
        | Command::Key(_)
        | Command::MockModel { .. } => Ok(()),
    };
    telemetry.flush();
    result
}
