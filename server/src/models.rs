//! The models that the configuration names.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use graph::alias::Routes;
use node_workers::{
    ModelRegistry,
    models::{
        Answers,
        anthropic::{self, Anthropic},
        http::ServerSettings,
        openai::{OpenAi, OpenAiEmbeddings},
        scripted::Scripted,
        semantic::{Mode, Phrases, Semantic},
    },
};
use run_store::items::{Embedder, Index, Words};

use crate::{
    classifiers,
    config::{self, ANTHROPIC, Cache, Config, Embedding, OPENAI, Provider, ProviderKind, SCRIPTED},
    saved::Saved,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The model of the provider `scripted` that compares turns; all others there count words.
const PHRASES: &str = "phrases";
/// Numbers of a vector that counts words, where no setting says how many.
const WORDS_DIMS: usize = 1024;
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// How the long-term store searches by meaning, where a model for that is named.
pub fn index(config: &Config) -> anyhow::Result<Option<Index>> {
    let Embedding { model: Some(target), dims, fields } = &config.embedding else { return Ok(None) };
    if *dims == 0 || fields.is_empty() {
        bail!("[embedding] needs the length of a vector as dims, and at least one path in fields");
    }
    let http = node_workers::http_client()?;
    Ok(Some(Index::new(embedder(config, ("[embedding] model", target), *dims, &http)?, *dims, fields.clone())))
}

/// Who makes vectors, as the setting names it.
fn embedder(
    config: &Config,
    (setting, target): (&str, &str),
    dims: usize,
    http: &reqwest::Client,
) -> anyhow::Result<Arc<dyn Embedder>> {
    let (provider, model) =
        target.split_once('/').with_context(|| format!("{setting} = {target:?} is no <provider>/<model>"))?;
    match config.providers.get(provider) {
        _ if (provider, model) == (SCRIPTED, PHRASES) => Ok(Arc::new(Phrases)),
        _ if provider == SCRIPTED => Ok(Arc::new(Words { dims })),
        Some(known) if kind_of(provider, known) == ProviderKind::Anthropic => bail!(
            "{setting} = {target:?} names a provider of kind anthropic, which has no embeddings; name one of kind openai"
        ),
        Some(known) => Ok(Arc::new(OpenAiEmbeddings::new(settings_of(provider, known)?, model, http.clone()))),
        None => bail!(
            "{setting} = {target:?} names a provider that isn't there; add [providers.{provider}] with its base_url"
        ),
    }
}

/// Who makes the vectors of turns that the cache compares.
pub fn cache_embedder(config: &Config, http: &reqwest::Client) -> anyhow::Result<Arc<dyn Embedder>> {
    embedder(config, ("[cache] embedding_model", &config.cache.embedding_model), WORDS_DIMS, http)
}

/// Answers that are given again, where some are.
fn answers(
    config: &Config,
    http: &reqwest::Client,
    shared: Option<Arc<dyn quota::Cache>>,
) -> anyhow::Result<Option<Answers>> {
    let Cache { exact, ttl_seconds, aliases, semantic, threshold, embedding_model } = &config.cache;
    if !config.cache.is_on() {
        return Ok(None);
    }
    let mut answers = Answers::new(Duration::from_secs(*ttl_seconds), aliases.iter().cloned());
    let mode = match semantic {
        config::Semantic::Off => None,
        config::Semantic::Shadow => Some(Mode::Shadow),
        config::Semantic::On if *exact => Some(Mode::On),
        config::Semantic::On => {
            bail!("[cache] semantic = \"on\" needs exact = true: the same request is looked for first")
        }
    };
    if let Some(mode) = mode {
        if !(0.5..=1.0).contains(threshold) {
            bail!("[cache] threshold is {threshold}; it is a cosine between 0.5 and 1");
        }
        let embedder = cache_embedder(config, http)?;
        answers = answers.with_semantic(Semantic::new(mode, *threshold, embedder, embedding_model));
    }
    if !exact {
        answers = answers.without_exact();
    }
    Ok(Some(match shared {
        Some(shared) => answers.shared_by(shared),
        None => answers,
    }))
}

/// A provider owns key and address, an alias only names a model of it.
pub fn registry(
    config: &Config,
    http: &reqwest::Client,
    shared: Option<Arc<dyn quota::Cache>>,
) -> anyhow::Result<ModelRegistry> {
    let mut registry = ModelRegistry::new().provider(Scripted::default());
    for (name, provider) in &config.providers {
        let settings = settings_of(name, provider)?;
        registry = match kind_of(name, provider) {
            ProviderKind::OpenAi => registry.provider(OpenAi::new(settings, http.clone())),
            ProviderKind::Anthropic => registry.provider(Anthropic::new(settings, http.clone())),
        };
    }
    for (alias, routes) in aliases(config)? {
        registry = registry.alias(alias, routes);
    }
    for (name, classifier) in classifiers::configured(config)? {
        registry = registry.with_classifier(name, classifier);
    }
    if let Some(answers) = answers(config, http, shared)? {
        registry = registry.with_answers(answers);
    }
    Ok(registry)
}

/// Who may stand before the `/` of a target.
pub fn providers(config: &Config) -> Vec<String> {
    [SCRIPTED.to_owned()].into_iter().chain(config.providers.keys().cloned()).collect()
}

/// Takes the aliases anew when the file is saved, for ever. One that can't be used is explained, and all stay as they were.
pub async fn follow(config: Config, registry: Arc<ModelRegistry>) {
    let mut file = Saved::new(config.file.clone());
    let mut known = config.models;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !file.is_new() {
            continue;
        }
        let read = config::load(Some(config.file.clone())).and_then(|read| Ok((aliases(&read)?, read.models)));
        match read {
            Ok((_, models)) if models == known => {}
            Ok((aliases, models)) => {
                tracing::info!(file = %config.file.display(), "the models' aliases were read again");
                registry.configure(aliases);
                known = models;
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(file = %config.file.display(), error, "the models' aliases stay as they were");
            }
        }
    }
}

fn aliases(config: &Config) -> anyhow::Result<BTreeMap<String, Routes>> {
    let known = providers(config);
    let mut aliases = BTreeMap::new();
    for (alias, model) in &config.models {
        let routes = model.routes().with_context(|| format!("[models.{alias}] can't be used"))?;
        for target in routes.models() {
            let (provider, _) = target.split_once('/').unwrap_or_default();
            if !known.iter().any(|known| known == provider) {
                bail!(
                    "[models.{alias}] names {target:?}, of a provider that isn't there; add [providers.{provider}] with its \
                     base_url"
                );
            }
        }
        aliases.insert(alias.clone(), routes);
    }
    Ok(aliases)
}

fn kind_of(name: &str, provider: &Provider) -> ProviderKind {
    provider.kind.unwrap_or(if name == ANTHROPIC { ProviderKind::Anthropic } else { ProviderKind::OpenAi })
}

fn settings_of(name: &str, provider: &Provider) -> anyhow::Result<ServerSettings> {
    let base_url = match (&provider.base_url, name) {
        (_, SCRIPTED) => bail!("[providers.{SCRIPTED}] can't be set: the scripted model is in the program"),
        (Some(base_url), _) => base_url.clone(),
        (None, OPENAI) => OPENAI_URL.to_owned(),
        (None, ANTHROPIC) => anthropic::BASE_URL.to_owned(),
        (None, _) => bail!("[providers.{name}] needs a base_url, up to and with /v1"),
    };
    let key = provider.api_key.as_ref().map(|key| key.inner());
    Ok(ServerSettings { api_version: provider.api_version.clone(), ..ServerSettings::new(name, base_url, key) })
}
