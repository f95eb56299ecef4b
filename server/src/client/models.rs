//! `millstream models`.

use anyhow::{Context, bail};
use graph::alias::Version;
use reqwest::RequestBuilder;
use schemas::{
    client::{ModelAliasView, SetModelAlias},
    http::List,
};

use super::{Server, table::laid_out};
use crate::cli::ModelsCommand;

pub async fn models(command: ModelsCommand) -> anyhow::Result<()> {
    match command {
        ModelsCommand::List { target, json } => {
            let server = Server::new(target);
            let Some(answer) = server.send(server.get("/models")).await? else {
                bail!("this server does not know /models; is it an older one?");
            };
            let List { data, .. } = answer.json::<List<ModelAliasView>>().await.context(NO_ALIAS)?;
            if json {
                for alias in &data {
                    println!("{}", serde_json::to_string(alias)?);
                }
                return Ok(());
            }
            print!("{}", table(&data));
            Ok(())
        }
        ModelsCommand::Set { target, alias, models, fallback, canary } => {
            let server = Server::new(target);
            let set = SetModelAlias { targets: models, fallback, canary_percent: canary, ..SetModelAlias::default() };
            change(&server, &alias, server.put(&format!("/models/{alias}")).json(&set)).await
        }
        ModelsCommand::Promote { target, alias } => {
            let server = Server::new(target);
            change(&server, &alias, server.post(&format!("/models/{alias}/promote"))).await
        }
        ModelsCommand::Rollback { target, alias } => {
            let server = Server::new(target);
            change(&server, &alias, server.post(&format!("/models/{alias}/rollback"))).await
        }
        ModelsCommand::Delete { target, alias } => {
            let server = Server::new(target);
            asked(&server, &alias, server.delete(&format!("/models/{alias}"))).await.map(drop)
        }
    }
}

const NO_ALIAS: &str = "the server's answer is no alias";

async fn change(server: &Server, alias: &str, request: RequestBuilder) -> anyhow::Result<()> {
    let changed = asked(server, alias, request).await?.json::<ModelAliasView>().await.context(NO_ALIAS)?;
    print!("{}", table(&[changed]));
    Ok(())
}

async fn asked(server: &Server, alias: &str, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
    match server.send(request).await? {
        Some(answer) => Ok(answer),
        None => bail!("no alias {alias} was set over the API; `millstream models list` shows those that were"),
    }
}

fn table(aliases: &[ModelAliasView]) -> String {
    let titles = ["ALIAS", "STAGE", "ASKS", "VERSION", "SHARE"].map(str::to_owned).to_vec();
    let mut rows = vec![titles];
    for ModelAliasView { name, alias } in aliases {
        let tried = alias.canary.as_ref().map_or(0.0, |canary| canary.percent);
        rows.push(row(name, "current", &alias.current, 100.0 - tried));
        rows.extend(alias.canary.as_ref().map(|canary| row(name, "canary", &canary.version, tried)));
    }
    laid_out(&rows, 3)
}

fn row(name: &str, stage: &str, version: &Version, percent: f64) -> Vec<String> {
    let targets = &version.routes.targets;
    let mut asks: Vec<String> = match targets.as_slice() {
        [one] => vec![one.model.clone()],
        several => several.iter().map(|target| format!("{}={}", target.model, target.weight)).collect(),
    };
    asks.extend(version.routes.fallback.iter().map(|model| format!("else {model}")));
    let share = format!("{percent}%");
    vec![name.to_owned(), stage.to_owned(), asks.join(", "), version.version.to_string(), share]
}

#[cfg(test)]
mod tests {
    use graph::alias::{Alias, Routes, Target};

    use super::*;

    #[test]
    fn a_canary_stands_below_what_it_may_replace() {
        let target = |model: &str, weight| Target { model: model.into(), weight };
        let shared = Routes { targets: vec![target("a/x", 3), target("b/y", 1)], fallback: vec!["c/z".into()] };
        let alias = Alias::new(Routes::to("a/w"), 0).unwrap().start_canary(shared, 2.5, 0).unwrap();
        let view = ModelAliasView { name: "answer-model".to_owned(), alias };
        assert_eq!(
            table(&[view]),
            "ALIAS         STAGE    ASKS                    VERSION  SHARE\n\
             answer-model  current  a/w                           1  97.5%\n\
             answer-model  canary   a/x=3, b/y=1, else c/z        2   2.5%\n"
        );
    }
}
