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
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// How the long-term store searches by meaning, where a model for that is named.
pub fn index(config: &Config) -> anyhow::Result<Option<Index>> {
    let Embedding { model: Some(target), dims, fields } = &config.embedding else { return Ok(None) };
    let (provider, model) =
        target.split_once('/').with_context(|| format!("[embedding] model = {target:?} is no <provider>/<model>"))?;
    if *dims == 0 || fields.is_empty() {
        bail!("[embedding] needs the length of a vector as dims, and at least one path in fields");
    }
    let embedder: Arc<dyn Embedder> = match config.providers.get(provider) {
        _ if provider == SCRIPTED => Arc::new(Words { dims: *dims }),
        Some(known) if kind_of(provider, known) == ProviderKind::Anthropic => bail!(
            "[embedding] model = {target:?} names a provider of kind anthropic, which has no embeddings; name one of \
             kind openai"
        ),
        Some(known) => {
            let http = node_workers::http_client()?;
            Arc::new(OpenAiEmbeddings::new(settings_of(provider, known)?, model, http))
        }
        None => bail!(
            "[embedding] model = {target:?} names a provider that isn't there; add [providers.{provider}] with its base_url"
        ),
    };
    Ok(Some(Index::new(embedder, *dims, fields.clone())))
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
    let Cache { exact, ttl_seconds, aliases } = &config.cache;
    if *exact {
        let answers = Answers::new(Duration::from_secs(*ttl_seconds), aliases.iter().cloned());
        registry = registry.with_answers(match shared {
            Some(shared) => answers.shared_by(shared),
            None => answers,
        });
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
