//! What runs, subgraphs and people do with a thread.

use super::{Patch, patch};

pub const PATCHES: &[Patch] = &[
    // What has finished, failed, or is given up
    patch(
        "advance/issue.rs",
        "!task.is_finished() && !task.is_handled()",
        r#"(undone("what has finished runs no more") || !task.is_finished()) && (undone("a handled failure runs no more") || !task.is_handled())"#,
    ),
    patch(
        "advance/first.rs",
        "writers.iter_mut().for_each(Writer::give_up);",
        r#"if !undone("new input gives up what had finished") { writers.iter_mut().for_each(Writer::give_up); }"#,
    ),
    patch(
        "advance/subgraph.rs",
        "now.into_iter().for_each(|now| self.put_away(now));",
        r#"now.into_iter().filter(|_| !undone("what was known before a run went back is kept")).for_each(|now| self.put_away(now));"#,
    ),
    patch(
        "twin.rs",
        "if self.twin != twin {",
        r#"if self.twin != twin && !undone("what goes on from one memory twice has ids of its own") {"#,
    ),
    patch(
        "advance/finish.rs",
        "task.stand == Stand::Open && task.issue == result.issue",
        r#"task.stand == Stand::Open && (undone("only the open issue counts") || task.issue == result.issue)"#,
    ),
    patch(
        "graph_loop.rs",
        "(None, _) | (Some(Failure::Left(_)), Failure::Error { .. }) =>",
        r#"(None, _) => progress.failure = Some(failure),
            (Some(Failure::Left(_)), Failure::Error { .. }) if undone("a failure counts before a task that left") => {}
            (Some(Failure::Error { .. }), _) if undone("the first failure ends the run") => progress.failure = Some(failure),
            (Some(Failure::Left(_)), Failure::Error { .. }) =>"#,
    ),
    patch(
        "advance/retry.rs",
        "self.run.disarm_task(id);",
        r#"if !undone("nothing of a graph that took too long is issued again") { self.run.disarm_task(id); }"#,
    ),
    patch(
        "advance/retry.rs",
        "self.draft.commands.extend(cancels(&self.run.envelope, inner.open_tasks()));",
        r#"if !undone("workers hear of a graph that took too long") { self.draft.commands.extend(cancels(&self.run.envelope, inner.open_tasks())); }"#,
    ),
    patch(
        "advance/subgraph.rs",
        "self.run.disarm_task(id);",
        r#"if !undone("a graph that ended has no timeout") { self.run.disarm_task(id); }"#,
    ),
    patch(
        "advance/handle.rs",
        ".filter(|_| task.handles.is_none())",
        r#".filter(|_| undone("a handler's failure is not handled") || task.handles.is_none()).filter(|_| !undone("a failure goes to its handler"))"#,
    ),
    patch(
        "advance/step.rs",
        "filter(|task| task.handles.is_none()).map",
        r#"filter(|task| undone("a breakpoint never names a handler") || task.handles.is_none()).map"#,
    ),
    patch(
        "retry.rs",
        "attempt >= policy.max_attempts",
        r#"(attempt >= policy.max_attempts && !undone("attempts are counted"))"#,
    ),
    patch(
        "retry.rs",
        "attempt.saturating_sub(1) as i32",
        r#"(if undone("the wait grows") { 0 } else { attempt.saturating_sub(1) as i32 })"#,
    ),
    patch(
        "retry.rs",
        "grown.min(policy.max_interval_ms as f64)",
        r#"grown.min(if undone("the wait has a bound") { f64::MAX } else { policy.max_interval_ms as f64 })"#,
    ),
    // Questions, answers, breakpoints
    patch(
        "advance/interrupt.rs",
        "answers.get(&ids::interrupt_id(&ns, task.given.len()));",
        r#"answers.get(&ids::interrupt_id(&ns, task.given.len())).filter(|_| !undone("an answer finds its question by id") && (task.given.is_empty() || !undone("later questions have ids of their own")));"#,
    ),
    patch(
        "advance/interrupt.rs",
        "next.or_else(|| answers.get(&ids::interrupt_id(&ns, 0)))",
        r#"next.or_else(|| answers.get(&ids::interrupt_id(&ns, 0)).filter(|_| !undone("the first id answers later questions") && !undone("an answer finds its question by id")))"#,
    ),
    patch(
        "advance/interrupt.rs",
        "if taken == given.len() {",
        r#"if taken == given.len() && !undone("an answer without an id is taken once") {"#,
    ),
    patch(
        "advance/interrupt.rs",
        "if anew { Vec::new() }",
        r#"if (anew && !undone("a run that goes back asks anew")) || undone("a second question keeps the first answer") { Vec::new() }"#,
    ),
    patch(
        "advance/interrupt.rs",
        "if let Some(place) = order.iter().position(asked) {",
        r#"if let Some(place) = order.iter().position(asked).filter(|_| !undone("who has asked is answered first")) {"#,
    ),
    patch(
        "advance/interrupt.rs",
        "self.run.offered_to.is_some() && !at.is_root()",
        r#"!undone("a question waits for an answer that is elsewhere") && self.run.offered_to.is_some() && !at.is_root()"#,
    ),
    patch(
        "advance/interrupt.rs",
        "!std::mem::take(&mut self.answer_is_back)",
        r#"!std::mem::take(&mut self.answer_is_back) || undone("a question that waited is answered or asked")"#,
    ),
    patch(
        "advance/retry.rs",
        "self.take_answer_back(id);",
        r#"if !undone("a graph that takes too long gives its answer back") { self.take_answer_back(id); }"#,
    ),
    patch(
        "advance/first.rs",
        "self.run.resume.clone_from(&root.resume);",
        r#"if !undone("a stale answer is found again") { self.run.resume.clone_from(&root.resume); }"#,
    ),
    patch(
        "advance/first.rs",
        "if resume.is_some() && open_questions(root) > 1 {",
        r#"if resume.is_some() && open_questions(root) > 1 && !undone("several questions need ids") {"#,
    ),
    patch(
        "advance/step.rs",
        "            self.run.resume = None;",
        r#"            if !undone("an answer goes with its step") { self.run.resume = None; }"#,
    ),
    patch(
        "advance/interrupt.rs",
        "at.head.version > at.head.passed && at.tasks",
        r#"(undone("a breakpoint before a node stops once") || at.head.version > at.head.passed) && at.tasks"#,
    ),
    patch(
        "advance/interrupt.rs",
        "at.head.version > at.head.passed && ran",
        r#"!undone("a breakpoint after a node stops") && at.head.version > at.head.passed && ran"#,
    ),
    patch(
        "advance/interrupt.rs",
        "(name == \"*\" && node != START_NODE)",
        "(name == \"*\" && (undone(\"the star spares START\") || node != START_NODE))",
    ),
    patch(
        "advance/step.rs",
        "if root.tasks.values().any(StepTask::is_finished) {",
        r#"if root.tasks.values().any(StepTask::is_finished) && !undone("a pause shows what siblings finished") {"#,
    ),
    // Subgraphs
    patch(
        "advance/subgraph.rs",
        "task.inner.take().filter(|_| self.run.rewound.is_none()),",
        r#"task.inner.take().filter(|_| !undone("a call remembers until it ends")).filter(|_| undone("going back begins a call anew") || self.run.rewound.is_none()),"#,
    ),
    patch(
        "advance/subgraph.rs",
        "self.memory(&ns).map(Box::new),",
        r#"self.memory(&ns).filter(|_| !undone("a thread's memory stays")).map(Box::new),"#,
    ),
    patch(
        "advance/subgraph.rs",
        "            Memory::None => None,",
        r#"            Memory::None => task.inner.take().filter(|_| undone("without memory a subgraph begins anew")),"#,
    ),
    patch(
        "graph_loop.rs",
        "inner.memory() == Memory::Call)",
        r#"undone("without memory a subgraph begins anew") || inner.memory() == Memory::Call)"#,
    ),
    patch(
        "advance/subgraph.rs",
        "let now = self.memories.get(ns).cloned();",
        r#"let now = self.memories.get(ns).cloned();
        if undone("memories go back with the run") { return now; }"#,
    ),
    patch(
        "advance/step.rs",
        "(progress.resuming, progress.asks_anew) = (false, false);",
        r#"if !undone("only the first step goes on in subgraphs") { (progress.resuming, progress.asks_anew) = (false, false); }"#,
    ),
    patch(
        "advance/step.rs",
        "let shown = at.head.output(graph);",
        r#"let shown = if undone("a subgraph gives its output channels") { at.head.values(graph) } else { at.head.output(graph) };"#,
    ),
    patch(
        "advance/subgraph.rs",
        "End::Left(ParentCommand { writes, goto }) => {",
        r#"End::Left(ParentCommand { writes, goto }) => {
                let writes = if undone("a command to the outer graph writes there") { Arc::default() } else { writes };
                let goto = if undone("a command to the outer graph leads there") { Vec::new() } else { goto };"#,
    ),
    // Time travel, commands, edits
    patch(
        "advance/first.rs",
        "let forks = resuming && travels && (superseded || !root.head.source.is_edited());",
        r#"let forks = !undone("going back forks") && resuming && travels && (undone("an edit that is the newest needs no fork") || superseded || !root.head.source.is_edited());"#,
    ),
    patch(
        "advance/first.rs",
        "let travels = addressed && !answers;",
        r#"let travels = addressed && (undone("an answer is for who asked") || !answers);"#,
    ),
    patch(
        "advance/first.rs",
        "root.forget_results();",
        r#"if !undone("going back runs everything again") { root.forget_results(); }"#,
    ),
    patch(
        "advance/first.rs",
        "root.head.passed = root.head.version;",
        r#"if !undone("going on passes breakpoints") { root.head.passed = root.head.version; }"#,
    ),
    patch(
        "advance/recall.rs",
        "filter(|_| edited)",
        r#"filter(|_| edited && !undone("an edited checkpoint stands for the one before"))"#,
    ),
    patch(
        "advance/first.rs",
        "Arc::make_mut(&mut stored.writes).extend(written.writes.iter().cloned());",
        r#"if undone("commands add up") { stored.writes = Arc::default(); }
    Arc::make_mut(&mut stored.writes).extend(written.writes.iter().cloned());"#,
    ),
    patch(
        "advance/first.rs",
        "progress.entry.clone_from(&entry)",
        r#"if !undone("a command's goto begins an empty thread") { progress.entry.clone_from(&entry) }"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "(first > second).then",
        r#"(undone("an ambiguous edit is refused") || first > second).then"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "(head.passed == 0 &&",
        r#"(!undone("the first edit is START's") && head.passed == 0 &&"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "Ok(Made::Next { source: Source::Fork, parent: at.head.parent })",
        r#"if undone("a copy is a fork") { Ok(Made::Next { source: Source::Update, parent }) }
                else { Ok(Made::Next { source: Source::Fork, parent: at.head.parent }) }"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "                self.finish_all(at, parent)\n",
        r#"                if undone("an edit as __end__ ends what is next") { Ok(Made::Next { source: Source::Update, parent }) }
                else { self.finish_all(at, parent) }
"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "let triggers = [Arc::from(BY_HAND)];",
        r#"let triggers: Vec<Arc<str>> = if undone("an edit drops what was pending") { Vec::new() } else { vec![Arc::from(BY_HAND)] };"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "written.push((name, finished));",
        r#"if undone("an edit decides conditions") { finished.branches.clear(); }
            written.push((name, finished));"#,
    ),
    patch(
        "advance/edit/superstep.rs",
        "writes.retain(|(name, _)| graph",
        r#"writes.retain(|(name, _)| undone("an edit as START keeps to the input schema") || graph"#,
    ),
    patch(
        "advance/begin.rs",
        "own(key) && primitive(value)",
        r#"(undone("metadata has keys of the caller's own") || own(key)) && (undone("metadata is primitive") || primitive(value))"#,
    ),
    // Runs that keep only their last checkpoint
    patch(
        "advance/step.rs",
        "&& !at.head.id.is_nil() && !passing;",
        r#"&& !at.head.id.is_nil() && (undone("what a run doesn't keep is nobody's past") || !passing);"#,
    ),
    patch(
        "advance/step.rs",
        "let parent = if passing {",
        r#"let parent = if passing && !undone("what a run doesn't keep is nobody's parent") {"#,
    ),
    patch(
        "advance/step.rs",
        "Some(stood) => before = self.as_it_stood(*stood, tasks),",
        r#"Some(stood) if !undone("what a run went on from stays as it was") => before = self.as_it_stood(*stood, tasks), Some(_) => before.tasks = tasks,"#,
    ),
    patch(
        "advance/keep.rs",
        "stood.issue_above(self.run.last_issue);",
        r#"if !undone("what stays as it was gives no issue again") { stood.issue_above(self.run.last_issue); }"#,
    ),
    patch(
        "advance/keep.rs",
        "inner.memory() == Memory::Thread || !(matches!(end, End::Done) || end.is_out_of_steps())",
        r#"(inner.memory() == Memory::Thread && !undone("a memory is kept where its subgraph ends")) || !((matches!(end, End::Done) && !undone("a subgraph that is done is not kept")) || (end.is_out_of_steps() && !undone("a subgraph out of steps is not kept")))"#,
    ),
    patch(
        "advance/keep.rs",
        "root.resume = self.run.resume.clone().or(stood.resume);",
        r#"if !undone("an answer that was taken up is not stored") { root.resume = self.run.resume.clone().or(stood.resume); }"#,
    ),
    patch(
        "advance/keep.rs",
        "if root.command != stood.command {",
        r#"if root.command != stood.command && !undone("what a command wrote is kept where the run ends") {"#,
    ),
    patch(
        "advance/end.rs",
        "self.turn(|turn, root| turn.keep_last(root));",
        r#"if !undone("the last checkpoint is kept") { self.turn(|turn, root| turn.keep_last(root)); }"#,
    ),
    patch(
        "advance/first.rs",
        "*root = *stood;",
        r#"if !undone("a command that can't be applied is not stored") { *root = *stood; }"#,
    ),
];
