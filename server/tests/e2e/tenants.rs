//! Tenants are walls, on every address of a real process's OpenAPI document: what an address shows another tenant is said here,
//! and one of which nothing is said fails.

use std::{fs, path::Path, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::{PATIENCE, Process, dev, folder};

const ACME: &str = "the-secret-of-acme";
const BETA: &str = "the-secret-of-beta";
/// In all that acme has, and nowhere else.
const MARK: &str = "sesame";
const THREAD: &str = "conversation";

/// What an address shows a tenant of what another one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// It names a thing, which isn't there.
    NotFound,
    /// It lists, finds or sums up, and there is nothing.
    Nothing,
    /// It belongs to the deployment.
    Shared,
    /// It makes or changes what is one's own, whatever it is called.
    Own,
    /// It takes an admin.
    Admin,
}

/// What is asked for as beta, by method and path; its body, where it has one.
fn shows(operation: &str) -> (Shows, Option<Value>) {
    use Shows::{Admin, NotFound, Nothing, Own, Shared};
    let run = || Some(json!({"assistant_id": "chat", "input": {"messages": "mine"}}));
    match operation {
        "GET /graphs/{name}/runs/{run_id}"
        | "GET /graphs/{name}/runs/{run_id}/stream"
        | "GET /graphs/{name}/runs/{run_id}/updates"
        | "GET /runs/{run_id}"
        | "GET /runs/{run_id}/stream"
        | "GET /threads/{thread_id}"
        | "GET /threads/{thread_id}/history"
        | "GET /threads/{thread_id}/runs"
        | "GET /threads/{thread_id}/runs/{run_id}"
        | "GET /threads/{thread_id}/runs/{run_id}/join"
        | "GET /threads/{thread_id}/runs/{run_id}/stream"
        | "GET /threads/{thread_id}/state"
        | "GET /threads/{thread_id}/state/{checkpoint_id}"
        | "DELETE /threads/{thread_id}"
        | "POST /graphs/{name}/runs/{run_id}/cancel"
        | "POST /threads/{thread_id}/copy"
        | "POST /threads/{thread_id}/runs/{run_id}/cancel" => (NotFound, None),
        "POST /graphs/{name}/runs/{run_id}/resume" => (NotFound, Some(json!({"answer": "yes"}))),
        "PATCH /threads/{thread_id}" => (NotFound, Some(json!({"metadata": {"taken": true}}))),
        "POST /threads/{thread_id}/history" => (NotFound, Some(json!({}))),
        "POST /threads/{thread_id}/state" => (NotFound, Some(json!({"values": {"messages": "mine"}}))),
        "POST /threads/{thread_id}/state/checkpoint" => {
            (NotFound, Some(json!({"checkpoint": {"thread_id": THREAD, "checkpoint_ns": ""}})))
        }
        "POST /threads/{thread_id}/runs"
        | "POST /threads/{thread_id}/runs/stream"
        | "POST /threads/{thread_id}/runs/wait" => (NotFound, run()),
        "GET /graphs/{name}/runs" | "GET /usage" | "GET /store/items" => (Nothing, None),
        "POST /threads/search" | "POST /threads/count" => (Nothing, Some(json!({}))),
        "POST /store/items/search" => (Nothing, Some(json!({"namespace_prefix": []}))),
        "POST /store/namespaces" => (Nothing, Some(json!({}))),
        "POST /threads/prune" => (Own, Some(json!({"thread_ids": [THREAD]}))),
        "POST /threads" => (Own, Some(json!({"thread_id": THREAD, "if_exists": "do_nothing"}))),
        "POST /graphs/{name}/runs" => {
            (Own, Some(json!({"input": {"messages": "mine"}, "thread_id": THREAD, "mode": "wait"})))
        }
        "POST /runs" | "POST /runs/stream" | "POST /runs/wait" => (Own, run()),
        "POST /v1/chat/completions" => {
            (Own, Some(json!({"model": "chat", "messages": [{"role": "user", "content": "mine"}]})))
        }
        "PUT /store/items" => (Own, Some(json!({"namespace": ["notes"], "key": "first", "value": {"text": "mine"}}))),
        "DELETE /store/items" => (Own, Some(json!({"namespace": ["notes"], "key": "first"}))),
        "GET /graphs" | "GET /graphs/{name}" | "GET /v1/models" | "GET /v1/models/{model}" => (Shared, None),
        "GET /assistants/{assistant_id}" | "GET /assistants/{assistant_id}/graph" => (Shared, None),
        "GET /assistants/{assistant_id}/schemas" => (Shared, None),
        "POST /assistants/search" | "POST /assistants/count" => (Shared, Some(json!({}))),
        "GET /models" | "GET /models/{alias}" | "DELETE /models/{alias}" => (Shared, None),
        "PUT /models/{alias}" | "POST /models/{alias}/promote" | "POST /models/{alias}/rollback" => {
            (Shared, Some(json!({})))
        }
        "PUT /graphs/{name}" => (Shared, Some(json!("no graph"))),
        // A path that a graph binds.
        "POST /chat" => (Own, Some(json!({"message": "mine", "thread_id": THREAD}))),
        "GET /keys" | "POST /keys" | "POST /keys/{key}/rotate" | "DELETE /keys/{key}" => (Admin, None),
        other => panic!("nothing says what `{other}` shows another tenant: say it here"),
    }
}

/// What acme has.
struct Things {
    run: String,
    checkpoint: String,
}

async fn ask(server: &Process, key: &str, method: &str, path: &str, body: Option<&Value>) -> (StatusCode, String) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = reqwest::Client::new().request(method, server.url(path)).bearer_auth(key).timeout(PATIENCE);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.text().await.expect("a body"))
}

fn json_of((status, text): (StatusCode, String)) -> Value {
    assert!(status.is_success(), "{status} {text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

async fn two_tenants(folder: &Path) -> Process {
    let config = folder.join("millstream.toml");
    let key = |name: &str, secret: &str, tenant: &str| {
        format!("[[auth.keys]]\nname = '{name}'\nsecret = '{secret}'\ntenant = '{tenant}'\n")
    };
    fs::write(&config, key("sesame-app", ACME, "acme") + &key("beta-app", BETA, "beta")).unwrap();
    dev(folder, &["--config", config.to_str().unwrap()]).await
}

async fn acme_has_things(server: &Process) -> Things {
    let mine = json!({"thread_id": THREAD, "metadata": {"mark": MARK}});
    json_of(ask(server, ACME, "POST", "/threads", Some(&mine)).await);
    let run = json!({"input": {"messages": MARK}, "thread_id": THREAD, "mode": "wait"});
    let run = json_of(ask(server, ACME, "POST", "/graphs/chat/runs", Some(&run)).await);
    let item = json!({"namespace": ["notes"], "key": "first", "value": {"text": MARK}});
    ask(server, ACME, "PUT", "/store/items", Some(&item)).await;
    let began = tokio::time::Instant::now();
    while !ask(server, ACME, "GET", "/usage?by=key", None).await.1.contains(MARK) {
        assert!(began.elapsed() < PATIENCE, "the run's usage is not there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let state = json_of(ask(server, ACME, "GET", &format!("/threads/{THREAD}/state"), None).await);
    Things {
        run: run["run_id"].as_str().unwrap().to_owned(),
        checkpoint: state["checkpoint"]["checkpoint_id"].as_str().unwrap().to_owned(),
    }
}

impl Things {
    /// A path with what it names filled in.
    fn named(&self, path: &str) -> String {
        let filled = [
            ("{name}", "chat"),
            ("{model}", "chat"),
            ("{alias}", "of-nobody"),
            ("{assistant_id}", "chat"),
            ("{run_id}", &self.run),
            ("{thread_id}", THREAD),
            ("{checkpoint_id}", &self.checkpoint),
            ("{key}", "sesame-app"),
        ];
        let path = filled.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
        assert!(!path.contains('{'), "nothing says what {path} names");
        match path.as_str() {
            "/store/items" => "/store/items?namespace=notes&key=first".to_owned(),
            "/usage" => "/usage?by=key,user,graph".to_owned(),
            _ => path,
        }
    }

    /// All that acme can see of its own.
    async fn seen(&self, server: &Process) -> Vec<(StatusCode, String)> {
        let mut seen = Vec::new();
        for path in [
            "/graphs/{name}/runs/{run_id}",
            "/threads/{thread_id}",
            "/threads/{thread_id}/state",
            "/store/items",
            "/usage",
        ] {
            seen.push(ask(server, ACME, "GET", &self.named(path), None).await);
        }
        assert!(seen.iter().all(|(status, text)| status.is_success() && text.contains(MARK)), "{seen:?}");
        seen
    }
}

/// Operations of the document that need a key and are built, such as `GET /graphs`.
async fn operations(server: &Process) -> Vec<String> {
    let document = json_of(ask(server, ACME, "GET", "/openapi.json", None).await);
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if !operation["security"].is_null() && operation["responses"]["501"].is_null() {
                operations.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert!(operations.len() > 50, "{operations:?}");
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_shows_another_tenants_things() {
    let folder = folder();
    let server = two_tenants(folder.path()).await;
    let things = acme_has_things(&server).await;
    let before = things.seen(&server).await;

    let mut asked: Vec<(String, Shows, Option<Value>)> = Vec::new();
    for operation in operations(&server).await {
        let (shows, body) = shows(&operation);
        asked.push((operation, shows, body));
    }
    // Once beta has things of its own, of the same names, there is something to find.
    asked.sort_by_key(|(_, shows, _)| *shows == Shows::Own);
    for (operation, shows, body) in &asked {
        let (method, path) = operation.split_once(' ').unwrap();
        let (status, text) = ask(&server, BETA, method, &things.named(path), body.as_ref()).await;
        assert!(!text.contains(MARK) || path.starts_with("/keys"), "{operation} shows another tenant's: {text}");
        match shows {
            Shows::NotFound => assert_eq!(status, 404, "{operation}: {text}"),
            Shows::Nothing => {
                assert_eq!(status, 200, "{operation}: {text}");
                let answer: Value = serde_json::from_str(&text).unwrap();
                let list = ["data", "items", "namespaces"].iter().find_map(|name| answer.get(name)).unwrap_or(&answer);
                assert!([json!([]), json!(0), json!(null)].contains(list), "{operation}: {text}");
            }
            Shows::Shared | Shows::Own => assert!(!status.is_server_error(), "{operation}: {status} {text}"),
            Shows::Admin => assert_eq!(status, 403, "{operation}: {text}"),
        }
    }
    assert_eq!(things.seen(&server).await, before, "what acme has is as it was");
    // Nothing was refused for another reason than that it isn't beta's: acme is answered, and nearly everywhere with its mark.
    let mut marked = 0;
    for (operation, shows, _) in &asked {
        let (method, path) = operation.split_once(' ').unwrap();
        if method == "GET" && matches!(shows, Shows::NotFound | Shows::Nothing) {
            let (status, text) = ask(&server, ACME, method, &things.named(path), None).await;
            assert!(status.is_success(), "{operation}: {status} {text}");
            marked += usize::from(text.contains(MARK));
        }
    }
    assert!(marked >= 10, "only {marked} addresses show what acme has");
}
