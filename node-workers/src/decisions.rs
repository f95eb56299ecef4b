//! Where to go after a node: its conditional edges in the order of the graph, by CEL here or by asking a program.

use std::sync::Arc;

use graph::{
    branch::{Decision, Decisions},
    spec::HttpCall,
    task::{Destination, TaskError},
};
use schemas::node_api::AskKind;
use serde_json::{Map, Value};

use crate::{
    failure,
    nodes::{
        NodeContext, NodeOutput, Stop,
        http::{
            self,
            ask::Ask,
            service::{JSON, Services},
        },
    },
};

/// Asks in order, each program once: the first that asks or fails ends it.
pub async fn decide(
    decisions: Decisions<'_>,
    services: &Services,
    context: &NodeContext,
    extra: Option<&Map<String, Value>>,
) -> Result<Vec<Destination>, Stop> {
    let mut destinations = Vec::new();
    let run_context: &Arc<Value> = &context.task().context;
    for decision in decisions.each(run_context) {
        match decision? {
            Decision::To(mut to) => destinations.append(&mut to),
            Decision::Ask { call, to } => {
                let mut answered = ask(&decisions, services, call, context, extra).await?;
                check(&answered, to)?;
                destinations.append(&mut answered);
            }
        }
    }
    Ok(destinations)
}

async fn ask(
    decisions: &Decisions<'_>,
    services: &Services,
    call: &HttpCall,
    context: &NodeContext,
    extra: Option<&Map<String, Value>>,
) -> Result<Vec<Destination>, Stop> {
    let mut ask = Ask::new(AskKind::Decision, decisions.state(), context);
    ask.extra = extra;
    let answer = http::ask_service(services, call, &ask, JSON, context).await?;
    let NodeOutput { update, goto, to_parent, .. } = http::output(answer, context)?;
    if !update.is_null() || to_parent {
        return Err(bad("it writes; a decision answers `goto`, `interrupts` or `error`").into());
    }
    Ok(goto)
}

/// Where the file says where a decision may lead, it leads nowhere else.
fn check(answered: &[Destination], to: Option<&[String]>) -> Result<(), TaskError> {
    let Some(to) = to else { return Ok(()) };
    for destination in answered {
        let (Destination::Node(node) | Destination::Send { node, .. }) = destination;
        if !to.contains(node) {
            return Err(bad(&format!("it goes to `{node}`, and `to` names {}", to.join(", "))));
        }
    }
    Ok(())
}

fn bad(why: &str) -> TaskError {
    failure::of_kind(failure::node_failed(format!("the decision can't be followed: {why}")), "bad_answer")
}
