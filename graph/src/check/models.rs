//! What a model node asks, and a classify node looks at.

use super::{Found, Subject};
use crate::{
    file::{Code, Diagnostic},
    spec::NodeKind,
};

pub(super) fn prompt_and_messages(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let NodeKind::Model(model) = &node.kind else { continue };
        if model.prompt.is_some() && model.messages.is_some() {
            let place = subject.places.of(&format!("nodes/{}/messages", node.name));
            let message = format!("node `{}` has both `prompt` and `messages`", node.name);
            let hint = "a prompt is one question, `messages` a conversation: keep one, and say the rest in `system`";
            found.push(Diagnostic::error(Code::PromptAndMessages, place, message).hint(hint));
        }
    }
}

pub(super) fn nothing_to_ask(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let wants = match &node.kind {
            NodeKind::Model(_) => ["prompt", "messages"],
            NodeKind::Classify(_) => ["text"; 2],
            NodeKind::Transform
            | NodeKind::Http(_)
            | NodeKind::Rust(_)
            | NodeKind::Human(_)
            | NodeKind::Subgraph(_) => continue,
        };
        let mapped = node.input.as_ref().is_some_and(|input| input.contains_key("messages"));
        let asks = wants.map(|field| subject.places.knows(&format!("nodes/{}/{field}", node.name)));
        if !asks.contains(&true) && !mapped && subject.messages_channel().is_none() {
            let place = subject.places.of(&format!("nodes/{}", node.name));
            let nothing = if wants[0] == "text" { "nothing to look at" } else { "nothing to ask the model" };
            let message = format!("node `{}` has {nothing}", node.name);
            let hint = format!("give it a `{}`, or the graph a channel `messages: {{type: messages}}`", wants[0]);
            found.push(Diagnostic::error(Code::NothingToAsk, place, message).hint(hint));
        }
    }
}
