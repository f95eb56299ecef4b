//! The JSON Schema of a graph file, for editors: it completes and explains the whole language, also what this version
//! doesn't run yet. What needs more than shape (names, types, ways through the graph) is `graph check`'s.

use serde_json::{Map, Value, json};

use super::{channels::REDUCERS, nodes::NOT_OF_GRAPHS, schema::TYPES};

/// Its name where it is served, under /schemas.
const ID: &str = "graph.v1.schema.json";

/// Draft 7, because that is what YAML editors speak.
pub fn graph_file_schema() -> Value {
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": ID,
        "title": "Millstream graph, version 1",
        "type": "object",
        "required": ["version", "name", "nodes", "edges"],
        "additionalProperties": false,
        "properties": {
            "version": described("The version of this language, not of your graph.", json!({"const": 1})),
            "name": described("The graph's name: part of its address.", json!({
                "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^|:/?#%\\\\\\s]+$",
            })),
            "tools": described("Tools that models may call (not built yet).", json!({
                "type": "object", "additionalProperties": reference("tool"),
            })),
            "serve": reference("serve"),
            "limits": reference("limits"),
            "on_disconnect": described("When a client goes away before its run's end: the run is carried out, or cancelled.", json!({"enum": ["continue", "cancel"]})),
            "on_end": described("A graph or webhook that runs after a run (not built yet).", json!({"type": "object"})),
            "migrate": described("How a thread's state becomes this version's (not built yet).", cel_map()),
        },
        "definitions": definitions(),
    });
    if let (Value::Object(file), Value::Object(every)) = (&mut schema["properties"], graph_properties()) {
        file.extend(every);
    }
    schema
}

/// What every graph says, in a file or in a node.
fn graph_properties() -> Value {
    json!({
        "description": described("What the graph is for.", text()),
        "state": described("Channels: what a run knows, and how writes of one step are joined.", json!({
            "type": "object", "additionalProperties": reference("channel"),
        })),
        "input": described("Channels that a request may write; all unless told.", texts()),
        "output": described("Channels that a run answers with; all unless told.", texts()),
        "context": described("Read-only values of one run.", properties()),
        "models": described("Aliases: which model of which provider a name stands for.", json!({
            "type": "object", "additionalProperties": reference("model_alias"),
        })),
        "nodes": described("The steps, by name.", json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^(?!START$|END$|__)[^|:&,]+$"},
            "additionalProperties": reference("node"),
        })),
        "edges": described("What runs after what.", json!({"type": "array", "items": reference("edge")})),
        "interrupt_before": described("Stop before these nodes, until the run is gone on with; \"*\" is every node.", texts()),
        "interrupt_after": described("Stop after these nodes, until the run is gone on with; \"*\" is every node.", texts()),
    })
}

/// A graph that stands in a node.
fn inner_graph() -> Value {
    let mut properties = json!({
        "version": {"const": 1},
        "name": described("The last part of its name; the node's unless told.", text()),
    });
    if let (Value::Object(own), Value::Object(every)) = (&mut properties, graph_properties()) {
        own.extend(every);
    }
    object(&["nodes", "edges"], properties)
}

fn definitions() -> Value {
    json!({
        "cel": described("A CEL expression over state, context and, in `update`, answer or out.", json!({
            "type": ["string", "number", "boolean"],
        })),
        "jinja": described("A Jinja template over the channels, state and context.", text()),
        "duration": described("A number and a unit: 500ms, 30s, 10m, 2h, 1d.", json!({
            "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h|d)$",
        })),
        "type": {"enum": TYPES},
        "schema": described("A JSON Schema, or the name of a type.", json!({
            "anyOf": [reference("type"), {"type": ["object", "boolean", "null"]}],
        })),
        "channel": channel(),
        "model_alias": {
            "type": "object",
            "anyOf": [{"required": ["use"]}, {"required": ["route"]}],
            "additionalProperties": false,
            "properties": {
                "use": described("provider/model", reference("model_target")),
                "fallback": described("Models that are asked when the first one fails.", json!({
                    "type": "array", "items": reference("model_target"),
                })),
                "route": described("Other aliases, one of which each call asks: the first step that says one counts.", route()),
            },
        },
        "model_target": {"type": "string", "pattern": "^[^/\\s]+/\\S+$"},
        "tool": tool(),
        "node": {"anyOf": KINDS.map(|kind| reference(&format!("{kind}_node")))},
        "model_node": node("model", &["model"], model_fields()),
        "transform_node": node("transform", &["update"], json!({})),
        "call": object(&["url"], call_fields()),
        "graph": described("A graph of its own.", inner_graph()),
        "http_node": node("http", &["url"], http_fields()),
        "rust_node": node("rust", &["name"], json!({
            "name": described("The type that is registered in the binary.", text()),
            "settings": described("What the type is made with.", json!({})),
        })),
        "tools_node": node("tools", &[], json!({
            "tools": described("Those that may run; all unless told.", texts()),
            "handle_errors": described("Give a tool's error to the model.", json!({"type": "boolean"})),
        })),
        "retrieve_node": node("retrieve", &["collection", "query"], json!({
            "collection": text(),
            "query": described("What is looked for.", reference("cel")),
            "top_k": count(),
            "filters": {"type": "object"},
        })),
        "human_node": node("human", &["question"], json!({
            "question": described("What is asked.", reference("jinja")),
            "answer": described("The answer's type, or its properties.", json!({
                "anyOf": [reference("type"), properties()],
            })),
        })),
        "subgraph_node": subgraph_node(),
        "classify_node": classify_node(),
        "retry": retry(),
        "edge": edge(),
        "case": case(),
        "target": {"anyOf": [
            text(),
            reference("sends"),
            {"type": "array", "items": {"anyOf": [text(), reference("sends")]}},
        ]},
        "sends": object(&["send"], json!({"send": reference("send")})),
        "send": described("One task for each item, with its own input.", object(&["to"], json!({
            "to": text(),
            "each": reference("cel"),
            "as": described("The item's name in `with`; `item` unless told.", text()),
            "with": cel_map(),
        }))),
        "serve": described("A path of the server's that the graph is bound to.", object(&["path", "as"], json!({
            "path": {"type": "string", "pattern": "^/[^?#%{}*\\s]+$"},
            "as": described("chat; query and job are not built yet.", json!({"enum": ["chat", "query", "job"]})),
        }))),
        "limits": described("Where a run is stopped.", object(&[], json!({
            "recursion_limit": described("Steps of one run.", count()),
            "deadline": described("Time of one run; 24h unless told.", reference("duration")),
            "cost_usd": described("Dollars that the calls of one run may take.", json!({"type": "number", "minimum": 0})),
            "on_budget": described("When no budget has room for a call: the run fails, or asks and waits to be resumed.", json!({"enum": ["fail", "pause"]})),
        }))),
    })
}

fn route() -> Value {
    let labels = || described("An alias for each label.", json!({"type": "object", "additionalProperties": text()}));
    let condition = described("CEL over text, tools, messages, thread_age_seconds and context.", reference("cel"));
    let score = json!({"type": "number", "minimum": 0, "maximum": 1});
    json!({"type": "array", "minItems": 1, "items": {"anyOf": [
        object(&["if", "to"], json!({"if": condition, "to": text()})),
        object(&["classifier", "to"], json!({"classifier": text(), "min_score": score, "to": labels()})),
        object(&["model", "to"], json!({"model": described("An alias that is asked for a label.", text()), "to": labels()})),
        object(&["else"], json!({"else": text()})),
    ]}})
}

fn classify_node() -> Value {
    let rule = object(&["if", "label"], json!({"if": reference("cel"), "label": text()}));
    let mut node = node(
        "classify",
        &[],
        json!({
            "text": described("What is looked at, in CEL: what the last message says unless told.", reference("cel")),
            "rules": described("The first that holds gives the label; they see `text`.", json!({"type": "array", "items": rule})),
            "classifier": described("One of the configuration's [classifiers]: asked where no rule holds.", text()),
            "min_score": described("How sure the classifier must be.", json!({"type": "number", "minimum": 0, "maximum": 1})),
            "else": described("The label where nothing gives one.", text()),
        }),
    );
    node["anyOf"] = json!([{"required": ["rules", "else"]}, {"required": ["classifier"]}]);
    node["dependencies"] = json!({"min_score": ["classifier", "else"]});
    node
}

fn subgraph_node() -> Value {
    let mut node = node(
        "subgraph",
        &["graph"],
        json!({
            "input": described("What the graph is given, in CEL by its channels; channels of the same name unless told.", cel_map()),
            "graph": described("name@version, or a graph.", json!({
                "anyOf": [{"type": "string", "pattern": "^[^@]+@[0-9a-fA-F]{32}$"}, reference("graph")],
            })),
            "output": described("What this graph writes, in CEL over `out`; channels of the same name unless told.", cel_map()),
            "memory": described("What it remembers: none; call (where one call of it stands, the default); thread.", json!({
                "enum": ["none", "call", "thread"],
            })),
        }),
    );
    if let Value::Object(fields) = &mut node["properties"] {
        fields.retain(|name, _| !NOT_OF_GRAPHS.contains(&name.as_str()));
        let run = object(&[], json!({"run": reference("duration")}));
        fields["timeout"]["anyOf"] = json!([reference("duration"), run]);
    }
    node
}

/// Kinds of nodes.
const KINDS: [&str; 9] = ["model", "transform", "http", "rust", "tools", "retrieve", "human", "subgraph", "classify"];

fn node(kind: &str, required: &[&str], own: Value) -> Value {
    let mut fields = json!({
        "kind": {"const": kind},
        "input": described("What the node sees, in CEL by name.", cel_map()),
        "update": described("What the node writes, in CEL by channel.", cel_map()),
        "retry": reference("retry"),
        "timeout": described("When an attempt is given up.", json!({"anyOf": [
            reference("duration"),
            object(&[], json!({"run": reference("duration"), "idle": reference("duration")})),
        ]})),
        "cache": described("Take an earlier result for the same input.", json!({"anyOf": [
            {"type": "boolean"},
            object(&[], json!({
                "ttl": reference("duration"),
                "key": described("What tells two inputs apart; all of the input unless told.", json!({"anyOf": [
                    reference("cel"), object(&["http"], json!({"http": reference("call")})),
                ]})),
            })),
        ]})),
        "defer": described("Run when nothing else is left to do.", json!({"type": "boolean"})),
        "on_error": described("The node that runs when this one fails: it sees `failure`.", text()),
        "goto": described("Where to go beside the edges, in CEL: a name, {to, with}, or a list.", reference("cel")),
        "destinations": described("Where the node's own program may say to go.", texts()),
        "metadata": described("For people and dashboards.", json!({"type": "object"})),
        "concurrency": described("Tasks of this node that one worker runs at a time.", count()),
        "lane": described("Not built yet.", json!({"enum": ["interactive", "batch"]})),
    });
    if let (Value::Object(fields), Value::Object(own)) = (&mut fields, own) {
        fields.extend(own);
    }
    let required: Vec<&str> = ["kind"].iter().chain(required).copied().collect();
    object(&required, fields)
}

fn model_fields() -> Value {
    json!({
        "model": described("An alias of `models`, or of the configuration.", text()),
        "system": described("Instructions.", reference("jinja")),
        "prompt": described("One question.", reference("jinja")),
        "messages": described("A conversation, in CEL: state.messages unless told.", reference("cel")),
        "tools": described("Tools that the model may call (not built yet).", texts()),
        "answer": described("Structured output: the answer's properties.", properties()),
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "max_tokens": count(),
        "stop": texts(),
        "seed": {"type": "integer"},
    })
}

fn http_fields() -> Value {
    json!({
        "url": described("Takes the task as POST, and answers with an update. ${env.NAME} is put in by the worker.", json!({
            "type": "string", "pattern": "^(https?://|\\$\\{env\\.)\\S*$",
        })),
        "headers": headers(),
        "stream": described("The answer comes as NDJSON or SSE, tokens first.", json!({"type": "boolean"})),
    })
}

fn call_fields() -> Value {
    json!({
        "url": described("Is asked by POST. ${env.NAME} is put in by the worker.", json!({
            "type": "string", "pattern": "^(https?://|\\$\\{env\\.)\\S*$",
        })),
        "headers": headers(),
    })
}

fn headers() -> Value {
    json!({"type": "object", "additionalProperties": text()})
}

fn retry() -> Value {
    object(
        &[],
        json!({
            "max_attempts": {"type": "integer", "minimum": 1, "maximum": 100},
            "initial_interval": reference("duration"),
            "backoff_factor": {"type": "number", "minimum": 1, "maximum": 100},
            "max_interval": reference("duration"),
            "jitter": {"type": "boolean"},
            "retry_on": described("Classes or kinds of errors; every one that may pass unless told.", texts()),
        }),
    )
}

fn channel() -> Value {
    let types: Vec<&str> = TYPES.into_iter().chain(["messages"]).collect();
    json!({
        "description": "A type, or a JSON Schema with a reducer and a default.",
        "anyOf": [
            {"enum": types},
            {"type": "null"},
            {
                "type": "object",
                "properties": {
                    "type": {"anyOf": [{"enum": types}, {"type": "null"}, {"type": "array", "items": reference("type")}]},
                    "reducer": {
                        "description": "How writes of one step are joined; `last` unless told.",
                        "anyOf": [
                            {"enum": REDUCERS},
                            object(&[], json!({
                                "cel": described("Over left and right.", reference("cel")),
                                "rust": described("The name of one that the binary brings along.", text()),
                                "http": reference("call"),
                            })),
                        ],
                    },
                    "default": {"description": "The value before any write."},
                    "items": reference("schema"),
                    "properties": properties(),
                },
                "propertyNames": {"enum": super::schema::KEYWORDS.into_iter().chain(["reducer"]).collect::<Vec<_>>()},
            },
        ],
    })
}

fn tool() -> Value {
    object(
        &[],
        json!({
            "http": object(&["url"], json!({"url": text(), "method": text(), "headers": {"type": "object"}})),
            "mcp": object(&["url"], json!({"url": text(), "allow": texts()})),
            "input": properties(),
            "description": text(),
            "effects": {"enum": ["read", "write"]},
        }),
    )
}

fn edge() -> Value {
    let arrow = json!({
        "type": "string",
        "pattern": "^\\s*[^|:&,>]+(&[^|:&,>]+)*->[^|:&,>]+(,[^|:&,>]+)*$",
        "description": "a -> b, a -> b, c or a & b -> c",
    });
    let cases = json!({"type": "array", "minItems": 1, "items": reference("case")});
    let of = |form: &str, value: Value| object(&["from", form], json!({"from": text(), form: value}));
    json!({
        "anyOf": [
            arrow,
            of("when", described("The first case that holds.", cases)),
            of("every", described("Every case that holds.", json!({
                "type": "array", "minItems": 1, "items": conditional(),
            }))),
            of("send", reference("send")),
            of("decide", described("A program decides.", decide())),
        ],
    })
}

fn decide() -> Value {
    let mut fields = call_fields();
    fields["to"] = described("Where it may lead; all nodes unless told.", texts());
    object(&["url"], fields)
}

fn case() -> Value {
    json!({"anyOf": [conditional(), object(&["else"], json!({"else": reference("target")}))]})
}

fn conditional() -> Value {
    object(&["if", "to"], json!({"if": reference("cel"), "to": reference("target")}))
}

fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A reference may have no neighbours in draft 7.
fn described(description: &str, schema: Value) -> Value {
    match schema {
        Value::Object(fields) if !fields.contains_key("$ref") => {
            let mut described = Map::new();
            described.insert("description".to_owned(), json!(description));
            described.extend(fields);
            Value::Object(described)
        }
        reference => json!({"description": description, "allOf": [reference]}),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn texts() -> Value {
    json!({"type": "array", "items": text()})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 1})
}

fn cel_map() -> Value {
    json!({"type": "object", "additionalProperties": reference("cel")})
}

fn properties() -> Value {
    json!({"type": "object", "additionalProperties": reference("schema")})
}

#[cfg(test)]
mod tests;
