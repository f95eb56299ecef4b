//! `millstream chat`: a conversation on the terminal, over the same stream that every client gets.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::Server;
use crate::cli::ChatArgs;

pub async fn chat(args: ChatArgs) -> anyhow::Result<()> {
    let server = Server::new(args.target);
    let mut thread = args.thread;
    if !args.message.is_empty() {
        say(&server, &args.path, &args.message.join(" "), &mut thread).await?;
        return Ok(());
    }
    let person = std::io::stdin().is_terminal();
    loop {
        if person {
            print!("> ");
            std::io::stdout().flush()?;
        }
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        let message = line.trim();
        if !message.is_empty() {
            say(&server, &args.path, message, &mut thread).await?;
        }
    }
}

/// Sends a message, prints the answer as it comes, and keeps the thread for the next one.
async fn say(server: &Server, path: &str, message: &str, thread: &mut Option<String>) -> anyhow::Result<()> {
    let mut body = json!({"message": message, "stream": true});
    if let Some(thread) = thread {
        body["thread_id"] = json!(thread);
    }
    let Some(response) = server.send(server.post(path).json(&body)).await? else {
        bail!("no graph is bound to {path}; name another path with --path");
    };
    let mut events = response.bytes_stream().eventsource();
    let mut printed = false;
    while let Some(event) = events.next().await {
        let event = event.context("the stream broke off; the run goes on, see `millstream runs list`")?;
        if event.data == "[DONE]" {
            println!();
            return Ok(());
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        match event.event.as_str() {
            "metadata" => *thread = data["thread_id"].as_str().map(str::to_owned).or_else(|| thread.take()),
            "token" => {
                print!("{}", data["text"].as_str().unwrap_or_default());
                std::io::stdout().flush()?;
                printed = true;
            }
            "attempt_reset" if printed => println!("\n(again)"),
            "final" if !printed => print!("{}", data["message"]["content"].as_str().unwrap_or_default()),
            "error" => eprintln!("\nerror: {}", data["error"]["message"].as_str().unwrap_or("the run failed")),
            _ => {}
        }
    }
    bail!("the stream ended without its last event; the run goes on, see `millstream runs list`")
}
