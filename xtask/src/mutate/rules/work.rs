//! Work that takes time, fails, or is asked of programs.

use super::{Patch, patch};

pub const PATCHES: &[Patch] = &[
    // Attempts
    patch(
        "retry.rs",
        ".max(error.retry_after_ms.unwrap_or(0))",
        r#".max(error.retry_after_ms.filter(|_| !undone("who says when to come back is not asked earlier")).unwrap_or(0))"#,
    ),
    patch("retry.rs", "if policy.jitter {", r#"if policy.jitter && !undone("jitter adds to the wait") {"#),
    patch(
        "retry.rs",
        "return error.retryable;",
        r#"return error.retryable || undone("what is not retryable is not retried");"#,
    ),
    patch(
        "retry.rs",
        "*name == error.class || Some(name) == error.kind.as_ref()",
        r#"(*name == error.class && !undone("a policy names classes")) || (Some(name) == error.kind.as_ref() && !undone("a policy names kinds"))"#,
    ),
    patch(
        "retry.rs",
        "if policy.retry_on.is_empty() {",
        r#"if policy.retry_on.is_empty() || undone("a policy says what is retried") {"#,
    ),
    patch(
        "advance/retry.rs",
        "task.attempt = made;",
        r#"if !undone("a graph's attempts are counted") { task.attempt = made; }"#,
    ),
    patch(
        "advance/retry.rs",
        "if !self.path.is_empty() {",
        r#"if !self.path.is_empty() && !undone("a graph inside of a graph is found again") {"#,
    ),
    patch(
        "advance/retry.rs",
        "node.timeout_ms)",
        r#"node.timeout_ms.filter(|_| !undone("a graph's time is limited")))"#,
    ),
    patch(
        "advance/retry.rs",
        "TaskError { retryable: true,",
        r#"TaskError { retryable: !undone("a graph that took too long is retried"),"#,
    ),
    patch(
        "advance/subgraph.rs",
        "let again = task.attempt > 0;",
        r#"let again = task.attempt > 0 && !undone("a graph that is retried goes on from what it remembers");"#,
    ),
    patch(
        "advance/timers.rs",
        "            run.disarm_task(id);\n            run.arm(TimerKind::Kept",
        r#"            if !undone("a kept task has one timer") { run.disarm_task(id); }
            run.arm(TimerKind::Kept"#,
    ),
    patch(
        "advance/timers.rs",
        "run.arm(TimerKind::Kept(id), until);",
        r#"if !undone("a kept task that doesn't report is issued anew") { run.arm(TimerKind::Kept(id), until); }"#,
    ),
    patch(
        "advance/timers.rs",
        "                task.attempt = attempt;",
        r#"                if !undone("a task given back counts its attempts") { task.attempt = attempt; }"#,
    ),
    patch(
        "advance/timers.rs",
        "if not_before <= at {",
        r#"if not_before <= at || undone("a task given back waits until its time") {"#,
    ),
    patch(
        "advance/timers.rs",
        "task.stand == Stand::Open && task.issue == issue)",
        r#"(task.stand == Stand::Open || undone("what was given back is not given back again")) && (task.issue == issue || undone("only the open issue is kept or given back")))"#,
    ),
    patch(
        "advance/timers.rs",
        "turn.run.spend(calls);",
        r#"if !undone("calls of a task given back are paid for") { turn.run.spend(calls); }"#,
    ),
    patch(
        "advance/timers.rs",
        "return self.end_waiting(place, Ending::timeout());",
        r#"if !undone("a run that waits has a deadline") { self.end_waiting(place, Ending::timeout()); }
            return;"#,
    ),
    patch(
        "advance/timers.rs",
        "TimerKind::Deadline => self.end(Ending::timeout()),",
        r#"TimerKind::Deadline if undone("a run has a deadline") => {}
            TimerKind::Deadline => self.end(Ending::timeout()),"#,
    ),
    patch(
        "state.rs",
        "self.timers.retain(|armed| armed.timer != *timer);",
        r#"self.timers.retain(|armed| if undone("a timer that was set anew doesn't fire") { armed.timer.kind != timer.kind } else { armed.timer != *timer });"#,
    ),
    // Failures
    patch(
        "advance/handle.rs",
        ".max(issued_before);",
        r#".max(if undone("a handler is issued under no number of before") { 0 } else { issued_before });"#,
    ),
    patch(
        "graph_loop.rs",
        "task.issue = task.issue.max(issue));",
        r#"task.issue = if undone("a step that runs again knows its handlers' issues") { task.issue } else { task.issue.max(issue) });"#,
    ),
    patch(
        "apply.rs",
        "let first = order.find_map(",
        r#"let first = order.filter(|_| !undone("what was written first says why it is refused")).find_map("#,
    ),
    patch(
        "advance/finish.rs",
        "            if let Some(error) = &result.branch_error {",
        r#"            if let Some(error) = result.branch_error.as_ref().filter(|_| !undone("a condition that fails ends the run")) {"#,
    ),
    // Programs, and reducers of a graph's own
    patch(
        "channel.rs",
        "for right in values {\n            let next = match own {",
        r#"for right in if undone("an own reducer joins writes in their order") { values.into_iter().rev().collect::<Vec<_>>() } else { values } {
            let next = match own {"#,
    ),
    patch(
        "channel.rs",
        "Some(_) => Err(UpdateError::invalid(\"Can receive only one Overwrite value per super-step.\")),\n                None =>",
        r#"Some(_) if !undone("an own reducer takes one overwrite a step") => Err(UpdateError::invalid("Can receive only one Overwrite value per super-step.")),
                Some(_) | None =>"#,
    ),
    patch(
        "channel.rs",
        "(None, [only]) => Joining::Replaced((*only).clone()),",
        r#"(None, [_]) if undone("an own reducer takes its first write raw") => Joining::Nothing,
            (None, [only]) => Joining::Replaced((*only).clone()),"#,
    ),
    patch(
        "reducers.rs",
        "self.0.extend(others.0);",
        r#"if !undone("reducers of several crates come together") { self.0.extend(others.0); }"#,
    ),
    patch(
        "reducers.rs",
        "self.0.get(name).cloned().unwrap_or_else(missing)",
        r#"self.0.get(name).filter(|_| !undone("a binary's reducer is found by its name")).cloned().unwrap_or_else(missing)"#,
    ),
    patch(
        "reducers.rs",
        "let joined = catch_unwind(AssertUnwindSafe(|| (self.join)(left, right)));",
        r#"if undone("a reducer that panics fails its run alone") { return (self.join)(left, right); }
        let joined = catch_unwind(AssertUnwindSafe(|| (self.join)(left, right)));"#,
    ),
    patch(
        "apply.rs",
        "reduced.contains_key(name) || !asked(name, writes)",
        r#"reduced.contains_key(name) || (undone("what no program joined is shown as it was") && !matches!(writes, [])) || !asked(name, writes)"#,
    ),
    patch(
        "advance/reduction.rs",
        "wanted.retain(|reduction| !at.reduced.contains_key(&reduction.channel));",
        r#"wanted.retain(|reduction| undone("a program joins a step's writes once") || !at.reduced.contains_key(&reduction.channel));"#,
    ),
    patch(
        "advance/reduction.rs",
        "&& !at.is_stopping()",
        r#"&& (undone("a program that can't join beside a failure is not one") || !at.is_stopping())"#,
    ),
    // Edits
    patch(
        "advance/edit/asked.rs",
        "self.state.remember(envelope.run_id);",
        r#"if !undone("an edit that asked is never made twice") { self.state.remember(envelope.run_id); }"#,
    ),
    patch(
        "advance/edit/asked.rs",
        "if not_before > at {",
        r#"if not_before > at && !undone("an edit's task given back waits until its time") {"#,
    ),
    patch(
        "advance/edit/place.rs",
        "edit.checkpoint_id.filter(|id| *id != at.head.id)",
        r#"edit.checkpoint_id.filter(|id| *id != at.head.id && !undone("a subgraph is edited where it stands"))"#,
    ),
    patch(
        "advance/edit/place.rs",
        "true => part.split(':').next().unwrap_or_default().to_owned(),",
        r#"true if !undone("a memory is known by names and by tasks") => part.split(':').next().unwrap_or_default().to_owned(),
                true => (*part).to_owned(),"#,
    ),
    patch(
        "advance/edit.rs",
        "let before = match from.is_root() {",
        r#"let before = match from.is_root() && !undone("an edit leaves the one before behind") {"#,
    ),
];
