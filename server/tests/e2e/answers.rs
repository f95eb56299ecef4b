//! Answers of a model over HTTP that are given again.

use std::{fs, path::Path, process::Command};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    backends::Backend,
    model::CountingModel,
    process::{Process, dev_with, folder, get, post},
};

/// Each process has a log and a store of its own: what they share is Redis alone, as node-workers on one log do.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_was_answered_another_takes() {
    let store = folder();
    let Some(mut redis) = Backend::start("redis", store.path()).await else { return };
    let model = CountingModel::start().await;
    let start = async |folder: &Path| {
        let mut environment = model.environment("");
        environment.push(("MILLSTREAM__CACHE__EXACT", "true".to_owned()));
        environment.push(("MILLSTREAM__QUOTA__REDIS", format!("redis://{}", redis.address)));
        dev_with(folder, &[], &environment).await
    };
    let folders = [folder(), folder()];
    let (one, other) = tokio::join!(start(folders[0].path()), start(folders[1].path()));
    let before = model.calls();
    let ask = async |server: &Process, message: &str| -> bool {
        let (status, answer) = post(server, "/chat", &json!({"message": message})).await;
        assert_eq!(status, 200, "{answer}");
        answer["message"]["response_metadata"]["cache"] == "exact"
    };
    assert!(!ask(&one, "What costs a coffee?").await);
    assert!(ask(&other, "What costs a coffee?").await);
    assert_eq!(model.calls() - before, 1);
    redis.kill();
    let (_, ready) = get(&one, "/ready").await;
    assert_eq!(ready["checks"].get("quotas"), None, "nothing waits for it: {ready}");
    assert!(!ask(&one, "What costs a tea?").await, "without Redis the model is asked");
    assert!(!ask(&other, "What costs a tea?").await);
    assert!(ask(&other, "What costs a tea?").await, "each process still has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_asked_once() {
    let (model, folder) = (CountingModel::start().await, folder());
    let mut environment = model.environment("?latency=300");
    environment.push(("MILLSTREAM__CACHE__EXACT", "true".to_owned()));
    let server = dev_with(folder.path(), &[], &environment).await;
    let before = model.calls();
    let ask = async |message: &str| -> Value {
        let (status, answer) = post(&server, "/chat", &json!({"message": message})).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let together = join_all((0..20).map(|_| ask("What costs a coffee?"))).await;
    assert_eq!(model.calls() - before, 1, "nobody asks what somebody is asking");
    let cached = |answer: &Value| answer["message"]["response_metadata"]["cache"] == "exact";
    assert_eq!(together.iter().filter(|answer| cached(answer)).count(), 19);
    let text = &together[0]["message"]["content"];
    assert!(together.iter().all(|answer| answer["message"]["content"] == *text));
    assert!(text.as_str().is_some_and(|text| text.contains("coffee")), "{text}");

    let again = ask("What costs a coffee?").await;
    assert!(cached(&again));
    assert_eq!((&again["usage"]["input_tokens"], &again["message"]["usage_metadata"]), (&json!(0), &Value::Null));
    assert!(!cached(&ask("What costs a tea?").await));
    assert_eq!(model.calls() - before, 2);
}

/// A process on the counting model, with these settings of `[cache]`.
async fn start(folder: &Path, model: &CountingModel, options: &str, cache: &[(&'static str, &str)]) -> Process {
    let mut environment = model.environment(options);
    environment.extend(cache.iter().map(|(name, value)| (*name, (*value).to_owned())));
    dev_with(folder, &[], &environment).await
}

const ON: [(&str, &str); 2] = [("MILLSTREAM__CACHE__EXACT", "true"), ("MILLSTREAM__CACHE__SEMANTIC", "on")];

async fn say(server: &Process, path: &str, body: Value) -> Value {
    let (status, answer) = post(server, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn from(answer: &Value) -> &Value {
    &answer["message"]["response_metadata"]["cache"]
}

async fn counted(server: &Process, series: &str) -> u64 {
    let text = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
    let values = text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_way_to_ask_is_not_asked_again() {
    let (model, folder) = (CountingModel::start().await, folder());
    let server = start(folder.path(), &model, "", &ON).await;
    let before = model.calls();
    let ask = async |message: &str| say(&server, "/chat", json!({"message": message})).await;
    let first = ask("How do I reset my password?").await;
    assert_eq!(from(&first), &Value::Null);
    let again = ask("Could you tell me how to reset my password, please?").await;
    assert_eq!(from(&again), "semantic", "{again}");
    let labels = &again["message"]["response_metadata"];
    assert_eq!(labels["cache_matched"], "How do I reset my password?");
    assert!(labels["cache_similarity"].as_f64().is_some_and(|near| near > 0.95), "{labels}");
    assert_eq!(again["message"]["content"], first["message"]["content"]);
    assert_eq!((&again["usage"]["input_tokens"], &again["message"]["usage_metadata"]), (&json!(0), &Value::Null));
    assert_eq!(from(&ask("How do I reset my password?").await), "exact", "it goes first");
    for other in ["How do I not reset my password?", "How do I reset his password?", "How do I reset 2 passwords?"] {
        assert_eq!(from(&ask(other).await), &Value::Null, "{other}");
    }
    assert_eq!(model.calls() - before, 4);
    let series = |outcome: &str| format!("millstream_model_cache_total{{kind=\"semantic\",outcome=\"{outcome}\"");
    assert_eq!((counted(&server, &series("hit")).await, counted(&server, &series("miss")).await), (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_turn_is_another_question() {
    let (model, folder) = (CountingModel::start().await, folder());
    let server = start(folder.path(), &model, "", &ON).await;
    let ask = async |thread: &str, message: &str| {
        say(&server, "/chat", json!({"message": message, "thread_id": thread})).await
    };
    ask("a", "Shall I book the flight?").await;
    ask("b", "Shall I cancel the flight?").await;
    let yes = ask("a", "Yes, please").await;
    assert_eq!(from(&yes), &Value::Null);
    let other = ask("b", "yes please").await;
    assert_eq!(from(&other), &Value::Null, "it stands behind another question: {other}");
    ask("c", "Shall I book the flight?").await;
    assert_eq!(from(&ask("c", "yes please").await), "semantic", "the same conversation so far");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_from_another_tenant_or_graph() {
    let (model, folder) = (CountingModel::start().await, folder());
    let keys = ["acme", "beta"].map(|tenant| {
        format!("[[auth.keys]]\nname = '{tenant}'\ntenant = '{tenant}'\nsecret = 'the-secret-of-{tenant}'\n")
    });
    let config = folder.path().join("millstream.toml");
    fs::write(&config, keys.concat() + "[cache]\nexact = true\nsemantic = 'on'\n").unwrap();
    let graph = |name: &str, system: &str| {
        let file = folder.path().join(format!("{name}.yaml"));
        let text = format!(
            "version: 1\nname: {name}\nstate: {{messages: {{type: messages}}}}\ninput: [messages]\noutput: [messages]\n\
             nodes:\n  answer: {{kind: model, model: default, system: {system}, messages: state.messages}}\n\
             edges:\n  - START -> answer\n  - answer -> END\n"
        );
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (polite, rude) = (graph("polite", "be polite"), graph("rude", "be rude"));
    let extra = ["--config", config.to_str().unwrap(), "--graph", &polite, "--graph", &rude];
    let server = dev_with(folder.path(), &extra, &model.environment("")).await;
    let ask = async |tenant: &str, graph: &str, message: &str| -> Value {
        let body = json!({"input": {"messages": [{"role": "user", "content": message}]}, "mode": "wait"});
        let call = reqwest::Client::new().post(server.url(&format!("/graphs/{graph}/runs"))).json(&body);
        let response = call.bearer_auth(format!("the-secret-of-{tenant}")).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        let messages = answer["output"]["messages"].as_array().or(answer["values"]["messages"].as_array());
        messages.unwrap_or_else(|| panic!("{answer}")).last().unwrap()["response_metadata"]["cache"].clone()
    };
    assert_eq!(ask("acme", "polite", "How do I pay?").await, Value::Null);
    assert_eq!(ask("beta", "polite", "how can I pay").await, Value::Null, "another tenant");
    assert_eq!(ask("acme", "rude", "how can I pay").await, Value::Null, "another system prompt");
    assert_eq!(ask("acme", "polite", "how can I pay").await, "semantic");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_its_shadow_the_model_answers_and_what_would_be_wrong_is_counted() {
    let (model, folder) = (CountingModel::start().await, folder());
    let shadow = [("MILLSTREAM__CACHE__SEMANTIC", "shadow")];
    let server = start(folder.path(), &model, "", &shadow).await;
    let before = model.calls();
    for message in ["How do I pay?", "How do I pay?", "Tell me how to pay", "When do I pay?"] {
        let answer = say(&server, "/chat", json!({"message": message})).await;
        assert_eq!(from(&answer), &Value::Null, "{message}");
        assert!(answer["message"]["content"].as_str().is_some_and(|text| text.contains(message)), "{answer}");
    }
    assert_eq!(model.calls() - before, 4);
    let outcome = async |outcome: &str| {
        counted(&server, &format!("millstream_model_cache_shadow_total{{outcome=\"{outcome}\"")).await
    };
    // It echoes: another way to ask is answered in other words.
    assert_eq!((outcome("same").await, outcome("different").await, outcome("miss").await), (1, 1, 2));
}

/// A server of embeddings is asked, and its calls are counted with the run.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_a_server_makes_are_calls() {
    let (model, folder) = (CountingModel::start().await, folder());
    let mut cache = ON.to_vec();
    cache.push(("MILLSTREAM__PROVIDERS__MOCK__BASE_URL", &model.base_url));
    cache.push(("MILLSTREAM__CACHE__EMBEDDING_MODEL", "mock/words"));
    let server = start(folder.path(), &model, "", &cache).await;
    say(&server, "/chat", json!({"message": "What costs a coffee?"})).await;
    let before = model.calls();
    let again = say(&server, "/chat", json!({"message": "what costs a coffee"})).await;
    assert_eq!((from(&again), model.calls() - before), (&json!("semantic"), 1), "only the vector was made");
    assert!(again["usage"]["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_way_to_ask_is_known_to_every_process() {
    let store = folder();
    let Some(mut redis) = Backend::start("redis", store.path()).await else { return };
    let model = CountingModel::start().await;
    let address = format!("redis://{}", redis.address);
    let mut cache = ON.to_vec();
    cache.push(("MILLSTREAM__QUOTA__REDIS", &address));
    let folders = [folder(), folder()];
    let (one, other) =
        tokio::join!(start(folders[0].path(), &model, "", &cache), start(folders[1].path(), &model, "", &cache));
    let before = model.calls();
    let ask = async |server: &Process, message: &str| say(server, "/chat", json!({"message": message})).await;
    ask(&one, "How do I reset my password?").await;
    let again = ask(&other, "how can I reset my password").await;
    assert_eq!(from(&again), "semantic", "{again}");
    assert_eq!(model.calls() - before, 1);
    redis.kill();
    assert_eq!(from(&ask(&other, "how to reset my password").await), &Value::Null, "without Redis the model is asked");
    assert_eq!(from(&ask(&one, "how to reset my password").await), "semantic", "each process still has its own");
}

#[test]
fn the_semantic_cache_is_measured_on_turns_of_ones_own() {
    let folder = folder();
    let file = folder.path().join("turns.jsonl");
    let measure = |pairs: &str| {
        fs::write(&file, pairs).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let output =
            command.args(["cache", "measure", "--show"]).arg(&file).current_dir(folder.path()).output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    };
    let said = measure(
        "{\"a\": \"How do I pay?\", \"b\": \"how can I pay\", \"same\": true}\n\
         {\"a\": \"How do I pay?\", \"b\": \"When do I pay?\", \"same\": false}\n\
         {\"a\": \"Please pay\", \"b\": \"pay\", \"same\": false}\n",
    );
    let own = said.lines().find(|line| line.starts_with("0.95 (configured)")).unwrap_or_else(|| panic!("{said}"));
    assert!(own.contains("1 of 1 (100.0 %)") && own.contains("1 of 2 (50.0 %)"), "{said}");
    assert!(said.ends_with("Please pay | pay\n"), "{said}");
    let said = measure("{\"a\": \"x\"}\n");
    assert!(said.contains("line 1: missing field `b`") && said.contains("a line is {\"a\": TURN"), "{said}");
}
