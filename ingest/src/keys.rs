//! `/keys`: who may ask. Only hashes are stored; a secret stands in the answer that makes it, and nowhere else.

use std::time::Duration;

use axum::{Json, body::Body, extract::State, response::IntoResponse};
use graph::envelope::Millis;
use http::{Method, StatusCode};
use run_store::{
    StoreError,
    rows::{KeyRow, SecretHash},
};
use schemas::{
    error::Code,
    http::List,
    keys::{CreateKey, FormerSecret, KeyMade, KeyView, MadeBy, RotateKey, StoredKey},
    record::ControlFact,
};
use serde::Deserialize;

use crate::{
    auth::{DEFAULT_TENANT, Key, Scope, is_tenant, made::read},
    body,
    extract::{At, Params, rfc3339},
    ingest::Ingest,
    layers::Asked,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
};

const TAG: &str = "keys";
/// All keys are read at once, every second.
const KEYS_MAX: usize = 10_000;
const NAME_CHARS_MAX: usize = 64;
const GRAPHS_MAX: usize = 100;
const GRACE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const LIST_LIMIT_DEFAULT: usize = 20;
const LIST_LIMIT_MAX: usize = 200;
/// How often a change is tried while others change the same key.
const TRIES_MAX: usize = 5;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Admin, Method::POST, "/keys", create)
            .says(TAG, "Makes a key. Its secret is in the answer, and never shown again.")
            .takes(Media::Json("CreateKey"))
            .answers(201, "The key and its secret.", Media::Json("KeyMade")),
        route(Scope::Admin, Method::GET, "/keys", list)
            .says(TAG, "Lists keys of all tenants, by name: those of the configuration, too.")
            .query(&[
                ("tenant", "Only keys of this tenant."),
                ("limit", "At most so many; 20 unless told, 200 at most."),
                ("cursor", "Goes on behind an earlier page: its `next_cursor`."),
            ])
            .answers(200, "A page.", Media::JsonList("KeyView")),
        route(Scope::Admin, Method::POST, "/keys/{key}/rotate", rotate)
            .says(TAG, "Gives a key a new secret. The old one holds for `grace_seconds` more.")
            .takes(Media::Json("RotateKey"))
            .answers(200, "The key and its new secret.", Media::Json("KeyMade")),
        route(Scope::Admin, Method::DELETE, "/keys/{key}", revoke)
            .says(TAG, "Revokes a key: within 2 seconds nobody takes it any more.")
            .bare(204, "It is revoked."),
    ]
}

async fn create(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let wanted = body::parse(&body::read_json(&ingest.config, &parts.headers, body).await?)?;
    let (name, stored) = checked(wanted, ingest.deps.clock.now())?;
    if ingest.keys.configured().any(|key| *key.name == name) {
        return Err(taken(&name, " of the configuration"));
    }
    if ingest.kept_keys().await?.len() >= KEYS_MAX {
        let says = format!("there are {KEYS_MAX} keys, which is as many as may be; revoke what nobody uses");
        return Err(Refusal::new(Code::KeyConflict, says));
    }
    let secret = ingest.draw_secret();
    if !ingest.put_key(&row(&name, &secret, &stored), None).await? {
        return Err(taken(&name, ""));
    }
    ingest.tell_of_key(&asked, ControlFact::KeyChanged { key: name.clone() }, "an api key was made").await;
    Ok((StatusCode::CREATED, Json(KeyMade { secret, key: kept_view(&name, stored) })).into_response())
}

fn checked(wanted: CreateKey, now: Millis) -> Result<(String, StoredKey), Refusal> {
    let CreateKey { name, tenant, mut scopes, graphs } = wanted;
    let bad = |param: &str, says: &str| Err(Refusal::new(Code::InvalidValue, says.to_owned()).param(param));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(plain) {
        return bad("name", "a key's name has 1 to 64 letters, digits, `-`, `_` and `.`");
    }
    let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
    if !is_tenant(&tenant) {
        return bad("tenant", "a tenant has 1 to 64 letters, digits, `-` and `_`");
    }
    if graphs.len() > GRAPHS_MAX || graphs.iter().any(|graph| !(1..=255).contains(&graph.len())) {
        return bad("graphs", "a key is for 100 graphs at most, each by its name; leave them out for all");
    }
    scopes.sort();
    scopes.dedup();
    Ok((name, StoredKey { tenant, scopes, graphs, created_at: now, rotated_at: None, former: None }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    tenant: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(State(ingest): State<Ingest>, Params(params): Params<ListParams>) -> Answer {
    let ListParams { tenant, limit, cursor } = params;
    let limit = limit.unwrap_or(LIST_LIMIT_DEFAULT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(Refusal::new(Code::InvalidValue, "a page has 1 to 200 keys").param("limit"));
    }
    let configured = ingest.keys.configured_names();
    let kept = ingest.kept_keys().await?.into_iter().filter(|row| !configured.contains(&row.name));
    let kept = kept.filter_map(|row| Some(kept_view(&row.name, read(&row).ok()?)));
    let mut keys: Vec<KeyView> = ingest.keys.configured().map(configured_view).chain(kept).collect();
    keys.retain(|key| tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant));
    keys.retain(|key| cursor.as_ref().is_none_or(|cursor| key.name > *cursor));
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    let is_last = keys.len() <= limit;
    keys.truncate(limit);
    let next_cursor = keys.last().filter(|_| !is_last).map(|key| key.name.clone());
    Ok(json_of(&List { data: keys, next_cursor }))
}

async fn rotate(
    State(ingest): State<Ingest>,
    At(name): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let RotateKey { grace_seconds } = body::optional(&ingest.config, request).await?;
    let grace = Duration::from_secs(grace_seconds.into());
    if grace > GRACE_MAX {
        let says = "an old secret holds for 604800 seconds (seven days) at most";
        return Err(Refusal::new(Code::InvalidValue, says).param("grace_seconds"));
    }
    ingest.refuse_configured(&name)?;
    for _ in 0..TRIES_MAX {
        let found = ingest.kept_keys().await?.into_iter().find(|row| row.name == name);
        let seen = found.ok_or_else(|| not_found(&name))?;
        let stored = rotated(&seen, grace, ingest.deps.clock.now())?;
        let secret = ingest.draw_secret();
        if ingest.put_key(&row(&name, &secret, &stored), Some(&seen.hash)).await? {
            let fact = ControlFact::KeyChanged { key: name.clone() };
            ingest.tell_of_key(&asked, fact, "an api key was rotated").await;
            return Ok(json_of(&KeyMade { secret, key: kept_view(&name, stored) }));
        }
    }
    Err(Refusal::new(Code::KeyConflict, format!("others are changing the key `{name}`; look at it and try again")))
}

fn rotated(seen: &KeyRow, grace: Duration, now: Millis) -> Result<StoredKey, Refusal> {
    let stored = read(seen).map_err(|error| {
        tracing::error!(key = seen.name, %error, "a stored key can't be read");
        Refusal::new(Code::KeyConflict, "a newer version of Millstream made this key; rotate it there")
    })?;
    let hash = blake3::Hash::from_bytes(seen.hash).to_hex().to_string();
    let former = (!grace.is_zero()).then(|| FormerSecret { hash, until: now + grace.as_millis() as Millis });
    Ok(StoredKey { rotated_at: Some(now), former, ..stored })
}

async fn revoke(State(ingest): State<Ingest>, At(name): At<String>, asked: Asked) -> Answer {
    ingest.refuse_configured(&name)?;
    let deleted = tokio::time::timeout(ingest.config.store_timeout, ingest.deps.keys.delete_key(&name));
    if !deleted.await.map_err(|_| Refusal::store_slow())?? {
        return Err(not_found(&name));
    }
    ingest.keys.made.forget(&name);
    ingest.tell_of_key(&asked, ControlFact::KeyRevoked { key: name }, "an api key was revoked").await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Ingest {
    /// Makes the table of this process what the store holds.
    pub(crate) async fn reread_keys(&self) -> Result<(), StoreError> {
        let rows = self.deps.keys.keys().await?;
        self.keys.made.load(rows, &self.keys.configured_names());
        Ok(())
    }

    async fn kept_keys(&self) -> Result<Vec<KeyRow>, Refusal> {
        let read = tokio::time::timeout(self.config.store_timeout, self.deps.keys.keys());
        Ok(read.await.map_err(|_| Refusal::store_slow())??)
    }

    async fn put_key(&self, row: &KeyRow, seen: Option<&SecretHash>) -> Result<bool, Refusal> {
        let put = tokio::time::timeout(self.config.store_timeout, self.deps.keys.put_key(row, seen));
        Ok(put.await.map_err(|_| Refusal::store_slow())??)
    }

    /// The change is in the store: where it can't be told, others find it there a second later.
    async fn tell_of_key(&self, asked: &Asked, fact: ControlFact, says: &'static str) {
        let (ControlFact::KeyChanged { key } | ControlFact::KeyRevoked { key }) = &fact else { return };
        tracing::info!(key, by = asked.caller.key.as_deref(), "{says}");
        if let Err(error) = self.reread_keys().await {
            tracing::warn!(%error, "a key that was changed can't be read");
        }
        match tokio::time::timeout(self.config.append_timeout, self.tell(fact)).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => tracing::warn!(reason = refusal.message(), "a changed key can't be told of"),
            Err(_) => tracing::warn!("a changed key can't be told of in time"),
        }
    }

    fn refuse_configured(&self, name: &str) -> Result<(), Refusal> {
        if self.keys.configured().any(|key| *key.name == *name) {
            let says = format!("the key `{name}` stands in the configuration; change it there");
            return Err(Refusal::new(Code::KeyConflict, says));
        }
        Ok(())
    }

    /// 256 bits, as `millstream key` draws them.
    fn draw_secret(&self) -> String {
        (0..4).fold("ms_".to_owned(), |text, _| format!("{text}{:016x}", self.deps.random.next_u64()))
    }
}

fn row(name: &str, secret: &str, stored: &StoredKey) -> KeyRow {
    let key = serde_json::to_vec(stored).expect("a key has a JSON form").into();
    KeyRow { name: name.to_owned(), hash: *blake3::hash(secret.as_bytes()).as_bytes(), key }
}

fn kept_view(name: &str, stored: StoredKey) -> KeyView {
    let StoredKey { tenant, scopes, graphs, created_at, rotated_at, former } = stored;
    KeyView {
        name: name.to_owned(),
        tenant,
        scopes,
        graphs,
        made_by: MadeBy::Api,
        created_at: Some(rfc3339(created_at)),
        rotated_at: rotated_at.map(rfc3339),
        former_until: former.map(|former| rfc3339(former.until)),
    }
}

fn configured_view(key: &Key) -> KeyView {
    KeyView {
        name: key.name.to_string(),
        tenant: key.tenant.to_string(),
        scopes: key.scopes.clone(),
        graphs: key.graphs.to_vec(),
        made_by: MadeBy::Configuration,
        created_at: None,
        rotated_at: None,
        former_until: None,
    }
}

fn taken(name: &str, whose: &str) -> Refusal {
    let says = format!("there is a key `{name}`{whose} already; choose another name, or rotate that one");
    Refusal::new(Code::KeyConflict, says).param("name")
}

fn not_found(name: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no key `{name}`; `GET /keys` lists them"))
}
