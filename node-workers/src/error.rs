//! Why a worker could not begin, or had to end.

use event_log::LogError;
use run_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the worker can't read the log")]
    Log(#[from] LogError),
    #[error("the worker can't read the graphs")]
    Store(#[from] StoreError),
    #[error(
        "the worker is to serve node {node} of graph {graph}, which doesn't have it: publish a version that does, or serve another"
    )]
    NoSuchNode { graph: String, node: String },
}
