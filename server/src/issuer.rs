//! Where the keys of the tokens' issuer are read from: its address, or a file.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use ingest::KeySet;

use crate::config::Jwt;

/// Sets of keys are some KB.
const BYTES_MAX: usize = 1 << 20;

pub fn key_set(jwt: &Jwt) -> anyhow::Result<Arc<dyn KeySet>> {
    if let Some(path) = &jwt.jwks_file {
        std::fs::metadata(path)
            .with_context(|| format!("[auth.jwt] jwks_file is {}, which can't be read", path.display()))?;
        return Ok(Arc::new(File(path.clone())));
    }
    let url = jwt.jwks_url.clone().context("[auth.jwt] has neither jwks_url nor jwks_file")?;
    // Where it leads elsewhere somebody else's keys could lie.
    let http = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(Arc::new(Address { http, url }))
}

struct Address {
    http: reqwest::Client,
    url: String,
}

#[async_trait]
impl KeySet for Address {
    async fn fetch(&self) -> Result<Bytes, String> {
        let why = |error: reqwest::Error| format!("{}: {error}", self.url);
        let answer = self.http.get(&self.url).send().await.map_err(why)?;
        if !answer.status().is_success() {
            return Err(format!("{} answers {}", self.url, answer.status()));
        }
        let (mut pieces, mut bytes) = (answer.bytes_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(why)?);
            if bytes.len() > BYTES_MAX {
                return Err(format!("{} answers more than {BYTES_MAX} bytes", self.url));
            }
        }
        Ok(bytes.into())
    }
}

struct File(PathBuf);

#[async_trait]
impl KeySet for File {
    async fn fetch(&self) -> Result<Bytes, String> {
        let read = tokio::fs::read(&self.0).await;
        read.map(Bytes::from).map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        http::{StatusCode, header},
        routing::get,
    };

    use super::*;

    /// A server of keys on this machine, and who reads them from there.
    async fn fetched(path: &str) -> Result<Bytes, String> {
        let router = Router::new()
            .route("/jwks", get(async || "{\"keys\":[]}"))
            .route("/large", get(async || "x".repeat(BYTES_MAX + 1)))
            .route("/elsewhere", get(async || (StatusCode::FOUND, [(header::LOCATION, "/jwks")])));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let serving = axum::serve(listener, router).into_future();
        let set = key_set(&jwt(&format!("jwks_url = '{url}'"))).unwrap();
        tokio::select! {
            fetched = set.fetch() => fetched,
            _ = serving => panic!("the server ended"),
        }
    }

    fn jwt(keys: &str) -> Jwt {
        toml::from_str(&format!("issuer = 'x'\naudience = ['y']\n{keys}")).unwrap()
    }

    #[tokio::test]
    async fn keys_are_read_from_an_address() {
        assert_eq!(fetched("/jwks").await.unwrap(), "{\"keys\":[]}");
        for (path, why) in [("/large", "answers more than"), ("/none", "404"), ("/elsewhere", "302")] {
            let refused = fetched(path).await.map(|bytes| bytes.len()).unwrap_err();
            assert!(refused.contains(why), "{path}: {refused}");
        }
        let nobody = key_set(&jwt("jwks_url = 'http://127.0.0.1:1/jwks'")).unwrap();
        assert!(nobody.fetch().await.is_err());
    }

    #[tokio::test]
    async fn keys_are_read_from_a_file_whenever_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        let named = jwt(&format!("jwks_file = '{}'", path.display()));
        assert!(key_set(&named).is_err(), "there is no such file");
        std::fs::write(&path, "one").unwrap();
        let set = key_set(&named).unwrap();
        assert_eq!(set.fetch().await.unwrap(), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(set.fetch().await.unwrap(), "two");
    }
}
