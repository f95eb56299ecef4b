//! `/models`: whom the aliases of models ask, changed while everything runs. The topic `control` is where they are kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{body::Body, extract::State, response::IntoResponse};
use graph::{
    alias::{Alias, AliasError, Routes, Target},
    envelope::Millis,
};
use http::{Method, StatusCode};
use schemas::{
    client::{ChangeModelAlias, ModelAliasView, SetModelAlias},
    error::Code,
    http::List,
    record::{ControlFact, ControlRecord},
    topic::CONTROL,
};
use tokio::sync::Mutex;

use crate::{
    auth::Scope,
    body,
    extract::At,
    ingest::Ingest,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
};

const TAG: &str = "models";
const NAME_CHARS_MAX: usize = 128;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Read, Method::GET, "/models", list)
            .says(TAG, "Lists the models' aliases that were set here; those of graphs and the configuration are not among them.")
            .answers(200, "All of them, by name.", Media::JsonList("ModelAliasView")),
        route(Scope::Read, Method::GET, "/models/{alias}", get)
            .says(TAG, "Whom an alias asks, and whom it asked before.")
            .answers(200, "The alias.", Media::Json("ModelAliasView")),
        route(Scope::Publish, Method::PUT, "/models/{alias}", put)
            .says(
                TAG,
                "Sets whom an alias asks, for all calls or a share of the threads, above what graphs and the configuration \
                 say. Calls under way end as they began.",
            )
            .takes(Media::Json("SetModelAlias"))
            .answers(200, "Calls begin with it within a moment.", Media::Json("ModelAliasView")),
        route(Scope::Publish, Method::POST, "/models/{alias}/promote", promote)
            .says(TAG, "Gives all calls to the version that is tried.")
            .takes(Media::Json("ChangeModelAlias"))
            .answers(200, "The alias.", Media::Json("ModelAliasView")),
        route(Scope::Publish, Method::POST, "/models/{alias}/rollback", roll_back)
            .says(TAG, "Ends the version that is tried, or brings the one before the current back.")
            .takes(Media::Json("ChangeModelAlias"))
            .answers(200, "The alias.", Media::Json("ModelAliasView")),
        route(Scope::Publish, Method::DELETE, "/models/{alias}", delete)
            .says(TAG, "Forgets an alias: what graphs and the configuration say holds again.")
            .bare(204, "It is forgotten."),
    ]
}

/// The aliases as the log has them.
#[derive(Default)]
pub(crate) struct Aliases {
    known: Arc<Known>,
    /// One change at a time: each is made on what the one before it left.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Known {
    by_name: RwLock<BTreeMap<String, Alias>>,
    /// The log was read to its end.
    whole: AtomicBool,
}

impl Known {
    fn take(&self, name: &str, alias: Option<&Alias>) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match alias {
            Some(alias) => by_name.insert(name.to_owned(), alias.clone()),
            None => by_name.remove(name),
        };
    }

    fn get(&self, name: &str) -> Option<Alias> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Keeps the aliases as the log has them, for ever.
pub(crate) async fn follow(ingest: &Ingest) {
    let known = Arc::clone(&ingest.aliases.known);
    let topic = ingest.config.names.of(CONTROL);
    let (following, mut whole) =
        event_log::follow(Arc::clone(&ingest.deps.log), topic, move |record: &ControlRecord| {
            if let ControlFact::ModelAlias { name, alias } = &record.fact {
                known.take(name, alias.as_ref());
            }
        });
    let is_whole = async {
        if whole.wait_for(|whole| *whole).await.is_ok() {
            ingest.aliases.known.whole.store(true, Ordering::Relaxed);
        }
    };
    tokio::join!(following, is_whole);
}

async fn list(State(ingest): State<Ingest>) -> Answer {
    let by_name = ingest.aliases()?.by_name.read().unwrap_or_else(PoisonError::into_inner);
    let view = |(name, alias): (&String, &Alias)| ModelAliasView { name: name.clone(), alias: alias.clone() };
    Ok(json_of(&List { data: by_name.iter().map(view).collect(), next_cursor: None }))
}

async fn get(State(ingest): State<Ingest>, At(name): At<String>) -> Answer {
    let alias = ingest.known_alias(&name)?;
    Ok(json_of(&ModelAliasView { name, alias }))
}

async fn put(State(ingest): State<Ingest>, At(name): At<String>, request: http::Request<Body>) -> Answer {
    check_name(&name)?;
    let (parts, body) = request.into_parts();
    let set: SetModelAlias = body::parse(&body::read_json(&ingest.config, &parts.headers, body).await?)?;
    let SetModelAlias { model, targets, fallback, canary_percent, revision } = set;
    let targets = match (model, targets) {
        (Some(model), targets) if targets.is_empty() => vec![Target { model, weight: 1 }],
        (None, targets) => targets.into_iter().map(Target::from).collect(),
        (Some(_), _) => {
            return Err(Refusal::new(Code::InvalidValue, "give either `use` or `targets`, not both").param("targets"));
        }
    };
    let routes = Routes { targets, fallback };
    ingest.check_providers(&routes)?;
    let change = |known: Option<&Alias>, at| match (known, canary_percent) {
        (Some(alias), Some(percent)) => alias.start_canary(routes, percent, at),
        (Some(alias), None) => alias.publish(routes, at),
        (None, Some(_)) => Err(AliasError::NothingCurrent),
        (None, None) => Alias::new(routes, at),
    };
    ingest.change_alias(name, revision, change).await
}

async fn promote(State(ingest): State<Ingest>, At(name): At<String>, request: http::Request<Body>) -> Answer {
    let ChangeModelAlias { revision } = body::optional(&ingest.config, request).await?;
    ingest.known_alias(&name)?;
    ingest.change_alias(name, revision, |alias, at| alias.ok_or(AliasError::NothingCurrent)?.promote(at)).await
}

async fn roll_back(State(ingest): State<Ingest>, At(name): At<String>, request: http::Request<Body>) -> Answer {
    let ChangeModelAlias { revision } = body::optional(&ingest.config, request).await?;
    ingest.known_alias(&name)?;
    ingest.change_alias(name, revision, |alias, at| alias.ok_or(AliasError::NothingCurrent)?.roll_back(at)).await
}

async fn delete(State(ingest): State<Ingest>, At(name): At<String>) -> Answer {
    let _one = ingest.aliases.changing.lock().await;
    ingest.known_alias(&name)?;
    ingest.tell(ControlFact::ModelAlias { name: name.clone(), alias: None }).await?;
    ingest.aliases.known.take(&name, None);
    tracing::info!(alias = name, "a model's alias was forgotten");
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Ingest {
    async fn change_alias(
        &self,
        name: String,
        revision: Option<u64>,
        change: impl FnOnce(Option<&Alias>, Millis) -> Result<Alias, AliasError>,
    ) -> Answer {
        let _one = self.aliases.changing.lock().await;
        let known = self.aliases()?.get(&name);
        let is = known.as_ref().map_or(0, |alias| alias.revision);
        if let Some(was) = revision.filter(|was| *was != is) {
            let says = format!("the alias has changed: it is at revision {is}, not {was}; look at it and decide again");
            return Err(Refusal::new(Code::RevisionMismatch, says).param("revision"));
        }
        let changed = change(known.as_ref(), self.deps.clock.now());
        let alias = changed.map_err(|error| Refusal::new(Code::InvalidValue, error.to_string()))?;
        self.tell(ControlFact::ModelAlias { name: name.clone(), alias: Some(alias.clone()) }).await?;
        self.aliases.known.take(&name, Some(&alias));
        tracing::info!(
            alias = name,
            change = alias.changed.as_str(),
            revision = alias.revision,
            "a model's alias was changed"
        );
        Ok(json_of(&ModelAliasView { name, alias }))
    }

    fn known_alias(&self, name: &str) -> Result<Alias, Refusal> {
        self.aliases()?.get(name).ok_or_else(|| {
            let says = format!("no alias `{name}` was set over the API; what graphs and the configuration say holds");
            Refusal::new(Code::NotFound, says)
        })
    }

    fn aliases(&self) -> Result<&Known, Refusal> {
        let known = &self.aliases.known;
        match known.whole.load(Ordering::Relaxed) {
            true => Ok(known),
            false => Err(Refusal::new(Code::LogUnavailable, "the aliases are not read from the log yet; try again")),
        }
    }

    fn check_providers(&self, routes: &Routes) -> Result<(), Refusal> {
        let Some(providers) = &self.config.providers else { return Ok(()) };
        let unknown = routes.models().find_map(|model| {
            let (provider, _) = model.split_once('/')?;
            (!providers.iter().any(|known| known == provider)).then_some((model, provider))
        });
        let Some((model, provider)) = unknown else { return Ok(()) };
        let says = format!(
            "`{model}` names the provider {provider}, which isn't configured; there are: {}. Add [providers.{provider}] to the \
             configuration",
            providers.join(", ")
        );
        Err(Refusal::new(Code::InvalidValue, says).param("use"))
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(Refusal::new(Code::InvalidValue, "an alias has 1 to 128 letters, digits, `-`, `_` and `.`").param("alias"))
}
