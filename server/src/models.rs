//! The models that the configuration names.

use std::sync::Arc;

use anyhow::{Context, bail};
use graph::spec::ModelAlias;
use node_workers::{
    ModelRegistry,
    models::{
        anthropic::{self, Anthropic},
        http::ServerSettings,
        openai::{OpenAi, OpenAiEmbeddings},
        scripted::Scripted,
    },
};
use run_store::items::{Embedder, Index, Words};

use crate::config::{ANTHROPIC, Config, Embedding, OPENAI, Provider, ProviderKind, SCRIPTED};

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
pub fn registry(config: &Config, http: &reqwest::Client) -> anyhow::Result<ModelRegistry> {
    let mut registry = ModelRegistry::new().provider(Scripted::default());
    for (name, provider) in &config.providers {
        let settings = settings_of(name, provider)?;
        registry = match kind_of(name, provider) {
            ProviderKind::OpenAi => registry.provider(OpenAi::new(settings, http.clone())),
            ProviderKind::Anthropic => registry.provider(Anthropic::new(settings, http.clone())),
        };
    }
    for (alias, model) in &config.models {
        let (provider, _) = model
            .target
            .split_once('/')
            .with_context(|| format!("[models.{alias}] use = {:?} is no <provider>/<model>", model.target))?;
        if provider != SCRIPTED && !config.providers.contains_key(provider) {
            bail!(
                "[models.{alias}] use = {:?} names a provider that isn't there; add [providers.{provider}] with its \
                 base_url",
                model.target
            );
        }
        registry = registry.alias(alias, ModelAlias { target: model.target.clone(), fallback: Vec::new() });
    }
    Ok(registry)
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
