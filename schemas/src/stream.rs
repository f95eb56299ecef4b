//! What a sink and an ingest say to each other, and the names of dialects.
//!
//! A sink serves HTTP under `/internal`, in process as a router and apart over HTTP/2. Every request names the tenant
//! in [`TENANT_HEADER`]; what belongs to another tenant is 404. Paths:
//!
//! | path | answers |
//! |---|---|
//! | `GET /internal/runs/{run}/stream?dialect=&after=&register=` | a client's stream as it is to be passed on: SSE; LangGraph's by `modes=&subgraphs=&ids=`, OpenAI's by `completions=true&usage=`, and `live=true` leaves out what was |
//! | `GET /internal/runs/{run}/wait?register=&timeout_ms=` | 200 at once; the body is one [`Waited`] as JSON when the run ends or the time is up |
//! | `GET /internal/runs/{run}` | [`crate::http::RunView`] |
//! | `GET /internal/runs/{run}/updates` | the run's updates as JSON lines, for `runs show` |
//! | `GET /internal/runs?user=&thread_id=&graph=&status=&since=&until=&limit=&cursor=` | [`crate::http::List`] |
//! | `GET /internal/threads/{thread}`, `…/state?checkpoint_id=&ns=&subgraphs=`, `…/history?limit=&before=&ns=&metadata=`, `GET /internal/threads` | LangGraph's shapes |
//! | `GET /internal/usage?by=graph,day&since=&until=` | [`crate::http::List`] |
//!
//! The response's headers are sent once interest is registered: with `register=true` the caller appends its record
//! after them, and a run of two milliseconds is not missed. Without it an unknown run is 404.
//!
//! A run or thread of a partition that the sink does not serve is answered with [`MOVED_STATUS`] and [`Waited::Moved`]
//! as its body: ask the owner, or this one a little later. A stream that is under way ends with a chunk of its own that
//! [`moved_after`] reads: ask the new owner for what comes after that id. A client that has all of a stream gets 204.
//! Times in queries are RFC 3339 or milliseconds since the epoch.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::RunView;

pub const TENANT_HEADER: &str = "x-millstream-tenant";
/// Proves that a call between roles comes from a role.
pub const SECRET_HEADER: &str = "x-millstream-secret";
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// 421: this sink does not serve the partition (now).
pub const MOVED_STATUS: u16 = 421;

const MOVED_COMMENT: &str = ": moved after ";

/// The last chunk of a stream whose partition goes to another sink: a comment, which clients ignore.
pub fn moved_chunk(last_id: &str) -> String {
    format!("{MOVED_COMMENT}{last_id}\n\n")
}

/// The last id that was shown, where `chunk` says that the stream goes on at another sink. Don't pass it on.
pub fn moved_after(chunk: &[u8]) -> Option<&str> {
    std::str::from_utf8(chunk).ok()?.strip_prefix(MOVED_COMMENT)?.strip_suffix("\n\n")
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Waited {
    Ended(Box<RunView>),
    /// The time was up; the run goes on.
    StillRunning,
    /// Another sink serves the partition now: ask it.
    Moved,
}

/// How facts are rendered. One file and one pure function each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    #[default]
    Events,
    Text,
}

/// LangGraph's stream modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamMode {
    Values,
    Updates,
    /// Messages so far, with each token: `messages/partial`.
    Messages,
    /// Tokens as they come, each with the metadata of its node.
    MessagesTuple,
    Custom,
    Tasks,
    Checkpoints,
    Debug,
}

impl StreamMode {
    pub const ALL: [StreamMode; 8] = [
        StreamMode::Values,
        StreamMode::Updates,
        StreamMode::Messages,
        StreamMode::MessagesTuple,
        StreamMode::Custom,
        StreamMode::Tasks,
        StreamMode::Checkpoints,
        StreamMode::Debug,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            StreamMode::Values => "values",
            StreamMode::Updates => "updates",
            StreamMode::Messages => "messages",
            StreamMode::MessagesTuple => "messages-tuple",
            StreamMode::Custom => "custom",
            StreamMode::Tasks => "tasks",
            StreamMode::Checkpoints => "checkpoints",
            StreamMode::Debug => "debug",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

/// A stream as LangGraph's clients ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LangGraph {
    pub modes: BTreeSet<StreamMode>,
    /// Events of subgraphs too, each with its namespace.
    pub subgraphs: bool,
    /// Events have ids, so that a client can come back behind the last one.
    pub ids: bool,
}

/// How a sink is to render a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendering {
    Ours(Dialect),
    LangGraph(LangGraph),
    /// OpenAI's chat completions.
    Completions {
        /// With a last chunk that says what the run took.
        usage: bool,
    },
}

impl Rendering {
    /// The parameters of a stream's query.
    pub fn query(&self) -> String {
        match self {
            Rendering::Ours(Dialect::Events) => "dialect=events".to_owned(),
            Rendering::Ours(Dialect::Text) => "dialect=text".to_owned(),
            Rendering::LangGraph(LangGraph { modes, subgraphs, ids }) => {
                let modes = modes.iter().map(|mode| mode.as_str()).collect::<Vec<_>>().join(",");
                format!("modes={modes}&subgraphs={subgraphs}&ids={ids}")
            }
            Rendering::Completions { usage } => format!("completions=true&usage={usage}"),
        }
    }
}
