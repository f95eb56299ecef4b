//! Tokens of an issuer on this machine, taken by a real process beside keys, through a change of the issuer's keys and its end.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::process::{Process, dev, folder};

/// A key of the issuer's.
struct Signer(&'static str, EncodingKey);

impl Signer {
    fn new(kid: &'static str) -> Self {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Signer(kid, EncodingKey::from_ec_der(der.as_ref()))
    }

    fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.1, Algorithm::ES256).unwrap()).unwrap();
        jwk["kid"] = self.0.into();
        jwk
    }

    fn token(&self, tenant: &str) -> String {
        let header = Header { kid: Some(self.0.into()), ..Header::new(Algorithm::ES256) };
        let exp = jiff::Timestamp::now().as_second() + 300;
        let claims = json!({"iss": "https://issuer/", "aud": "millstream", "sub": "ann", "org": tenant, "exp": exp});
        encode(&header, &claims, &self.1).unwrap()
    }
}

/// Serves a set of keys that can be changed, until it is dropped.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    _serving: DropGuard,
}

impl Issuer {
    async fn start(first: &Signer) -> Self {
        let keys = Arc::new(Mutex::new(vec![first.public()]));
        let shown = Arc::clone(&keys);
        let answer = move || {
            let keys = shown.lock().unwrap().clone();
            std::future::ready(axum::Json(json!({"keys": keys})))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/jwks", axum::routing::get(answer));
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        #[allow(clippy::disallowed_methods, reason = "lives as long as the issuer")]
        tokio::spawn(async move { until.run_until_cancelled(axum::serve(listener, router).into_future()).await });
        Issuer { url, keys, _serving: shutdown.drop_guard() }
    }
}

async fn runs_of(server: &Process, token: &str, user: &str) -> (u16, usize) {
    let request = reqwest::Client::new().get(server.url(&format!("/graphs/chat/runs?user={user}"))).bearer_auth(token);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let list: Value = answer.json().await.unwrap();
    (status, list["data"].as_array().map_or(0, Vec::len))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_tokens_are_taken_beside_keys() {
    let folder = folder();
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let issuer = Issuer::start(&first).await;
    let config = folder.path().join("millstream.toml");
    let text = format!(
        "[auth.jwt]\njwks_url = '{}'\nissuer = 'https://issuer/'\naudience = ['millstream']\ntenant_claim = 'org'\n\
         [[auth.keys]]\nname = 'app'\nsecret = 'the-secret-of-acme'\ntenant = 'acme'\n",
        issuer.url
    );
    fs::write(&config, text).unwrap();
    let server = dev(folder.path(), &["--config", config.to_str().unwrap()]).await;

    let run = json!({"input": {"messages": "hello"}, "mode": "wait"});
    let begin = reqwest::Client::new().post(server.url("/graphs/chat/runs")).header("x-user-id", "eve");
    let begun = begin.bearer_auth(first.token("acme")).json(&run).send().await.unwrap();
    assert_eq!(begun.status(), 200, "{}", begun.text().await.unwrap());
    assert_eq!(runs_of(&server, "the-secret-of-acme", "ann").await, (200, 1), "it acts for who it says");
    assert_eq!(runs_of(&server, "the-secret-of-acme", "eve").await, (200, 0));
    assert_eq!(runs_of(&server, &first.token("beta"), "ann").await, (200, 0), "another tenant's token sees nothing");

    issuer.keys.lock().unwrap().push(second.public());
    assert_eq!(runs_of(&server, &second.token("acme"), "ann").await, (200, 1), "a new key is asked for");
    assert_eq!(runs_of(&server, &Signer::new("third").token("acme"), "ann").await.0, 401);
    drop(issuer);
    assert_eq!(
        runs_of(&server, &first.token("acme"), "ann").await,
        (200, 1),
        "an issuer that is away locks nobody out"
    );
}
