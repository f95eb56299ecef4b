//! A run as a tree: its steps, their tasks, and each call's prompt, answer, tokens, milliseconds and error.

use graph::{
    envelope::Millis,
    task::Call,
    update::{Ended, Happened, TaskDone},
};
use schemas::record::UpdateRecord;
use serde_json::{Value, json};

const TEXT_CHARS_MAX: usize = 400;

/// Renders the updates of one run, in order.
pub fn render(updates: &[UpdateRecord]) -> String {
    let Some(first) = updates.first() else { return "this run has no updates yet\n".to_owned() };
    let mut tree = Tree { lines: Vec::new(), began: first.update.at };
    let envelope = &first.envelope;
    tree.line(0, &format!("run {}  {} ({})", envelope.run_id, envelope.graph.name, envelope.graph.hash));
    if let Some(thread) = &envelope.thread_id {
        tree.line(1, &format!("thread {thread}"));
    }
    for record in updates {
        for happened in &record.update.happened {
            tree.happened(happened, record.update.at);
        }
    }
    tree.lines.join("\n") + "\n"
}

struct Tree {
    lines: Vec<String>,
    began: Millis,
}

impl Tree {
    fn line(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{}{text}", "  ".repeat(depth)));
    }

    fn happened(&mut self, happened: &Happened, at: Millis) {
        match happened {
            Happened::Queued(queued) => {
                let due = queued.due.map(|due| format!(", to begin after {} ms", due - self.began));
                let behind = queued.behind.map(|run| format!(" behind run {run}"));
                self.line(1, &format!("queued{}{}", behind.unwrap_or_default(), due.unwrap_or_default()));
            }
            Happened::Started(started) => {
                let input =
                    started.input.as_ref().map_or_else(String::new, |input| format!("  input {}", short(input)));
                self.line(1, &format!("started{input}"));
            }
            Happened::Continued(continued) if continued.ns.is_empty() => {
                self.line(1, &format!("goes on from checkpoint {}", continued.checkpoint_id));
            }
            Happened::Continued(_) => {}
            Happened::TaskDone(task) => self.task(task, at),
            Happened::StepDone(step) => {
                let text = format!("step {} ({})  +{} ms", step.step, step.source, at - self.began);
                self.line(1, &text);
            }
            Happened::Spent { node, calls, .. } => {
                self.line(2, &format!("{node}: a result that came too late"));
                for call in calls {
                    self.call(call);
                }
            }
            Happened::Paused(paused) if paused.breakpoint => self.line(1, "stopped at a breakpoint"),
            Happened::Kept(_) => {}
            Happened::Paused(_) => self.line(1, "waits for an answer"),
            Happened::Ended(ended) => self.ended(ended, at),
            Happened::Edited(edited) => match &edited.error {
                Some(error) => self.line(1, &format!("edit refused: {}", error.message)),
                None => self.line(1, "edited by hand"),
            },
        }
    }

    fn task(&mut self, task: &TaskDone, at: Millis) {
        let mut text = format!("{}  +{} ms", task.node, at - self.began);
        if task.attempt > 1 {
            text.push_str(&format!("  attempt {}", task.attempt));
        }
        if task.restored {
            text.push_str("  (kept from an earlier run)");
        }
        self.line(2, &text);
        for call in &task.calls {
            self.call(call);
        }
        if let Some(error) = &task.error {
            self.line(3, &format!("error {}: {}", error.class, error.message));
        } else if let Some(update) = &task.update {
            self.line(3, &format!("update {}", short(&update.into())));
        }
    }

    fn call(&mut self, call: &Call) {
        self.line(
            3,
            &format!(
                "call {}/{}  {}  {} in, {} out tokens ({})  {} ms",
                call.provider,
                call.model,
                call.outcome,
                call.usage.input_tokens,
                call.usage.output_tokens,
                source(call),
                call.duration_ms
            ),
        );
        if let Some(prompt) = &call.prompt {
            self.line(4, &format!("prompt {}", short(prompt)));
        }
        if let Some(answer) = &call.answer {
            self.line(4, &format!("answer {}", short(answer)));
        }
    }

    fn ended(&mut self, ended: &Ended, at: Millis) {
        let usage = ended.usage;
        self.line(
            1,
            &format!(
                "{}  +{} ms  {} in, {} out tokens",
                ended.status.as_str(),
                at - self.began,
                usage.input_tokens,
                usage.output_tokens
            ),
        );
        if let Some(error) = &ended.error {
            let node = error.node.as_ref().map_or_else(String::new, |node| format!(" in {node}"));
            self.line(2, &format!("error {}{node}: {}", error.code, error.message));
        }
        if let Some(output) = &ended.output {
            self.line(2, &format!("output {}", short(&json!(output))));
        }
    }
}

fn source(call: &Call) -> &'static str {
    match call.usage_source {
        graph::task::UsageSource::Reported => "reported",
        graph::task::UsageSource::Estimated => "estimated",
        graph::task::UsageSource::Missing => "not reported",
    }
}

/// A value on one line, cut where it is long.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    };
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
