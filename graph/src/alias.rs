//! What stands behind a model's alias, in versions: who is asked for which thread, and what an operator may change.
//!
//! ```text
//! publish       current = new, the former one is kept
//! canary        a share of the threads goes to the new version, the others stay
//! promote       the canary becomes current
//! roll back     the canary goes; without one the former version comes back
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::envelope::Millis;

/// Versions that one can go back to.
const FORMER_MAX: usize = 20;
/// Threads are told apart as finely as a hundredth of a percent.
const SLOTS: u64 = 10_000;

/// A model that takes a part of the calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// `<provider>/<model>`.
    #[serde(rename = "use")]
    pub model: String,
    /// Its part, beside those of the others.
    pub weight: u32,
}

/// Whom a version asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Routes {
    /// They share the calls by weight.
    pub targets: Vec<Target>,
    /// Asked in turn where the one that was to answer can't.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// 1 for the alias's first.
    pub version: u32,
    #[serde(flatten)]
    pub routes: Routes,
    pub at: Millis,
}

/// A version that is tried with a share of the threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Canary {
    #[serde(flatten)]
    pub version: Version,
    /// Above 0 and up to 100.
    pub percent: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Published,
    CanaryStarted,
    Promoted,
    RolledBack,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alias {
    /// How often it was changed: a change that was meant for another state of it can be told.
    pub revision: u64,
    pub current: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Version>,
    /// The highest number of a version, also of one that is forgotten: no two versions share one.
    pub newest: u32,
    /// What came last, and when.
    pub changed: Change,
    pub at: Millis,
}

/// Why an alias stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    #[error("an alias needs at least one target: give `use` or `targets`")]
    NoTarget,
    #[error("`{0}` is no <provider>/<model>")]
    NoModel(String),
    #[error("a target's weight is at least 1")]
    NoWeight,
    #[error("a canary's share is above 0 and at most 100 percent")]
    NoShare,
    #[error("there is no canary to promote: start one first")]
    NoCanary,
    #[error("there is no version before this one to go back to")]
    NothingBefore,
    #[error("a canary stands beside a current version, and there is none yet: publish one first")]
    NothingCurrent,
}

/// Whom a call asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    pub version: u32,
    pub is_canary: bool,
    /// The first is the one; the others stand in for it, in this order.
    pub models: Vec<&'a str>,
}

impl Routes {
    pub fn to(model: impl Into<String>) -> Self {
        Routes { targets: vec![Target { model: model.into(), weight: 1 }], fallback: Vec::new() }
    }

    pub fn check(&self) -> Result<(), AliasError> {
        if self.targets.is_empty() {
            return Err(AliasError::NoTarget);
        }
        if self.targets.iter().any(|target| target.weight == 0) {
            return Err(AliasError::NoWeight);
        }
        let is_model = |model: &&String| {
            model.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty())
        };
        match self.models().find(|model| !is_model(model)) {
            Some(other) => Err(AliasError::NoModel(other.clone())),
            None => Ok(()),
        }
    }

    /// Everybody who may be asked.
    pub fn models(&self) -> impl Iterator<Item = &String> {
        self.targets.iter().map(|target| &target.model).chain(&self.fallback)
    }

    /// The same for the same key. Whoever shares the calls also stands in, before the fallbacks.
    pub fn choose(&self, key: &str) -> Vec<&str> {
        let all: u64 = self.targets.iter().map(|target| u64::from(target.weight)).sum();
        let mut place = xxh3_64(format!("target {key}").as_bytes()) % all.max(1);
        let chosen = self.targets.iter().position(|target| match place.checked_sub(target.weight.into()) {
            Some(left) => {
                place = left;
                false
            }
            None => true,
        });
        let turned = self.targets.iter().cycle().skip(chosen.unwrap_or(0)).take(self.targets.len());
        let mut models: Vec<&str> = Vec::new();
        for model in turned.map(|target| &target.model).chain(&self.fallback) {
            if !models.contains(&model.as_str()) {
                models.push(model);
            }
        }
        models
    }
}

impl Alias {
    pub fn new(routes: Routes, at: Millis) -> Result<Self, AliasError> {
        routes.check()?;
        let current = Version { version: 1, routes, at };
        Ok(Alias { revision: 1, current, canary: None, former: Vec::new(), newest: 1, changed: Change::Published, at })
    }

    /// All calls go to a new version. A canary that ran ends.
    pub fn publish(&self, routes: Routes, at: Millis) -> Result<Self, AliasError> {
        routes.check()?;
        let newest = self.newest + 1;
        let version = Version { version: newest, routes, at };
        Ok(Alias { newest, ..self.with_current(version, Change::Published, at) })
    }

    /// A share of the threads goes to a new version. One that ran already ends.
    pub fn start_canary(&self, routes: Routes, percent: f64, at: Millis) -> Result<Self, AliasError> {
        routes.check()?;
        if !(percent > 0.0 && percent <= 100.0) {
            return Err(AliasError::NoShare);
        }
        let newest = self.newest + 1;
        let version = Version { version: newest, routes, at };
        Ok(Alias { newest, canary: Some(Canary { version, percent }), ..self.changed(Change::CanaryStarted, at) })
    }

    pub fn promote(&self, at: Millis) -> Result<Self, AliasError> {
        let canary = self.canary.as_ref().ok_or(AliasError::NoCanary)?;
        Ok(self.with_current(canary.version.clone(), Change::Promoted, at))
    }

    /// Ends the canary; where none runs, brings the version before the current one back.
    pub fn roll_back(&self, at: Millis) -> Result<Self, AliasError> {
        if self.canary.is_some() {
            return Ok(Alias { canary: None, ..self.changed(Change::RolledBack, at) });
        }
        let mut former = self.former.clone();
        if former.is_empty() {
            return Err(AliasError::NothingBefore);
        }
        let current = former.remove(0);
        Ok(Alias { current, former, ..self.changed(Change::RolledBack, at) })
    }

    /// The same for the same key, such as a thread, as long as the alias stays; and a larger share keeps the threads of
    /// the smaller one.
    pub fn choose(&self, key: &str) -> Choice<'_> {
        let slot = xxh3_64(format!("canary {key}").as_bytes()) % SLOTS;
        let tried = self.canary.as_ref().filter(|canary| (slot as f64) < canary.percent * SLOTS as f64 / 100.0);
        let version = tried.map_or(&self.current, |canary| &canary.version);
        Choice { version: version.version, is_canary: tried.is_some(), models: version.routes.choose(key) }
    }

    fn with_current(&self, current: Version, changed: Change, at: Millis) -> Self {
        let mut former = self.former.clone();
        former.insert(0, self.current.clone());
        former.truncate(FORMER_MAX);
        Alias { current, former, canary: None, ..self.changed(changed, at) }
    }

    fn changed(&self, changed: Change, at: Millis) -> Self {
        Alias { revision: self.revision + 1, changed, at, ..self.clone() }
    }
}

impl Change {
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Published => "published",
            Change::CanaryStarted => "canary_started",
            Change::Promoted => "promoted",
            Change::RolledBack => "rolled_back",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alias() -> Alias {
        Alias::new(Routes::to("p/one"), 1).expect("a model")
    }

    fn asked(alias: &Alias, key: &str) -> (u32, String) {
        let choice = alias.choose(key);
        (choice.version, choice.models[0].to_owned())
    }

    #[test]
    fn a_canary_is_promoted_or_rolled_back() {
        let tried = alias().start_canary(Routes::to("p/two"), 100.0, 2).unwrap();
        assert_eq!(asked(&tried, "t"), (2, "p/two".into()));
        let promoted = tried.promote(3).unwrap();
        assert_eq!((asked(&promoted, "t"), promoted.revision, &promoted.canary), ((2, "p/two".into()), 3, &None));
        assert_eq!(asked(&promoted.roll_back(4).unwrap(), "t"), (1, "p/one".into()));
        let ended = tried.roll_back(3).unwrap();
        assert_eq!((asked(&ended, "t"), ended.changed), ((1, "p/one".into()), Change::RolledBack));
        assert_eq!(ended.roll_back(4), Err(AliasError::NothingBefore));
        assert_eq!(ended.promote(4), Err(AliasError::NoCanary));
    }

    #[test]
    fn a_version_keeps_its_number() {
        let third = alias().publish(Routes::to("p/two"), 2).unwrap().publish(Routes::to("p/three"), 3).unwrap();
        let back = third.roll_back(4).unwrap();
        assert_eq!((back.current.version, back.former.len()), (2, 1));
        assert_eq!(back.publish(Routes::to("p/four"), 5).unwrap().current.version, 4, "the third's stays its own");
        let tried = alias().start_canary(Routes::to("p/two"), 5.0, 2).unwrap();
        assert_eq!(tried.publish(Routes::to("p/x"), 3).unwrap().current.version, 3);
        let again = tried.roll_back(3).unwrap().start_canary(Routes::to("p/three"), 5.0, 4).unwrap();
        assert_eq!(again.canary.map(|canary| canary.version.version), Some(3));
    }

    #[test]
    fn who_shares_the_calls_also_stands_in() {
        let target = |model: &str, weight| Target { model: model.into(), weight };
        let routes =
            Routes { targets: vec![target("p/a", 3), target("p/b", 1)], fallback: vec!["q/c".into(), "p/a".into()] };
        let count = |model: &str| (0..4_000).filter(|n| routes.choose(&n.to_string())[0] == model).count();
        let (first, second) = (count("p/a"), count("p/b"));
        assert_eq!(first + second, 4_000);
        assert!((2_800..3_200).contains(&first), "three of four, more or less: {first}");
        for n in 0..50 {
            let mut all = routes.choose(&n.to_string());
            assert_eq!(all.pop(), Some("q/c"));
            all.sort_unstable();
            assert_eq!(all, ["p/a", "p/b"]);
        }
    }

    #[test]
    fn what_can_be_no_route_is_refused() {
        let target =
            |model: &str, weight| Routes { targets: vec![Target { model: model.into(), weight }], ..Routes::default() };
        for (routes, expect) in [
            (Routes::default(), AliasError::NoTarget),
            (target("p/a", 0), AliasError::NoWeight),
            (target("a", 1), AliasError::NoModel("a".into())),
            (target("p/", 1), AliasError::NoModel("p/".into())),
            (Routes { fallback: vec!["/b".into()], ..Routes::to("p/a") }, AliasError::NoModel("/b".into())),
        ] {
            assert_eq!(alias().publish(routes, 2), Err(expect));
        }
        for percent in [0.0, -1.0, 100.5, f64::NAN] {
            assert_eq!(alias().start_canary(Routes::to("p/b"), percent, 2), Err(AliasError::NoShare));
        }
    }

    proptest! {
        #[test]
        fn a_share_is_of_threads_that_stay_in_it(percent in 0.5_f64..100.0, more in 0.0_f64..50.0) {
            let share = |percent: f64| alias().start_canary(Routes::to("p/two"), percent.min(100.0), 2).unwrap();
            let (small, large) = (share(percent), share(percent + more));
            let tried = |alias: &Alias| -> Vec<bool> { (0..2_000).map(|n| alias.choose(&format!("thread-{n}")).is_canary).collect() };
            let (few, many) = (tried(&small), tried(&large));
            prop_assert_eq!(&few, &tried(&small));
            prop_assert!(few.iter().zip(&many).all(|(few, many)| *many || !few), "a thread left the canary as it grew");
            let found = few.iter().filter(|tried| **tried).count() as f64 / 20.0;
            prop_assert!((found - percent).abs() < 5.0, "{} of {} percent", found, percent);
        }
    }
}
