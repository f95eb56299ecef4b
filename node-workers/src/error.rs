//! Why a worker could not begin.

use event_log::LogError;
use run_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the worker can't read the log")]
    Log(#[from] LogError),
    #[error("the worker can't read the graphs")]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether another try may succeed with nothing changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Log(error) => error.is_retryable(),
            Error::Store(error) => matches!(error, StoreError::Unavailable { .. }),
        }
    }
}
