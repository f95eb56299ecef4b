//! A run as a tree: its steps, their tasks, and each call's prompt, answer, tokens, milliseconds and error.

use graph::{
    envelope::Millis,
    task::{Call, Usage},
    update::{Ended, Happened, TaskDone},
};
use quota::amount::shown_usd;
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
                "call {}/{}  {}  {} in, {} out tokens ({})  {}  {} ms",
                call.provider,
                call.model,
                call.outcome,
                call.usage.input_tokens,
                call.usage.output_tokens,
                source(call),
                cost(&call.usage),
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
                "{}  +{} ms  {} in, {} out tokens  {}",
                ended.status.as_str(),
                at - self.began,
                usage.input_tokens,
                usage.output_tokens,
                cost(&usage)
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

/// What is not known is never shown as nothing.
fn cost(usage: &Usage) -> String {
    let known = shown_usd(usage.cost_nano_usd);
    match (usage.cost_nano_usd, usage.calls_unpriced) {
        (_, 0) => known,
        (0, 1) => "no price".to_owned(),
        (0, calls) => format!("{calls} calls without a price"),
        (_, calls) => format!("{known} and {calls} calls without a price"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_price_is_not_shown_as_free() {
        let shown = |cost_nano_usd, calls_unpriced| cost(&Usage { cost_nano_usd, calls_unpriced, ..Usage::default() });
        assert_eq!(shown(0, 0), "$0.00");
        assert_eq!(shown(1_230_000, 0), "$0.00123");
        assert_eq!(shown(0, 1), "no price");
        assert_eq!(shown(0, 2), "2 calls without a price");
        assert_eq!(shown(1_500_000_000, 1), "$1.50 and 1 calls without a price");
    }
}
