//! The configuration: `millstream.toml`, then `MILLSTREAM__SECTION__KEY`, then flags.
//!
//! A secret is given as `…_FILE` or by its own environment variable; printing hides it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

pub const FILE: &str = "millstream.toml";
/// Settings that hold several values, which the environment separates by commas.
const LISTS: [&str; 1] = ["server.cors"];
/// An idle owner of a partition speaks up a little more often.
const IDLE_WORD_SECONDS: u64 = 5;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub log: Log,
    pub store: Store,
    /// Who serves models: address and key.
    pub providers: BTreeMap<String, Provider>,
    /// Aliases that graphs name.
    pub models: BTreeMap<String, Model>,
    pub auth: Auth,
    pub limits: Limits,
    pub telemetry: Telemetry,
    pub ready: Ready,
}

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

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// `<provider>/<model>`, such as `openai/gpt-5-mini` or `scripted/echo`.
    #[serde(rename = "use")]
    pub target: String,
}

/// A server that speaks OpenAI's wire format.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Up to and with `/v1`. Only `openai` has one where none is given.
    pub base_url: Option<String>,
    pub api_key: Option<Secret>,
}

/// The provider that needs no section: its key and address come from its own variables too.
pub const OPENAI: &str = "openai";
/// The scripted model, which needs neither.
pub const SCRIPTED: &str = "scripted";

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Serve anybody, also off loopback.
    pub open: bool,
    pub keys: Vec<Key>,
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
    /// `read`, `run`, `publish`; everything where there are none.
    #[serde(default)]
    pub scopes: Vec<ingest::Scope>,
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

/// A string that is never printed.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(SecretString::from(text.into()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub fn inner(&self) -> SecretString {
        self.0.clone()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<hidden>")
    }
}

/// Reads the file (where there is one) and the environment.
pub fn load(file: Option<PathBuf>) -> anyhow::Result<Config> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = read(file, variables)?;
    let own = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    add_known_models(&mut config, own);
    config.read_key_files()?;
    Ok(config)
}

fn read(file: Option<PathBuf>, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Config> {
    let named = file.is_some();
    let path = file.unwrap_or_else(|| PathBuf::from(FILE));
    let mut builder = config::Config::builder();
    if named || path.exists() {
        builder = builder.add_source(config::File::from(path.clone()).format(config::FileFormat::Toml).required(true));
    }
    for (setting, value) in environment(variables)? {
        builder = if LISTS.contains(&setting.as_str()) {
            let values: Vec<String> = value.split(',').map(|value| value.trim().to_owned()).collect();
            builder.set_override(setting, values)?
        } else {
            builder.set_override(setting, value)?
        };
    }
    let built = builder.build().with_context(|| format!("{} can't be read", path.display()))?;
    built.try_deserialize().with_context(|| {
        format!("the configuration ({} and MILLSTREAM__… in the environment) is not understood", path.display())
    })
}

/// Values by setting. They stay text until their type is known: a password of digits keeps its zeros.
/// `MILLSTREAM__SECTION__KEY_FILE` names a file that holds the value.
fn environment(variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix("MILLSTREAM__") else { continue };
        let (key, value) = match key.strip_suffix("_FILE") {
            Some(key) => {
                let text = std::fs::read_to_string(&value);
                let text = text.with_context(|| format!("{name} names {value}, which can't be read"))?;
                (key, text.trim().to_owned())
            }
            None => (key, value),
        };
        if found.insert(key.to_lowercase().replace("__", "."), value).is_some() {
            bail!("MILLSTREAM__{key} and MILLSTREAM__{key}_FILE are both set; take one away");
        }
    }
    Ok(found)
}

/// OpenAI, or whatever speaks its wire format, by the variables that its own clients read; and the alias `default`,
/// where the configuration doesn't set it: OpenAI where one of them is set, else the scripted model.
fn add_known_models(config: &mut Config, variable: impl Fn(&str) -> Option<String>) {
    let openai = config.providers.entry(OPENAI.to_owned()).or_insert(Provider { base_url: None, api_key: None });
    openai.base_url = openai.base_url.take().or_else(|| variable("OPENAI_BASE_URL"));
    openai.api_key = openai.api_key.take().or_else(|| variable("OPENAI_API_KEY").map(Secret::new));
    let is_there = openai.base_url.is_some() || openai.api_key.is_some();
    let target = if is_there {
        format!("{OPENAI}/{}", variable("OPENAI_MODEL").unwrap_or_else(|| "gpt-4o-mini".to_owned()))
    } else {
        format!("{SCRIPTED}/demo")
    };
    config.models.entry("default".to_owned()).or_insert(Model { target });
}

impl Config {
    /// Whether one process holds everything: an embedded log or store can't be shared.
    pub fn refuse_embedded(&self, role: &str) -> anyhow::Result<()> {
        if self.log.kind == LogKind::Embedded || self.store.kind == StoreKind::Embedded {
            bail!(
                "the role {role} runs apart from the others, so it needs a log and a store that all can reach; set \
                 MILLSTREAM__LOG__KIND=kafka with MILLSTREAM__LOG__BROKERS, and MILLSTREAM__STORE__KIND=scylla with \
                 MILLSTREAM__STORE__NODES (`millstream serve` runs everything in one process on the embedded ones)"
            );
        }
        Ok(())
    }

    /// Puts the secrets in that [`Key::secret_file`] names.
    fn read_key_files(&mut self) -> anyhow::Result<()> {
        for key in &mut self.auth.keys {
            let Some(path) = &key.secret_file else { continue };
            if key.secret.is_some() {
                bail!("the api key {} has both `secret` and `secret_file`; take one away", key.name);
            }
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the api key {} names {}, which can't be read", key.name, path.display()))?;
            key.secret = Some(Secret::new(text.trim()));
        }
        Ok(())
    }

    /// Says which keys stand in the file as clients send them.
    pub fn warn_of_secrets(&self) {
        for key in self.auth.keys.iter().filter(|key| key.secret.is_some() && key.secret_file.is_none()) {
            tracing::warn!(
                key = key.name,
                "the secret of an api key stands in the configuration; `millstream key {} --stdin` gives the `hash` to \
                 put in its place",
                key.name
            );
        }
    }

    /// What can't work is refused at the start.
    pub fn refuse_deafness(&self) -> anyhow::Result<()> {
        let seconds = self.limits.partition_silent_seconds;
        if seconds <= IDLE_WORD_SECONDS {
            bail!(
                "[limits] partition_silent_seconds is {seconds}, but an idle owner says something every 4 s; set it \
                 above {IDLE_WORD_SECONDS}"
            );
        }
        Ok(())
    }

    /// Off loopback nobody is served by accident.
    pub fn refuse_strangers(&self) -> anyhow::Result<()> {
        let guarded = !self.auth.keys.is_empty() || self.auth.open;
        if !self.server.listen.ip().is_loopback() && !guarded {
            bail!(
                "{} can be reached from other machines, and there are no keys: add [[auth.keys]] to {FILE}, or set \
                 MILLSTREAM__AUTH__OPEN=true to serve anybody",
                self.server.listen
            );
        }
        Ok(())
    }

    /// As TOML, with secrets hidden.
    pub fn printed(&self) -> anyhow::Result<String> {
        Ok(toml::to_string_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_print() {
        let mut config = Config::default();
        let key = |secret, hash| Key {
            name: "ci".into(),
            secret,
            hash,
            secret_file: None,
            tenant: "acme".into(),
            scopes: Vec::new(),
        };
        config.auth.keys.push(key(Some(Secret::new("s3cret")), None));
        config.auth.keys.push(key(None, Some("0f".repeat(32))));
        config.server.secret = Some(Secret::new("shared"));
        let provider = Provider { base_url: None, api_key: Some(Secret::new("sk-1")) };
        config.providers.insert("openai".into(), provider);
        let printed = config.printed().unwrap();
        for secret in ["s3cret", "shared", "sk-1"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        assert!(printed.contains("<hidden>"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    /// What the file and these variables make.
    fn made(file: &str, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(FILE);
        std::fs::write(&path, file)?;
        read(Some(path), variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_stands_above_the_file() {
        let file = "[log]\npartitions = 8\nprefix = \"prod-\"\n[models.small]\nuse = \"openai/a\"\n";
        let variables = [
            ("MILLSTREAM__LOG__PARTITIONS", "16"),
            ("MILLSTREAM__LOG__KIND", "kafka"),
            ("MILLSTREAM__AUTH__OPEN", "true"),
            ("MILLSTREAM__SERVER__CORS", "https://a.example, https://b.example"),
            ("MILLSTREAM__PROVIDERS__OPENAI__API_KEY", "0123"),
            ("MILLSTREAM_URL", "no setting"),
        ];
        let config = made(file, &variables).unwrap();
        assert_eq!((config.log.partitions, config.log.kind, config.auth.open), (16, LogKind::Kafka, true));
        assert_eq!(config.log.prefix, "prod-");
        assert_eq!(config.server.cors, ["https://a.example", "https://b.example"]);
        assert_eq!(config.models["small"].target, "openai/a");
        assert_eq!(config.providers["openai"].api_key.as_ref().unwrap().expose(), "0123");
        assert!(made("", &[("MILLSTREAM__LOG__PARTITION", "16")]).is_err(), "a setting that isn't there");
        assert!(made("", &[("MILLSTREAM__LOG__PARTITIONS", "many")]).is_err());
    }

    #[test]
    fn a_secret_is_read_from_the_file_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "0123\n").unwrap();
        let named = ("MILLSTREAM__STORE__PASSWORD_FILE", secret.to_str().unwrap());
        let config = made("", &[named]).unwrap();
        assert_eq!(config.store.password.unwrap().expose(), "0123");
        assert!(made("", &[named, ("MILLSTREAM__STORE__PASSWORD", "x")]).is_err(), "which one counts?");
        assert!(made("", &[("MILLSTREAM__STORE__PASSWORD_FILE", "/no/such/file")]).is_err());
    }

    const DOCUMENT: &str = include_str!("../../docs/configuration.md");

    #[test]
    fn the_documented_example_is_read() {
        let example = DOCUMENT.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let config = made(example, &[]).unwrap();
        assert_eq!(config.log.client["security.protocol"], "SASL_SSL");
        // Read again without its comments' marks: what is commented out is right, too.
        let whole: String = example
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        made(&whole, &[]).unwrap();
        let shown: serde_json::Value = toml::from_str::<toml::Value>(&whole).unwrap().try_into().unwrap();
        for (setting, _) in settings() {
            let pointer = format!("/{}", setting.replace('.', "/"));
            assert!(shown.pointer(&pointer).is_some(), "the example doesn't show {setting}");
        }
    }

    #[test]
    fn every_setting_is_documented_with_its_default() {
        for (setting, default) in settings() {
            let variable = format!("MILLSTREAM__{}", setting.to_uppercase().replace('.', "__"));
            let row = format!("| `{setting}` | `{variable}` | {default} |");
            assert!(DOCUMENT.contains(&row), "docs/configuration.md lacks the row\n{row}");
        }
    }

    /// Each setting of a section with its default as the document writes it.
    fn settings() -> Vec<(String, String)> {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let sections = defaults
            .as_object()
            .unwrap()
            .iter()
            .filter(|(section, _)| !["models", "providers"].contains(&section.as_str()));
        let settings = sections.flat_map(|(section, settings)| {
            settings.as_object().unwrap().iter().map(move |(key, value)| (format!("{section}.{key}"), written(value)))
        });
        let settings: Vec<_> =
            settings.filter(|(setting, _)| !["log.client", "auth.keys"].contains(&setting.as_str())).collect();
        assert!(settings.len() > 25, "{settings:?}");
        settings
    }

    fn written(value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::Null => "none".to_owned(),
            serde_json::Value::Array(values) if values.is_empty() => "none".to_owned(),
            value => format!("`{value}`"),
        }
    }

    #[test]
    fn a_key_may_be_a_hash_or_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("web");
        std::fs::write(&secret, "at least sixteen\n").unwrap();
        let file = |more: &str| format!("[[auth.keys]]\nname = 'web'\nscopes = ['read', 'run']\n{more}");
        let named = format!("secret_file = '{}'", secret.display());
        let mut config = made(&file(&named), &[]).unwrap();
        config.read_key_files().unwrap();
        assert_eq!(config.auth.keys[0].secret.as_ref().unwrap().expose(), "at least sixteen");
        assert_eq!(config.auth.keys[0].scopes, [ingest::Scope::Read, ingest::Scope::Run]);
        assert!(!config.printed().unwrap().contains("at least sixteen"));
        let both = file(&format!("secret = 'x'\n{named}"));
        assert!(made(&both, &[]).unwrap().read_key_files().is_err(), "which one counts?");
        let gone = file("secret_file = '/no/such/file'");
        assert!(made(&gone, &[]).unwrap().read_key_files().is_err());
        assert!(made(&file("hash = '00'"), &[]).is_ok(), "ingest checks what a hash looks like");
        assert!(made("[[auth.keys]]\nname = 'web'\nscopes = ['admin']\n", &[]).is_err());
    }

    #[test]
    fn openai_is_a_provider_and_default_names_a_model_of_it() {
        let with = |file: &str, variables: &[(&str, &str)]| {
            let mut config = made(file, &[]).unwrap();
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            add_known_models(&mut config, |name| find(name).map(|(_, value)| (*value).to_owned()));
            config
        };
        assert_eq!(with("", &[]).models["default"].target, "scripted/demo");
        let keyed = with("", &[("OPENAI_API_KEY", "sk"), ("OPENAI_MODEL", "gpt-5-mini")]);
        assert_eq!(keyed.models["default"].target, "openai/gpt-5-mini");
        assert_eq!(keyed.providers[OPENAI].api_key.as_ref().unwrap().expose(), "sk");
        let file = "[providers.openai]\nbase_url = 'http://a/v1'\n[models.default]\nuse = 'openai/own'\n";
        let both = with(file, &[("OPENAI_BASE_URL", "http://b/v1")]);
        assert_eq!(both.providers[OPENAI].base_url.as_deref(), Some("http://a/v1"), "the file stands above");
        assert_eq!(both.models["default"].target, "openai/own");
        assert!(made("[models.x]\nuse = 'openai/a'\nbase_url = 'http://a/v1'\n", &[]).is_err(), "a provider's");
    }

    #[test]
    fn an_owner_may_be_silent_for_as_long_as_an_idle_one_is() {
        let mut config = Config::default();
        assert!(config.refuse_deafness().is_ok());
        config.limits.partition_silent_seconds = 4;
        assert!(config.refuse_deafness().is_err());
    }

    #[test]
    fn strangers_are_refused() {
        let mut config = Config::default();
        assert!(config.refuse_strangers().is_ok());
        config.server.listen = "0.0.0.0:80".parse().unwrap();
        assert!(config.refuse_strangers().is_err());
        config.auth.open = true;
        assert!(config.refuse_strangers().is_ok());
    }

    #[test]
    fn roles_refuse_embedded_parts() {
        let message = Config::default().refuse_embedded("sink").unwrap_err().to_string();
        assert!(message.contains("MILLSTREAM__LOG__KIND=kafka"), "{message}");
    }
}
