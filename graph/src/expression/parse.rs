//! Text to tree. The parser and the tree that it builds are recursive, so both are bounded: the parser runs on a
//! stack of its own, and only a tree that any stack can walk leaves it.

use cel::{
    ParseErrors,
    common::ast::{Expr, IdedExpr, SourceInfo},
    parser::Parser,
};

use super::{ExpressionError, ExpressionErrorKind, bounded, references::each_part};

/// Levels of brackets and operators in one expression: what a thread of 2 MiB can evaluate in a debug build.
pub const EXPRESSION_DEPTH_MAX: usize = 36;

/// Levels of brackets that the parser itself follows.
const PARSER_DEPTH_MAX: u16 = 96;

pub(super) fn tree(text: &str) -> Result<(IdedExpr, SourceInfo), ExpressionError> {
    let (tree, source) = Parser::new()
        .max_recursion_depth(PARSER_DEPTH_MAX)
        .parse_with_source_info(text)
        .map_err(|errors| syntax_error(text, errors))?;
    if depth(&tree) > EXPRESSION_DEPTH_MAX {
        return Err(too_deep());
    }
    Ok((tree, source))
}

fn too_deep() -> ExpressionError {
    ExpressionError {
        kind: ExpressionErrorKind::TooCostly,
        message: format!("the expression is nested more than {EXPRESSION_DEPTH_MAX} levels deep"),
        line: 1,
        column: 1,
    }
}

fn depth(tree: &IdedExpr) -> usize {
    /// A comprehension is evaluated through its guard and a scope of its own.
    const COMPREHENSION_LEVELS: usize = 3;
    let mut deepest = 0;
    each_part(&tree.expr, &mut |part| deepest = deepest.max(depth(part)));
    deepest + if matches!(tree.expr, Expr::Comprehension(_)) { COMPREHENSION_LEVELS } else { 1 }
}

fn syntax_error(text: &str, errors: ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        return ExpressionError {
            kind: ExpressionErrorKind::Syntax,
            message: "not an expression".to_owned(),
            line: 1,
            column: 1,
        };
    };
    if first.msg.contains("Recursion limit") {
        return too_deep();
    }
    let (line, column) = first.pos;
    let lines = text.lines().count().max(1);
    ExpressionError {
        kind: ExpressionErrorKind::Syntax,
        message: readable(&first.msg),
        line: usize::try_from(line).unwrap_or(1).clamp(1, lines),
        column: usize::try_from(column).unwrap_or(1).max(1),
    }
}

/// The parser's sentence, without its list of all that could have stood there.
fn readable(message: &str) -> String {
    const END: &str = "'<EOF>'";
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting").next().unwrap_or(message).trim();
    let said = |start: &str| message.strip_prefix(start).map(|rest| rest.trim_matches('\'').trim());
    let readable = if message.ends_with(END) {
        "it ends too early".to_owned()
    } else if let Some(odd) = said("token recognition error at: ") {
        format!("`{odd}` means nothing here")
    } else if let Some(odd) = said("mismatched input ").or_else(|| said("extraneous input ")) {
        format!("`{odd}` can't stand here")
    } else if let Some(odd) = said("no viable alternative at input ") {
        format!("`{odd}` makes no sense")
    } else {
        message.replace('\n', " ")
    };
    bounded(readable)
}

/// Line and column, from 1, of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
