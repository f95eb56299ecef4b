//! Reducers that a binary brings along, by the name that graph files give in `reducer: {rust: name}`.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;

type Join = dyn Fn(&Value, &Value) -> Result<Value, String> + Send + Sync;

/// Every process that folds runs or decides conditions needs the same ones.
#[derive(Clone, Default)]
pub struct Reducers(BTreeMap<String, Reducer>);

/// What a channel holds and one write become what it holds next.
#[derive(Clone)]
pub(crate) struct Reducer {
    name: String,
    join: Arc<Join>,
}

impl Reducers {
    /// `join` is given what the channel holds and one write, in the order of task paths. It must depend on nothing else: a
    /// run is folded again after a crash. An error fails the run as `invalid_update`, and so does a panic.
    pub fn with(
        mut self,
        name: impl Into<String>,
        join: impl Fn(&Value, &Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        self.0.insert(name.clone(), Reducer { name, join: Arc::new(join) });
        self
    }

    /// These and others; of two with one name the other's.
    pub fn and(mut self, others: Reducers) -> Self {
        self.0.extend(others.0);
        self
    }

    /// One that the binary doesn't have joins nothing: the runs that need it fail, and no others.
    pub(crate) fn named(&self, name: &str) -> Reducer {
        let missing = || {
            let says = format!(
                "this binary has no reducer {name}: register it with NodeRegistry::with_reducer in every process that \
                 orchestrates or works on nodes"
            );
            Reducer { name: name.to_owned(), join: Arc::new(move |_, _| Err(says.clone())) }
        };
        self.0.get(name).cloned().unwrap_or_else(missing)
    }
}

impl Reducer {
    pub fn join(&self, left: &Value, right: &Value) -> Result<Value, String> {
        let joined = catch_unwind(AssertUnwindSafe(|| (self.join)(left, right)));
        joined.unwrap_or_else(|_| Err(format!("the reducer {} panicked", self.name)))
    }
}

impl PartialEq for Reducer {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Reducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Reducers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
