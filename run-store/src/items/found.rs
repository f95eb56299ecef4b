//! The first of what a search or a list meets, in their order: no more is kept than is asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::{ItemRow, Micros, Namespace};

/// Items by the beginning of their namespace, and then by their own. Those of a namespace come one after the other.
pub(super) struct First {
    most: usize,
    namespaces: BTreeMap<(Micros, Namespace), Kept>,
    /// Items in `namespaces`.
    closed: usize,
    current: Option<Current>,
    /// Of all values that are kept.
    bytes: usize,
}

type Kept = BTreeMap<(Micros, String), ItemRow>;

/// The namespace whose items are coming.
struct Current {
    namespace: Namespace,
    began: Micros,
    kept: Kept,
}

impl First {
    pub fn new(most: usize) -> Self {
        First { most, namespaces: BTreeMap::new(), closed: 0, current: None, bytes: 0 }
    }

    /// Every item of a namespace counts for its beginning; those that are wanted are kept.
    pub fn add(&mut self, row: ItemRow, wanted: bool) {
        if self.current.as_ref().is_none_or(|current| current.namespace != row.item.namespace) {
            self.close();
        }
        let current = self.current.get_or_insert_with(|| Current {
            namespace: row.item.namespace.clone(),
            began: Micros::MAX,
            kept: Kept::new(),
        });
        current.began = current.began.min(row.created_at);
        if wanted {
            self.bytes += row.value.len();
            current.kept.insert((row.created_at, row.item.key.clone()), row);
            if current.kept.len() > self.most
                && let Some((_, last)) = current.kept.pop_last()
            {
                self.bytes -= last.value.len();
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn rows(mut self) -> impl Iterator<Item = ItemRow> {
        self.close();
        self.namespaces.into_values().flat_map(BTreeMap::into_values).take(self.most)
    }

    fn close(&mut self) {
        let Some(Current { namespace, began, kept }) = self.current.take() else { return };
        if kept.is_empty() {
            return;
        }
        self.closed += kept.len();
        self.namespaces.insert((began, namespace), kept);
        while let Some(last) = self.namespaces.last_entry()
            && self.closed - last.get().len() >= self.most
        {
            let gone = last.remove();
            self.closed -= gone.len();
            self.bytes -= gone.values().map(|row| row.value.len()).sum::<usize>();
        }
    }
}

/// Namespaces in order, each once.
pub(super) struct Names {
    most: usize,
    names: BTreeSet<Namespace>,
}

impl Names {
    pub fn new(most: usize) -> Self {
        Names { most, names: BTreeSet::new() }
    }

    pub fn add(&mut self, namespace: Namespace) {
        self.names.insert(namespace);
        if self.names.len() > self.most {
            self.names.pop_last();
        }
    }

    pub fn all(self) -> impl Iterator<Item = Namespace> {
        self.names.into_iter()
    }
}
