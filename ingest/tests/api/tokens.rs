//! Tokens of an issuer, beside keys. Its keys are made as a test begins; each way in which a token can be wrong is a line.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use ingest::{Jwt, KeySet, Named, Scopes};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use crate::stage::{ACME, Reply, Stage};

/// A key of an issuer's.
struct Signer {
    kid: &'static str,
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Signer {
    fn p256(kid: &'static str) -> Self {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Signer { kid, key: EncodingKey::from_ec_der(der.as_ref()), algorithm: Algorithm::ES256 }
    }

    fn ed25519(kid: &'static str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Signer { kid, key: EncodingKey::from_ed_der(der.as_ref()), algorithm: Algorithm::EdDSA }
    }

    fn rsa(kid: &'static str) -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // PKCS#1, as it stands in PKCS#8 behind 26 bytes that say that it is RSA.
        Signer { kid, key: EncodingKey::from_rsa_der(&der.as_ref()[26..]), algorithm: Algorithm::RS256 }
    }

    /// What the issuer shows of it.
    fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        (jwk["kid"], jwk["use"]) = (json!(self.kid), json!("sig"));
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(claims, |_| {})
    }

    fn sign_as(&self, claims: &Value, change: impl FnOnce(&mut Header)) -> String {
        let mut header = Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) };
        change(&mut header);
        encode(&header, claims, &self.key).unwrap()
    }
}

/// An issuer's set of keys, and how often it was asked for it.
struct Issuer {
    answer: Mutex<Result<Vec<Value>, String>>,
    asked: AtomicUsize,
}

impl Issuer {
    fn of(keys: &[&Signer]) -> Arc<Self> {
        let keys = keys.iter().map(|key| key.public()).collect();
        Arc::new(Issuer { answer: Mutex::new(Ok(keys)), asked: AtomicUsize::new(0) })
    }

    fn now_answers(&self, answer: Result<Vec<Value>, String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl KeySet for Issuer {
    async fn fetch(&self) -> Result<Bytes, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Long enough for others to come meanwhile.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let keys = self.answer.lock().unwrap().clone()?;
        Ok(json!({"keys": keys}).to_string().into())
    }
}

async fn stage(issuer: &Arc<Issuer>) -> Stage {
    stage_of(issuer, None).await
}

async fn stage_of(issuer: &Arc<Issuer>, graphs_claim: Option<&str>) -> Stage {
    let jwt = Jwt {
        issuer: "https://login.example.com/".into(),
        audience: vec!["millstream".into()],
        leeway: Duration::from_secs(60),
        tenant: Named::Claim("org.tenant".into()),
        user_claim: "sub".into(),
        scopes: Scopes::Claim { claim: "scope".into(), prefix: "ms:".into() },
        graphs_claim: graphs_claim.map(str::to_owned),
    };
    Stage::trusting(issuer.clone(), |config| config.jwt = Some(jwt)).await
}

/// A token's, with nothing wrong.
fn claims(stage: &Stage) -> Value {
    let now = stage.now() / 1_000;
    json!({
        "iss": "https://login.example.com/", "aud": ["other", "millstream"], "sub": "ann", "org": {"tenant": "acme"},
        "scope": "openid ms:read ms:run", "exp": now + 300, "nbf": now,
    })
}

async fn ask(stage: &Stage, token: &str) -> Reply {
    stage.ask(token, "GET", "/graphs", None).await
}

#[tokio::test]
async fn a_token_says_whose_it_is_and_who_acts() {
    for signer in [Signer::p256("a"), Signer::ed25519("a"), Signer::rsa("a")] {
        let stage = stage(&Issuer::of(&[&Signer::p256("other"), &signer])).await;
        let token = signer.sign(&claims(&stage));
        ask(&stage, &token).await.expect(200);
        ask(&stage, ACME).await.expect(200);
        // Who acts is proved: neither a header nor a body stands above it.
        let request = Request::post("/graphs/support/runs").header("authorization", format!("Bearer {token}"));
        let request = request.header("x-user-id", "eve").header("content-type", "application/json");
        let body = Body::from(json!({"input": {"messages": "x"}}).to_string());
        stage.send(request.body(body).unwrap()).await.expect(202);
        stage.ask(&token, "POST", "/support", Some(json!({"message": "x", "user": "eve"}))).await.expect(200);
        let records = stage.records().await;
        assert_eq!(records.len(), 2);
        for (_, record) in records {
            let (tenant, principal) = (&*record.envelope.tenant, &record.envelope.principal);
            assert_eq!((tenant, principal.user.as_deref(), principal.key.as_deref()), ("acme", Some("ann"), None));
        }
    }
}

#[tokio::test]
async fn a_token_may_do_what_its_scopes_say() {
    let signer = Signer::p256("a");
    let stage = stage(&Issuer::of(&[&signer])).await;
    let run = json!({"input": {"messages": "x"}});
    for (scope, read, began) in [
        (json!("ms:read"), 200, 403),
        (json!(["ms:read", "ms:run"]), 200, 202),
        (json!("ms:run"), 403, 202),
        (json!("read run"), 403, 403),
        (json!("ms:everything"), 403, 403),
        (json!(null), 403, 403),
    ] {
        let mut claims = claims(&stage);
        claims["scope"] = scope.clone();
        let token = signer.sign(&claims);
        assert_eq!(ask(&stage, &token).await.status, read, "{scope}");
        let reply = stage.ask(&token, "POST", "/graphs/support/runs", Some(run.clone())).await;
        assert_eq!(reply.status, began, "{scope}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_token_is_for_the_graphs_that_it_names() {
    let signer = Signer::p256("a");
    let stage = stage_of(&Issuer::of(&[&signer]), Some("ms.graphs")).await;
    for (graphs, status) in [
        (json!(["support", "other"]), 202),
        (json!("other support"), 202),
        (json!("other"), 403),
        (json!([]), 401),
        (json!(null), 401),
        (json!(7), 401),
    ] {
        let mut claims = claims(&stage);
        claims["ms"] = json!({"graphs": graphs});
        let run = json!({"input": {"messages": "x"}});
        let reply = stage.ask(&signer.sign(&claims), "POST", "/graphs/support/runs", Some(run)).await;
        assert_eq!(reply.status, status, "{graphs}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_token_that_is_wrong_in_one_thing_is_refused() {
    let (signer, other) = (Signer::p256("a"), Signer::rsa("b"));
    let stage = stage(&Issuer::of(&[&signer, &other])).await;
    let now = stage.now() / 1_000;
    let good = claims(&stage);
    ask(&stage, &signer.sign(&good)).await.expect(200);

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signer.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        signer.sign(&claims)
    };
    for within in
        [with("exp", json!(now - 30)), with("nbf", json!(now + 30)), with("aud", json!("millstream")), without("nbf")]
    {
        ask(&stage, &within).await.expect(200);
    }

    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = signer.sign(&good);
    let [head, body, signature] = <[&str; 3]>::try_from(signed.split('.').collect::<Vec<_>>()).unwrap();
    let stranger = Signer::p256("a");
    // What everybody can read of a key must not do as a secret.
    let as_secret = |public: &Signer, field: &str| {
        let header = Header { kid: Some(public.kid.into()), ..Header::new(Algorithm::HS256) };
        let value = public.public()[field].as_str().unwrap().to_owned();
        let raw = URL_SAFE_NO_PAD.decode(&value).unwrap();
        [
            encode(&header, &good, &EncodingKey::from_secret(value.as_bytes())),
            encode(&header, &good, &EncodingKey::from_secret(&raw)),
        ]
        .map(Result::unwrap)
    };
    let [of_x, of_raw_x] = as_secret(&signer, "x");
    let [of_n, of_raw_n] = as_secret(&other, "n");
    let mut widened = good.clone();
    widened["org"]["tenant"] = json!("beta");
    let crit = Signer { kid: "a", key: signer.key.clone(), algorithm: signer.algorithm };
    let wrong = [
        ("another issuer", with("iss", json!("https://evil.example.com/"))),
        ("no issuer", without("iss")),
        ("another audience", with("aud", json!(["other"]))),
        ("no audience", without("aud")),
        ("expired", with("exp", json!(now - 90))),
        ("no end", without("exp")),
        ("an end that is no time", with("exp", json!("tomorrow"))),
        ("not valid yet", with("nbf", json!(now + 90))),
        ("a beginning that is no time", with("nbf", json!({}))),
        ("no tenant", without("org")),
        ("a tenant that is no text", with("org", json!({"tenant": 7}))),
        ("a tenant with odd characters", with("org", json!({"tenant": "acme/../beta"}))),
        ("no user", without("sub")),
        ("an empty user", with("sub", json!(""))),
        ("a changed signature", format!("{head}.{body}.{}", signature.chars().rev().collect::<String>())),
        ("no signature", format!("{head}.{body}.")),
        ("changed claims", format!("{head}.{}.{signature}", encoded(widened))),
        ("a stranger's key under a known name", stranger.sign(&good)),
        ("a key that nobody knows", signer.sign_as(&good, |header| header.kid = Some("zzz".into()))),
        ("no key named", signer.sign_as(&good, |header| header.kid = None)),
        ("another key named", signer.sign_as(&good, |header| header.kid = Some("b".into()))),
        ("a header that has to be understood", crit.sign_as(&good, |header| header.crit = Some(vec!["b64".into()]))),
        ("alg none", format!("{}.{body}.", encoded(json!({"alg": "none", "typ": "JWT", "kid": "a"})))),
        ("alg none with a signature", format!("{}.{body}.{signature}", encoded(json!({"alg": "none", "kid": "a"})))),
        ("HS256 with a public key's text", of_x),
        ("HS256 with a public key's bytes", of_raw_x),
        ("HS256 with a modulus' text", of_n),
        ("HS256 with a modulus", of_raw_n),
        ("claims that are no JSON", format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("claims"))),
        ("no header", format!("eyJ.{body}.{signature}")),
        ("two parts", format!("{head}.{body}")),
        ("five parts, as encrypted ones have", format!("{head}.{body}.{signature}.x.y")),
    ];
    for (what, token) in wrong {
        let reply = ask(&stage, &token).await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.text);
        assert_eq!(reply.code(), "invalid_api_key", "{what}");
        assert!(!reply.text.contains(&token), "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn keys_that_can_not_sign_are_left_out() {
    let (signer, secret) = (Signer::p256("a"), EncodingKey::from_secret(b"a secret that both sides have"));
    let issuer = Issuer::of(&[&signer]);
    let mut encrypting = signer.public();
    (encrypting["use"], encrypting["kid"]) = (json!("enc"), json!("enc"));
    let mut pinned = signer.public();
    (pinned["alg"], pinned["kid"]) = (json!("ES384"), json!("pinned"));
    let shared = json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode("a secret that both sides have")});
    let odd = json!({"kty": "of tomorrow", "kid": "odd"});
    issuer.now_answers(Ok(vec![odd, json!(7), shared, encrypting, pinned, signer.public()]));
    let stage = stage(&issuer).await;
    let claims = claims(&stage);
    ask(&stage, &signer.sign(&claims)).await.expect(200);
    let header = Header { kid: Some("oct".into()), ..Header::new(Algorithm::HS256) };
    ask(&stage, &encode(&header, &claims, &secret).unwrap()).await.expect(401);
    for kid in ["enc", "pinned", "odd"] {
        ask(&stage, &signer.sign_as(&claims, |header| header.kid = Some(kid.into()))).await.expect(401);
    }
}

#[tokio::test]
async fn a_new_key_is_asked_for_once_and_a_flood_of_unknown_ones_is_not() {
    let (first, second) = (Signer::p256("a"), Signer::p256("b"));
    let issuer = Issuer::of(&[&first]);
    let stage = stage(&issuer).await;
    let claims = claims(&stage);
    ask(&stage, &first.sign(&claims)).await.expect(200);
    let before = issuer.asked();
    issuer.now_answers(Ok(vec![first.public(), second.public()]));
    // Many at once, of whom one asks.
    let token = second.sign(&claims);
    let replies = futures_util::future::join_all((0..20).map(|_| ask(&stage, &token))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(issuer.asked(), before + 1);
    for number in 0..200 {
        let flood = first.sign_as(&claims, |header| header.kid = Some(format!("of-nobody-{number}")));
        ask(&stage, &flood).await.expect(401);
    }
    assert_eq!(issuer.asked(), before + 1);
}

#[tokio::test]
async fn an_issuer_that_is_away_locks_nobody_out() {
    let (first, second) = (Signer::p256("a"), Signer::p256("b"));
    let issuer = Issuer::of(&[&first]);
    let stage = stage(&issuer).await;
    let claims = claims(&stage);
    ask(&stage, &first.sign(&claims)).await.expect(200);
    issuer.now_answers(Err("away".into()));
    ask(&stage, &second.sign(&claims)).await.expect(401);
    ask(&stage, &first.sign(&claims)).await.expect(200);
    issuer.now_answers(Ok(vec![]));
    ask(&stage, &first.sign(&claims)).await.expect(200);
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_an_outage_and_no_wrong_token() {
    let signer = Signer::p256("a");
    let issuer = Issuer::of(&[]);
    issuer.now_answers(Err("away".into()));
    let stage = stage(&issuer).await;
    let token = signer.sign(&claims(&stage));
    assert_eq!(ask(&stage, &token).await.expect(503).code(), "store_unavailable");
    ask(&stage, ACME).await.expect(200);
}
