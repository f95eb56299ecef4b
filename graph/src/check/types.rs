//! Types of CEL expressions, as far as channels' schemas tell them. What isn't known is never wrong.

use std::collections::BTreeMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};
use serde_json::Value;

use crate::{expression::channel_of, file::nearest};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Unknown,
    Null,
    Bool,
    Int,
    Double,
    /// JSON's `number`: either of the two.
    Number,
    Text,
    List(Box<Type>),
    /// Its fields; None where it may have any.
    Map(Option<BTreeMap<String, Type>>),
}

impl Type {
    pub fn of_schema(schema: &Value) -> Type {
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return match values.iter().all(Value::is_string) {
                true => Type::Text,
                false => Type::Unknown,
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => Type::Text,
            Some("integer") => Type::Int,
            Some("number") => Type::Number,
            Some("boolean") => Type::Bool,
            Some("null") => Type::Null,
            Some("array") => Type::List(Box::new(schema.get("items").map_or(Type::Unknown, Type::of_schema))),
            Some("object") => Type::Map(closed_fields(schema)),
            _ => Type::Unknown,
        }
    }

    /// With its article, for a sentence.
    pub fn name(&self) -> &'static str {
        match self {
            Type::Unknown => "a value",
            Type::Null => "null",
            Type::Bool => "true or false",
            Type::Int => "a whole number",
            Type::Double => "a decimal number",
            Type::Number => "a number",
            Type::Text => "a text",
            Type::List(_) => "a list",
            Type::Map(_) => "an object",
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Double | Type::Number)
    }

    fn is_known(&self) -> bool {
        *self != Type::Unknown
    }

    /// Whether values of the two may be equal.
    fn meets(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Unknown | Type::Null, _) | (_, Type::Unknown | Type::Null) => true,
            (Type::List(_), Type::List(_)) | (Type::Map(_), Type::Map(_)) => true,
            (one, other) => one == other || (one.is_number() && other.is_number()),
        }
    }

    /// Whether a value of this type may be written where `wanted` is declared.
    pub fn fits(&self, wanted: &Type) -> bool {
        match (self, wanted) {
            (Type::Double, Type::Int) => false,
            (one, other) => one.meets(other),
        }
    }
}

/// Where no other fields are allowed.
fn closed_fields(schema: &Value) -> Option<BTreeMap<String, Type>> {
    let properties = schema.get("properties")?.as_object()?;
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    closed.then(|| properties.iter().map(|(name, schema)| (name.clone(), Type::of_schema(schema))).collect())
}

/// What the names of an expression stand for, and what was found wrong: node of the tree, message, hint.
pub(super) struct Inference<'t> {
    pub channels: &'t BTreeMap<String, Type>,
    pub names: BTreeMap<String, Type>,
    pub wrong: Vec<(u64, String, Option<String>)>,
}

impl Inference<'_> {
    pub fn infer(&mut self, node: &IdedExpr) -> Type {
        if !self.names.contains_key("state")
            && let Some(channel) = channel_of(node)
        {
            if matches!(&node.expr, Expr::Select(select) if select.test) {
                return Type::Bool;
            }
            return self.channels.get(channel).cloned().unwrap_or(Type::Unknown);
        }
        match &node.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.names.get(name).cloned().unwrap_or(Type::Unknown),
            Expr::Select(select) => {
                let of = self.infer(&select.operand);
                let field = self.field(node.id, &of, &select.field, select.test);
                if select.test { Type::Bool } else { field }
            }
            Expr::List(list) => {
                let types: Vec<Type> = list.elements.iter().map(|element| self.infer(element)).collect();
                let first = types.first().cloned().unwrap_or(Type::Unknown);
                let same = types.iter().all(|one| *one == first);
                Type::List(Box::new(if same { first } else { Type::Unknown }))
            }
            Expr::Map(_) | Expr::Struct(_) => {
                crate::expression::each_part(&node.expr, &mut |part| {
                    self.infer(part);
                });
                Type::Map(None)
            }
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::Call(call) => self.call(node.id, call),
            Expr::Unspecified => Type::Unknown,
        }
    }

    fn field(&mut self, id: u64, of: &Type, field: &str, test: bool) -> Type {
        match of {
            Type::Map(Some(fields)) => match fields.get(field) {
                Some(found) => found.clone(),
                None => {
                    let near = nearest(field, fields.keys().map(String::as_str));
                    let hint = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => {
                            format!("it has {}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
                        }
                    };
                    if !test {
                        self.wrong.push((id, format!("there is no field `{field}` here"), Some(hint)));
                    }
                    Type::Unknown
                }
            },
            Type::Unknown | Type::Null | Type::Map(None) => Type::Unknown,
            other => {
                let hint = "only objects have fields".to_owned();
                self.wrong.push((id, format!("{} has no field `{field}`", other.name()), Some(hint)));
                Type::Unknown
            }
        }
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Type {
        let item = match self.infer(&loops.iter_range) {
            Type::List(item) => *item,
            Type::Map(_) => Type::Text,
            Type::Unknown | Type::Null => Type::Unknown,
            other => {
                let message = format!("{} can't be walked", other.name());
                self.wrong.push((loops.iter_range.id, message, Some("a list or an object can".to_owned())));
                Type::Unknown
            }
        };
        let accumulated = self.infer(&loops.accu_init);
        let shadowed = [(&loops.iter_var, item), (&loops.accu_var, accumulated)]
            .map(|(name, bound)| (name, self.bind(name, bound)));
        self.infer(&loops.loop_cond);
        self.infer(&loops.loop_step);
        let result = self.infer(&loops.result);
        for (name, before) in shadowed {
            match before {
                Some(before) => self.names.insert(name.clone(), before),
                None => self.names.remove(name),
            };
        }
        result
    }

    fn bind(&mut self, name: &str, bound: Type) -> Option<Type> {
        self.names.insert(name.to_owned(), bound)
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Type {
        let target = call.target.as_ref().map(|target| self.infer(target));
        let arguments: Vec<Type> = call.args.iter().map(|argument| self.infer(argument)).collect();
        let all: Vec<&Type> = target.iter().chain(&arguments).collect();
        match (call.func_name.as_str(), all.as_slice()) {
            (operators::EQUALS | operators::NOT_EQUALS, [one, other]) => {
                self.comparable(id, one, other, "they are never equal");
                Type::Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [one, other],
            ) => {
                self.comparable(id, one, other, "neither is before the other");
                Type::Bool
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, sides) => {
                for side in sides {
                    self.boolean(id, side);
                }
                Type::Bool
            }
            (operators::CONDITIONAL, [condition, one, other]) => {
                self.boolean(id, condition);
                if one == other { (*one).clone() } else { Type::Unknown }
            }
            (operators::ADD, [one, other]) => self.sum(id, one, other),
            (operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO, [one, other]) => {
                self.arithmetic(id, one, other)
            }
            (operators::NEGATE, [one]) => (*one).clone(),
            (operators::INDEX, [Type::List(item), _]) => (**item).clone(),
            ("@walk", [list, _]) => (*list).clone(),
            ("@search", [list, _]) => (*list).clone(),
            ("last", [Type::List(item)]) => (**item).clone(),
            ("last" | "has_tool_calls", [other]) => {
                self.wants(id, &call.func_name, other, &Type::List(Box::new(Type::Unknown)));
                if call.func_name == "last" { Type::Unknown } else { Type::Bool }
            }
            ("tokens", [text]) => {
                self.wants(id, "tokens", text, &Type::Text);
                Type::Int
            }
            ("size", [sized]) => {
                if sized.is_number() || **sized == Type::Bool {
                    let hint = "texts, lists and objects have one".to_owned();
                    self.wrong.push((id, format!("{} has no size", sized.name()), Some(hint)));
                }
                Type::Int
            }
            ("contains" | "startsWith" | "endsWith" | "matches", [text, ..]) => {
                self.wants(id, &call.func_name, text, &Type::Text);
                Type::Bool
            }
            (operators::IN, _) => Type::Bool,
            ("int", _) => Type::Int,
            ("double", _) => Type::Double,
            ("string", _) => Type::Text,
            ("bool", _) => Type::Bool,
            (operators::NOT_STRICTLY_FALSE, _) => Type::Bool,
            _ => Type::Unknown,
        }
    }

    fn comparable(&mut self, id: u64, one: &Type, other: &Type, why: &str) {
        if !one.meets(other) {
            let message = format!("this compares {} with {}: {why}", one.name(), other.name());
            let hint = match (one, other) {
                (Type::Text, number) | (number, Type::Text) if number.is_number() => {
                    Some("put quotes around the number, or turn the text into one with int(…)".to_owned())
                }
                _ => Some("compare values of the same type".to_owned()),
            };
            self.wrong.push((id, message, hint));
        }
    }

    fn boolean(&mut self, id: u64, side: &Type) {
        if side.is_known() && !side.meets(&Type::Bool) {
            let hint = "compare it with something, or ask size(…) > 0".to_owned();
            self.wrong.push((id, format!("{} is neither true nor false", side.name()), Some(hint)));
        }
    }

    fn sum(&mut self, id: u64, one: &Type, other: &Type) -> Type {
        match (one, other) {
            (Type::Text, Type::Text) => Type::Text,
            (Type::List(_), Type::List(_)) => Type::List(Box::new(Type::Unknown)),
            (Type::Unknown, _) | (_, Type::Unknown) => Type::Unknown,
            (one, other) if one.is_number() && other.is_number() => self.arithmetic(id, one, other),
            (one, other) => {
                let hint = match *one == Type::Text || *other == Type::Text {
                    true => "turn it into a text with string(…)",
                    false => "`+` joins two texts, two lists or two numbers",
                };
                let message = format!("{} can't be added to {}", other.name(), one.name());
                self.wrong.push((id, message, Some(hint.to_owned())));
                Type::Unknown
            }
        }
    }

    fn arithmetic(&mut self, id: u64, one: &Type, other: &Type) -> Type {
        match (one, other) {
            (Type::Unknown, _) | (_, Type::Unknown) => Type::Unknown,
            (Type::Int, Type::Double) | (Type::Double, Type::Int) => {
                let message = "CEL doesn't mix whole and decimal numbers".to_owned();
                self.wrong.push((id, message, Some("turn one of them with double(…) or int(…)".to_owned())));
                Type::Double
            }
            (one, other) if one.is_number() && other.is_number() => {
                if one == other {
                    one.clone()
                } else {
                    Type::Number
                }
            }
            (one, other) => {
                let message = format!("{} and {} can't be reckoned with", one.name(), other.name());
                self.wrong.push((id, message, Some("turn them into numbers with int(…) or double(…)".to_owned())));
                Type::Unknown
            }
        }
    }

    fn wants(&mut self, id: u64, function: &str, given: &Type, wanted: &Type) {
        if given.is_known() && !given.meets(wanted) {
            let message = format!("`{function}` takes {}, and this is {}", wanted.name(), given.name());
            let hint = format!("give it {}", wanted.name());
            self.wrong.push((id, message, Some(hint)));
        }
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Unknown,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
    }
}
