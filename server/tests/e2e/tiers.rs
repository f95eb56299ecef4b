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
    fs::write(&config, format!("[classifiers.difficulty]\nfile = {model:?}\n")).expect("a configuration");
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
