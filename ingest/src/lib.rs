//! HTTP in: authenticate, validate, admit, append; answers, or hands the client its stream.

mod config;
mod deps;
mod error;
mod metrics;

mod ingest;
mod opening;
mod serve;

mod auth;
mod cors;
mod layers;
mod refusal;
mod route;
mod trace;

mod body;
mod command;
mod extract;
mod input;
mod messages;
mod options;

mod admission;
mod control;
mod published;
mod rates;

mod leaving;
mod publish;
mod sinks;
mod start;
mod streaming;
mod submit;
mod usage;
mod waiting;

mod bound;
mod graphs;
mod keys;
mod langgraph;
mod models;
mod runs;

mod docs;
mod openai;
mod openapi;
mod operations;

pub use auth::{
    ApiKey, Auth, DEFAULT_TENANT, Scope,
    issuer::KeySet,
    jwt::{Jwt, Named, Scopes},
};
pub use config::{AdmissionLimits, Config, Cors};
pub use deps::{Deps, Readiness, SinkUnavailable, Sinks};
pub use error::Error;
pub use ingest::{Ingest, run};
pub use openapi::document;
pub use opening::{Missing, opening};
pub use publish::PublishError;
