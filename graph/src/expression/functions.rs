//! The functions that expressions may call: CEL's own and three of ours.

use std::sync::Arc;

use cel::{
    Context, Env, ExecutionError,
    common::ast::{Expr, IdedExpr},
    common::types::{CelBool, CelInt, CelList, CelMap, CelNull, CelString, DYN_TYPE, INT_TYPE, LIST_TYPE, STRING_TYPE},
    common::value::{CowVal, Val},
};
use serde_json::Value;

use super::{
    cost::{self, SEARCH, WALK},
    references::each_part,
};

/// Every name that may be called, for messages and suggestions. Macros are among them.
pub const FUNCTIONS: [&str; 37] = [
    "last",
    "has_tool_calls",
    "tokens",
    "all",
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "exists",
    "existsOne",
    "exists_one",
    "filter",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "has",
    "int",
    "map",
    "matches",
    "max",
    "min",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Characters that one token stands for, on average, in English.
const CHARACTERS_A_TOKEN: usize = 4;

/// An estimate, the same everywhere and for every model: characters divided by four, rounded up.
pub fn estimated_tokens(text: &str) -> u64 {
    u64::try_from(text.chars().count().div_ceil(CHARACTERS_A_TOKEN)).unwrap_or(u64::MAX)
}

/// Whether the last message asks for tools.
pub fn has_tool_calls(messages: &Value) -> bool {
    let last = messages.as_array().and_then(|messages| messages.last());
    let calls = last.and_then(|message| message.get("tool_calls")).and_then(Value::as_array);
    calls.is_some_and(|calls| !calls.is_empty())
}

/// Runs `evaluate` in the one root context of this thread: building one costs 30 µs.
pub(super) fn with_root<R>(evaluate: impl FnOnce(&Context<'static, 'static>) -> R) -> R {
    thread_local! {
        static ROOT: Context<'static, 'static> = Context::with_env(Arc::new(environment()));
    }
    ROOT.with(evaluate)
}

/// The first call of a function that doesn't exist.
pub(super) fn first_unknown(node: &IdedExpr) -> Option<(&str, u64)> {
    if let Expr::Call(call) = &node.expr
        && call.func_name.starts_with(|first: char| first.is_alphabetic())
        && !FUNCTIONS.contains(&call.func_name.as_str())
    {
        return Some((&call.func_name, node.id));
    }
    let mut found = None;
    each_part(&node.expr, &mut |part| found = found.or_else(|| first_unknown(part)));
    found
}

fn environment() -> Env {
    let mut env = Env::stdlib();
    let ours: [(&str, &str, Vec<cel::common::types::Type>, cel::common::functions::Function); 5] = [
        ("last", "last_list", vec![LIST_TYPE], last),
        ("has_tool_calls", "has_tool_calls_list", vec![LIST_TYPE], calls_tools),
        ("tokens", "tokens_string", vec![STRING_TYPE], tokens),
        (WALK, "walk_dyn_int", vec![DYN_TYPE, INT_TYPE], cost::walk),
        (SEARCH, "search_dyn_int", vec![DYN_TYPE, INT_TYPE], cost::search),
    ];
    for (name, id, arguments, function) in ours {
        env.add_overload(name, id, arguments, function).expect("no name is declared twice");
    }
    env
}

/// The last element; null where there is none.
fn last<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = first(args)?;
    let item = list.downcast_ref::<CelList>().and_then(|list| list.inner().last());
    Ok(item.map_or_else(|| CowVal::owned(CelNull), |item| CowVal::from(item.clone())))
}

fn calls_tools<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let messages = first(args)?;
    let asks = messages
        .downcast_ref::<CelList>()
        .and_then(|messages| messages.inner().last())
        .and_then(|message| message.downcast_ref::<CelMap>())
        .and_then(|message| field(message, "tool_calls"))
        .and_then(|calls| calls.downcast_ref::<CelList>())
        .is_some_and(|calls| !calls.inner().is_empty());
    Ok(CowVal::owned(CelBool::from(asks)))
}

fn field<'m, 'v>(map: &'m CelMap<'v>, name: &str) -> Option<&'m (dyn Val + 'v)> {
    let is_named = |key: &dyn Val| key.downcast_ref::<CelString>().is_some_and(|key| key.inner() == name);
    map.inner().iter().find(|(key, _)| is_named(key.inner())).map(|(_, value)| &**value)
}

fn tokens<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = first(args)?;
    let count = text.downcast_ref::<CelString>().map_or(0, |text| estimated_tokens(text.inner()));
    Ok(CowVal::owned(CelInt::from(i64::try_from(count).unwrap_or(i64::MAX))))
}

fn first<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    args.into_iter().next().ok_or_else(ExecutionError::missing_argument_or_target)
}
