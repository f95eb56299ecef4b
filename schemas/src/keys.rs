//! API keys: what they may do, what clients say of them, and what the store holds. A secret stands in one answer only.

use graph::envelope::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at runs, threads and graphs.
    Read,
    /// Start, resume and cancel runs.
    Run,
    /// Publish versions of graphs, which belong to the deployment.
    Publish,
    /// Make and revoke keys of every tenant. No key has it unless it is named.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Run, Scope::Publish, Scope::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Publish => "publish",
            Scope::Admin => "admin",
        }
    }
}

/// The body of `POST /keys`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Stands in records and logs in place of the secret; no other key of the deployment has it.
    pub name: String,
    /// `default` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Everything but `admin` where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// Graphs that it may run and publish; all where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub graphs: Vec<String>,
}

/// The body of `POST /keys/{name}/rotate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old secret still holds; not at all unless told, seven days at most.
    #[serde(default)]
    pub grace_seconds: u32,
}

/// A key in a list: never its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    pub name: String,
    pub tenant: String,
    /// Everything but `admin` where empty.
    pub scopes: Vec<Scope>,
    /// All where empty.
    pub graphs: Vec<String>,
    pub made_by: MadeBy,
    /// RFC 3339, UTC. Not known of the configuration's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<String>,
    /// Until when the secret before the last rotation holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_until: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    Api,
    /// It is changed in the configuration, and nowhere else.
    Configuration,
}

/// A key that was made or rotated, with its secret: nobody is shown it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyMade {
    /// What clients send: `authorization: Bearer <secret>`.
    pub secret: String,
    #[serde(flatten)]
    pub key: KeyView,
}

/// What the store holds of a key, beside its name and the hash of its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredKey {
    pub tenant: String,
    pub scopes: Vec<Scope>,
    pub graphs: Vec<String>,
    pub created_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerSecret>,
}

/// The secret before the last rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FormerSecret {
    /// blake3, as 64 hex digits.
    pub hash: String,
    pub until: Millis,
}
