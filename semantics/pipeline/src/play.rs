//! One case, call by call.

use anyhow::Context;
use semantics::{
    case::Case,
    compare::{self, Called},
};
use serde_json::{Value, json};

use crate::{
    calls,
    client::{Api, Refused},
    steps::{self, Streamed},
};

/// Why the pipeline and the recording of a case differ, or nothing. `graph` is what the case's own is published as. With
/// `wait` runs are not streamed.
pub async fn check(api: &Api, case: &Case, graph: &str, wait: bool) -> Result<(), String> {
    let unheard = |error: anyhow::Error| format!("{}: no answer: {error:#}", case.id);
    api.make_thread(&case.id).await.map_err(unheard)?;
    for (place, _, expected) in case.made() {
        let place_of = |why: String| format!("{}: {why}", case.place(place));
        let called =
            make(api, case, graph, place, wait).await.map_err(|error| place_of(format!("no answer: {error:#}")))?;
        let mut expected = expected.clone();
        if wait {
            expected["steps"] = json!([]);
        }
        compare::call(&called, &expected).map_err(place_of)?;
    }
    Ok(())
}

async fn make(api: &Api, case: &Case, graph: &str, place: usize, wait: bool) -> anyhow::Result<Called> {
    let (thread, call, key) = (&case.id, &case.calls[place], format!("{}-{place}", case.id));
    let at = match call.at {
        Some(at) => {
            let history = api.history(thread).await?;
            let state = (!history.is_empty()).then(|| history[at % history.len()].clone());
            Some(state.context("a call begins at a checkpoint, and there is none")?)
        }
        None => None,
    };
    let checkpoint_id = at.as_ref().and_then(|state| state["checkpoint"]["checkpoint_id"].as_str());
    let Streamed { steps, error, odd } = if call.call == "update_state" {
        let edited = api.edit(thread, &key, &calls::edit(call, checkpoint_id)).await?;
        Streamed { error: edited.err().map(error_type), ..Streamed::default() }
    } else {
        let questions = match (&call.by_id, &at) {
            (None, _) => Vec::new(),
            (Some(_), Some(state)) => questions(state),
            (Some(_), None) => questions(&latest(api, thread).await?),
        };
        run(api, thread, &key, &calls::run(graph, call, checkpoint_id, &questions), wait).await?
    };
    anyhow::ensure!(odd.is_none(), "an event that was not asked for: {odd:?}");
    let state = calls::snapshot(&latest(api, thread).await?);
    let history = api.history(thread).await?.iter().map(calls::snapshot).collect();
    Ok(Called { error, steps, state, history })
}

async fn run(api: &Api, thread: &str, key: &str, body: &Value, wait: bool) -> anyhow::Result<Streamed> {
    let streamed = if wait {
        api.wait(thread, key, body).await?.map(|values| Streamed {
            error: values["__error__"]["error"].as_str().map(str::to_owned),
            ..Streamed::default()
        })
    } else {
        api.stream(thread, key, body).await?.map(steps::of)
    };
    let refused = |refused| Streamed { error: Some(error_type(refused)), ..Streamed::default() };
    Ok(streamed.unwrap_or_else(refused))
}

async fn latest(api: &Api, thread: &str) -> anyhow::Result<Value> {
    let state = api.state(thread).await?;
    state.map_err(|Refused { status, body }| anyhow::anyhow!("the state is refused: {status} {body}"))
}

/// The ids of the questions that a state shows.
fn questions(state: &Value) -> Vec<String> {
    let interrupts = state["interrupts"].as_array().into_iter().flatten();
    interrupts.filter_map(|interrupt| interrupt["id"].as_str().map(str::to_owned)).collect()
}

/// The type that a refusal stands for, where it is one of LangGraph's; else all that it says.
fn error_type(Refused { status, body }: Refused) -> String {
    match body["detail"].as_str() {
        Some("Ambiguous update, specify as_node") => "InvalidUpdateError".to_owned(),
        Some(_) | None => format!("{status} {body}"),
    }
}
