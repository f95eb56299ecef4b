//! Starting a run in each of the three modes, and the answer's shape.

use std::{borrow::Cow, collections::BTreeMap};

use axum::{Json, response::IntoResponse};
use bytes::Bytes;
use graph::{task::Usage, update::RunStatus};
use http::{StatusCode, header};
use schemas::{
    error::Code,
    openai::{Choice, Completion, Said, question},
    stream::Rendering,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    ingest::Ingest,
    layers::Asked,
    leaving::Leaving,
    refusal::{Answer, Refusal},
    streaming::Watch,
    submit::{NewRun, Prepared},
    waiting::View,
};

/// How the client hears of its run.
pub(crate) enum Reply {
    Background,
    Wait(Shape),
    Stream(Rendering),
}

/// What a run's end looks like.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// [`schemas::http::RunView`], as the sink gave it.
    Run,
    /// [`schemas::client::ChatAnswer`].
    Chat,
    /// [`schemas::openai::Completion`].
    Completion,
}

impl Ingest {
    pub(crate) async fn start(&self, asked: &Asked, new: NewRun, reply: Reply) -> Answer {
        let mut prepared = self.prepare(asked, new).await?;
        match reply {
            Reply::Background => {
                self.begin(&mut prepared).await?;
                self.check_rejected(asked, &prepared).await?;
                let accepted = Json(prepared.accepted());
                Ok((StatusCode::ACCEPTED, [(header::LOCATION, prepared.location())], accepted).into_response())
            }
            Reply::Wait(shape) => {
                let registered = self.begin_waiting(asked, &mut prepared).await?;
                let leaving =
                    prepared.is_cancelled_by_leaving(None).then(|| Leaving::new(self, asked, prepared.run_id));
                let ended = self.ended(asked, prepared.run_id, registered, self.config.wait_timeout).await;
                if let Some(leaving) = leaving {
                    leaving.stays();
                }
                let answer = ended.and_then(|view| shaped(shape, &prepared, view));
                answer.map_err(|refusal| at(refusal, &prepared))
            }
            Reply::Stream(rendering) => {
                let watch = Watch { ingest: self.clone(), asked: asked.clone(), run: prepared.run_id, rendering };
                let answer = self.begin_registered(asked, &mut prepared, &watch.path(None)).await?;
                Ok(watch.passed_on(
                    answer,
                    format!("{}/stream", prepared.location()),
                    prepared.is_cancelled_by_leaving(None),
                ))
            }
        }
    }
}

/// A wait that was given up says where the run goes on.
fn at(refusal: Refusal, prepared: &Prepared) -> Refusal {
    match refusal.code() {
        Code::WaitTimeout => refusal.run_id(prepared.run_id).location(prepared.location()),
        _ => refusal,
    }
}

fn shaped(shape: Shape, prepared: &Prepared, view: Bytes) -> Answer {
    let parsed = View::of(&view)?;
    if let Some(failure) = parsed.failure() {
        return Err(failure);
    }
    let location = [(header::CONTENT_LOCATION, prepared.location())];
    match shape {
        Shape::Run => Ok((location, [(header::CONTENT_TYPE, "application/json")], view.clone()).into_response()),
        Shape::Chat => {
            let chat = prepared.graph.chat.as_deref().unwrap_or_default();
            Ok((location, Json(Chat::of(&parsed, chat))).into_response())
        }
        Shape::Completion => {
            let chat = prepared.graph.chat.as_deref().unwrap_or_default();
            Ok((location, Json(completion(&parsed, prepared, chat))).into_response())
        }
    }
}

/// [`schemas::client::ChatAnswer`] over text that was never parsed.
#[derive(Serialize)]
struct Chat<'a> {
    run_id: &'a str,
    thread_id: Option<&'a str>,
    status: RunStatus,
    message: Option<&'a RawValue>,
    output: Option<&'a RawValue>,
    usage: Raw<'a, Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupts: Option<&'a RawValue>,
}

/// Text where the sink gave some, else the type's default.
#[derive(Serialize)]
#[serde(untagged)]
enum Raw<'a, T> {
    Given(&'a RawValue),
    Default(T),
}

impl<'a> Chat<'a> {
    fn of(view: &'a View<'a>, channel: &str) -> Self {
        Chat {
            run_id: &view.run_id,
            thread_id: view.thread_id.as_deref(),
            status: view.status,
            message: view.output.and_then(|output| last_message(output, channel)),
            output: view.output,
            usage: view.usage.map_or_else(|| Raw::Default(Usage::default()), Raw::Given),
            interrupts: view.interrupts,
        }
    }
}

/// The run's answer as OpenAI's clients read it; where the run asked, the questions stand behind it.
fn completion(view: &View<'_>, prepared: &Prepared, channel: &str) -> Completion {
    fn parsed<T: DeserializeOwned>(raw: Option<&RawValue>) -> Option<T> {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
    }
    let message: Option<Value> = parsed(view.output.and_then(|output| last_message(output, channel)));
    let (mut said, finish_reason) =
        Said::of(message.as_ref().filter(|last| last["type"] == "ai").unwrap_or(&Value::Null));
    let interrupts: Option<Vec<Value>> = parsed(view.interrupts);
    for asked in interrupts.iter().flatten() {
        let content = said.content.get_or_insert_default().get_or_insert_default();
        content.push_str(&question(&asked["value"]));
    }
    let choice = Choice { message: Some(said), finish_reason: Some(finish_reason), ..Choice::default() };
    let usage: Usage = parsed(view.usage).unwrap_or_default();
    Completion {
        choices: vec![choice],
        usage: Some(Some(usage.into())),
        interrupts: interrupts.filter(|asked| !asked.is_empty()).map(Value::Array),
        thread_id: view.thread_id.as_deref().map(str::to_owned),
        ..Completion::of(prepared.run_id, &view.graph, "chat.completion")
    }
}

/// The last message of the channel, unless it is the person's own.
fn last_message<'a>(output: &'a RawValue, channel: &str) -> Option<&'a RawValue> {
    let channels: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(output.get()).ok()?;
    let messages: Vec<&'a RawValue> = serde_json::from_str(channels.get(channel)?.get()).ok()?;
    let last = *messages.last()?;
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let kind = serde_json::from_str::<Kind>(last.get()).ok()?.kind;
    (kind != "human").then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_chat_is_the_last_that_the_graph_wrote() {
        let check = |output: &str, expect: Option<&str>| {
            let raw = serde_json::from_str::<&RawValue>(output).unwrap();
            assert_eq!(last_message(raw, "messages").map(RawValue::get), expect, "{output}");
        };
        check(r#"{"messages":[{"type":"human"},{"type":"ai","content":"x"}]}"#, Some(r#"{"type":"ai","content":"x"}"#));
        check(r#"{"messages":[{"type":"human"}]}"#, None);
        check(r#"{"messages":[]}"#, None);
        check(r#"{"topic":"x"}"#, None);
    }
}
