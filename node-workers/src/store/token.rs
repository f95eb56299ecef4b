//! A token: what it is good for, and a mark that only who has the secret can make. Nothing is stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use graph::{envelope::Millis, task::TaskId};
use serde::{Deserialize, Serialize};

/// Frozen: processes of two versions work side by side.
const CONTEXT: &str = "millstream 2026 node store token v1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub tenant: String,
    pub task_id: TaskId,
    pub issue: u32,
    /// The end of the attempt.
    pub until: Millis,
}

pub struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    pub fn new(secret: &[u8]) -> Self {
        Tokens { key: blake3::derive_key(CONTEXT, secret) }
    }

    pub fn make(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims have a JSON form");
        let mark = blake3::keyed_hash(&self.key, &claims);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&claims), mark.to_hex())
    }

    /// None where it isn't ours, or its time is over.
    pub fn check(&self, token: &str, now: Millis) -> Option<Claims> {
        let (claims, mark) = token.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        // Hashes are compared in constant time.
        let is_ours = blake3::keyed_hash(&self.key, &claims) == blake3::Hash::from_hex(mark).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok().filter(|_| is_ours)?;
        (now < claims.until).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_what_it_says_until_its_end() {
        let tokens = Tokens::new(b"shared");
        let claims = Claims { tenant: "acme".into(), task_id: TaskId::from_u128(7), issue: 2, until: 1_000 };
        let token = tokens.make(&claims);
        assert_eq!(tokens.check(&token, 999), Some(claims.clone()));
        assert_eq!(Tokens::new(b"shared").check(&token, 0), Some(claims.clone()), "another worker of the deployment");
        assert_eq!(tokens.check(&token, 1_000), None);
        assert_eq!(Tokens::new(b"another").check(&token, 0), None);
        let theirs = tokens.make(&Claims { tenant: "bond".into(), ..claims });
        let (said, _) = theirs.split_once('.').unwrap();
        let (_, mark) = token.split_once('.').unwrap();
        for forged in [format!("{said}.{mark}"), said.to_owned(), format!("{said}."), String::new(), ".".into()] {
            assert_eq!(tokens.check(&forged, 0), None, "{forged}");
        }
    }
}
