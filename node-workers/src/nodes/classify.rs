//! `classify`: picks a label by rules, else by a classifier: no model is asked, and nothing is spent.

use std::sync::Arc;

use async_trait::async_trait;
use graph::{expression::Expression, message, spec::ClassifyNode, task::TaskError};
use serde_json::{Value, json};

use super::{Node, NodeContext, NodeInput, NodeOutput, Stop, items, kind_of, model::MESSAGES, scope};
use crate::{classifier::Classifier, failure, models::ModelRegistry};

/// What rules see of it.
const TEXT: &str = "text";

pub struct Classify {
    text: Option<Expression>,
    rules: Vec<(Expression, String)>,
    classifier: Option<Arc<Classifier>>,
    min_score: f32,
    otherwise: Option<String>,
}

/// What gave the label.
#[derive(Clone, Copy)]
enum By {
    Rule,
    Classifier,
    Else,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            By::Rule => "rule",
            By::Classifier => "classifier",
            By::Else => "else",
        }
    }
}

impl Classify {
    pub fn new(spec: &ClassifyNode, registry: &ModelRegistry) -> Result<Self, TaskError> {
        let ClassifyNode { text, rules, classifier, min_score, otherwise } = spec;
        let compile = |text: &str| {
            Expression::compile(text)
                .map_err(|error| failure::node_failed(format!("`{text}` is no expression: {error}")))
        };
        let rules = rules.iter().map(|rule| Ok((compile(&rule.condition)?, rule.label.clone())));
        Ok(Classify {
            text: text.as_deref().map(compile).transpose()?,
            rules: rules.collect::<Result<_, TaskError>>()?,
            classifier: classifier.as_deref().map(|name| registry.classifier(name)).transpose()?,
            min_score: min_score.unwrap_or(0.0) as f32,
            otherwise: otherwise.clone(),
        })
    }

    fn text(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<String, TaskError> {
        let Some(expression) = &self.text else {
            let known = input.get(MESSAGES).or_else(|| context.task().channels.get(MESSAGES).map(|value| &**value));
            return Ok(known
                .and_then(Value::as_array)
                .and_then(|messages| messages.last())
                .map(message::text)
                .unwrap_or_default());
        };
        let items = items(&input, context);
        match expression.evaluate(&scope(context.task(), input, &items))? {
            Value::String(text) => Ok(text),
            Value::Null => Ok(String::new()),
            other => Err(failure::node_failed(format!("`text` must give a text, it gave {}", kind_of(&other)))),
        }
    }

    fn pick(&self, text: &str, rule: Option<&str>) -> Result<(String, f32, By), TaskError> {
        if let Some(label) = rule {
            return Ok((label.to_owned(), 1.0, By::Rule));
        }
        let said = self.classifier.as_deref().map(|classifier| classifier.classify(text));
        match (said, &self.otherwise) {
            (Some(said), _) if said.score >= self.min_score => Ok((said.label.to_owned(), said.score, By::Classifier)),
            (said, Some(otherwise)) => Ok((otherwise.clone(), said.map_or(1.0, |said| said.score), By::Else)),
            (_, None) => Err(failure::node_failed("no rule holds and there is nothing else: give the node `else`")),
        }
    }
}

#[async_trait]
impl Node for Classify {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let text = self.text(input, context)?;
        let seen = Value::String(text);
        let mut items = items(&input, context);
        items.push((TEXT, &seen));
        let scope = scope(context.task(), input, &items);
        let mut rule = None;
        for (condition, label) in &self.rules {
            if condition.holds(&scope)? {
                rule = Some(label.as_str());
                break;
            }
        }
        let (label, score, by) = self.pick(seen.as_str().unwrap_or_default(), rule)?;
        let answer = json!({"label": label, "score": score, "by": by.as_str()});
        Ok(NodeOutput { answer: Some(answer), ..NodeOutput::default() })
    }
}
