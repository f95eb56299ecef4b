//! What models took and cost, of a real process: from a chat to the command line.

use std::{fs, process::Command, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use crate::process::{PATIENCE, dev, folder, post};

const PRICES: &str = "[prices.scripted.demo]\ninput = 1.0\noutput = 3.0\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_chat_cost_is_added_up() {
    let folder = folder();
    let config = folder.path().join("millstream.toml");
    fs::write(&config, PRICES).unwrap();
    let server = dev(folder.path(), &["--config", config.to_str().unwrap()]).await;
    let (status, answer) = post(&server, "/chat", &json!({"message": "hello"})).await;
    assert_eq!(status, 200, "{answer}");
    let [input, output, cost] =
        ["input_tokens", "output_tokens", "cost_nano_usd"].map(|name| answer["usage"][name].as_u64().unwrap_or(0));
    assert_eq!(cost, 1_000 * input + 3_000 * output, "billionths of a dollar: {answer}");

    let usage = |arguments: &'static [&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.arg("usage").args(arguments).args(["--url", &server.url("")]);
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let began = Instant::now();
    let expect = format!("chat,1,0,0,{input},{output},0,0,0,0.{cost:09}");
    while usage(&["--by", "graph", "--csv"]).lines().nth(1) != Some(expect.as_str()) {
        assert!(began.elapsed() < PATIENCE, "{expect} is not {}", usage(&["--by", "graph", "--csv"]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let table = usage(&["--by", "node,graph", "--last", "1h", "--compare"]);
    let line = table.lines().nth(1).expect("a line");
    assert!(line.starts_with("answer  chat") && line.ends_with("$0.00     new"), "{table}");
    assert_eq!(usage(&["--last", "1ms", "--json"]), "", "nothing began in the last millisecond");
}
