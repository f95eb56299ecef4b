//! Questions that are told apart without a model, and answered by the tier that fits.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::process::{dev, folder, post};

const LABELLED: &str = "../examples/support-questions.jsonl";

fn millstream(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_millstream")).args(arguments).output().expect("the binary runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// The example's classifier, and the configuration that names it.
fn trained(folder: &Path) -> String {
    let (model, config) = (folder.join("difficulty.classifier"), folder.join("millstream.toml"));
    let model = model.to_str().expect("a path");
    let (ok, said) = millstream(&["classifier", "train", LABELLED, "--out", model]);
    assert!(ok && said.contains("it never saw") && said.contains("precision"), "{said}");
    let data = folder.join("data");
    let text = format!("[server]\ndata_dir = {data:?}\n[classifiers.difficulty]\nfile = {model:?}\n");
    fs::write(&config, text).expect("a configuration");
    config.to_str().expect("a path").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simple_and_a_hard_question_go_different_ways() {
    let folder = folder();
    let config = trained(folder.path());
    let server = dev(folder.path(), &["--config", &config, "--graph", "../examples/tiers.yaml"]).await;
    for (question, tier) in [
        ("Where can I see what's in my cart?", "simple"),
        (
            "Why do our totals and the export differ since we merged two accounts, and which of them should we trust?",
            "hard",
        ),
    ] {
        let asked = json!({"input": {"messages": [{"role": "user", "content": question}]}, "mode": "wait"});
        let (status, run) = post(&server, "/graphs/tiers/runs", &asked).await;
        assert_eq!((status, &run["output"]["tier"]), (200, &json!(tier)), "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_leads_each_question_to_its_tier_and_says_so() {
    let folder = folder();
    let config = trained(folder.path());
    let mut text = fs::read_to_string(&config).expect("a configuration");
    text +=
        "[prices.scripted.small]\ninput = 1.0\noutput = 1.0\n[prices.scripted.large]\ninput = 10.0\noutput = 10.0\n";
    fs::write(&config, text).expect("a configuration");
    let server = dev(folder.path(), &["--config", &config, "--graph", "../examples/routes.yaml"]).await;
    for (question, tier) in [
        ("Where can I see what's in my cart?", "small"),
        (
            "Why do our totals and the export differ since we merged two accounts, and which of them should we trust?",
            "large",
        ),
    ] {
        let (status, answer) = post(&server, "/routes", &json!({"message": question})).await;
        let route = &answer["message"]["response_metadata"]["route"];
        assert_eq!((status, route), (200, &json!({"alias": "answer", "tier": tier, "by": "classifier"})), "{answer}");
    }
    let metrics = reqwest::get(server.url("/metrics")).await.expect("metrics").text().await.expect("a text");
    let value = |name: &str, labels: &[&str]| {
        let mut lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label))).unwrap_or_default();
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok())
    };
    for tier in [r#"tier="small""#, r#"tier="large""#] {
        assert_eq!(value("millstream_model_routes_total", &[tier, r#"alias="answer""#]), Some(1.0), "{metrics}");
    }
    let saved = |model: &str| value("millstream_model_cache_saved_nano_usd_total", &[model, r#"kind="route""#]);
    // 8 words asked, and 10 answered: 9 dollars less for each million.
    assert_eq!((saved(r#"model="small""#), saved(r#"model="large""#)), (Some(18.0 * 9_000.0), Some(0.0)), "{metrics}");
}

#[test]
fn what_is_no_classifier_is_explained() {
    let folder = folder();
    let config = trained(folder.path());
    let model = folder.path().join("difficulty.classifier");
    let model = model.to_str().expect("a path");
    let (ok, said) = millstream(&["classifier", "try", model, "Where is my parcel?"]);
    assert!(ok && said.starts_with("simple\n"), "{said}");
    fs::write(model, "text,label\n").expect("a file");
    for arguments in [&["classifier", "try", model, "x"][..], &["--config", &config, "serve"]] {
        let (ok, said) = millstream(arguments);
        assert!(!ok && said.contains("name a file that `millstream classifier train` wrote"), "{said}");
    }
    let labelled = folder.path().join("few.csv");
    fs::write(&labelled, "text,label\nWhere is it?,simple\n,hard\n").expect("a file");
    let (ok, said) = millstream(&["classifier", "train", labelled.to_str().expect("a path"), "--out", model]);
    assert!(!ok && said.contains("few.csv: line 3: `text` is empty"), "{said}");
    assert!(said.contains("the label simple has 1 line"), "{said}");
}
