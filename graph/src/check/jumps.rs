//! Where nodes lead beside the edges: their `goto`, what they say of themselves in `destinations`, and their handlers.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::{Found, Subject};
use crate::{
    expression::Expression,
    file::{Code, Diagnostic},
    spec::{END, NodeKind, NodeSpec, START},
};

/// A name that a node may lead to, and its path in the file.
pub(crate) struct Jump {
    pub to: String,
    pub path: String,
}

/// Where a node's own word may lead, as far as the file tells.
pub(crate) fn jumps(node: &NodeSpec) -> Vec<Jump> {
    let named = node.destinations.iter();
    let mut jumps: Vec<Jump> =
        named.map(|to| Jump { to: to.clone(), path: format!("nodes/{}/destinations/{to}", node.name) }).collect();
    if let Some(Ok(goto)) = node.goto.as_deref().map(Expression::compile) {
        let mut names = Vec::new();
        results(goto.tree(), &mut names);
        jumps.extend(names.into_iter().map(|to| Jump { to, path: format!("nodes/{}/goto", node.name) }));
    }
    jumps
}

/// Whether a program says where the node leads, and the file doesn't tell all that it may say.
pub(super) fn is_open(node: &NodeSpec) -> bool {
    matches!(node.kind, NodeKind::Http(_) | NodeKind::Rust(_)) && node.destinations.is_empty()
}

/// Whether some nodes of the graph may lead where the file doesn't say.
pub(super) fn any_open(subject: &Subject<'_>) -> bool {
    subject.spec.nodes.iter().any(is_open)
}

/// The names that an expression may give: a text, either side of a choice, the items of a list, the `to` of a send.
fn results(node: &IdedExpr, names: &mut Vec<String>) {
    match &node.expr {
        Expr::Literal(LiteralValue::String(name)) => names.push(name.to_string()),
        Expr::List(list) => list.elements.iter().for_each(|item| results(item, names)),
        Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
            call.args.iter().skip(1).for_each(|side| results(side, names));
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                if let cel::common::ast::EntryExpr::MapEntry(entry) = &entry.expr
                    && matches!(&entry.key.expr, Expr::Literal(LiteralValue::String(key)) if key.to_string() == "to")
                {
                    results(&entry.value, names);
                }
            }
        }
        _ => {}
    }
}

pub(super) fn bad_handler(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let Some(handler) = &node.on_error else { continue };
        let (message, hint) = match handler.as_str() {
            name if name == node.name => (
                format!("node `{name}` can't handle its own failure"),
                "name another node: it is given the failure, and what this one was given".to_owned(),
            ),
            START | END => (
                format!("`{handler}` is no node, and can't handle the failure of `{}`", node.name),
                "name a node: what it writes and where it goes takes the failed node's place".to_owned(),
            ),
            _ => continue,
        };
        let place = subject.places.of(&format!("nodes/{}/on_error", node.name));
        found.push(Diagnostic::error(Code::BadHandler, place, message).hint(hint));
    }
}
