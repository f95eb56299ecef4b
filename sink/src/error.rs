//! Why the sink stopped by itself.

use event_log::LogError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the sink can't read the log")]
    Log(#[from] LogError),
}
