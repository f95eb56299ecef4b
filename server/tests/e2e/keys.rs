//! Keys of a real process, from the command line: made, rotated, revoked, and kept over a kill.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tokio::time::Instant;

use crate::process::{PATIENCE, Process, dev, folder};

fn millstream(server: &Process, key: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).args(["--url", &server.url(""), "--key", key]);
    command.output().expect("the binary runs")
}

#[track_caller]
fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

async fn status(server: &Process, key: &str) -> u16 {
    let request = reqwest::Client::new().get(server.url("/graphs")).bearer_auth(key);
    request.send().await.expect("an answer").status().as_u16()
}

async fn wait_for(server: &Process, key: &str, expect: u16, within: Duration) {
    let began = Instant::now();
    while status(server, key).await != expect {
        assert!(began.elapsed() < within, "the key is not answered {expect}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A configuration with a first admin, and its secret.
fn first_admin(folder: &Path) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    let output = command.args(["key", "root", "--scopes", "admin"]).stdin(Stdio::null()).output().expect("it runs");
    let path = folder.join("millstream.toml");
    fs::write(&path, &output.stdout).unwrap();
    let secret = String::from_utf8(output.stderr).unwrap().lines().next().unwrap().to_owned();
    (path.to_str().unwrap().to_owned(), secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_rotated_and_revoked_without_a_restart() {
    let folder = folder();
    let (config, root) = first_admin(folder.path());
    let mut server = dev(folder.path(), &["--config", &config]).await;

    let create = ["keys", "create", "web", "--tenant", "acme", "--scopes", "read,run", "--graphs", "chat"];
    let web = said(millstream(&server, &root, &create));
    assert_eq!(status(&server, &web).await, 200);
    let again = millstream(&server, &root, &create);
    assert!(String::from_utf8_lossy(&again.stderr).contains("there is a key `web` already"), "{again:?}");
    let table = said(millstream(&server, &root, &["keys", "list"]));
    let line = table.lines().last().unwrap_or_default();
    assert!(line.starts_with("web   acme     read,run  chat    "), "{table}");
    let denied = millstream(&server, &web, &["keys", "list"]);
    assert!(String::from_utf8_lossy(&denied.stderr).contains("no scope `admin`"), "{denied:?}");

    let rotated = said(millstream(&server, &root, &["keys", "rotate", "web", "--grace", "1h"]));
    assert_eq!((status(&server, &web).await, status(&server, &rotated).await), (200, 200));
    server.restart();
    server.wait_until_ready().await;
    for key in [&web, &rotated] {
        wait_for(&server, key, 200, PATIENCE).await;
    }
    said(millstream(&server, &root, &["keys", "revoke", "web"]));
    for key in [&web, &rotated] {
        wait_for(&server, key, 401, Duration::from_secs(2)).await;
    }
    let unknown = millstream(&server, &root, &["keys", "revoke", "web"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no key web"), "{unknown:?}");
    for secret in [&root, &web, &rotated] {
        assert!(!server.said().contains(secret.as_str()), "a secret is in the log");
    }
}
