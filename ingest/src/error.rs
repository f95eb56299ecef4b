//! What ends ingest as a whole. What ends one request is a [`crate::refusal::Refusal`].

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("api key {name} is no good: {reason}")]
    BadKey { name: String, reason: String },
    #[error("two api keys have the same secret: {first} and {second}; give each its own")]
    SameSecret { first: String, second: String },
    #[error("{origin} is no origin; write it like https://app.example.com")]
    BadOrigin { origin: String },
}
