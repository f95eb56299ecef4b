//! Channels: the reducer against the type, and the default against both.

use super::{Found, Subject};
use crate::{
    file::{Code, Diagnostic},
    spec::{ChannelSpec, Reducer},
};

pub(super) fn reducer_type(subject: &Subject<'_>, found: &mut Found) {
    for (name, channel) in &subject.spec.channels {
        let Some(declared) = declared_type(channel) else { continue };
        let (reducer, fitting): (&str, &[&str]) = match &channel.reducer {
            Reducer::Append => ("append", &["array"]),
            Reducer::Topic => ("topic", &["array"]),
            Reducer::Messages => ("messages", &["array"]),
            Reducer::Sum => ("sum", &["integer", "number"]),
            Reducer::Max => ("max", &["integer", "number", "string"]),
            Reducer::Min => ("min", &["integer", "number", "string"]),
            Reducer::Merge => ("merge", &["object"]),
            Reducer::Last | Reducer::Any | Reducer::Ephemeral | Reducer::Untracked => continue,
            Reducer::Cel(_) | Reducer::Rust(_) | Reducer::Http(_) => continue,
        };
        if !fitting.contains(&declared) {
            let place = subject.places.of(&format!("channels/{name}/reducer"));
            let message = format!("the reducer `{reducer}` can't join values of type {declared}, in channel `{name}`");
            let hint = format!("make the type {}, or take another reducer", fitting.join(" or "));
            found.push(Diagnostic::error(Code::ReducerType, place, message).hint(hint));
        }
    }
}

pub(super) fn default_type(subject: &Subject<'_>, found: &mut Found) {
    for (name, channel) in &subject.spec.channels {
        let (Some(schema), Some(default)) = (&channel.schema, &channel.default) else { continue };
        let Ok(validator) = jsonschema::validator_for(schema) else { continue };
        if !validator.is_valid(default) {
            let place = subject.places.of(&format!("channels/{name}/default"));
            let message = format!("the default of channel `{name}` is not of its type");
            let hint = match declared_type(channel) {
                Some(declared) => format!("write a value of type {declared}, or change the type"),
                None => "write a value that its schema allows".to_owned(),
            };
            found.push(Diagnostic::error(Code::DefaultType, place, message).hint(hint));
        }
    }
}

fn declared_type(channel: &ChannelSpec) -> Option<&str> {
    channel.schema.as_ref()?.get("type")?.as_str()
}
