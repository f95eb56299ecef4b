//! The semantic cache, as one run of a model node uses it: its vectors are calls too, where a server makes them.

use graph::{
    expression::estimated_tokens,
    task::{Usage, UsageSource},
};

use crate::{
    metrics,
    models::{
        Answer, ModelRequest, Target,
        answers::{Asking, Known},
        scripted,
        semantic::{self, Meant, Place, Semantic},
    },
    nodes::NodeContext,
};

pub struct LookedFor<'a> {
    semantic: &'a Semantic,
    context: &'a NodeContext,
    alias: &'a str,
    request: &'a ModelRequest,
    turn: String,
    /// Made once for all targets; None inside where it can't be.
    vector: Option<Option<Vec<f32>>>,
}

impl<'a> LookedFor<'a> {
    /// None where the request's last turn is never answered so.
    pub fn of(
        semantic: &'a Semantic,
        context: &'a NodeContext,
        alias: &'a str,
        request: &'a ModelRequest,
    ) -> Option<Self> {
        let turn = semantic::last_turn(request)?;
        Some(LookedFor { semantic, context, alias, request, turn, vector: None })
    }

    pub async fn at(&mut self, target: &Target) -> Option<Meant> {
        if self.vector.is_none() {
            let vectors = vectors(self.semantic, self.context, std::slice::from_ref(&self.turn)).await;
            self.vector = Some(vectors.and_then(|mut vectors| vectors.pop()));
        }
        let (envelope, task) = (self.context.envelope(), self.context.task());
        let place = Place {
            tenant: &envelope.tenant,
            graph_hash: &[&*envelope.graph.hash, task.graph.as_ref().map_or("", |graph| &*graph.hash)].join("/"),
            node: &task.node,
            alias: self.alias,
            target: &target.full_name(),
        };
        let scope = self.semantic.scope(&place, self.request);
        Some(Meant { scope, text: self.turn.clone(), vector: self.vector.clone()?? })
    }

    /// Counts whether what would have been given says what the model says.
    pub async fn compare(&self, asking: &Asking<'_>, answer: &Answer) {
        let Some(shadowed) = asking.shadowed() else { return };
        metrics::shadowed(match shadowed {
            None => "miss",
            Some(known) if self.says_the_same(known, answer).await => "same",
            Some(_) => "different",
        });
    }

    async fn says_the_same(&self, known: &Known, answer: &Answer) -> bool {
        let (given, made) = (&known.answer.text, &answer.text);
        let structured = self.request.answer.is_some();
        if structured || semantic::are_equal(given, made, structured) || !semantic::same_numbers(given, made) {
            return semantic::are_equal(given, made, structured);
        }
        let vectors = vectors(self.semantic, self.context, &[given.clone(), made.clone()]).await;
        let near = vectors.and_then(|vectors| semantic::cosine(&vectors[0], &vectors[1]));
        near.is_some_and(|near| near >= self.semantic.threshold)
    }
}

/// A server's call for them is reported and priced, by an estimate of its tokens.
async fn vectors(semantic: &Semantic, context: &NodeContext, texts: &[String]) -> Option<Vec<Vec<f32>>> {
    let (provider, model) = semantic.embedder();
    if provider == scripted::NAME {
        return semantic.vectors(texts).await.ok();
    }
    let mut call = context.calls().begin(provider, model, || texts.into());
    let input_tokens = texts.iter().map(|text| estimated_tokens(text)).sum();
    let usage = Usage { input_tokens, ..Usage::default() };
    call.used(usage, UsageSource::Estimated);
    context.took(&usage);
    let vectors = semantic.vectors(texts).await;
    call.end(vectors.as_ref().map_or_else(|cause| cause.as_str(), |_| "ok"), || serde_json::Value::Null);
    vectors.ok()
}
