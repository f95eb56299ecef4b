//! What holds for everybody, and what holds for some tenants and keys instead.

use std::collections::BTreeMap;

/// Limits of which each stands above that of the same name in another.
pub trait Limits: Copy + Default + PartialEq {
    /// Those of `self`, and of `below` where it says nothing.
    #[must_use]
    fn above(self, below: Self) -> Self;
}

/// A key's limits stand above its tenant's, and those above everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules<T> {
    pub all: T,
    pub tenants: BTreeMap<String, T>,
    /// By the key's name.
    pub keys: BTreeMap<String, T>,
}

impl<T: Limits> Rules<T> {
    pub fn of(&self, tenant: &str, key: Option<&str>) -> T {
        let own = [key.and_then(|key| self.keys.get(key)), self.tenants.get(tenant), Some(&self.all)];
        own.into_iter().flatten().fold(T::default(), |above, limits| above.above(*limits))
    }

    pub fn each(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.all).chain(self.tenants.values()).chain(self.keys.values())
    }

    /// Nobody is limited.
    pub fn are_none(&self) -> bool {
        self.each().all(|limits| *limits == T::default())
    }
}

impl<T> From<T> for Rules<T> {
    fn from(all: T) -> Self {
        Rules { all, tenants: BTreeMap::new(), keys: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RateLimit, RateLimits};

    #[test]
    fn a_keys_limits_stand_above_its_tenants_and_those_above_everybodys() {
        let a_minute =
            |requests, tokens| RateLimits { key: RateLimit { requests, tokens }, user: RateLimit::default() };
        let rules = Rules {
            all: a_minute(Some(1), Some(10)),
            tenants: BTreeMap::from([("acme".to_owned(), a_minute(Some(2), None))]),
            keys: BTreeMap::from([("web".to_owned(), a_minute(None, Some(30)))]),
        };
        assert_eq!(rules.of("acme", Some("web")), a_minute(Some(2), Some(30)));
        assert_eq!(rules.of("acme", Some("other")), a_minute(Some(2), Some(10)));
        assert_eq!(rules.of("acme", None), a_minute(Some(2), Some(10)));
        assert_eq!(rules.of("other", Some("web")), a_minute(Some(1), Some(30)));
        assert_eq!(rules.of("other", None), rules.all);
        assert!(!rules.are_none() && Rules::<RateLimits>::default().are_none());
    }
}
