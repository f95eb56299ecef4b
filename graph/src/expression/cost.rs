//! Bounds what an expression may cost. The list of every comprehension is wrapped in a guard, which multiplies its
//! length with those of the comprehensions around it before the first step is taken.

use std::cell::Cell;

use cel::{
    ExecutionError,
    common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators},
    common::types::{CelInt, CelList, CelMap, CelMapKey, CelString},
    common::value::{CowVal, Val},
};

use super::{COMPREHENSION_STEPS_MAX, references::each_part};

/// The guard of a comprehension's list; a map becomes the list of its keys in order.
pub(super) const WALK: &str = "@walk";
/// The guard of the list that `in` searches.
pub(super) const SEARCH: &str = "@search";

/// A comprehension, one inside it, and an `in` inside that.
const LEVELS: usize = 3;

thread_local! {
    /// Lengths of the lists that are being walked, by level.
    static LENGTHS: Cell<[u64; LEVELS]> = const { Cell::new([1; LEVELS]) };
    static EXCEEDED: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn begin() {
    LENGTHS.set([1; LEVELS]);
    EXCEEDED.set(false);
}

/// Whether a guard said no: CEL's `||` and `exists` would hide the error.
pub(super) fn exceeded() -> bool {
    EXCEEDED.get()
}

/// The first comprehension that stands inside two others.
pub(super) fn too_deep(tree: &IdedExpr) -> Option<u64> {
    deeper_than(tree, 0)
}

fn deeper_than(node: &IdedExpr, level: usize) -> Option<u64> {
    let mut found = None;
    match &node.expr {
        Expr::Comprehension(_) if level > 1 => return Some(node.id),
        Expr::Comprehension(loops) => {
            for (part, level) in [
                (&loops.iter_range, level),
                (&loops.accu_init, level),
                (&loops.loop_cond, level + 1),
                (&loops.loop_step, level + 1),
                (&loops.result, level),
            ] {
                found = found.or_else(|| deeper_than(part, level));
            }
        }
        other => each_part(other, &mut |part| found = found.or_else(|| deeper_than(part, level))),
    }
    found
}

/// The tree with a guard around every list that is walked.
pub(super) fn guarded(mut tree: IdedExpr) -> IdedExpr {
    guard(&mut tree, 0);
    tree
}

fn guard(node: &mut IdedExpr, level: usize) {
    match &mut node.expr {
        Expr::Comprehension(loops) => {
            guard(&mut loops.iter_range, level);
            guard(&mut loops.accu_init, level);
            guard(&mut loops.loop_cond, level + 1);
            guard(&mut loops.loop_step, level + 1);
            guard(&mut loops.result, level);
            wrap(&mut loops.iter_range, WALK, level);
        }
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| guard(target, level));
            call.args.iter_mut().for_each(|arg| guard(arg, level));
            if call.func_name == operators::IN
                && let [_, list] = call.args.as_mut_slice()
                && !matches!(list.expr, Expr::List(_))
            {
                wrap(list, SEARCH, level);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(|element| guard(element, level)),
        Expr::Select(select) => guard(&mut select.operand, level),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| guard_entry(&mut entry.expr, level)),
        Expr::Struct(value) => value.entries.iter_mut().for_each(|entry| guard_entry(&mut entry.expr, level)),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn guard_entry(entry: &mut EntryExpr, level: usize) {
    match entry {
        EntryExpr::StructField(field) => guard(&mut field.value, level),
        EntryExpr::MapEntry(entry) => {
            guard(&mut entry.key, level);
            guard(&mut entry.value, level);
        }
    }
}

fn wrap(list: &mut IdedExpr, guard: &str, level: usize) {
    let inner = std::mem::take(list);
    let level = i64::try_from(level).unwrap_or(i64::MAX);
    let level = IdedExpr { id: inner.id, expr: Expr::Literal(LiteralValue::Int(CelInt::from(level))) };
    *list = IdedExpr {
        id: inner.id,
        expr: Expr::Call(CallExpr { func_name: guard.to_owned(), target: None, args: vec![inner, level] }),
    };
}

/// `@walk(list or map, level)`.
pub(super) fn walk<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, level) = value_and_level(args)?;
    check(&*value, level)?;
    match value.downcast_ref::<CelMap>() {
        Some(map) => {
            let mut keys: Vec<String> = map.inner().keys().map(key_text).collect();
            keys.sort_unstable();
            let keys: Vec<Box<dyn Val + 'v>> =
                keys.into_iter().map(|key| Box::new(CelString::from(key)) as Box<dyn Val + 'v>).collect();
            Ok(CowVal::owned(CelList::from(keys)))
        }
        None => Ok(value),
    }
}

/// `@search(list or map, level)`: a map is not walked.
pub(super) fn search<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, level) = value_and_level(args)?;
    if value.downcast_ref::<CelList>().is_some() {
        check(&*value, level)?;
    }
    Ok(value)
}

pub(super) fn key_text(key: &CelMapKey<'_>) -> String {
    let key = key.inner();
    match key.downcast_ref::<CelString>() {
        Some(text) => text.inner().to_owned(),
        None => super::json::from_cel(key).map(|value| value.to_string()).unwrap_or_default(),
    }
}

fn value_and_level<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<(CowVal<'b, 'v>, usize), ExecutionError> {
    let mut args = args.into_iter();
    let (Some(value), Some(level)) = (args.next(), args.next()) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let level = level.downcast_ref::<CelInt>().map_or(0, |level| *level.inner());
    Ok((value, usize::try_from(level).unwrap_or(0).min(LEVELS - 1)))
}

fn check(value: &dyn Val, level: usize) -> Result<(), ExecutionError> {
    let length = match (value.downcast_ref::<CelList>(), value.downcast_ref::<CelMap>()) {
        (Some(list), _) => list.inner().len(),
        (_, Some(map)) => map.inner().len(),
        _ => return Ok(()),
    };
    let mut lengths = LENGTHS.get();
    lengths[level] = u64::try_from(length).unwrap_or(u64::MAX);
    LENGTHS.set(lengths);
    let steps = lengths[..=level].iter().fold(1u64, |product, length| product.saturating_mul(*length));
    if steps > COMPREHENSION_STEPS_MAX {
        EXCEEDED.set(true);
        return Err(ExecutionError::function_error(WALK, "too costly"));
    }
    Ok(())
}
