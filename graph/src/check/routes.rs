//! Routes of models' aliases: where they lead.

use super::{Found, Subject, references::unknown_alias};
use crate::{
    file::{Code, Diagnostic},
    spec::RouteStep,
};

/// A route leads to models. One that leads to a route could lead in a circle.
pub(super) fn routes(subject: &Subject<'_>, found: &mut Found) {
    for (alias, model) in &subject.spec.models {
        for (index, step) in model.route.iter().enumerate() {
            let path = format!("models/{alias}/route/{index}");
            for (to, path) in leads(step, &path) {
                if subject.spec.models.get(to).is_some_and(|other| !other.route.is_empty()) {
                    let message = format!("`{to}` is a route itself");
                    let hint = "lead to aliases of models, and say all of it in one route";
                    found.push(Diagnostic::error(Code::BadRoute, subject.places.of(&path), message).hint(hint));
                } else {
                    unknown_alias(subject, to, &path, found);
                }
            }
        }
    }
}

/// The aliases that a step names, each with its path in the file.
fn leads<'s>(step: &'s RouteStep, path: &str) -> Vec<(&'s str, String)> {
    let by_label = |to: &'s std::collections::BTreeMap<String, String>| {
        to.iter().map(|(label, alias)| (alias.as_str(), format!("{path}/to/{label}"))).collect::<Vec<_>>()
    };
    match step {
        RouteStep::If { to, .. } => vec![(to, format!("{path}/to"))],
        RouteStep::Classifier { to, .. } => by_label(to),
        RouteStep::Model { alias, to } => {
            by_label(to).into_iter().chain([(alias.as_str(), format!("{path}/model"))]).collect()
        }
        RouteStep::Else { to } => vec![(to, format!("{path}/else"))],
    }
}
