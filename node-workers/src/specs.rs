//! Versions of graphs by hash, compiled once.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use graph::{spec::GraphSpec, task::TaskError};
use run_store::{Specs, StoreError};

use crate::{
    compiled::{CompiledGraph, Parts},
    failure,
    nodes::http::service::Services,
};

/// Compiled versions that are kept; beyond it they are compiled anew.
const VERSIONS_MAX: usize = 256;

pub struct SpecCache {
    specs: Arc<dyn Specs>,
    parts: Parts,
    compiled: RwLock<BTreeMap<String, Arc<CompiledGraph>>>,
}

/// Why a version isn't there.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Later it may be: the store is slow or away, or doesn't show the version yet.
    #[error("the graph's version {hash} can't be read yet")]
    NotYet {
        hash: String,
        #[source]
        cause: Option<StoreError>,
    },
    #[error("the graph's version {hash} is of no use: {}", error.message)]
    Unusable { hash: String, error: TaskError },
}

impl SpecCache {
    pub fn new(specs: Arc<dyn Specs>, parts: Parts) -> Self {
        SpecCache { specs, parts, compiled: RwLock::default() }
    }

    pub fn specs(&self) -> &dyn Specs {
        &*self.specs
    }

    pub fn services(&self) -> &Services {
        &self.parts.services
    }

    pub async fn get(&self, hash: &str) -> Result<Arc<CompiledGraph>, SpecError> {
        if let Some(compiled) = self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(hash) {
            return Ok(Arc::clone(compiled));
        }
        let row = self.specs.spec(hash).await.map_err(|cause| self.not_yet(hash, Some(cause)))?;
        let row = row.ok_or_else(|| self.not_yet(hash, None))?;
        let unusable = |error| SpecError::Unusable { hash: hash.to_owned(), error };
        let spec: GraphSpec = serde_json::from_slice(&row.spec)
            .map_err(|error| unusable(failure::internal(format!("it is of another form: {error}"))))?;
        let compiled = Arc::new(CompiledGraph::new(spec, &self.parts).map_err(unusable)?);
        let mut known = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= VERSIONS_MAX {
            known.pop_first();
        }
        known.insert(hash.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }

    fn not_yet(&self, hash: &str, cause: Option<StoreError>) -> SpecError {
        SpecError::NotYet { hash: hash.to_owned(), cause }
    }
}
