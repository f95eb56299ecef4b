//! The sections of the file, each with what holds where nothing is said.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::bail;
use graph::{
    alias::{Routes, Target},
    event::TtlStrategy,
};
use schemas::client::ModelTarget;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::Secret;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where the embedded log and store live.
    pub data_dir: PathBuf,
    /// How other roles reach this process; `http://<listen>` unless told.
    pub advertise: Option<String>,
    /// Origins that a browser may call from; localhost on any port in `dev`.
    pub cors: Vec<String>,
    /// What calls between roles prove themselves with.
    pub secret: Option<Secret>,
    /// How long a stopping process waits for calls under way before it gives them back.
    pub drain_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("millstream-data"),
            advertise: None,
            cors: Vec::new(),
            secret: None,
            drain_seconds: 10,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    #[default]
    Embedded,
    Kafka,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub kind: LogKind,
    /// `host:port`, separated by commas. Kafka.
    pub brokers: Option<String>,
    /// Before every topic and group.
    pub prefix: String,
    /// Partitions of `runs`, `updates` and `tokens`; fixed once topics are made.
    pub partitions: u32,
    /// Partitions of each node's topic.
    pub node_partitions: u32,
    /// Make missing topics at start.
    pub create: bool,
    pub retention_hours: u64,
    /// How long a node's topic keeps a task that nobody took; fixed once the topic is made.
    pub node_retention_hours: u64,
    /// Copies of each partition; the broker's default unless told.
    pub replication: Option<u32>,
    /// Settings of librdkafka by their own names, such as `security.protocol`.
    pub client: BTreeMap<String, String>,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            kind: LogKind::Embedded,
            brokers: None,
            prefix: String::new(),
            partitions: 4,
            node_partitions: 4,
            create: false,
            retention_hours: 7 * 24,
            node_retention_hours: 7 * 24,
            replication: None,
            client: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    #[default]
    Embedded,
    Scylla,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    pub kind: StoreKind,
    /// `host:port`, separated by commas. Scylla or Cassandra.
    pub nodes: Option<String>,
    pub keyspace: String,
    pub replication: u32,
    /// Make or upgrade the schema at start.
    pub create: bool,
    pub user: Option<String>,
    pub password: Option<Secret>,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            kind: StoreKind::Embedded,
            nodes: None,
            keyspace: "millstream".to_owned(),
            replication: 1,
            create: false,
            user: None,
            password: None,
        }
    }
}

/// Search by meaning in the long-term store.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Embedding {
    /// `<provider>/<model>`, such as `openai/text-embedding-3-small`, or `scripted/words`. None: nothing is searched so.
    pub model: Option<String>,
    /// Numbers of one of its vectors.
    pub dims: usize,
    /// Paths of an item that are looked at, unless its `index` says others; `$` is all of it.
    pub fields: Vec<String>,
}

impl Default for Embedding {
    fn default() -> Self {
        Embedding { model: None, dims: 1536, fields: vec!["$".to_owned()] }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// How services reach this process for the long-term store, up to the port; `server.advertise` or
    /// `http://<listen>` unless told.
    pub store_url: Option<String>,
}

/// Whom an alias asks: read anew when the file is saved.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// `<provider>/<model>`, such as `openai/gpt-5-mini` or `scripted/echo`; short for one target.
    #[serde(rename = "use")]
    pub target: Option<String>,
    /// Several that share the calls by weight; a thread stays with its own.
    pub targets: Vec<ModelTarget>,
    /// Asked in turn where the one that was to answer can't.
    pub fallback: Vec<String>,
}

impl Model {
    pub fn to(target: impl Into<String>) -> Self {
        Model { target: Some(target.into()), ..Model::default() }
    }

    pub fn routes(&self) -> anyhow::Result<Routes> {
        let targets = match &self.target {
            Some(_) if !self.targets.is_empty() => bail!("has both `use` and `targets`; take one away"),
            Some(model) => vec![Target { model: model.clone(), weight: 1 }],
            None => self.targets.iter().cloned().map(Target::from).collect(),
        };
        let routes = Routes { targets, fallback: self.fallback.clone() };
        routes.check()?;
        Ok(routes)
    }
}

/// What picks labels without a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Classifier {
    /// As `millstream classifier train` wrote it.
    pub file: PathBuf,
}

/// Answers of models that are given again, within a tenant.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// For the same request.
    pub exact: bool,
    pub ttl_seconds: u64,
    /// Only of these; of all where empty.
    pub aliases: Vec<String>,
    /// For a last turn that means the same; `on` needs `exact`, which goes first.
    pub semantic: Semantic,
    /// The least cosine of turns that mean the same.
    pub threshold: f64,
    /// `<provider>/<model>`, as `embedding.model`; `scripted/phrases` is in the binary.
    pub embedding_model: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Semantic {
    #[default]
    Off,
    /// The model is asked all the same, and both answers are compared.
    Shadow,
    On,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            exact: false,
            ttl_seconds: 3_600,
            aliases: Vec::new(),
            semantic: Semantic::Off,
            threshold: 0.95,
            embedding_model: "scripted/phrases".to_owned(),
        }
    }
}

impl Cache {
    pub fn is_on(&self) -> bool {
        self.exact || self.semantic != Semantic::Off
    }
}

/// A server of models.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// The wire format that it speaks: `openai` unless told, `anthropic` for the provider of that name.
    pub kind: Option<ProviderKind>,
    /// Up to and with `/v1`. Only `openai` and `anthropic` have one where none is given.
    pub base_url: Option<String>,
    pub api_key: Option<Secret>,
    /// Azure's `api-version`, or `anthropic-version`.
    pub api_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum ProviderKind {
    OpenAi,
    Anthropic,
}

impl TryFrom<String> for ProviderKind {
    type Error = String;

    fn try_from(kind: String) -> Result<Self, String> {
        match kind.as_str() {
            "openai" => Ok(ProviderKind::OpenAi),
            "anthropic" => Ok(ProviderKind::Anthropic),
            _ => Err(format!(
                "{kind:?} is no kind of provider: set `openai` (Azure, Mistral, Groq, Together, Ollama, vLLM and others speak it \
                 too) or `anthropic`"
            )),
        }
    }
}

/// Providers that need no section: their keys and addresses come from their own variables too.
pub const OPENAI: &str = "openai";
pub const ANTHROPIC: &str = "anthropic";
/// The scripted model, which needs neither.
pub const SCRIPTED: &str = "scripted";

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Serve anybody, also off loopback.
    pub open: bool,
    pub keys: Vec<Key>,
    pub jwt: Option<Jwt>,
}

/// Tokens of an issuer, beside keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Where the issuer's keys are; or a file that holds them.
    pub jwks_url: Option<String>,
    pub jwks_file: Option<PathBuf>,
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to name, one of them.
    pub audience: Vec<String>,
    /// How far clocks may be apart.
    #[serde(default = "leeway")]
    pub leeway_seconds: u64,
    /// The claim that says the tenant; all are `tenant` where none is named.
    pub tenant_claim: Option<String>,
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// The claim that says who is acting.
    #[serde(default = "subject")]
    pub user_claim: String,
    /// The claim that says what a token may do; all may do `scopes` where none is named.
    pub scopes_claim: Option<String>,
    /// What stands before a scope's name in it.
    #[serde(default)]
    pub scopes_prefix: String,
    #[serde(default = "read_and_run")]
    pub scopes: Vec<ingest::Scope>,
    /// The claim that says which graphs a token is for; all where none is named.
    pub graphs_claim: Option<String>,
}

fn leeway() -> u64 {
    60
}

fn subject() -> String {
    "sub".to_owned()
}

fn read_and_run() -> Vec<ingest::Scope> {
    vec![ingest::Scope::Read, ingest::Scope::Run]
}

/// Clocks further apart are broken ones.
const LEEWAY_SECONDS_MAX: u64 = 600;

impl Jwt {
    /// How tokens are read, where that can work.
    pub fn read(&self) -> anyhow::Result<ingest::Jwt> {
        match (&self.jwks_url, &self.jwks_file) {
            (Some(_), Some(_)) => bail!("[auth.jwt] has both jwks_url and jwks_file; take one away"),
            (None, None) => bail!("[auth.jwt] says nowhere where the issuer's keys are: set jwks_url or jwks_file"),
            (Some(url), None) if !is_trusted(url) => {
                bail!("[auth.jwt] jwks_url is {url}; whoever stands between could put keys of his own there: use https")
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        if self.issuer.is_empty() || self.audience.iter().all(String::is_empty) {
            bail!("[auth.jwt] needs issuer and audience: a token for somebody else is none for Millstream");
        }
        if self.leeway_seconds > LEEWAY_SECONDS_MAX {
            bail!("[auth.jwt] leeway_seconds is {}; set it to {LEEWAY_SECONDS_MAX} at most", self.leeway_seconds);
        }
        Ok(ingest::Jwt {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway: Duration::from_secs(self.leeway_seconds),
            tenant: match &self.tenant_claim {
                Some(claim) => ingest::Named::Claim(claim.clone()),
                None => ingest::Named::Always(self.tenant.clone()),
            },
            user_claim: self.user_claim.clone(),
            scopes: match &self.scopes_claim {
                Some(claim) => ingest::Scopes::Claim { claim: claim.clone(), prefix: self.scopes_prefix.clone() },
                None => ingest::Scopes::Always(self.scopes.clone()),
            },
            graphs_claim: self.graphs_claim.clone(),
        })
    }
}

/// https, or this machine.
fn is_trusted(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && is_here)
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub name: String,
    /// The key itself; or a file that holds it; or its hash, so that there is no secret to keep.
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    /// As `millstream key` prints it.
    pub hash: Option<String>,
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// `read`, `run`, `publish`, `admin`; everything but `admin` where there are none.
    #[serde(default)]
    pub scopes: Vec<ingest::Scope>,
    /// Graphs that it may run and publish; all where there are none.
    #[serde(default)]
    pub graphs: Vec<String>,
}

fn default_tenant() -> String {
    "default".to_owned()
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub requests_in_flight_max: usize,
    pub wait_seconds: u64,
    /// Tasks that one process works on at a time, in all, and of one node unless the graph says otherwise.
    pub tasks_in_flight_max: usize,
    pub node_tasks_in_flight_max: usize,
    /// Records of a partition of `runs` that wait for its owner, beyond which it takes no new runs.
    pub partition_lag_records_max: u64,
    /// Threads and runs that a partition's owner has in memory, beyond which it takes no new runs.
    pub partition_open_runs_max: u64,
    /// An owner that says nothing for this long is taken for gone, and its partition takes no new runs.
    pub partition_silent_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: 10_000_000,
            requests_in_flight_max: 10_000,
            wait_seconds: 55,
            tasks_in_flight_max: 16_384,
            node_tasks_in_flight_max: 4_096,
            partition_lag_records_max: 100_000,
            partition_open_runs_max: 200_000,
            partition_silent_seconds: 10,
        }
    }
}

/// What holds for threads of which their clients say nothing else.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Threads {
    /// How long one lives after its last use: LangGraph's `checkpointer.ttl.default_ttl`. Until it is deleted where None.
    pub ttl_minutes: Option<f64>,
    /// What becomes of it then: LangGraph's `checkpointer.ttl.strategy`.
    #[serde(deserialize_with = "strategy")]
    pub strategy: TtlStrategy,
}

fn strategy<'de, D: Deserializer<'de>>(given: D) -> Result<TtlStrategy, D::Error> {
    match String::deserialize(given)?.as_str() {
        "delete" => Ok(TtlStrategy::Delete),
        "keep_latest" => Ok(TtlStrategy::KeepLatest),
        other => Err(D::Error::custom(format!("[threads] strategy is {other}; set it to delete or keep_latest"))),
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// As `RUST_LOG`, which stands above it.
    pub log: String,
    /// Keep prompts and answers of model calls for `millstream runs show`.
    pub content: bool,
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log: "info".to_owned(), content: true }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ready {
    /// Whether models that can't be reached make `/ready` red.
    pub model: OnModel,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnModel {
    #[default]
    Warn,
    Fail,
}
