//! What of a schema does a provider take? A projection that accepts all that the schema accepts, in the provider's own words.
//!
//! A strict mode holds a model to a schema while it writes, and knows only a few words for that. What it has no word for is
//! said in the description, for the model to read, and is judged when the call is accepted, as always. Where a schema leaves open
//! what a strict mode must know (any keys, any type), there is no strict form, and the error says why.
//!
//! An optional parameter is `null` where it is absent for OpenAI, which requires every property: accepting reads it so. For
//! Anthropic it is left out, as there a request has room for few types that are one of several.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::size::Size;
use crate::catalog::shape::SAFE_INTEGER_MAX;

/// A part of JSON Schema that a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subset {
    /// The strict mode of OpenAI.
    OpenAi,
    /// The strict mode of Anthropic.
    Anthropic,
    /// What Gemini reads of a schema. It is not held to it.
    Gemini,
}

/// A schema in the words of a provider.
pub(super) struct Projected {
    pub(super) schema: Value,
    pub(super) size: Size,
}

/// The words of a schema for bounds, with those who take them in their strict mode.
const BOUNDS: [(&str, &[Subset]); 6] = [
    ("minimum", &[Subset::OpenAi, Subset::Gemini]),
    ("maximum", &[Subset::OpenAi, Subset::Gemini]),
    ("minItems", &[Subset::OpenAi, Subset::Gemini]),
    ("maxItems", &[Subset::OpenAi, Subset::Gemini]),
    ("minLength", &[]),
    ("maxLength", &[]),
];

impl Subset {
    /// The schema of a tool's arguments, in these words.
    ///
    /// # Errors
    /// Why there is no strict form of it.
    pub(super) fn project(self, schema: &Value) -> Result<Projected, String> {
        let schema = self.part("the arguments", schema)?;
        let size = Size::of(&schema);
        if self == Subset::OpenAi {
            size.fits_schema()?;
        }
        Ok(Projected { schema, size })
    }

    fn is_strict(self) -> bool {
        self != Subset::Gemini
    }

    fn part(self, at: &str, schema: &Value) -> Result<Value, String> {
        let Some(said) = schema.as_object() else {
            return if self.is_strict() { Err(format!("{at} may be anything")) } else { Ok(json!({})) };
        };
        let mut part = Map::new();
        let mut words = Vec::new();
        for (word, value) in said {
            match word.as_str() {
                "type" | "enum" | "description" => drop(part.insert(word.clone(), value.clone())),
                "const" => drop(part.insert("enum".into(), json!([value]))),
                "anyOf" | "oneOf" => drop(part.insert("anyOf".into(), self.any_of(at, value)?)),
                "default" => words.push(format!("default {value}")),
                "contentEncoding" => words.push(format!("in {}", value.as_str().unwrap_or_default())),
                "uniqueItems" if *value == json!(true) => words.push("no item twice".into()),
                "pattern" | "uniqueItems" => {}
                // They belong together, and are looked at below.
                "properties" | "required" | "additionalProperties" | "items" | "prefixItems" => {}
                bound if BOUNDS.iter().any(|(known, _)| *known == bound) => {}
                other if self.is_strict() => {
                    return Err(format!("{at} has `{other}`, for which there is no strict form"));
                }
                _ => {}
            }
        }
        if let (None, Some(kind)) = (part.get("type"), kind_of(part.get("enum"))) {
            part.insert("type".into(), json!(kind));
        }
        self.bounds(said, &mut part, &mut words);
        match said.get("type").and_then(Value::as_str) {
            Some("object") => self.object(at, said, &mut part)?,
            Some("array") => self.array(at, said, &mut part, &mut words)?,
            Some(_) => {}
            None if part.contains_key("anyOf") || part.contains_key("type") => {}
            None if self.is_strict() => return Err(format!("{at} may be anything")),
            None => {}
        }
        describe(&mut part, &words.join(", "));
        Ok(Value::Object(part))
    }

    /// One of several; what is one of several in turn is the same as all of them.
    fn any_of(self, at: &str, arms: &Value) -> Result<Value, String> {
        let mut flat = Vec::new();
        for arm in arms.as_array().into_iter().flatten() {
            match self.part(at, arm)? {
                Value::Object(mut arm) if arm.len() == 1 && arm.contains_key("anyOf") => match arm.remove("anyOf") {
                    Some(Value::Array(inner)) => flat.extend(inner),
                    other => flat.extend(other),
                },
                arm => flat.push(arm),
            }
        }
        self.tell_apart(at, &flat)?;
        Ok(Value::Array(flat))
    }

    /// While a model writes an object, OpenAI knows by its first key which of several it is.
    fn tell_apart(self, at: &str, arms: &[Value]) -> Result<(), String> {
        let keys = |arm: &Value| arm.get("properties")?.as_object()?.keys().next().cloned();
        let mut seen = BTreeSet::new();
        match arms.iter().filter_map(keys).find(|key| !seen.insert(key.clone())) {
            Some(key) if self == Subset::OpenAi => {
                Err(format!("two objects that may stand for {at} begin with the same key `{key}`"))
            }
            _ => Ok(()),
        }
    }

    /// Keeps the bounds that are taken, and says the others. One that a reader of 64-bit floats would change is not kept: it
    /// could come out as another one.
    fn bounds(self, said: &Map<String, Value>, part: &mut Map<String, Value>, words: &mut Vec<String>) {
        let mut left = Map::new();
        for (bound, takers) in BOUNDS {
            let Some(value) = said.get(bound) else { continue };
            let exact = value.as_i64().is_some_and(|value| i128::from(value).abs() <= SAFE_INTEGER_MAX);
            match (takers.contains(&self), exact) {
                (true, true) => drop(part.insert(bound.into(), value.clone())),
                (true, false) => {}
                (false, _) => drop(left.insert(bound.into(), value.clone())),
            }
        }
        for (least, most, unit) in
            [("minimum", "maximum", ""), ("minItems", "maxItems", "item"), ("minLength", "maxLength", "character")]
        {
            let many = |count: &Value| match unit {
                "" => count.to_string(),
                unit => format!("{count} {unit}{}", if *count == json!(1) { "" } else { "s" }),
            };
            match (left.get(least), left.get(most)) {
                (Some(least), Some(most)) if least == most => words.push(format!("exactly {}", many(least))),
                (Some(least), Some(most)) => words.push(format!("from {least} to {}", many(most))),
                (Some(least), None) => words.push(format!("at least {}", many(least))),
                (None, Some(most)) => words.push(format!("at most {}", many(most))),
                (None, None) => {}
            }
        }
    }

    fn object(self, at: &str, said: &Map<String, Value>, part: &mut Map<String, Value>) -> Result<(), String> {
        let is_closed = said.get("additionalProperties") == Some(&json!(false));
        if self.is_strict() && !is_closed {
            return Err(format!("{at} may have any keys"));
        }
        let required =
            |key: &str| said.get("required").and_then(Value::as_array).is_some_and(|all| all.contains(&json!(key)));
        let mut properties = Map::new();
        for (key, schema) in said.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let schema = self.part(&format!("`{key}`"), schema)?;
            let schema = match self {
                Subset::OpenAi if !required(key) => nullable(schema),
                Subset::Anthropic if !required(key) => without_null(schema),
                _ => schema,
            };
            properties.insert(key.clone(), schema);
        }
        let names = properties.keys().filter(|key| self == Subset::OpenAi || required(key));
        let names: Vec<Value> = names.map(|key| json!(key)).collect();
        part.insert("properties".into(), Value::Object(properties));
        if self == Subset::OpenAi || !names.is_empty() {
            part.insert("required".into(), Value::Array(names));
        }
        if let Some(more) = said.get("additionalProperties") {
            part.insert("additionalProperties".into(), more.clone());
        }
        Ok(())
    }

    fn array(
        self,
        at: &str,
        said: &Map<String, Value>,
        part: &mut Map<String, Value>,
        words: &mut Vec<String>,
    ) -> Result<(), String> {
        let each = said.get("prefixItems").and_then(Value::as_array);
        let each: Option<Vec<Value>> =
            each.map(|items| items.iter().map(|item| self.part(at, item)).collect()).transpose()?;
        let rest = said.get("items").filter(|items| items.is_object());
        match (each, rest) {
            (Some(each), _) if self == Subset::Gemini => drop(part.insert("prefixItems".into(), json!(each))),
            // No strict mode knows that each place has a type of its own.
            (Some(each), _) => {
                let kinds: Vec<_> = each.iter().map(kind).collect();
                words.push(format!("one of each, in this order: {}", kinds.join(", ")));
                let mut different: Vec<Value> = Vec::new();
                for item in each {
                    if !different.contains(&item) {
                        different.push(item);
                    }
                }
                self.tell_apart(&format!("an item of {at}"), &different)?;
                let any = json!({"anyOf": different});
                let items = if different.len() == 1 { different.pop().unwrap_or(any) } else { any };
                part.insert("items".into(), items);
            }
            (None, Some(items)) => drop(part.insert("items".into(), self.part(&format!("an item of {at}"), items)?)),
            (None, None) if self.is_strict() => return Err(format!("{at} may have any items")),
            (None, None) => {}
        }
        Ok(())
    }
}

/// The type of the values among which one is chosen.
fn kind_of(values: Option<&Value>) -> Option<&'static str> {
    let kind = |value: &Value| match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("boolean"),
        Value::Null => Some("null"),
        Value::Number(number) => Some(if number.is_f64() { "number" } else { "integer" }),
        _ => None,
    };
    let mut kinds = values?.as_array()?.iter().map(kind);
    let first = kinds.next()??;
    kinds.all(|other| other == Some(first)).then_some(first)
}

/// The type of a schema in a word.
fn kind(schema: &Value) -> String {
    match (schema.get("type").and_then(Value::as_str), schema.get("anyOf").and_then(Value::as_array)) {
        (Some(kind), _) => kind.to_owned(),
        (None, Some(arms)) => arms.iter().map(kind).collect::<Vec<_>>().join(" or "),
        _ => "anything".into(),
    }
}

/// Adds to a description.
fn describe(part: &mut Map<String, Value>, words: &str) {
    if words.is_empty() {
        return;
    }
    let words = match part.get("description").and_then(Value::as_str) {
        Some(docs) => format!("{docs} ({words})"),
        None => words.to_owned(),
    };
    part.insert("description".into(), json!(words));
}

fn is_null(schema: &Value) -> bool {
    schema.get("type") == Some(&json!("null"))
}

/// The same, or null. What it means stays outside.
fn nullable(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    if let Some(Value::Array(arms)) = schema.get_mut("anyOf") {
        if !arms.iter().any(is_null) {
            arms.push(json!({"type": "null"}));
        }
        return Value::Object(schema);
    }
    let description = schema.remove("description");
    let mut either = json!({"anyOf": [schema, {"type": "null"}]});
    if let (Some(description), Some(either)) = (description, either.as_object_mut()) {
        either.insert("description".into(), description);
    }
    either
}

/// The same without null. Where one is left of several, it stands for itself.
fn without_null(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    let Some(Value::Array(arms)) = schema.get_mut("anyOf") else { return Value::Object(schema) };
    arms.retain(|arm| !is_null(arm));
    let only = if arms.len() == 1 { arms.pop() } else { None };
    let Some(Value::Object(mut only)) = only else { return Value::Object(schema) };
    let outer = schema.get("description").and_then(Value::as_str).map(str::to_owned);
    let inner = only.get("description").and_then(Value::as_str).map(str::to_owned);
    let both: Vec<String> = outer.into_iter().chain(inner).collect();
    if !both.is_empty() {
        only.insert("description".into(), json!(both.join("\n")));
    }
    Value::Object(only)
}
