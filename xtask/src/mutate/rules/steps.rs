//! What happens to channels and tasks in a superstep.

use super::{Patch, patch};

pub const PATCHES: &[Patch] = &[
    // Reducers
    patch(
        "channel.rs",
        "items.extend(list.as_array().into_iter().flatten().cloned());",
        r#"if undone("append keeps what was there") { items.clear(); }
                    items.extend(list.as_array().into_iter().flatten().cloned());"#,
    ),
    patch(
        "channel.rs",
        "fields.insert(key.clone(), value.clone());",
        r#"if undone("merge takes the later value") {
                            fields.entry(key.clone()).or_insert(value.clone());
                        } else {
                            fields.insert(key.clone(), value.clone());
                        }"#,
    ),
    patch("reduce.rs", "Number::from_i128(a + b)", r#"Number::from_i128(if undone("sum adds") { b } else { a + b })"#),
    patch(
        "reduce.rs",
        "== Ordering::Less { right }",
        r#"== (if undone("max takes the greater") { Ordering::Greater } else { Ordering::Less }) { right }"#,
    ),
    patch(
        "reduce.rs",
        "== Ordering::Greater { right }",
        r#"== (if undone("min takes the smaller") { Ordering::Less } else { Ordering::Greater }) { right }"#,
    ),
    patch(
        "message.rs",
        "self.slots[place] = Slot::New(message);",
        r#"if !undone("a message of the same id takes the place") { self.slots[place] = Slot::New(message); }"#,
    ),
    patch(
        "message.rs",
        "removed.insert(id);",
        r#"if !undone("a removal takes its message away") { removed.insert(id); }"#,
    ),
    patch(
        "message.rs",
        "removed.remove(&id);",
        r#"if !undone("a message after its removal stays") { removed.remove(&id); }"#,
    ),
    patch(
        "message.rs",
        "rposition(|named| named.removes",
        r#"rposition(|named| !undone("remove-all empties the list") && named.removes"#,
    ),
    patch(
        "message.rs",
        "return Err(UpdateError::value(message));",
        r#"if undone("an unknown message can't be removed") { continue; }
                    return Err(UpdateError::value(message));"#,
    ),
    patch(
        "channel.rs",
        "        1 => fields.get(\"__overwrite__\"),",
        "        1 if !undone(\"an overwrite replaces\") => fields.get(\"__overwrite__\"),",
    ),
    patch(
        "channel.rs",
        "        2 if fields.get(\"type\")",
        "        2 if !undone(\"an overwrite has a second form\") && fields.get(\"type\")",
    ),
    patch(
        "channel.rs",
        "if overwrites.next().is_some() {",
        r#"if !undone("a step has one overwrite") && overwrites.next().is_some() {"#,
    ),
    // Channels
    patch(
        "channel.rs",
        "Kind::Last => single(writes, || {",
        r#"Kind::Last if undone("a last value takes one write a step") => Ok(Some(last(writes))),
            Kind::Last => single(writes, || {"#,
    ),
    patch(
        "channel.rs",
        "Kind::Ephemeral { guard: true } => single(writes, || {",
        r#"Kind::Ephemeral { .. } if undone("an ephemeral value takes one write a step") => Ok(Some(last(writes))),
            Kind::Ephemeral { guard: true } => single(writes, || {"#,
    ),
    patch(
        "channel.rs",
        "Kind::Untracked => single(writes, || {",
        r#"Kind::Untracked if undone("an untracked value takes one write a step") => Ok(Some(last(writes))),
            Kind::Untracked => single(writes, || {"#,
    ),
    patch(
        "channel.rs",
        "Kind::Any | Kind::Ephemeral { .. } | Kind::Topic | Kind::Sends => true,",
        r#"Kind::Any => !undone("an any-value lives one step"),
            Kind::Ephemeral { guard: true } => !undone("an ephemeral value lives one step"),
            Kind::Topic => !undone("a topic lives one step"),
            Kind::Sends => !undone("Sends are sent once"),
            Kind::Ephemeral { guard: false } => true,"#,
    ),
    patch(
        "channel.rs",
        "Value::Array(values) => items.extend(values.iter().cloned()),",
        r#"Value::Array(values) if !undone("a topic lays lists out") => items.extend(values.iter().cloned()),"#,
    ),
    patch(
        "graph_loop.rs",
        "        self.head.drop_untracked(&graph);",
        r#"        if !undone("an untracked value is never stored") { self.head.drop_untracked(&graph); }"#,
    ),
    patch(
        "checkpoint.rs",
        "fields.retain(|name, _| !untracked(name));",
        r#"fields.retain(|name, _| undone("an untracked value is taken out of Sends") || !untracked(name));"#,
    ),
    // Joins and deferred nodes
    patch(
        "channel.rs",
        "Content::Names(seen) if seen == names)",
        r#"Content::Names(seen) if undone("a join waits for all") || seen == names)"#,
    ),
    patch(
        "channel.rs",
        "Kind::Barrier(_) | Kind::AfterFinish | Kind::BarrierAfterFinish(_) => self.available(kind),",
        r#"Kind::Barrier(_) => !undone("a join begins anew") && self.available(kind),
            Kind::AfterFinish | Kind::BarrierAfterFinish(_) => !undone("a deferred node is taken up once") && self.available(kind),"#,
    ),
    patch(
        "channel.rs",
        "Kind::BarrierAfterFinish(names) => self.finished && self.has_all(names),",
        r#"Kind::BarrierAfterFinish(names) => (undone("a deferred join waits for the rest") || self.finished) && self.has_all(names),"#,
    ),
    patch(
        "channel.rs",
        "Kind::AfterFinish => self.finished && !self.content.is_empty(),",
        r#"Kind::AfterFinish => (undone("a deferred node waits for the rest") || self.finished) && !self.content.is_empty(),"#,
    ),
    patch(
        "apply.rs",
        "if !commit.triggered {",
        r#"if undone("deferred nodes run when nothing else can") || !commit.triggered {"#,
    ),
    // The order and the reach of writes
    patch(
        "apply.rs",
        "tasks.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));",
        r#"if !undone("writes count in the order of task paths") { tasks.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order())); }"#,
    ),
    patch(
        "step_task.rs",
        "TaskPath::Pull => (0, self.handles.as_ref().map_or(&*self.node, |handled| &handled.node)),",
        r#"TaskPath::Pull => (
                if undone("pulled tasks count before Sends") { u32::MAX } else { 0 },
                self.handles.as_ref().filter(|_| !undone("a handler counts where the failed task stood")).map_or(&*self.node, |handled| &handled.node),
            ),"#,
    ),
    patch(
        "apply.rs",
        "    commit.see(writers);",
        r#"    if !undone("a task has seen its triggers") { commit.see(writers); }"#,
    ),
    patch(
        "apply.rs",
        "    commit.consume(writers);",
        r#"    if !undone("a task consumes its triggers") { commit.consume(writers); }"#,
    ),
    patch(
        "apply.rs",
        "let bump = writers.iter()",
        r#"let bump = undone("commands and input clear nothing") || writers.iter()"#,
    ),
    patch(
        "apply.rs",
        "purpose == Purpose::Step && updated.contains(&place)",
        r#"(undone("a pause doesn't show what lives one step") || purpose == Purpose::Step) && updated.contains(&place)"#,
    ),
    patch(
        "apply.rs",
        "if let Some(node) = writer.known {",
        r#"if let Some(node) = writer.known.filter(|_| !undone("a goto stops no edges") || finished.goto.is_empty()) {"#,
    ),
    patch(
        "apply.rs",
        "finished.goto.iter().filter_map(|to| go(graph, to))",
        r#"finished.goto.iter().filter(|_| !undone("a goto leads there")).filter_map(|to| go(graph, to))"#,
    ),
    patch(
        "prepare.rs",
        "graph.has_node(&sent.node)",
        r#"(undone("a Send to nowhere is dropped") || graph.has_node(&sent.node))"#,
    ),
    patch(
        "prepare.rs",
        "TaskPath::Push { index, .. } => (0, index as usize),",
        r#"TaskPath::Push { index, .. } => (if undone("snapshots list Sends first") { 2 } else { 0 }, index as usize),"#,
    ),
    patch(
        "prepare.rs",
        "map_or(usize::MAX, |node| node.order)",
        r#"map_or(usize::MAX, |node| if undone("snapshots list nodes as registered") { 0 } else { node.order })"#,
    ),
    patch(
        "advance/begin.rs",
        ".filter(|def| def.input)",
        r#".filter(|def| undone("the input schema drops other keys") || def.input)"#,
    ),
    // The recursion limit
    patch(
        "advance/step.rs",
        "if at.head.step + 1 > stop {",
        r#"if at.head.step + 1 > stop + i64::from(undone("the recursion limit is exact")) && !(undone("a chain of k steps needs k + 1") && at.tasks.is_empty()) {"#,
    ),
    patch(
        "advance/first.rs",
        "i64::from(self.run.limit) + 1;",
        r#"i64::from(self.run.limit) + 1 + i64::from(undone("a fork's own step counts") && forks);"#,
    ),
    patch(
        "advance/subgraph.rs",
        "let stop = inner.head.step + 1 + i64::from(self.run.limit) + 1;",
        r#"let stop = if undone("a subgraph counts its own steps") {
            at.progress.as_ref().map_or(0, |progress| progress.stop)
        } else {
            inner.head.step + 1 + i64::from(self.run.limit) + 1
        };"#,
    ),
    patch(
        "advance/begin.rs",
        "0 => Err(invalid_value(\"ValueError\"",
        "0 if !undone(\"a recursion limit is at least 1\") => Err(invalid_value(\"ValueError\"",
    ),
];
