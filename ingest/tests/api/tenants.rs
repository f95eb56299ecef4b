//! Another tenant's anything is 404, on every route that names something: the list is the document's.

use serde_json::{Value, json};

use crate::{
    document::{Operation, operations},
    stage::{ACME, BETA, Stage},
};

/// A body that every creating route takes.
fn body(operation: &Operation) -> Option<Value> {
    (operation.method != "GET").then(|| json!({"assistant_id": "support", "input": {"messages": "x"}}))
}

#[tokio::test]
async fn another_tenants_runs_and_threads_are_404() {
    let stage = Stage::new().await;
    let run = json!({"input": {"messages": "slow"}, "thread_id": "conversation"});
    let accepted = stage.post("/graphs/support/runs", run).await.expect(202);
    let run = accepted.json()["run_id"].as_str().unwrap().to_owned();
    stage.get(accepted.header("location")).await.expect(200);
    stage.post("/threads", json!({"thread_id": "made", "metadata": {}})).await.expect(200);
    let before = stage.records().await.len();

    let mut checked = 0;
    for operation in operations() {
        if operation.is_unbuilt || !(operation.names("run_id") || operation.names("thread_id")) {
            continue;
        }
        for thread in ["conversation", "made"] {
            let path = operation.path_with(|name| match name {
                "name" => "support".to_owned(),
                "run_id" => run.clone(),
                "thread_id" => thread.to_owned(),
                "checkpoint_id" => uuid::Uuid::nil().to_string(),
                other => panic!("{other} in {operation:?} has no value here"),
            });
            // A cancel's body is not a run's.
            let body = match path.rsplit('/').next() {
                Some("cancel") => None,
                Some("resume") => Some(json!({"answer": "yes"})),
                Some(_) | None => body(&operation),
            };
            let theirs = stage.ask(BETA, &operation.method, &path, body.clone()).await;
            assert_eq!(theirs.status, 404, "{operation:?}: {}", theirs.text);
            assert!(!theirs.text.contains("slow") && !theirs.text.contains("acme"), "{}", theirs.text);
            let nobody = path.replace(&run, "01a1fd6a-bcaf-7755-abef-a2c98fea0001").replace(thread, "nobody");
            let unknown = stage.ask(BETA, &operation.method, &nobody, body).await;
            assert_eq!(unknown.status, 404, "{operation:?}");
            let shape = |text: &str| text.replace("nobody", thread).split("req_").next().unwrap_or_default().to_owned();
            assert_eq!(shape(&theirs.text), shape(&unknown.text), "theirs looks like nobody's: {operation:?}");
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} routes were checked");
    assert_eq!(stage.records().await.len(), before, "nothing was appended");
}

#[tokio::test]
async fn a_list_holds_only_ones_own() {
    let stage = Stage::new().await;
    let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": "t"});
    stage.post("/graphs/support/runs", run.clone()).await.expect(200);
    let count = async |key: &str| {
        let list = stage.ask(key, "GET", "/graphs/support/runs?thread_id=t", None).await.expect(200);
        list.json()["data"].as_array().unwrap().len()
    };
    assert_eq!((count(ACME).await, count(BETA).await), (1, 0));
    // The same thread id is another thread.
    stage.ask(BETA, "POST", "/graphs/support/runs", Some(run)).await.expect(200);
    assert_eq!((count(ACME).await, count(BETA).await), (1, 1));
}
