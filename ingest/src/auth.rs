//! Who asks: API keys, their tenants and scopes. A key is found by its blake3 hash, before any body is read.

use std::{collections::BTreeMap, sync::Arc};

use graph::envelope::Principal;
use http::{HeaderMap, header::AUTHORIZATION};
use schemas::error::Code;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{error::Error, refusal::Refusal};

/// The tenant of everybody where no keys are set.
pub const DEFAULT_TENANT: &str = "default";

#[derive(Clone, Debug)]
pub enum Auth {
    /// Everybody may do everything, as tenant `default`.
    Open,
    Keys(Vec<ApiKey>),
}

/// One entry of `[auth] keys`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Stands in records and logs in place of the secret.
    pub name: String,
    /// The key itself, at least 16 characters; or `hash`.
    pub secret: Option<SecretString>,
    /// The key's blake3 hash as 64 hex digits, so that the configuration need not hold the key.
    pub hash: Option<String>,
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// Everything where empty.
    #[serde(default)]
    pub scopes: Vec<Scope>,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at runs, threads and graphs.
    Read,
    /// Start, resume and cancel runs.
    Run,
    /// Publish versions of graphs, which belong to the deployment.
    Publish,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Publish => "publish",
        }
    }
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant: Arc<str>,
    /// The key's name.
    pub key: Option<Arc<str>>,
    /// From `x-user-id`; a body's `user` stands above it.
    pub user: Option<String>,
}

impl Caller {
    pub fn principal(&self, user: Option<String>) -> Principal {
        Principal { key: self.key.as_deref().map(str::to_owned), user: user.or_else(|| self.user.clone()) }
    }
}

/// The keys, ready to be looked up.
pub(crate) struct Keys(Option<BTreeMap<[u8; 32], Key>>);

struct Key {
    name: Arc<str>,
    tenant: Arc<str>,
    scopes: Vec<Scope>,
}

const SECRET_CHARS_MIN: usize = 16;
const TENANT_CHARS_MAX: usize = 64;
const USER_CHARS_MAX: usize = 255;

impl Keys {
    pub fn new(auth: &Auth) -> Result<Self, Error> {
        let Auth::Keys(entries) = auth else { return Ok(Keys(None)) };
        let mut keys = BTreeMap::<[u8; 32], Key>::new();
        for entry in entries {
            let bad = |reason: &str| Error::BadKey { name: entry.name.clone(), reason: reason.to_owned() };
            let hash = entry.hash_bytes().map_err(bad)?;
            if !is_tenant(&entry.tenant) {
                return Err(bad("its tenant may have 1 to 64 letters, digits, `-` and `_`"));
            }
            let key = Key {
                name: entry.name.as_str().into(),
                tenant: entry.tenant.as_str().into(),
                scopes: entry.scopes.clone(),
            };
            if let Some(first) = keys.insert(hash, key) {
                return Err(Error::SameSecret { first: first.name.to_string(), second: entry.name.clone() });
            }
        }
        Ok(Keys(Some(keys)))
    }

    /// The caller that the headers prove, if its key has the scope.
    pub fn authenticate(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, Refusal> {
        let user = user(headers)?;
        let Some(keys) = &self.0 else {
            return Ok(Caller { tenant: DEFAULT_TENANT.into(), key: None, user });
        };
        let secret = secret(headers).ok_or_else(|| {
            Refusal::new(Code::InvalidApiKey, "an api key is needed: send `authorization: Bearer <key>` or `x-api-key`")
        })?;
        let key = keys
            .get(blake3::hash(secret).as_bytes())
            .ok_or_else(|| Refusal::new(Code::InvalidApiKey, "this api key is not known"))?;
        if !key.scopes.is_empty() && !key.scopes.contains(&scope) {
            let message = format!("this api key may not do that: it has no scope `{}`", scope.as_str());
            return Err(Refusal::new(Code::PermissionDenied, message));
        }
        Ok(Caller { tenant: Arc::clone(&key.tenant), key: Some(Arc::clone(&key.name)), user })
    }
}

impl ApiKey {
    /// What stands as `hash` in the configuration for a client that sends `secret`.
    pub fn hash_of(secret: &str) -> Result<String, &'static str> {
        let key = ApiKey {
            name: String::new(),
            secret: Some(secret.into()),
            hash: None,
            tenant: default_tenant(),
            scopes: Vec::new(),
        };
        key.hash_bytes().map(|hash| blake3::Hash::from(hash).to_hex().to_string())
    }

    fn hash_bytes(&self) -> Result<[u8; 32], &'static str> {
        match (&self.secret, &self.hash) {
            (Some(secret), None) => {
                let secret = secret.expose_secret();
                if secret.len() < SECRET_CHARS_MIN {
                    return Err("its secret has fewer than 16 characters");
                }
                Ok(*blake3::hash(secret.as_bytes()).as_bytes())
            }
            (None, Some(hex)) => blake3::Hash::from_hex(hex)
                .map(|hash| *hash.as_bytes())
                .map_err(|_| "its hash is not 64 hex digits of blake3"),
            (Some(_), Some(_)) | (None, None) => Err("give it either `secret` or `hash`"),
        }
    }
}

/// Tenants begin every stored key, which is cut at `/`.
fn is_tenant(tenant: &str) -> bool {
    (1..=TENANT_CHARS_MAX).contains(&tenant.len())
        && tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn secret(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, secret) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| secret.trim_ascii())
}

fn user(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("x-user-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    check_user(text).map_err(|refusal| refusal.param("x-user-id"))?;
    Ok(Some(text.to_owned()))
}

/// A user's name is a key of lists, so it is bounded.
pub(crate) fn check_user(user: &str) -> Result<(), Refusal> {
    if (1..=USER_CHARS_MAX).contains(&user.chars().count()) {
        return Ok(());
    }
    Err(Refusal::new(Code::InvalidValue, "a user has 1 to 255 characters").param("user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, secret: &str, tenant: &str, scopes: Vec<Scope>) -> ApiKey {
        ApiKey { name: name.into(), secret: Some(secret.into()), hash: None, tenant: tenant.into(), scopes }
    }

    fn ask(keys: &Keys, headers: &[(&'static str, &str)], scope: Scope) -> Result<Caller, Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        keys.authenticate(&map, scope).map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_key_names_its_tenant_and_scopes() {
        let hashed = ApiKey {
            hash: Some(ApiKey::hash_of("another-secret-of-b").unwrap()),
            secret: None,
            ..key("b", "", "beta", vec![])
        };
        let keys =
            Keys::new(&Auth::Keys(vec![key("a", "a-secret-of-acme", "acme", vec![Scope::Read]), hashed])).unwrap();
        let acme =
            ask(&keys, &[("authorization", "Bearer a-secret-of-acme"), ("x-user-id", "ann")], Scope::Read).unwrap();
        assert_eq!((&*acme.tenant, acme.key.as_deref(), acme.user.as_deref()), ("acme", Some("a"), Some("ann")));
        let beta = ask(&keys, &[("x-api-key", "another-secret-of-b")], Scope::Publish).unwrap();
        assert_eq!(&*beta.tenant, "beta");
        assert_eq!(ask(&keys, &[("x-api-key", "a-secret-of-acme")], Scope::Run), Err(Code::PermissionDenied));
        assert_eq!(ask(&keys, &[("x-api-key", "a-secret-of-acmf")], Scope::Read), Err(Code::InvalidApiKey));
        assert_eq!(ask(&keys, &[("authorization", "Basic YTpi")], Scope::Read), Err(Code::InvalidApiKey));
        assert_eq!(ask(&keys, &[("authorization", "Bearer é")], Scope::Read), Err(Code::InvalidApiKey));
        assert_eq!(ask(&keys, &[], Scope::Read), Err(Code::InvalidApiKey));
    }

    #[test]
    fn without_keys_everybody_is_the_default_tenant() {
        let keys = Keys::new(&Auth::Open).unwrap();
        assert_eq!(&*ask(&keys, &[], Scope::Publish).unwrap().tenant, DEFAULT_TENANT);
    }

    #[test]
    fn bad_keys_are_refused_at_start() {
        let refused = |keys: Vec<ApiKey>| Keys::new(&Auth::Keys(keys)).is_err();
        assert!(refused(vec![key("a", "short", "acme", vec![])]));
        assert!(refused(vec![key("a", "a-secret-of-acme", "a/b", vec![])]));
        assert!(refused(vec![key("a", "a-secret-of-acme", "", vec![])]));
        assert!(refused(vec![key("a", "a-secret-of-acme", "a", vec![]), key("b", "a-secret-of-acme", "b", vec![])]));
        assert!(refused(vec![ApiKey { secret: None, ..key("a", "", "acme", vec![]) }]));
    }
}
