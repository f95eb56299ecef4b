//! `route` of a model's alias: which other alias a call asks.

use std::collections::BTreeMap;

use super::{
    Code, Diagnostic, Place,
    reader::{Fields, Reader},
    tree::Node,
};
use crate::spec::RouteStep;

pub(super) const FIELDS: [&str; 6] = ["if", "classifier", "min_score", "model", "to", "else"];

pub(super) fn read(reader: &mut Reader, node: &Node, what: &str, path: &str) -> Vec<RouteStep> {
    let items = reader.list(node, &format!("`route` of {what}")).unwrap_or_default();
    let mut steps = Vec::new();
    let mut read_all = true;
    for (index, item) in items.iter().enumerate() {
        let at = format!("{path}/route/{}", steps.len());
        let step = step(reader, item, &at);
        let is_last = index + 1 == items.len();
        if matches!(step, Some(RouteStep::Else { .. })) && !is_last {
            bad(reader, item.place, "what follows `else` is never asked", "put `else` last");
        }
        if let (Some(RouteStep::If { .. } | RouteStep::Classifier { .. } | RouteStep::Model { .. }), true) =
            (&step, is_last)
        {
            let hint = "end it with `{else: alias}`, for what no step before says";
            bad(reader, item.place, &format!("the route of {what} has no `else`"), hint);
        }
        read_all &= step.is_some();
        steps.extend(step);
    }
    if items.is_empty() && read_all {
        let hint = "write `[{if: CEL, to: alias}, {else: alias}]`";
        bad(reader, node.place, &format!("the route of {what} leads nowhere"), hint);
    }
    steps
}

fn step(reader: &mut Reader, node: &Node, path: &str) -> Option<RouteStep> {
    let fields = reader.fields(node, "a step of a route", &FIELDS)?;
    let form: Vec<&str> = FIELDS.into_iter().filter(|field| fields.get(field).is_some()).collect();
    match form[..] {
        ["if", "to"] => {
            let condition = fields.get("if")?;
            reader.mark(format!("{path}/if"), condition);
            let condition = reader.cel(condition, "`if` of a route")?;
            Some(RouteStep::If { condition, to: one(reader, &fields, "to", path)? })
        }
        ["classifier", "to"] | ["classifier", "min_score", "to"] => {
            let name = reader.text(fields.get("classifier")?, "`classifier` of a route")?;
            let min_score = fields.get("min_score");
            let min_score = min_score.and_then(|score| reader.number(score, "`min_score` of a route", 0.0..=1.0));
            Some(RouteStep::Classifier { name, min_score, to: by_label(reader, &fields, path)? })
        }
        ["model", "to"] => {
            let alias = one(reader, &fields, "model", path)?;
            let to = by_label(reader, &fields, path)?;
            if to.len() < 2 {
                let hint = "a model picks one of several: name two labels at least";
                bad(reader, fields.key_place("to"), "a model is asked for the one label that there is", hint);
            }
            Some(RouteStep::Model { alias, to })
        }
        ["else"] => Some(RouteStep::Else { to: one(reader, &fields, "else", path)? }),
        _ => {
            let hint = "write `{if: CEL, to: alias}`, `{classifier: name, to: {label: alias}}`, \
                        `{model: alias, to: {label: alias}}` or `{else: alias}`";
            bad(reader, node.place, "this is no step of a route", hint);
            None
        }
    }
}

fn one(reader: &mut Reader, fields: &Fields<'_>, field: &str, path: &str) -> Option<String> {
    let node = fields.get(field)?;
    reader.mark(format!("{path}/{field}"), node);
    reader.text(node, &format!("`{field}` of a route"))
}

fn by_label(reader: &mut Reader, fields: &Fields<'_>, path: &str) -> Option<BTreeMap<String, String>> {
    let mut to = BTreeMap::new();
    for (label, alias) in reader.map(fields.get("to")?, "`to` of a route that has labels")? {
        reader.mark(format!("{path}/to/{}", label.name), alias);
        to.insert(label.name.clone(), reader.text(alias, "each `to` of a route")?);
    }
    Some(to)
}

fn bad(reader: &mut Reader, place: Place, message: &str, hint: &str) {
    reader.report(Diagnostic::error(Code::BadRoute, place, message).hint(hint));
}
