//! Secrets that are planted everywhere a configuration takes one, and looked for everywhere a process says something.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::{
    model::CountingModel,
    process::{dev_with, folder},
};

/// All begin so.
const PLANTED: &str = "planted";
const CLIENT: &str = "planted-key-of-a-client";

fn config(folder: &Path, model: &str) -> String {
    let file = folder.join("key-of-file");
    fs::write(&file, "planted-key-in-a-file\n").unwrap();
    let text = format!(
        "[server]\nsecret = {{ command = \"printf '%s-%s' planted of-roles\" }}\n\
         [store]\nuser = 'me'\npassword = 'planted-password'\n\
         [providers.mine]\nbase_url = '{model}'\napi_key = {{ command = \"echo planted-key-of-models\" }}\n\
         [models.default]\nuse = 'mine/echo'\n\
         [[auth.keys]]\nname = 'client'\nsecret = '{CLIENT}'\n\
         [[auth.keys]]\nname = 'filed'\nsecret_file = '{}'\n",
        file.display()
    );
    let path = folder.join("millstream.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_millstream")).args(arguments).output().expect("the binary runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What a folder holds, as far as it is bytes.
fn bytes_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(bytes_of(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[track_caller]
fn has_no_secret(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(at) = text.find(PLANTED) {
        let from = text[..at].char_indices().rev().nth(200).map_or(0, |(at, _)| at);
        panic!("{what} holds a secret: …{}", text[from..].chars().take(300).collect::<String>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_appears_nowhere() {
    let folder = folder();
    let model = CountingModel::start().await;
    let config = config(folder.path(), &model.base_url);
    let trace = [("RUST_LOG", "trace".to_owned())];
    let server = dev_with(folder.path(), &["--config", &config], &trace).await;

    let client = reqwest::Client::new();
    let chat =
        |key: &str, path: &str| client.post(server.url(path)).bearer_auth(key).json(&json!({"message": "hello"}));
    for (key, path, status) in [
        (CLIENT, "/chat", 200),
        ("planted-key-in-a-file", "/chat?token=planted-query", 200),
        ("planted-key-of-nobody", "/chat", 401),
        (CLIENT, "/chats?token=planted-query", 404),
        ("planted-key-of-nobody", "/threads/planted/runs", 401),
    ] {
        let answer = chat(key, path).send().await.unwrap();
        let (answered, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await.unwrap();
        assert_eq!(answered, status, "{path}: {body}");
        has_no_secret(path, (headers + &body).as_bytes());
    }
    let said = bytes_of(folder.path());
    let log = said.iter().filter(|(path, _)| path.ends_with(".log"));
    let log: String = log.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect();
    assert!(log.contains("TRACE"), "nothing is traced");
    let line = log.lines().find(|line| line.contains(r#""target":"requests""#) && line.contains("/chat"));
    for field in [r#""http.method":"POST""#, r#""http.status":200"#, r#""ms":"#, r#""key":"client""#, r#""run_id":""#] {
        assert!(line.is_some_and(|line| line.contains(field)), "the request log lacks {field}: {line:?}");
    }
    for (path, bytes) in &said {
        if !path.ends_with("millstream.toml") && !path.ends_with("key-of-file") {
            has_no_secret(path, bytes);
        }
    }
    has_no_secret("`millstream config`", printed(&["config", "--config", &config]).as_bytes());

    let path = folder.path().join("broken.toml");
    for broken in [
        "[store]\npassword = \"planted-password\n",
        "[store]\npassword = [\"planted-password\"]\n",
        "[store]\npassword = { command = \"echo planted-$((1+1)); false\", more = 1 }\n",
        "[[auth.keys]]\nname = 'x'\nsecret = 'planted-key-of-x'\nscopes = ['none']\n",
    ] {
        fs::write(&path, broken).unwrap();
        let says = printed(&["config", "--config", path.to_str().unwrap()]);
        assert!(says.starts_with("error: "), "{broken}: {says}");
        let says = says.replace("echo planted-$", "");
        has_no_secret(broken, says.as_bytes());
    }
}
