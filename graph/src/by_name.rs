//! A small map by name in one sorted piece: copied at once, walked in order, and entered where a name is known to stand.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

/// Values by channel.
pub type ChannelValues = ByName<Arc<Value>>;

#[derive(Clone, Debug, PartialEq)]
pub struct ByName<V>(Vec<(Arc<str>, V)>);

impl<V> ByName<V> {
    pub const fn new() -> Self {
        ByName(Vec::new())
    }

    /// At most `count` entries, in the order of their names.
    pub(crate) fn in_order(count: usize, entries: impl Iterator<Item = (Arc<str>, V)>) -> Self {
        let mut map = Vec::with_capacity(count);
        map.extend(entries);
        debug_assert!(map.is_sorted_by(|(one, _), (other, _)| one < other));
        ByName(map)
    }

    /// Where a name stands, or would.
    pub fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    pub fn get(&self, name: &str) -> Option<&V> {
        self.get_key_value(name).map(|(_, value)| value)
    }

    pub fn get_key_value(&self, name: &str) -> Option<(&Arc<str>, &V)> {
        self.place(name).ok().map(|place| self.nth(place))
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.place(name).ok().map(|place| &mut self.0[place].1)
    }

    pub fn nth(&self, place: usize) -> (&Arc<str>, &V) {
        let (name, value) = &self.0[place];
        (name, value)
    }

    /// As [`get`](Self::get), quickly where the name stands at `place`.
    pub fn near(&self, place: usize, name: &Arc<str>) -> Option<&V> {
        self.place_near(place, name).map(|place| &self.0[place].1)
    }

    /// As [`get_mut`](Self::get_mut), quickly where the name stands at `place`.
    pub fn near_mut(&mut self, place: usize, name: &Arc<str>) -> Option<&mut V> {
        self.place_near(place, name).map(|place| &mut self.0[place].1)
    }

    /// Where a name stands, which is likely to be `place`.
    pub fn place_near(&self, place: usize, name: &Arc<str>) -> Option<usize> {
        match self.0.get(place) {
            Some((known, _)) if same(known, name) => Some(place),
            Some(_) | None => self.place(name).ok(),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.place(name).ok().map(|place| self.0.remove(place).1)
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &V) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    pub fn insert(&mut self, name: impl Into<Arc<str>>, value: V) {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    pub fn or_insert_with(&mut self, name: &Arc<str>, value: impl FnOnce() -> V) -> &mut V {
        let place = self.place(name).unwrap_or_else(|place| {
            self.0.insert(place, (name.clone(), value()));
            place
        });
        &mut self.0[place].1
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> Iter<'_, V> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.0.iter().map(|(name, _)| name)
    }

    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

/// Names that came from one place are one piece of memory.
fn same(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl<V> Default for ByName<V> {
    fn default() -> Self {
        ByName::new()
    }
}

impl<N: Into<Arc<str>>, V> FromIterator<(N, V)> for ByName<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut map = ByName::default();
        map.extend(entries);
        map
    }
}

impl<N: Into<Arc<str>>, V> Extend<(N, V)> for ByName<V> {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, entries: I) {
        let entries = entries.into_iter();
        self.0.reserve(entries.size_hint().0);
        for (name, value) in entries {
            let name = name.into();
            // Most come in order.
            match self.0.last() {
                Some((last, _)) if *last >= name => self.insert(name, value),
                Some(_) | None => self.0.push((name, value)),
            }
        }
    }
}

/// The value of a name that is there.
impl<V> std::ops::Index<&str> for ByName<V> {
    type Output = V;

    fn index(&self, name: &str) -> &V {
        self.get(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

/// In the order of names.
pub type Iter<'a, V> = std::iter::Map<std::slice::Iter<'a, (Arc<str>, V)>, fn(&(Arc<str>, V)) -> (&Arc<str>, &V)>;

impl<'a, V> IntoIterator for &'a ByName<V> {
    type Item = (&'a Arc<str>, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<V> IntoIterator for ByName<V> {
    type Item = (Arc<str>, V);
    type IntoIter = std::vec::IntoIter<(Arc<str>, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// As an object: the map that it is.
impl<V: JsonSchema> JsonSchema for ByName<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        BTreeMap::<String, V>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, V>::json_schema(generator)
    }
}

impl<V: Serialize> Serialize for ByName<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = ByName<V>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ByName<V>, A::Error> {
        let mut map = ByName::new();
        while let Some(entry) = entries.next_entry::<Arc<str>, V>()? {
            map.extend([entry]);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        /// Whatever is put in, taken out and looked up, it is the map that it stands for.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..4, "[a-e]{1,2}", 0u8..9), 0..40)) {
            let (mut map, mut known) = (ByName::new(), BTreeMap::<Arc<str>, u8>::new());
            for (step, name, value) in steps {
                let name: Arc<str> = Arc::from(name);
                match step {
                    0 => {
                        map.insert(name.clone(), value);
                        known.insert(name.clone(), value);
                    }
                    1 => prop_assert_eq!(map.remove(&name), known.remove(&name)),
                    2 => {
                        map.extend([(name.clone(), value), ("c".into(), 1)]);
                        known.extend([(name.clone(), value), ("c".into(), 1)]);
                    }
                    _ => prop_assert_eq!(map.or_insert_with(&name, || value), known.entry(name.clone()).or_insert(value)),
                }
                for place in 0..4 {
                    prop_assert_eq!(map.near(place, &name), known.get(&name));
                    prop_assert_eq!(map.near_mut(place, &name), known.get_mut(&name));
                }
                prop_assert!(map.iter().eq(known.iter()));
            }
            let stored = json!(map);
            prop_assert_eq!(&stored, &json!(known));
            prop_assert_eq!(serde_json::from_value::<ByName<u8>>(stored).unwrap(), map);
        }
    }
}
