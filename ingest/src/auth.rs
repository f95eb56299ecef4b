//! Who asks: API keys, their tenants and scopes, and tokens of an issuer beside them. A key is found by its blake3 hash,
//! before any body is read.

pub(crate) mod issuer;
pub(crate) mod jwt;
pub(crate) mod made;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::envelope::{Millis, Principal};
use http::{HeaderMap, header::AUTHORIZATION};
use run_store::rows::SecretHash;
use schemas::error::Code;
pub use schemas::keys::Scope;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use self::{
    issuer::{Issuer, KeySet},
    jwt::Jwt,
    made::Made,
};
use crate::{error::Error, refusal::Refusal};

/// The tenant of everybody where no keys are set.
pub const DEFAULT_TENANT: &str = "default";

#[derive(Clone, Debug)]
pub enum Auth {
    /// Everybody may do everything but what needs an admin, as tenant `default`.
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
    /// Everything but `admin` where empty.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// Graphs that it may run and publish; all where empty.
    #[serde(default)]
    pub graphs: Vec<String>,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant: Arc<str>,
    /// The key's name.
    pub key: Option<Arc<str>>,
    /// From `x-user-id`; a body's `user` stands above it.
    pub user: Option<String>,
    /// A token said who is acting: nothing stands above that.
    pub user_is_proved: bool,
    /// Graphs that it may run and publish; all where empty.
    pub graphs: Arc<[String]>,
}

impl Caller {
    pub fn principal(&self, user: Option<String>) -> Principal {
        let user = user.filter(|_| !self.user_is_proved).or_else(|| self.user.clone());
        Principal { key: self.key.as_deref().map(str::to_owned), user }
    }

    /// Whether a run of the graph may begin, or a version of it be published.
    pub fn check_graph(&self, graph: &str) -> Result<(), Refusal> {
        if self.graphs.is_empty() || self.graphs.iter().any(|known| known == graph) {
            return Ok(());
        }
        let message = format!("this key or token is for other graphs than `{graph}`: {}", self.graphs.join(", "));
        Err(Refusal::new(Code::PermissionDenied, message))
    }
}

/// The keys, ready to be looked up: those of the configuration, and those of the store.
pub(crate) struct Keys {
    /// None: nobody is asked for a key.
    configured: Option<BTreeMap<SecretHash, Arc<Key>>>,
    pub made: Made,
    tokens: Option<Tokens>,
}

/// How tokens are read, and whose keys prove them.
struct Tokens {
    jwt: Jwt,
    issuer: Issuer,
}

pub(crate) struct Key {
    pub name: Arc<str>,
    pub tenant: Arc<str>,
    pub scopes: Vec<Scope>,
    pub graphs: Arc<[String]>,
}

impl Key {
    /// Keys from before there was `admin` have no scopes: they go on as they were.
    fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || (self.scopes.is_empty() && scope != Scope::Admin)
    }

    fn caller(&self, user: Option<String>, scope: Scope) -> Result<Caller, Refusal> {
        if !self.may(scope) {
            let message = format!("this api key may not do that: it has no scope `{}`", scope.as_str());
            return Err(Refusal::new(Code::PermissionDenied, message));
        }
        let (tenant, name, graphs) = (Arc::clone(&self.tenant), Arc::clone(&self.name), Arc::clone(&self.graphs));
        Ok(Caller { tenant, key: Some(name), user, user_is_proved: false, graphs })
    }
}

const SECRET_CHARS_MIN: usize = 16;
const TENANT_CHARS_MAX: usize = 64;
const USER_CHARS_MAX: usize = 255;

impl Keys {
    pub fn new(auth: &Auth, jwt: Option<Jwt>, set: Option<Arc<dyn KeySet>>) -> Result<Self, Error> {
        let tokens = jwt.zip(set).map(|(jwt, set)| Tokens { jwt, issuer: Issuer::new(set) });
        let entries = match auth {
            Auth::Keys(entries) => entries.as_slice(),
            Auth::Open if tokens.is_none() => return Ok(Keys { configured: None, made: Made::default(), tokens }),
            Auth::Open => &[],
        };
        let mut keys = BTreeMap::<SecretHash, Arc<Key>>::new();
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
                graphs: entry.graphs.clone().into(),
            };
            if let Some(first) = keys.insert(hash, Arc::new(key)) {
                return Err(Error::SameSecret { first: first.name.to_string(), second: entry.name.clone() });
            }
        }
        Ok(Keys { configured: Some(keys), made: Made::default(), tokens })
    }

    /// The issuer of tokens, where they are taken.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.tokens.as_ref().map(|tokens| &tokens.issuer)
    }

    /// Keys that stand in the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &Key> {
        self.configured.iter().flat_map(BTreeMap::values).map(|key| &**key)
    }

    pub fn configured_names(&self) -> BTreeSet<String> {
        self.configured().map(|key| key.name.to_string()).collect()
    }

    /// Whether nobody is asked for a key.
    pub fn is_open(&self) -> bool {
        self.configured.is_none()
    }

    /// The caller that the headers prove, if it has the scope.
    pub async fn authenticate(&self, headers: &HeaderMap, scope: Scope, now: Millis) -> Result<Caller, Refusal> {
        let user = user(headers)?;
        let Some(configured) = &self.configured else { return anybody(user, scope) };
        let secret = secret(headers).ok_or_else(|| {
            Refusal::new(Code::InvalidApiKey, "an api key is needed: send `authorization: Bearer <key>` or `x-api-key`")
        })?;
        let hash = blake3::hash(secret);
        if let Some(key) = configured.get(hash.as_bytes()).cloned().or_else(|| self.made.find(hash.as_bytes(), now)) {
            return key.caller(user, scope);
        }
        if let Some(Tokens { jwt, issuer }) = self.tokens.as_ref().filter(|_| jwt::is_token(secret)) {
            let key = issuer.key(&jwt::kid_of(secret)?).await?;
            return jwt.caller(secret, &key, scope, now);
        }
        Err(match self.made.is_loaded() {
            true => Refusal::new(Code::InvalidApiKey, "this api key is not known"),
            false => Refusal::new(Code::StoreUnavailable, "the api keys are not read yet; try again"),
        })
    }
}

/// Where nobody is asked for a key there is nobody who may make keys: they would change nothing.
fn anybody(user: Option<String>, scope: Scope) -> Result<Caller, Refusal> {
    if scope == Scope::Admin {
        let message = "this server asks nobody for a key, so there is no admin: put a first key with the scope `admin` into \
                       its configuration, as `millstream key root --scopes admin` prints it";
        return Err(Refusal::new(Code::PermissionDenied, message));
    }
    Ok(Caller { tenant: DEFAULT_TENANT.into(), key: None, user, user_is_proved: false, graphs: Arc::default() })
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
            graphs: Vec::new(),
        };
        key.hash_bytes().map(|hash| blake3::Hash::from(hash).to_hex().to_string())
    }

    fn hash_bytes(&self) -> Result<SecretHash, &'static str> {
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
pub(crate) fn is_tenant(tenant: &str) -> bool {
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
        ApiKey {
            name: name.into(),
            secret: Some(secret.into()),
            hash: None,
            tenant: tenant.into(),
            scopes,
            graphs: vec![],
        }
    }

    async fn ask(keys: &Keys, headers: &[(&'static str, &str)], scope: Scope) -> Result<Caller, Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        keys.authenticate(&map, scope, 0).await.map_err(|refusal| refusal.code())
    }

    #[tokio::test]
    async fn a_key_names_its_tenant_and_scopes() {
        let hashed = ApiKey {
            hash: Some(ApiKey::hash_of("another-secret-of-b").unwrap()),
            secret: None,
            ..key("b", "", "beta", vec![])
        };
        let keys =
            Keys::new(&Auth::Keys(vec![key("a", "a-secret-of-acme", "acme", vec![Scope::Read]), hashed]), None, None)
                .unwrap();
        assert_eq!(ask(&keys, &[("x-api-key", "of-nobody-at-all")], Scope::Read).await, Err(Code::StoreUnavailable));
        keys.made.load(vec![], &BTreeSet::new());
        let acme = ask(&keys, &[("authorization", "Bearer a-secret-of-acme"), ("x-user-id", "ann")], Scope::Read)
            .await
            .unwrap();
        assert_eq!((&*acme.tenant, acme.key.as_deref(), acme.user.as_deref()), ("acme", Some("a"), Some("ann")));
        let beta = ask(&keys, &[("x-api-key", "another-secret-of-b")], Scope::Publish).await.unwrap();
        assert_eq!(&*beta.tenant, "beta");
        assert_eq!(
            ask(&keys, &[("x-api-key", "another-secret-of-b")], Scope::Admin).await,
            Err(Code::PermissionDenied)
        );
        assert_eq!(ask(&keys, &[("x-api-key", "a-secret-of-acme")], Scope::Run).await, Err(Code::PermissionDenied));
        assert_eq!(ask(&keys, &[("x-api-key", "a-secret-of-acmf")], Scope::Read).await, Err(Code::InvalidApiKey));
        assert_eq!(ask(&keys, &[("authorization", "Basic YTpi")], Scope::Read).await, Err(Code::InvalidApiKey));
        assert_eq!(ask(&keys, &[("authorization", "Bearer é")], Scope::Read).await, Err(Code::InvalidApiKey));
        assert_eq!(ask(&keys, &[], Scope::Read).await, Err(Code::InvalidApiKey));
    }

    #[tokio::test]
    async fn without_keys_everybody_is_the_default_tenant() {
        let keys = Keys::new(&Auth::Open, None, None).unwrap();
        assert_eq!(&*ask(&keys, &[], Scope::Publish).await.unwrap().tenant, DEFAULT_TENANT);
        assert_eq!(ask(&keys, &[], Scope::Admin).await, Err(Code::PermissionDenied));
    }

    #[test]
    fn bad_keys_are_refused_at_start() {
        let refused = |keys: Vec<ApiKey>| Keys::new(&Auth::Keys(keys), None, None).is_err();
        assert!(refused(vec![key("a", "short", "acme", vec![])]));
        assert!(refused(vec![key("a", "a-secret-of-acme", "a/b", vec![])]));
        assert!(refused(vec![key("a", "a-secret-of-acme", "", vec![])]));
        assert!(refused(vec![key("a", "a-secret-of-acme", "a", vec![]), key("b", "a-secret-of-acme", "b", vec![])]));
        assert!(refused(vec![ApiKey { secret: None, ..key("a", "", "acme", vec![]) }]));
    }
}
