//! JSON Schemas in a graph file, and the short form of them: property to schema, a bare name for `{type: name}`.

use serde_json::{Map, Value, json};

use super::{
    Code, Diagnostic,
    diagnostic::nearest,
    reader::{Reader, json},
    tree::{Node, Yaml},
};

pub(super) const TYPES: [&str; 7] = ["string", "integer", "number", "boolean", "array", "object", "null"];

/// The keywords of JSON Schema 2020-12 that a value's schema may have.
pub(super) const KEYWORDS: [&str; 51] = [
    "$comment",
    "$defs",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
];

const SEE: &str = "see json-schema.org for what a schema may say";

/// `{property: schema, …}`: an object of just these properties, all required. Their order is kept, because a model
/// fills them in that order.
pub(super) fn object(reader: &mut Reader, node: &Node, what: &str) -> Option<Value> {
    let fields = reader.map(node, what)?;
    let mut properties = Map::new();
    for (key, value) in fields {
        properties.insert(key.name.clone(), one(reader, value, &format!("`{}` of {what}", key.name))?);
    }
    let required: Vec<&str> = fields.iter().map(|(key, _)| key.name.as_str()).collect();
    let required = json!(required);
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    valid(reader, node, what, schema)
}

/// A schema, or a type's name.
pub(super) fn one(reader: &mut Reader, node: &Node, what: &str) -> Option<Value> {
    let schema = expand(reader, node, what)?;
    valid(reader, node, what, schema)
}

/// The schema that a mapping's fields make, without those named in `but`.
pub(super) fn rest(reader: &mut Reader, node: &Node, what: &str, but: &[&str]) -> Option<Map<String, Value>> {
    let mut schema = Map::new();
    let Yaml::Map(fields) = &node.value else { return Some(schema) };
    let mut fields: Vec<_> = fields.iter().filter(|(key, _)| !but.contains(&key.name.as_str())).collect();
    fields.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    for (key, value) in fields {
        if !KEYWORDS.contains(&key.name.as_str()) {
            let mut known = KEYWORDS.to_vec();
            known.extend(but);
            let hint = nearest(&key.name, known).map(|near| format!("did you mean `{near}`?"));
            let message = format!("`{}` is no keyword of JSON Schema, in {what}", key.name);
            let hint = hint.unwrap_or_else(|| SEE.to_owned());
            reader.report(Diagnostic::error(Code::UnknownField, key.place, message).hint(hint));
            continue;
        }
        let inside = format!("`{}` of {what}", key.name);
        let value = match key.name.as_str() {
            "type" => type_names(reader, value, what)?,
            "items" => expand(reader, value, &inside)?,
            "properties" => properties(reader, value, &inside)?,
            _ => json(value),
        };
        schema.insert(key.name.clone(), value);
    }
    Some(schema)
}

fn expand(reader: &mut Reader, node: &Node, what: &str) -> Option<Value> {
    match &node.value {
        Yaml::Map(_) => rest(reader, node, what, &[]).map(Value::Object),
        Yaml::Bool(any) => Some(Value::Bool(*any)),
        // A plain `null` is the type's name.
        Yaml::Null => Some(json!({"type": "null"})),
        _ => type_names(reader, node, what).map(|name| json!({"type": name})),
    }
}

fn properties(reader: &mut Reader, node: &Node, what: &str) -> Option<Value> {
    let fields = reader.map(node, what)?;
    let mut expanded = Map::new();
    for (key, value) in fields {
        expanded.insert(key.name.clone(), expand(reader, value, &format!("`{}` of {what}", key.name))?);
    }
    Some(Value::Object(expanded))
}

fn type_names(reader: &mut Reader, node: &Node, what: &str) -> Option<Value> {
    match &node.value {
        Yaml::Text(name) if TYPES.contains(&name.as_str()) => Some(Value::String(name.clone())),
        Yaml::Text(name) => {
            let near = match name.as_str() {
                "str" | "text" => Some("string"),
                "int" => Some("integer"),
                "float" | "double" => Some("number"),
                "bool" => Some("boolean"),
                "list" => Some("array"),
                "dict" | "map" | "json" => Some("object"),
                name => nearest(name, TYPES),
            };
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the types are {}", TYPES.join(", ")),
            };
            let message = format!("`{name}` is no type, in {what}");
            reader.report(Diagnostic::error(Code::BadSchema, node.place, message).hint(hint));
            None
        }
        Yaml::List(names) => {
            let names: Option<Vec<Value>> = names.iter().map(|name| type_names(reader, name, what)).collect();
            names.map(Value::Array)
        }
        Yaml::Null => Some(Value::String("null".to_owned())),
        _ => {
            reader.wrong_type(node, what, "a type's name or a JSON Schema");
            None
        }
    }
}

pub(super) fn valid(reader: &mut Reader, node: &Node, what: &str, schema: Value) -> Option<Value> {
    match jsonschema::validator_for(&schema) {
        Ok(_) => Some(schema),
        Err(error) => {
            let mut why = error.to_string();
            why.truncate(why.floor_char_boundary(200));
            let message = format!("{what} is no valid JSON Schema: {why}");
            reader.report(Diagnostic::error(Code::BadSchema, node.place, message).hint(SEE));
            None
        }
    }
}
