//! Which provider and model stand behind an alias. What was said over the API goes first, then a graph's own aliases, then
//! the configuration's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use graph::{
    alias::{Alias, Routes},
    spec::ModelAlias,
    task::TaskError,
};

use super::{Answers, Breakers, ModelProvider, Reached};
use crate::{classifier::Classifier, failure, metrics};

/// The alias that a demo or a graph without aliases of its own names.
pub const DEFAULT_ALIAS: &str = "default";

/// Targets that one alias may name: the first and its fallbacks.
const TARGETS_MAX: usize = 8;

/// Providers by name, and the configuration's aliases and classifiers.
#[derive(Default)]
pub struct ModelRegistry {
    providers: BTreeMap<String, Arc<dyn ModelProvider>>,
    configured: RwLock<BTreeMap<String, Routes>>,
    /// Said over the API.
    said: RwLock<BTreeMap<String, Arc<Alias>>>,
    breakers: Breakers,
    answers: Option<Answers>,
    classifiers: BTreeMap<String, Arc<Classifier>>,
}

/// One model of one provider.
#[derive(Clone)]
pub struct Target {
    pub provider: Arc<dyn ModelProvider>,
    pub model: String,
}

impl Target {
    /// `<provider>/<model>`, as an alias names it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.provider.name(), self.model)
    }

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

    /// Points an alias at `<provider>/<model>` and those that stand in for it.
    pub fn alias(self, name: impl Into<String>, routes: Routes) -> Self {
        self.configured.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), routes);
        self
    }

    /// Adds what needs no model to pick a label.
    pub fn with_classifier(mut self, name: impl Into<String>, classifier: Classifier) -> Self {
        self.classifiers.insert(name.into(), Arc::new(classifier));
        self
    }

    pub fn classifier(&self, name: &str) -> Result<Arc<Classifier>, TaskError> {
        let found = self.classifiers.get(name).cloned();
        found.ok_or_else(|| {
            failure::node_failed(format!(
                "no classifier is named {name}: add it as [classifiers.{name}] with its `file` to the configuration"
            ))
        })
    }

    /// Takes other aliases in place of the configured ones. Calls under way end as they began.
    pub fn configure(&self, aliases: BTreeMap<String, Routes>) {
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = aliases;
    }

    /// Takes what was said of an alias over the API: it goes before what graphs and the configuration say, until nothing is
    /// said any more.
    pub fn say(&self, name: &str, alias: Option<&Alias>) {
        metrics::alias_changed(name, alias);
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        match alias {
            Some(alias) => said.insert(name.to_owned(), Arc::new(alias.clone())),
            None => said.remove(name),
        };
    }

    /// Whether something was said of the alias over the API.
    pub fn is_said(&self, alias: &str) -> bool {
        self.said.read().unwrap_or_else(PoisonError::into_inner).contains_key(alias)
    }

    /// Gives answers again.
    pub fn with_answers(self, answers: Answers) -> Self {
        ModelRegistry { answers: Some(answers), ..self }
    }

    /// Where answers of the alias are kept, if they are.
    pub fn answers(&self, alias: &str) -> Option<&Answers> {
        self.answers.as_ref().filter(|answers| answers.are_kept_of(alias))
    }

    /// Which targets are not asked for now.
    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Providers that the configuration's aliases name.
    pub fn providers_named(&self) -> Vec<String> {
        let configured = self.configured.read().unwrap_or_else(PoisonError::into_inner);
        let named = configured.values().flat_map(Routes::models).filter_map(|model| model.split_once('/'));
        let named: BTreeSet<String> = named.map(|(provider, _)| provider.to_owned()).collect();
        named.into_iter().collect()
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

    /// Whom a call asks: the target, then those that stand in for it. The same for the same `key` as long as nobody
    /// changes the alias.
    pub fn resolve(
        &self,
        alias: &str,
        graph: &BTreeMap<String, ModelAlias>,
        key: &str,
    ) -> Result<Vec<Target>, TaskError> {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner).get(alias).cloned();
        if let Some(said) = said {
            return self.targets(alias, said.choose(key).models);
        }
        if let Some(named) = graph.get(alias) {
            return self.targets(alias, std::iter::once(&named.target).chain(&named.fallback).map(String::as_str));
        }
        let configured = self.configured.read().unwrap_or_else(PoisonError::into_inner);
        match configured.get(alias) {
            Some(routes) => self.targets(alias, routes.choose(key)),
            None => Err(failure::node_failed(format!(
                "no model is named {alias}: add it to the graph's `models`, or as [models.{alias}] to the configuration"
            ))),
        }
    }

    fn targets<'a>(&self, alias: &str, models: impl IntoIterator<Item = &'a str>) -> Result<Vec<Target>, TaskError> {
        models.into_iter().take(TARGETS_MAX).map(|model| self.target(alias, model)).collect()
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

    fn registry() -> ModelRegistry {
        ModelRegistry::new().provider(Scripted::default())
    }

    fn first(registry: &ModelRegistry, alias: &str, graph: &BTreeMap<String, ModelAlias>) -> Result<String, TaskError> {
        registry.resolve(alias, graph, "a thread").map(|targets| targets[0].model.clone())
    }

    #[test]
    fn the_graphs_aliases_go_before_the_configurations() {
        let registry = registry()
            .alias("small", Routes::to("scripted/configured"))
            .alias(DEFAULT_ALIAS, Routes::to("scripted/echo"));
        let own = ModelAlias { target: "scripted/a/b".to_owned(), ..ModelAlias::default() };
        let graph = BTreeMap::from([("small".to_owned(), own)]);
        let none = BTreeMap::new();
        assert_eq!(first(&registry, "small", &graph).unwrap(), "a/b");
        assert_eq!(first(&registry, "small", &none).unwrap(), "configured");
        assert_eq!(first(&registry, "default", &graph).unwrap(), "echo");
        assert!(first(&registry, "large", &graph).unwrap_err().message.contains("[models.large]"));
        registry.configure(BTreeMap::from([("large".to_owned(), Routes::to("scripted/new"))]));
        assert_eq!(first(&registry, "large", &none).unwrap(), "new");
        assert!(first(&registry, "default", &none).is_err());
    }

    #[test]
    fn what_is_said_goes_before_all_until_it_is_taken_back() {
        let registry = registry();
        let own = ModelAlias { target: "scripted/own".to_owned(), ..ModelAlias::default() };
        let graph = BTreeMap::from([("small".to_owned(), own)]);
        registry.say("small", Some(&Alias::new(Routes::to("scripted/said"), 0).unwrap()));
        assert_eq!(first(&registry, "small", &graph).unwrap(), "said");
        registry.say("small", None);
        assert_eq!(first(&registry, "small", &graph).unwrap(), "own");
    }

    #[test]
    fn a_provider_that_is_not_there_is_named() {
        let registry = registry().alias("x", Routes::to("openai/gpt"));
        let error = first(&registry, "x", &BTreeMap::new()).expect_err("there is no openai");
        assert!(
            error.message.contains("no provider openai") && error.message.contains("scripted"),
            "{}",
            error.message
        );
    }
}
