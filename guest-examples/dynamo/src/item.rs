//! What an item is, between the words of an agent and the JSON that is kept.

use serde_json::{Map, Number, Value as Json, json};

use crate::exports::example::dynamo::items::{Addition, Attribute, Content, Failure, Value};
use crate::toolpost::kv::ext::Entry;

/// The attributes of an item, by their names.
pub type Item = Map<String, Json>;

/// Reads what is kept under a key.
pub fn read(key: &str, kept: &[u8]) -> Result<Item, Failure> {
    let none = || Failure::Failed(format!("what is kept under `{key}` is no item"));
    serde_json::from_slice(kept).map_err(|_| none())
}

/// What is kept of an item.
pub fn kept(item: &Item) -> Vec<u8> {
    json!(item).to_string().into_bytes()
}

/// An item as it is shown.
pub fn shown(key: &str, entry: &Entry) -> Result<Content, Failure> {
    Ok(Content::Json(object(key, &read(key, &entry.value)?, entry.version, entry.ttl_ms).to_string()))
}

/// A version may be larger than many readers of JSON take a number for, so it is a text.
pub fn object(key: &str, item: &Item, version: u64, ttl_ms: Option<u64>) -> Json {
    let mut object = json!({"key": key, "version": version.to_string(), "attributes": item});
    if let Some(ms) = ttl_ms {
        object["ttl_seconds"] = json!(ms.div_ceil(1_000));
    }
    object
}

/// Sets attributes.
pub fn set(item: &mut Item, attributes: Vec<Attribute>) -> Result<(), Failure> {
    let mut names = Vec::new();
    for Attribute { name, value } in attributes {
        if name.is_empty() || names.contains(&name) {
            return Err(wrong(match name.is_empty() {
                true => "an attribute has no name".to_owned(),
                false => format!("the attribute `{name}` is there twice"),
            }));
        }
        let value = json_of(value).map_err(|why| wrong(format!("the attribute `{name}` {why}")))?;
        item.insert(name.clone(), value);
        names.push(name);
    }
    Ok(())
}

/// Adds to attributes.
pub fn add(item: &mut Item, additions: Vec<Addition>) -> Result<(), Failure> {
    for Addition { name, by } in additions {
        let was = match item.get(&name) {
            None => 0,
            Some(value) => value.as_i64().ok_or_else(|| wrong(format!("the attribute `{name}` is no whole number")))?,
        };
        let sum = was.checked_add(by).ok_or_else(|| wrong(format!("the attribute `{name}` would be too large")))?;
        item.insert(name, json!(sum));
    }
    Ok(())
}

fn json_of(value: Value) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Float(value) => Json::Number(Number::from_f64(value).ok_or("is no number that JSON has")?),
        Value::Text(text) => json!(text),
        Value::Texts(texts) => json!(texts),
        Value::Json(text) => serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?,
    })
}

pub fn wrong(why: String) -> Failure {
    Failure::InvalidArguments(why)
}
