//! What becomes of a thread: how long it lives, what of it is forgotten, copied or undone.

use super::{Patch, patch};

pub const PATCHES: &[Patch] = &[
    // The time of a thread
    patch(
        "advance/expire.rs",
        "if envelope.thread_id.is_some() {",
        r#"if envelope.thread_id.is_some() || undone("only a thread has a time") {"#,
    ),
    patch(
        "advance/expire.rs",
        "(None, Some(ttl)) = (&self.state.expiry, ttl)",
        r#"(None, Some(ttl)) = (self.state.expiry.as_ref().filter(|_| !undone("a thread's own time counts before a request's")), ttl.filter(|_| !undone("a request times a thread that nobody has timed")))"#,
    ),
    patch(
        "advance/expire.rs",
        "armed.timer == *timer",
        r#"undone("only the timer that is armed ends a thread") || armed.timer == *timer"#,
    ),
    patch(
        "advance/expire.rs",
        "if !idle || self.at < expiry.due() {",
        r#"if (!idle && !undone("a thread at work doesn't end")) || (self.at < expiry.due() && !undone("a thread that was used since lives on")) {"#,
    ),
    patch(
        "advance/expire.rs",
        "ids::expiry_id(self.at, timer.run_id, timer.generation);",
        r#"if undone("the end of a thread has an id of its own") { timer.run_id } else { ids::expiry_id(self.at, timer.run_id, timer.generation) };"#,
    ),
    patch(
        "advance/expire.rs",
        "expiry.over = true;",
        r#"expiry.over = !undone("what a thread's time brings is done once");"#,
    ),
    patch(
        "advance/expire.rs",
        "TtlStrategy::Delete => self.delete_thread(&envelope),",
        r#"TtlStrategy::Delete if undone("a thread ends in its time") => {}
            TtlStrategy::Delete => self.delete_thread(&envelope),"#,
    ),
    patch(
        "advance/expire.rs",
        "TtlStrategy::KeepLatest if self.state.root.is_none() => {}",
        r#"TtlStrategy::KeepLatest if self.state.root.is_none() && !undone("a thread without a state is not pruned") => {}"#,
    ),
    patch(
        "advance/expire.rs",
        "TtlStrategy::KeepLatest => self.prune_thread(&envelope),",
        r#"TtlStrategy::KeepLatest if undone("a thread that keeps its latest is pruned") => self.delete_thread(&envelope),
            TtlStrategy::KeepLatest => self.prune_thread(&envelope),"#,
    ),
    patch(
        "advance/expire.rs",
        "if !was_idle || is_use(event) {",
        r#"if (!was_idle && !undone("a run uses its thread until it ends")) || (is_use(event) && !undone("a request and an edit use their thread")) {"#,
    ),
    patch(
        "advance/expire.rs",
        "(expiry.used_at, expiry.over) = (self.at, false);",
        r#"(expiry.used_at, expiry.over) = (self.at, expiry.over && undone("a pruned thread that is used is pruned again"));"#,
    ),
    patch(
        "advance/expire.rs",
        "if idle && !expiry.over",
        r#"if (idle || undone("a thread at work has no timer of its end")) && !expiry.over"#,
    ),
    patch(
        "expiry.rs",
        "metadata: BTreeMap::new(),",
        r#"metadata: if undone("what a run says of itself is not its thread's") { envelope.metadata.clone() } else { BTreeMap::new() },"#,
    ),
    patch(
        "expiry.rs",
        "before.map_or(0, |before| before.generation)",
        r#"before.filter(|_| !undone("a repeat of what times a thread has another timer")).map_or(0, |before| before.generation)"#,
    ),
    // A state that is lost
    patch(
        "advance/lost.rs",
        "if *event == Event::ThreadDeleted {",
        r#"if *event == Event::ThreadDeleted && !undone("a thread whose state is lost can be deleted") {"#,
    ),
    patch(
        "advance/lost.rs",
        "is_expiry(event) {",
        r#"is_expiry(event).filter(|_| !undone("a thread whose state is lost ends in its time")) {"#,
    ),
    patch(
        "advance/lost.rs",
        "Event::Requested(request) if !known =>",
        r#"Event::Requested(request) if !known || undone("a repeat is refused once where the state is lost") =>"#,
    ),
    patch(
        "advance/lost.rs",
        "self.end_waiting(0, Ending::error(value_missing(reason)));",
        r#"self.end_waiting(0, if undone("runs that wait on a lost state fail") { Ending::cancelled() } else { Ending::error(value_missing(reason)) });"#,
    ),
    // A history that is pruned
    patch(
        "advance/prune.rs",
        "match self.is_unrested() {",
        r#"match self.is_unrested().filter(|_| !undone("a busy thread is not pruned")) {"#,
    ),
    patch(
        "advance/prune.rs",
        "if !kept.is_empty() {",
        r#"if (!kept.is_empty() || undone("a thread without a checkpoint forgets nothing")) && !undone("who goes back behind a pruning is told of it") {"#,
    ),
    patch(
        "advance/prune.rs",
        "id <= pruned.up_to)",
        r#"undone("what was never made is not called pruned") || id <= pruned.up_to)"#,
    ),
    patch(
        "advance/prune.rs",
        ".chain(self.memories.values()) {",
        r#".chain(self.memories.values().filter(|_| !undone("what subgraphs remember is not pruned"))) {"#,
    ),
    patch(
        "advance/prune.rs",
        "filter_map(|task| task.inner.as_deref()) {",
        r#"filter_map(|task| task.inner.as_deref()).filter(|_| !undone("where subgraphs are cut off is not pruned")) {"#,
    ),
    // A copy
    patch(
        "advance/copy.rs",
        "match self.is_unrested() {",
        r#"match self.is_unrested().filter(|_| !undone("a busy thread is not copied")) {"#,
    ),
    patch(
        "advance/copy.rs",
        "chain(self.state.memories.keys().cloned()).collect();",
        r#"chain(self.state.memories.keys().filter(|_| !undone("the past of subgraphs is copied")).cloned()).collect();"#,
    ),
    patch(
        "advance/copy.rs",
        "if self.state.knows(envelope.run_id) || root.is_some()",
        r#"if (self.state.knows(envelope.run_id) && !undone("a copy begins once")) || (root.is_some() && !undone("a copy begins no thread that is there"))"#,
    ),
    patch(
        "advance/copy.rs",
        "self.state.lose(format!(",
        r#"if undone("a copy whose state is gone can't be gone on from") { return; }
                self.state.lose(format!("#,
    ),
    patch(
        "advance/copy.rs",
        "memories: self.memories.clone(),",
        r#"memories: if undone("subgraphs of a copy remember") { Default::default() } else { self.memories.clone() },"#,
    ),
    patch(
        "advance/copy.rs",
        "pruned: self.pruned,",
        r#"pruned: self.pruned.filter(|_| !undone("a copy knows what was pruned")),"#,
    ),
    patch(
        "advance/copy.rs",
        "loops.chain(copy.memories.values_mut()).for_each(|at| at.issue_above(last_issue));",
        r#"if !undone("a copy gives issues of its own") { loops.chain(copy.memories.values_mut()).for_each(|at| at.issue_above(last_issue)); }"#,
    ),
    // What is undone or deleted
    patch(
        "advance/roll_back.rs",
        "(envelope.thread_id.is_some() && !afresh)",
        r#"(envelope.thread_id.is_some() && !afresh && !undone("what a run goes on from is kept as it stood"))"#,
    ),
    patch(
        "advance/roll_back.rs",
        "self.end_waiting(0, if rollback {",
        r#"self.end_waiting(0, if rollback && !undone("runs that wait are undone for a run that rolls back") {"#,
    ),
    patch(
        "advance/roll_back.rs",
        "        loops.for_each(|at| at.issue_above(last_issue));",
        r#"        if !undone("no issue of an undone run is given again") { loops.for_each(|at| at.issue_above(last_issue)); }"#,
    ),
    patch(
        "advance/roll_back.rs",
        "past.issue_above(last_issue);",
        r#"if !undone("no issue of a run that was undone in the past is given again") { past.issue_above(last_issue); }"#,
    ),
    patch(
        "advance/roll_back.rs",
        "filter(|(_, memory)| memory.head.id > last).map",
        r#"filter(|(_, memory)| !undone("subgraphs forget what an undone run taught them") && memory.head.id > last).map"#,
    ),
    patch(
        "advance/roll_back.rs",
        "if self.state.root.is_none() {",
        r#"if self.state.root.is_none() && !undone("an undone run takes along what it said of its thread") {"#,
    ),
    patch(
        "advance/roll_back.rs",
        "expiry.envelope.run_id == envelope.run_id;",
        r#"undone("who made a thread says how long it lives") || expiry.envelope.run_id == envelope.run_id;"#,
    ),
    patch(
        "advance/roll_back.rs",
        "self.state.pruned) = (None, None);",
        r#"self.state.pruned) = (None, self.state.pruned.filter(|_| undone("a deleted thread was never pruned")));"#,
    ),
    patch(
        "advance/roll_back.rs",
        "self.state.expiry = None;",
        r#"if !undone("a deleted thread has no time") { self.state.expiry = None; }"#,
    ),
    patch(
        "advance/roll_back.rs",
        "self.state.memories.clear();\n        (self.state.lost",
        r#"if !undone("subgraphs of a deleted thread forget") { self.state.memories.clear(); }
        (self.state.lost"#,
    ),
    // Who comes when
    patch(
        "advance/begin.rs",
        "if self.state.knows(envelope.run_id) {",
        r#"if self.state.knows(envelope.run_id) && !undone("a repeated request begins nothing") {"#,
    ),
    patch(
        "advance/begin.rs",
        "if waits && self.state.waiting.len() >= WAITING_RUNS_MAX",
        r#"if waits && self.state.waiting.len() >= WAITING_RUNS_MAX && !undone("so many runs wait, and no more")"#,
    ),
    patch(
        "advance/begin.rs",
        "self.state.live.is_some() || request.after_ms.is_some();",
        r#"self.state.live.is_some() || (request.after_ms.is_some() && !undone("a delayed run waits for its time"));"#,
    ),
    patch(
        "advance/begin.rs",
        "Multitask::Reject if !idle",
        r#"Multitask::Reject if !idle && !undone("a busy thread rejects")"#,
    ),
    patch(
        "advance/begin.rs",
        "(waiting.turn(), *place)",
        r#"((!undone("who was due first comes first")).then(|| waiting.turn()), *place)"#,
    ),
    patch(
        "advance/begin.rs",
        "rfind(|waiting| waiting.is_ready())",
        r#"rfind(|waiting| undone("nobody waits behind a run whose time hasn't come") || waiting.is_ready())"#,
    ),
    patch(
        "advance/begin.rs",
        "request.keeps_last && envelope.thread_id.is_some()",
        r#"request.keeps_last && (undone("only on a thread is a last checkpoint kept") || envelope.thread_id.is_some())"#,
    ),
    patch(
        "advance/begin.rs",
        "match head.filter(|_| request.input.is_none()) {",
        r#"match head.filter(|_| undone("new input takes the current version") || request.input.is_none()).filter(|_| !undone("what goes on keeps its version")) {"#,
    ),
    patch(
        "state.rs",
        "is_none_or(|delay| delay.over)",
        r#"is_none_or(|delay| undone("a run whose time hasn't come is not ready") || delay.over)"#,
    ),
    patch(
        "state.rs",
        "if self.ended.len() >= REMEMBERED_RUNS_MAX {",
        r#"if self.ended.len() >= REMEMBERED_RUNS_MAX && !undone("so many runs are remembered, and no more") {"#,
    ),
    patch(
        "state.rs",
        "&& ended.at + REMEMBERED_MS > at",
        r#"&& (undone("runs are remembered for a time") || ended.at + REMEMBERED_MS > at)"#,
    ),
    patch("advance/end.rs", "if run.claimed {", r#"if run.claimed && !undone("a claimed run is remembered") {"#),
    patch(
        "advance/timers.rs",
        "if waiting.request.claimed {",
        r#"if waiting.request.claimed && !undone("a claimed run that waited is remembered") {"#,
    ),
];
