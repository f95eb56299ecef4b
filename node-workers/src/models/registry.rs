//! Which provider and model stand behind an alias. A graph's own aliases go first, then the configuration's.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use graph::{spec::ModelAlias, task::TaskError};

use super::{ModelProvider, Reached};
use crate::failure;

/// The alias that a demo or a graph without aliases of its own names.
pub const DEFAULT_ALIAS: &str = "default";

/// Targets that one alias may name: the first and its fallbacks.
const TARGETS_MAX: usize = 8;

/// Providers by name, and the configuration's aliases.
#[derive(Default)]
pub struct ModelRegistry {
    providers: BTreeMap<String, Arc<dyn ModelProvider>>,
    aliases: BTreeMap<String, ModelAlias>,
}

/// One model of one provider.
#[derive(Clone)]
pub struct Target {
    pub provider: Arc<dyn ModelProvider>,
    pub model: String,
}

impl Target {
    /// The model's name without directives, as calls and metrics know it.
    pub fn name(&self) -> &str {
        self.model.split('?').next().unwrap_or_default()
    }
}

impl ModelRegistry {
    pub fn new() -> Self {
        ModelRegistry::default()
    }

    /// Adds a provider under its own name; a later one of the same name replaces it.
    pub fn provider(mut self, provider: impl ModelProvider) -> Self {
        self.providers.insert(provider.name().to_owned(), Arc::new(provider));
        self
    }

    /// Points an alias at `<provider>/<model>`.
    pub fn alias(mut self, name: impl Into<String>, alias: ModelAlias) -> Self {
        self.aliases.insert(name.into(), alias);
        self
    }

    /// What is known of each provider's server.
    pub fn reached(&self) -> Vec<(String, Reached)> {
        let known = self.providers.iter();
        known.filter_map(|(name, provider)| Some((name.clone(), provider.reach()?.last()))).collect()
    }

    /// Asks the servers of the named providers that nobody has asked for as long as `age`.
    pub async fn probe(&self, named: &[String], age: Duration) {
        let stale = named
            .iter()
            .filter_map(|name| self.providers.get(name))
            .filter(|provider| provider.reach().is_some_and(|reach| reach.is_older_than(age)));
        futures_util::future::join_all(stale.map(|provider| provider.probe())).await;
    }

    pub fn has_alias(&self, name: &str) -> bool {
        self.aliases.contains_key(name)
    }

    /// The alias's target, then its fallbacks.
    pub fn resolve(&self, alias: &str, graph: &BTreeMap<String, ModelAlias>) -> Result<Vec<Target>, TaskError> {
        let named = graph.get(alias).or_else(|| self.aliases.get(alias)).ok_or_else(|| {
            failure::node_failed(format!(
                "no model is named {alias}: add it to the graph's `models`, or as [models.{alias}] to the configuration"
            ))
        })?;
        std::iter::once(&named.target)
            .chain(&named.fallback)
            .take(TARGETS_MAX)
            .map(|target| self.target(alias, target))
            .collect()
    }

    fn target(&self, alias: &str, target: &str) -> Result<Target, TaskError> {
        let (provider, model) = target.split_once('/').ok_or_else(|| {
            failure::node_failed(format!("model {alias} points at {target}, which is no <provider>/<model>"))
        })?;
        let found = self.providers.get(provider).ok_or_else(|| {
            let known: Vec<&str> = self.providers.keys().map(String::as_str).collect();
            failure::node_failed(format!(
                "model {alias} points at {target}, but no provider {provider} is configured (there are: {}); set its \
                 key or base url",
                known.join(", ")
            ))
        })?;
        Ok(Target { provider: Arc::clone(found), model: model.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::scripted::Scripted;

    fn alias(target: &str) -> ModelAlias {
        ModelAlias { target: target.to_owned(), fallback: Vec::new() }
    }

    #[test]
    fn the_graphs_aliases_go_first() {
        let registry = ModelRegistry::new()
            .provider(Scripted::default())
            .alias("small", alias("scripted/configured"))
            .alias(DEFAULT_ALIAS, alias("scripted/echo"));
        let graph = BTreeMap::from([("small".to_owned(), alias("scripted/a/b"))]);
        let none = BTreeMap::new();
        let model = |name, graph| registry.resolve(name, graph).map(|targets| targets[0].model.clone());
        assert_eq!(model("small", &graph).unwrap(), "a/b");
        assert_eq!(model("small", &none).unwrap(), "configured");
        assert_eq!(model("default", &graph).unwrap(), "echo");
        assert!(model("large", &graph).unwrap_err().message.contains("[models.large]"));
    }

    #[test]
    fn a_provider_that_is_not_there_is_named() {
        let registry = ModelRegistry::new().provider(Scripted::default()).alias("x", alias("openai/gpt"));
        let Err(error) = registry.resolve("x", &BTreeMap::new()) else { panic!("there is no openai") };
        assert!(
            error.message.contains("no provider openai") && error.message.contains("scripted"),
            "{}",
            error.message
        );
    }
}
