//! The configuration: `millstream.toml`, then `MILLSTREAM__SECTION__KEY`, then flags.
//!
//! A secret is given as `…_FILE`, by its own environment variable or by a command; printing hides it.

mod budgets;
mod secret;
mod sections;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use graph::event::{TimeToLive, TtlStrategy};
use quota::{BudgetLimits, RateLimits, Rules, rates::LIMIT_MAX};
use serde::{Deserialize, Serialize};

pub use self::{budgets::*, secret::Secret, sections::*};

pub const FILE: &str = "millstream.toml";
/// Settings that hold several values, which the environment separates by commas.
const LISTS: [&str; 5] = ["server.cors", "embedding.fields", "auth.jwt.audience", "auth.jwt.scopes", "cache.aliases"];
/// An idle owner of a partition speaks up a little more often.
const IDLE_WORD_SECONDS: u64 = 5;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    pub server: Server,
    pub log: Log,
    pub store: Store,
    /// Who serves models: address and key.
    pub providers: BTreeMap<String, Provider>,
    /// Aliases that graphs name.
    pub models: BTreeMap<String, Model>,
    /// What `classify` nodes name.
    pub classifiers: BTreeMap<String, Classifier>,
    pub cache: Cache,
    pub embedding: Embedding,
    pub workers: Workers,
    pub auth: Auth,
    pub limits: Limits,
    pub budgets: Budgets,
    pub rates: Rates,
    pub quota: Quota,
    /// What models cost, above the table of the binary.
    pub prices: quota::prices::Table,
    pub threads: Threads,
    pub telemetry: Telemetry,
    pub ready: Ready,
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
        check_syntax(&path)?;
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
    let config: Config = built.try_deserialize().with_context(|| {
        format!("the configuration ({} and MILLSTREAM__… in the environment) is not understood", path.display())
    })?;
    Ok(Config { file: path, ..config })
}

/// A parser shows the line that it can't read, and that may be a secret's: its place is told instead.
fn check_syntax(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    let Err(error) = toml::from_str::<toml::Table>(&text) else { return Ok(()) };
    let line = 1 + text[..error.span().map_or(0, |span| span.start)].matches('\n').count();
    bail!("{} is no TOML at line {line}: {}", path.display(), error.message())
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

/// OpenAI and Anthropic, or whatever speaks their wire formats, by the variables that their own clients read; and the alias
/// `default`, where the configuration doesn't set it: OpenAI where one of its variables is set, else the scripted model.
fn add_known_models(config: &mut Config, variable: impl Fn(&str) -> Option<String>) {
    for (name, base_url, api_key) in
        [(ANTHROPIC, "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"), (OPENAI, "OPENAI_BASE_URL", "OPENAI_API_KEY")]
    {
        let provider = config.providers.entry(name.to_owned()).or_default();
        provider.base_url = provider.base_url.take().or_else(|| variable(base_url));
        provider.api_key = provider.api_key.take().or_else(|| variable(api_key).map(Secret::new));
    }
    let openai = &config.providers[OPENAI];
    let is_there = openai.base_url.is_some() || openai.api_key.is_some();
    let target = if is_there {
        format!("{OPENAI}/{}", variable("OPENAI_MODEL").unwrap_or_else(|| "gpt-4o-mini".to_owned()))
    } else {
        format!("{SCRIPTED}/demo")
    };
    config.models.entry("default".to_owned()).or_insert_with(|| Model::to(target));
}

impl Config {
    /// How services reach this process for the long-term store. None where it listens on every address and nothing says
    /// which.
    pub fn store_address(&self) -> Option<String> {
        let listen = self.server.listen;
        let own = (!listen.ip().is_unspecified()).then(|| format!("http://{listen}"));
        self.workers.store_url.clone().or_else(|| self.server.advertise.clone()).or(own)
    }

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

    /// How long threads live of which nobody says it.
    pub fn thread_ttl(&self) -> anyhow::Result<Option<TimeToLive>> {
        let Threads { ttl_minutes, strategy } = self.threads;
        let Some(minutes) = ttl_minutes else {
            if strategy == TtlStrategy::KeepLatest {
                bail!(
                    "[threads] strategy is keep_latest, and nothing says after what time; set ttl_minutes too, or take \
                     it away"
                );
            }
            return Ok(None);
        };
        let ttl = TimeToLive::of_minutes(minutes, strategy);
        let max = TimeToLive::MINUTES_MAX;
        let says =
            || format!("[threads] ttl_minutes is {minutes}; set it above 0 and to {max} at most, or take it away");
        ttl.map(Some).with_context(says)
    }

    /// Off loopback nobody is served by accident.
    pub fn refuse_strangers(&self) -> anyhow::Result<()> {
        let guarded = !self.auth.keys.is_empty() || self.auth.jwt.is_some() || self.auth.open;
        if !self.server.listen.ip().is_loopback() && !guarded {
            bail!(
                "{} can be reached from other machines, and there are no keys: add [[auth.keys]] or [auth.jwt] to {FILE}, or set \
                 MILLSTREAM__AUTH__OPEN=true to serve anybody",
                self.server.listen
            );
        }
        Ok(())
    }

    /// What limits the calls of this process.
    pub fn budget_limits(&self) -> anyhow::Result<Rules<BudgetLimits>> {
        let limits = self.budgets.rules("budgets")?;
        if !limits.are_none() {
            self.refuse_apart("[budgets]")?;
        }
        Ok(limits)
    }

    /// What limits a minute's requests and tokens; None where nothing does.
    pub fn rate_limits(&self) -> anyhow::Result<Option<Rules<RateLimits>>> {
        let limits = self.rates.rules("rates")?;
        if limits.are_none() {
            return Ok(None);
        }
        let all = limits.each().flat_map(|limits| [limits.key, limits.user]);
        let all = all.flat_map(|limit| [limit.requests, limit.tokens]);
        if let Some(limit) = all.flatten().find(|limit| !(1..=LIMIT_MAX).contains(limit)) {
            bail!(
                "[rates] has a limit of {limit} a minute; set it above 0 and to {LIMIT_MAX} at most, or take it away"
            );
        }
        self.refuse_apart("[rates]")?;
        Ok(Some(limits))
    }

    /// On Kafka several processes may work on the same runs, and serve the same key.
    fn refuse_apart(&self, limits: &str) -> anyhow::Result<()> {
        if self.log.kind != LogKind::Embedded && self.quota.redis.is_none() {
            bail!(
                "{limits} must hold over all processes on Kafka, so they need a Redis that all of them use: set \
                 MILLSTREAM__QUOTA__REDIS_FILE to a file with its address (redis://USER:PASSWORD@HOST:PORT), or take {limits} \
                 away"
            );
        }
        Ok(())
    }

    /// What stands before every key in Redis, as a hash tag.
    pub fn quota_prefix(&self) -> anyhow::Result<&str> {
        let prefix = self.quota.prefix.as_str();
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            bail!("[quota] prefix is {prefix:?}; set it to a word without braces");
        }
        Ok(prefix)
    }

    /// As TOML, with secrets hidden.
    pub fn printed(&self) -> anyhow::Result<String> {
        Ok(toml::to_string_pretty(self)?)
    }
}

#[cfg(test)]
mod tests;
