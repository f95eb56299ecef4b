//! What an expression reads, found in its tree: names bound by a comprehension are its own.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};

/// Names that CEL gives to its types: `type(x) == int`.
const TYPE_NAMES: [&str; 11] =
    ["bool", "bytes", "double", "dyn", "google", "int", "list", "map", "null_type", "string", "uint"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// `x` of each `state.x`.
    pub channels: BTreeSet<String>,
    /// `state` as a whole, or a channel whose name is computed.
    pub whole_state: bool,
    pub answer: bool,
    pub out: bool,
    pub context: bool,
    /// Every other name: the item of an `each`, `left`, `right`.
    pub names: BTreeSet<String>,
}

impl References {
    pub fn reads_state(&self) -> bool {
        self.whole_state || !self.channels.is_empty()
    }

    pub fn merge(&mut self, other: &References) {
        let References { channels, whole_state, answer, out, context, names } = other;
        self.channels.extend(channels.iter().cloned());
        self.names.extend(names.iter().cloned());
        self.whole_state |= whole_state;
        self.answer |= answer;
        self.out |= out;
        self.context |= context;
    }

    pub(super) fn of(tree: &IdedExpr) -> References {
        let mut found = References::default();
        found.visit(tree, &mut Vec::new());
        found
    }

    fn visit<'e>(&mut self, node: &'e IdedExpr, bound: &mut Vec<&'e str>) {
        if !bound.contains(&"state")
            && let Some(channel) = channel_of(node)
        {
            self.channels.insert(channel.to_owned());
            return;
        }
        match &node.expr {
            Expr::Ident(name) => self.name(name.trim_start_matches('.'), bound),
            Expr::Comprehension(loops) => {
                self.visit(&loops.iter_range, bound);
                self.visit(&loops.accu_init, bound);
                let outer = bound.len();
                bound.push(&loops.accu_var);
                bound.push(&loops.iter_var);
                bound.extend(loops.iter_var2.as_deref());
                for part in [&loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.visit(part, bound);
                }
                bound.truncate(outer);
            }
            other => each_part(other, &mut |part| self.visit(part, bound)),
        }
    }

    fn name(&mut self, name: &str, bound: &[&str]) {
        if bound.contains(&name) || name.starts_with('@') {
            return;
        }
        match name {
            "state" => self.whole_state = true,
            "answer" => self.answer = true,
            "out" => self.out = true,
            "context" => self.context = true,
            name if TYPE_NAMES.contains(&name) => {}
            name => {
                self.names.insert(name.to_owned());
            }
        }
    }
}

/// `x` where the node is `state.x`, `has(state.x)` or `state["x"]`.
pub(crate) fn channel_of(node: &IdedExpr) -> Option<&str> {
    let is_state = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if name == "state");
    match &node.expr {
        Expr::Select(select) if is_state(&select.operand) => Some(&select.field),
        Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 && is_state(&call.args[0]) => {
            match &call.args[1].expr {
                Expr::Literal(LiteralValue::String(name)) => Some(name.inner()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The direct parts of any node that binds no names.
pub(crate) fn each_part<'e>(node: &'e Expr, visit: &mut dyn FnMut(&'e IdedExpr)) {
    match node {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).for_each(visit),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Select(select) => visit(&select.operand),
        Expr::Map(map) => map.entries.iter().for_each(|entry| entry_parts(&entry.expr, visit)),
        Expr::Struct(value) => value.entries.iter().for_each(|entry| entry_parts(&entry.expr, visit)),
        Expr::Comprehension(loops) => {
            for part in [&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                visit(part);
            }
        }
    }
}

fn entry_parts<'e>(entry: &'e EntryExpr, visit: &mut dyn FnMut(&'e IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value),
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key);
            visit(&entry.value);
        }
    }
}

/// Every identifier, those that a comprehension binds too.
pub(super) fn each_name(node: &IdedExpr, visit: &mut dyn FnMut(u64, &str)) {
    if let Expr::Ident(name) = &node.expr {
        visit(node.id, name);
    }
    each_part(&node.expr, &mut |part| each_name(part, visit));
}
