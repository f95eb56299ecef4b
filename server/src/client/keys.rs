//! `millstream keys create|list|rotate|revoke`.

use anyhow::{Context, bail};
use reqwest::Response;
use schemas::{
    http::List,
    keys::{KeyMade, KeyView, MadeBy},
};
use serde_json::json;

use super::{Server, table::laid_out};
use crate::cli::KeysCommand;

/// Keys of one request.
const PAGE: &str = "200";

pub async fn keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { target, name, tenant, scopes, graphs } => {
            let server = Server::new(target);
            let mut body = json!({"name": name, "scopes": scopes, "graphs": graphs});
            if let Some(tenant) = tenant {
                body["tenant"] = tenant.into();
            }
            let answer = server.send(server.post("/keys").json(&body)).await?;
            show_secret(answer.context("this server does not know /keys; is it an older one?")?).await
        }
        KeysCommand::List { target, tenant, json } => list(&Server::new(target), tenant.as_deref(), json).await,
        KeysCommand::Rotate { target, name, grace } => {
            let server = Server::new(target);
            let body = json!({"grace_seconds": grace.unwrap_or_default().div_ceil(1_000)});
            let answer = server.send(server.post(&path(&name, "/rotate")).json(&body)).await?;
            show_secret(answer.with_context(|| unknown(&name))?).await
        }
        KeysCommand::Revoke { target, name } => {
            let server = Server::new(target);
            match server.send(server.delete(&path(&name, ""))).await? {
                Some(_) => Ok(()),
                None => bail!(unknown(&name)),
            }
        }
    }
}

fn path(name: &str, rest: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("/keys/{name}{rest}")
}

fn unknown(name: &str) -> String {
    format!("there is no key {name}; `millstream keys list` shows them")
}

/// The secret alone goes to standard output, so that a shell can put it where it belongs.
async fn show_secret(answer: Response) -> anyhow::Result<()> {
    let KeyMade { secret, key } = answer.json().await.context("the server's answer is no key")?;
    println!("{secret}");
    eprintln!("this is the key {}, shown once: the client sends it as `authorization: Bearer <key>`", key.name);
    if let Some(until) = key.former_until {
        eprintln!("the secret before it holds until {until}");
    }
    Ok(())
}

async fn list(server: &Server, tenant: Option<&str>, json: bool) -> anyhow::Result<()> {
    let mut keys: Vec<KeyView> = Vec::new();
    let mut cursor = None;
    loop {
        let query = [("limit", Some(PAGE)), ("tenant", tenant), ("cursor", cursor.as_deref())];
        let answer = server.send(server.get("/keys").query(&query)).await?;
        let answer = answer.context("this server does not know /keys; is it an older one?")?;
        let page: List<KeyView> = answer.json().await.context("the server's answer is no list of keys")?;
        keys.extend(page.data);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if !json {
        print!("{}", table(&keys));
        return Ok(());
    }
    for key in &keys {
        println!("{}", serde_json::to_string(key)?);
    }
    Ok(())
}

fn table(keys: &[KeyView]) -> String {
    let titles = ["KEY", "TENANT", "SCOPES", "GRAPHS", "MADE", "ROTATED"].map(str::to_owned).to_vec();
    let row = |key: &KeyView| {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let made = match key.made_by {
            MadeBy::Api => key.created_at.clone().unwrap_or_default(),
            MadeBy::Configuration => "configuration".to_owned(),
        };
        let all = |words: String, all: &str| if words.is_empty() { all.to_owned() } else { words };
        vec![
            key.name.clone(),
            key.tenant.clone(),
            all(scopes.join(","), "all but admin"),
            all(key.graphs.join(","), "all"),
            made,
            all(key.rotated_at.clone().unwrap_or_default(), "-"),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(keys.iter().map(row)).collect();
    laid_out(&rows, rows[0].len())
}

#[cfg(test)]
mod tests {
    use schemas::keys::Scope;

    use super::*;

    #[test]
    fn keys_stand_in_columns() {
        let made = KeyView {
            name: "web".into(),
            tenant: "acme".into(),
            scopes: vec![Scope::Read, Scope::Run],
            graphs: vec!["support".into()],
            made_by: MadeBy::Api,
            created_at: Some("2026-01-31T12:00:00Z".into()),
            rotated_at: None,
            former_until: None,
        };
        let root = KeyView {
            name: "root".into(),
            scopes: vec![],
            graphs: vec![],
            made_by: MadeBy::Configuration,
            created_at: None,
            ..made.clone()
        };
        assert_eq!(
            table(&[root, made]),
            "KEY   TENANT  SCOPES         GRAPHS   MADE                  ROTATED\n\
             root  acme    all but admin  all      configuration         -\n\
             web   acme    read,run       support  2026-01-31T12:00:00Z  -\n"
        );
    }
}
