//! `millstream key`: a key for a client, and what the configuration says of it, which is no secret. It asks no server, so
//! that it makes the first admin.

use anyhow::{Context, bail};
use ingest::ApiKey;

use crate::cli::KeyArgs;

/// Bytes of a key that are drawn.
const DRAWN: usize = 32;

/// Prints the entry to standard output, so that `millstream key web >> millstream.toml` is all there is to do.
pub fn key(args: &KeyArgs) -> anyhow::Result<()> {
    let secret = if args.stdin { given()? } else { drawn()? };
    print!("{}", entry(args, &secret)?);
    if !args.stdin {
        eprintln!("{secret}");
        eprintln!("this is the key, shown once: the client sends it as `authorization: Bearer <key>`");
    }
    Ok(())
}

fn entry(args: &KeyArgs, secret: &str) -> anyhow::Result<String> {
    let hash = ApiKey::hash_of(secret).map_err(|reason| anyhow::anyhow!("this can't be a key: {reason}"))?;
    let text = |text: &str| toml::Value::from(text);
    let mut lines = vec![
        String::new(),
        "[[auth.keys]]".to_owned(),
        format!("name = {}", text(&args.name)),
        format!("hash = {}", text(&hash)),
        format!("tenant = {}", text(&args.tenant)),
    ];
    for (name, values) in [("scopes", &args.scopes), ("graphs", &args.graphs)] {
        if !values.is_empty() {
            lines.push(format!("{name} = {}", toml::Value::from(values.clone())));
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn given() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("standard input can't be read")?;
    match line.trim() {
        "" => bail!("there is no key on standard input"),
        key => Ok(key.to_owned()),
    }
}

fn drawn() -> anyhow::Result<String> {
    let mut bytes = [0; DRAWN];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes.iter().fold("ms_".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_printed_is_configuration_that_knows_the_key() {
        let args = KeyArgs {
            name: "we\"b".into(),
            tenant: "acme".into(),
            scopes: vec!["read".into()],
            graphs: vec!["support".into()],
            stdin: false,
        };
        let secret = drawn().unwrap();
        let printed = entry(&args, &secret).unwrap();
        assert!(!printed.contains(&secret));
        let config: Config = toml::from_str(&printed).unwrap();
        let key = &config.auth.keys[0];
        assert_eq!(
            (key.name.as_str(), key.tenant.as_str(), &key.scopes[..]),
            ("we\"b", "acme", &[ingest::Scope::Read][..])
        );
        assert_eq!(key.graphs, ["support"]);
        assert_eq!(key.hash, Some(ApiKey::hash_of(&secret).unwrap()));
        assert!(entry(&args, "short").is_err());
    }
}
