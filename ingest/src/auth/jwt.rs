//! Tokens of an issuer (JWT), beside keys: whose they are, who they act for, and what they may do.
//!
//! An algorithm belongs to a key of the issuer's, never to what a token says of itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use graph::envelope::Millis;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use schemas::{error::Code, keys::Scope};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Caller, check_user, is_tenant};
use crate::refusal::Refusal;

/// `[auth.jwt]`.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to name, one of them.
    pub audience: Vec<String>,
    /// How far the issuer's clock and this one may be apart.
    pub leeway: Duration,
    pub tenant: Named,
    /// The claim that says who is acting.
    pub user_claim: String,
    pub scopes: Scopes,
    /// The claim with the graphs that a token is for, as scopes are written; all of them where no claim says it.
    pub graphs_claim: Option<String>,
}

/// The tenant of a token.
#[derive(Clone, Debug)]
pub enum Named {
    /// All of them are this tenant's.
    Always(String),
    /// A claim says it, and a token without it is refused.
    Claim(String),
}

/// What a token may do.
#[derive(Clone, Debug)]
pub enum Scopes {
    Always(Vec<Scope>),
    /// Words of a claim, apart by spaces or in a list, behind a prefix; all other words say nothing.
    Claim {
        claim: String,
        prefix: String,
    },
}

/// A key of the issuer's, and what may be signed with it.
pub(crate) struct PublicKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// By `kid`.
pub(crate) type PublicKeys = BTreeMap<String, Arc<PublicKey>>;

/// Keys of one set; what is more is left out.
const KEYS_MAX: usize = 100;

/// Reads a set of keys (RFC 7517). A key that can't be used is left out, so that one does not take the others along.
pub(crate) fn read_keys(bytes: &[u8]) -> Result<PublicKeys, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("this is no set of keys: {error}"))?;
    let keys: PublicKeys = set.keys.into_iter().filter_map(public_key).take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err(
            "no key of the set can be used: RSA, P-256, P-384 and Ed25519 can, for signatures, with a `kid`".into()
        );
    }
    Ok(keys)
}

fn public_key(value: Value) -> Option<(String, Arc<PublicKey>)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let kid = jwk.common.key_id.clone()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let mut algorithms = algorithms_of(&jwk.algorithm)?.to_vec();
    if let Some(one) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == one);
    }
    let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| !algorithms.is_empty())?;
    Some((kid, Arc::new(PublicKey { key, algorithms })))
}

/// Secrets that both sides share are none of them: whoever can read the set could sign with one.
fn algorithms_of(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => Some(&[RS256, RS384, RS512, PS256, PS384, PS512]),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(&[ES256]),
            EllipticCurve::P384 => Some(&[ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Some(&[EdDSA]),
        _ => None,
    }
}

/// Whether it has a token's shape: three parts, of which the first is an object.
pub(crate) fn is_token(secret: &[u8]) -> bool {
    secret.starts_with(b"ey") && secret.iter().filter(|byte| **byte == b'.').count() == 2
}

/// The key that a token says it is signed with.
pub(crate) fn kid_of(token: &[u8]) -> Result<String, Refusal> {
    let header = decode_header(token)
        .map_err(|_| refused("its header can't be read, or names an algorithm that is not taken"))?;
    if header.crit.is_some() {
        return Err(refused("its header has `crit`, which is not understood here"));
    }
    header.kid.ok_or_else(|| refused("its header names no key: `kid` is missing"))
}

impl Jwt {
    /// Whom a token proves, by the key that it names.
    pub(crate) fn caller(&self, token: &[u8], key: &PublicKey, scope: Scope, now: Millis) -> Result<Caller, Refusal> {
        let claims = self.claims(token, key)?;
        self.check_time(&claims, now)?;
        let tenant = match &self.tenant {
            Named::Always(tenant) => tenant.clone(),
            Named::Claim(claim) => {
                text(&claims, claim).ok_or_else(|| refused(format!("it has no text as `{claim}`")))?
            }
        };
        if !is_tenant(&tenant) {
            return Err(refused("its tenant has other characters than letters, digits, `-` and `_`, or too many"));
        }
        let user = text(&claims, &self.user_claim).filter(|user| check_user(user).is_ok());
        let user =
            user.ok_or_else(|| refused(format!("it has no text of 1 to 255 characters as `{}`", self.user_claim)))?;
        if !self.scopes(&claims).contains(&scope) {
            let message = format!("this token may not do that: it has no scope `{}`", scope.as_str());
            return Err(Refusal::new(Code::PermissionDenied, message));
        }
        let graphs = self.graphs(&claims)?;
        Ok(Caller { tenant: tenant.into(), key: None, user: Some(user), user_is_proved: true, graphs })
    }

    /// Its claims, when signature, issuer and audience are right. Times are for [`Jwt::check_time`].
    fn claims(&self, token: &[u8], key: &PublicKey) -> Result<Map<String, Value>, Refusal> {
        use jsonwebtoken::errors::ErrorKind;
        let mut validation = Validation::new(key.algorithms[0]);
        validation.algorithms = key.algorithms.clone();
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&self.audience);
        let decoded = decode::<Map<String, Value>>(token, &key.key, &validation);
        decoded.map(|token| token.claims).map_err(|error| {
            refused(match error.kind() {
                ErrorKind::InvalidIssuer => "it is of another issuer",
                ErrorKind::InvalidAudience => "it is for another audience",
                ErrorKind::InvalidAlgorithm => "its algorithm is not its key's",
                ErrorKind::MissingRequiredClaim(_) => "it lacks `iss` or `aud`",
                _ => "its signature is not right",
            })
        })
    }

    fn check_time(&self, claims: &Map<String, Value>, now: Millis) -> Result<(), Refusal> {
        let leeway = self.leeway.as_millis() as f64;
        let at = |claim: &str| match claims.get(claim) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(seconds) => Ok(Some(seconds * 1_000.0)),
                None => Err(refused(format!("its `{claim}` is no time"))),
            },
        };
        let now = now as f64;
        let ends = at("exp")?.ok_or_else(|| refused("it has no end: `exp` is missing"))?;
        if now >= ends + leeway {
            return Err(refused("it has expired; get a new one"));
        }
        if at("nbf")?.is_some_and(|begins| now < begins - leeway) {
            return Err(refused("it is not valid yet: look at the clocks"));
        }
        Ok(())
    }

    fn scopes(&self, claims: &Map<String, Value>) -> Vec<Scope> {
        let (claim, prefix) = match &self.scopes {
            Scopes::Always(scopes) => return scopes.clone(),
            Scopes::Claim { claim, prefix } => (claim, prefix),
        };
        let named = |word: &str| Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
        words(claims, claim).into_iter().filter_map(|word| named(word.strip_prefix(prefix.as_str())?)).collect()
    }

    /// A token without the claim is for none, which an empty list of a caller's doesn't say.
    fn graphs(&self, claims: &Map<String, Value>) -> Result<Arc<[String]>, Refusal> {
        let Some(claim) = &self.graphs_claim else { return Ok(Arc::default()) };
        let graphs: Arc<[String]> = words(claims, claim).into_iter().map(str::to_owned).collect();
        if graphs.is_empty() {
            return Err(refused(format!("it names no graph as `{claim}`")));
        }
        Ok(graphs)
    }
}

fn words<'a>(claims: &'a Map<String, Value>, claim: &str) -> Vec<&'a str> {
    match found(claims, claim) {
        Some(Value::String(words)) => words.split_ascii_whitespace().collect(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn text(claims: &Map<String, Value>, claim: &str) -> Option<String> {
    found(claims, claim)?.as_str().map(str::to_owned)
}

/// A claim by its own name, which may be an address with dots in it, or by names within each other: `org.id`.
fn found<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    claims.get(claim).or_else(|| {
        let (first, rest) = claim.split_once('.')?;
        found(claims.get(first)?.as_object()?, rest)
    })
}

pub(crate) fn refused(why: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidApiKey, format!("this token is not taken: {}", why.into()))
}
