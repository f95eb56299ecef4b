//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use node_workers::Serve;
use schemas::client::{ModelTarget, Span};

/// Runs LLM-agent graphs as an event-driven stream.
#[derive(Parser)]
#[command(name = "millstream", version, max_term_width = 110)]
pub struct Cli {
    /// The configuration file; `millstream.toml` in this folder where there is one.
    #[arg(long, global = true, value_name = "FILE", env = "MILLSTREAM_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Everything in one process, with a demo graph and a scripted model: no key, no server, no configuration
    Dev(DevArgs),
    /// Everything in one process, as configured
    Serve,
    /// Write a graph, a test of it and .env.example into this folder
    Init {
        /// Where to
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Talk to a graph that is served
    Chat(ChatArgs),
    /// Look at runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// What calls to models took and cost
    Usage(UsageArgs),
    /// Make, list, rotate and revoke API keys; needs a key with the scope admin
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look at the models' aliases and change whom they ask
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Try the semantic cache on turns of one's own
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Check, show or describe graph files
    #[command(subcommand)]
    Graph(GraphCommand),
    /// Train and try what picks a label without a model
    #[command(subcommand)]
    Classifier(ClassifierCommand),

    /// Role: HTTP in
    Ingest,
    /// Role: folds runs and decides what runs next
    Orchestrator,
    /// Role: works on nodes
    NodeWorker(NodeWorkerArgs),
    /// Role: writes results, serves streams and reads
    Sink,

    /// Make the topics that the configuration needs
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Make or upgrade the store's schema
    #[command(subcommand)]
    Store(StoreCommand),
    /// Bring back what Redis has lost of budgets
    #[command(subcommand)]
    Budgets(BudgetsCommand),
    /// Print the configuration in force, with secrets hidden
    Config,
    /// Make an API key: the key on standard error, its [[auth.keys]] for millstream.toml on standard output
    Key(KeyArgs),
    /// Serve the scripted model in OpenAI's wire format
    MockModel {
        #[arg(long, default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
    },
}

impl Command {
    /// The role of a process that serves, as it was asked for.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Dev(_) => "dev",
            Command::Serve => "serve",
            Command::Ingest => "ingest",
            Command::Orchestrator => "orchestrator",
            Command::NodeWorker(_) => "node-worker",
            Command::Sink => "sink",
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
            | Command::MockModel { .. } => "client",
        }
    }
}

#[derive(Args)]
pub struct DevArgs {
    /// Where to serve
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Where the log and the store live
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Serve this graph file, and read it again whenever it is saved; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub graph: Vec<PathBuf>,
}

const SCOPES: [&str; 4] = ["read", "run", "publish", "admin"];

#[derive(Args)]
pub struct KeyArgs {
    /// What stands in records and logs in place of the key
    pub name: String,
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// What it may do: read, run, publish, admin; everything but admin where none is named
    #[arg(long, value_delimiter = ',', value_parser = SCOPES)]
    pub scopes: Vec<String>,
    /// Graphs that it may run and publish; all where none is named
    #[arg(long, value_delimiter = ',')]
    pub graphs: Vec<String>,
    /// Take the key from standard input instead of making one
    #[arg(long)]
    pub stdin: bool,
}

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key: its secret on standard output, shown once
    Create {
        #[command(flatten)]
        target: Target,
        /// What stands in records and logs in place of the key
        name: String,
        #[arg(long)]
        tenant: Option<String>,
        /// What it may do: read, run, publish, admin; everything but admin where none is named
        #[arg(long, value_delimiter = ',', value_parser = SCOPES)]
        scopes: Vec<String>,
        /// Graphs that it may run and publish; all where none is named
        #[arg(long, value_delimiter = ',')]
        graphs: Vec<String>,
    },
    /// All keys, by name, never with their secrets
    List {
        #[command(flatten)]
        target: Target,
        /// Only this tenant's
        #[arg(long)]
        tenant: Option<String>,
        /// JSON lines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret: on standard output, shown once
    Rotate {
        #[command(flatten)]
        target: Target,
        name: String,
        /// How long the old one still holds, such as 1h; not at all unless told
        #[arg(long, value_parser = span)]
        grace: Option<u64>,
    },
    /// Revoke a key: within 2 seconds nobody takes it any more
    Revoke {
        #[command(flatten)]
        target: Target,
        name: String,
    },
}

/// Where a server is, for the commands that ask one.
#[derive(Args, Clone)]
pub struct Target {
    /// The server's address
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "MILLSTREAM_URL")]
    pub url: String,
    /// An API key, where the server wants one
    #[arg(long, env = "MILLSTREAM_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

#[derive(Args)]
pub struct ChatArgs {
    #[command(flatten)]
    pub target: Target,
    /// The path that the graph is bound to
    #[arg(long, default_value = "/chat")]
    pub path: String,
    /// Go on with this thread
    #[arg(long)]
    pub thread: Option<String>,
    /// Say this and end; without it, a conversation
    pub message: Vec<String>,
}

#[derive(Subcommand)]
pub enum RunsCommand {
    /// The newest runs
    List {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        graph: Option<String>,
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        thread: Option<String>,
        /// pending, running, success, error, timeout, interrupted or cancelled
        #[arg(long)]
        status: Option<String>,
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// JSON lines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// One run as a tree: steps, tasks, and each call's prompt, answer, tokens, milliseconds and error
    Show {
        #[command(flatten)]
        target: Target,
        id: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct UsageArgs {
    #[command(flatten)]
    pub target: Target,
    /// What to group by: endpoint, graph, node, model, user, key, day
    #[arg(long, value_delimiter = ',', default_value = "graph")]
    pub by: Vec<String>,
    /// The time until now: 24h, 7d, 90d
    #[arg(long, default_value = "7d", value_parser = span)]
    pub last: u64,
    /// Show what it was in as much time before
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    pub compare: bool,
    /// CSV instead of a table
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// JSON lines instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum ModelsCommand {
    /// The aliases that were set over the API
    List {
        #[command(flatten)]
        target: Target,
        /// JSON lines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Give an alias a new version
    Set {
        #[command(flatten)]
        target: Target,
        alias: String,
        /// PROVIDER/MODEL, or several as PROVIDER/MODEL=WEIGHT that share the calls
        #[arg(required = true, value_name = "MODEL", value_parser = weighted)]
        models: Vec<ModelTarget>,
        /// Ask this one where the model can't answer; may be given more than once
        #[arg(long, value_name = "MODEL")]
        fallback: Vec<String>,
        /// Only this share of the threads, in percent: `promote` gives it all, `rollback` ends it
        #[arg(long, value_name = "PERCENT")]
        canary: Option<f64>,
    },
    /// Give all calls of an alias to the version that is tried
    Promote {
        #[command(flatten)]
        target: Target,
        alias: String,
    },
    /// End the version that is tried, or bring the one before the current back
    Rollback {
        #[command(flatten)]
        target: Target,
        alias: String,
    },
    /// Forget an alias: what graphs and the configuration say holds again
    Delete {
        #[command(flatten)]
        target: Target,
        alias: String,
    },
}

/// `PROVIDER/MODEL` or `PROVIDER/MODEL=WEIGHT`; a model's name may hold `=` itself.
fn weighted(text: &str) -> Result<ModelTarget, String> {
    let (model, weight) = match text.rsplit_once('=') {
        Some((model, weight)) => match weight.parse() {
            Ok(weight) => (model, weight),
            Err(_) => (text, 1),
        },
        None => (text, 1),
    };
    Ok(ModelTarget { model: model.to_owned(), weight })
}

/// A span of time, in milliseconds.
fn span(text: &str) -> Result<u64, String> {
    let millis = Span::Text(text.to_owned()).millis().filter(|millis| *millis > 0);
    millis.ok_or_else(|| "give a number with m, h or d behind it, such as 24h or 7d".to_owned())
}

#[derive(Subcommand)]
pub enum GraphCommand {
    /// Explain every mistake in graph files
    Check {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run a graph's example cases (FILE.test.yaml beside it) in this process, with scripted models
    Test {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print a graph as Mermaid
    Show { file: PathBuf },
    /// Print the JSON Schema of graph files, for editors
    Schema,
}

#[derive(Subcommand)]
pub enum ClassifierCommand {
    /// Train one from labelled lines, and show how it does on lines that it never saw
    Train {
        /// JSON lines of {"text": …, "label": …}, or CSV with the columns text and label
        file: PathBuf,
        /// Where it is written; its name is the file's
        #[arg(long, value_name = "MODEL")]
        out: PathBuf,
        /// The share of the lines that it is not trained on
        #[arg(long, default_value_t = 0.2, value_parser = share)]
        held_out: f64,
    },
    /// Say what a classifier makes of a text
    Try { model: PathBuf, text: String },
}

/// A share that leaves most lines to train on.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.05..=0.5).contains(share));
    share.ok_or_else(|| "give a share from 0.05 to 0.5, such as 0.2".to_owned())
}

#[derive(Args)]
pub struct NodeWorkerArgs {
    /// Serve only this graph's nodes
    #[arg(long)]
    pub graph: Option<String>,
    /// Serve only this node
    #[arg(long, requires = "graph")]
    pub node: Option<String>,
}

impl NodeWorkerArgs {
    pub fn serve(self) -> Serve {
        match (self.graph, self.node) {
            (Some(graph), Some(node)) => Serve::Node { graph, node },
            (Some(graph), None) => Serve::Graph(graph),
            (None, _) => Serve::All,
        }
    }
}

#[derive(Subcommand)]
pub enum TopicsCommand {
    /// Make what is missing; a topic with another number of partitions is an error
    Apply,
}

#[derive(Subcommand)]
pub enum BudgetsCommand {
    /// Count anew, from the calls in the store, what a Redis that lost its data no longer knows. With an embedded store, stop
    /// the process first
    Restore,
}

#[derive(Subcommand)]
pub enum CacheCommand {
    /// Say how many pairs of turns the semantic cache takes for the same, rightly and wrongly, by threshold
    Measure {
        /// JSON lines of {"a": TURN, "b": TURN, "same": true or false}
        file: PathBuf,
        /// Show the pairs that are wrongly taken for the same at the configured threshold
        #[arg(long)]
        show: bool,
    },
}

#[derive(Subcommand)]
pub enum StoreCommand {
    /// Make or upgrade tables
    Migrate,
}
