//! What should a caller send? A [`Shape`] as JSON Schema, dialect 2020-12.
//!
//! The schema says what [`Cast::Strict`](super::Cast::Strict) accepts in the spelling that the host itself prints; casting
//! accepts more, but a model that follows the schema never needs it.

use serde_json::{Map, Value, json};

use super::shape::{Field, Handle, Integer, Label, SAFE_INTEGER_MAX, Shape};

/// The schema of a tool's arguments: an object with one property for each parameter.
#[must_use]
pub fn input_schema(parameters: &[Field]) -> Value {
    record(parameters)
}

/// The schema of a tool's result; nothing for a tool without one.
#[must_use]
pub fn output_schema(result: Option<&Shape>) -> Option<Value> {
    result.map(schema)
}

/// The schema of one shape.
#[must_use]
pub fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Integer(integer) => integer_schema(*integer),
        Shape::F32 | Shape::F64 => json!({
            "anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]
        }),
        Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Shape::List(item) => json!({"type": "array", "items": schema(item)}),
        Shape::FixedList(item, length) => {
            json!({"type": "array", "items": schema(item), "minItems": length, "maxItems": length})
        }
        Shape::Tuple(items) => json!({
            "type": "array",
            "prefixItems": items.iter().map(schema).collect::<Vec<_>>(),
            "items": false,
            "minItems": items.len(),
            "maxItems": items.len(),
        }),
        Shape::Record(fields) => record(fields),
        Shape::Option(some) => nullable(some),
        Shape::Variant(cases) => {
            let one_of = cases.iter().map(|case| {
                let schema = match &case.payload {
                    None => json!({"const": case.name}),
                    Some(payload) => only_property(&case.name, &schema(payload)),
                };
                described(schema, case.docs.as_deref())
            });
            json!({"oneOf": one_of.collect::<Vec<_>>()})
        }
        Shape::Enum(labels) => enumeration(labels),
        Shape::Flags(labels) => json!({"type": "array", "items": enumeration(labels), "uniqueItems": true}),
        Shape::Result { ok, err } => {
            let side = |name, payload: &Option<Box<Shape>>| {
                only_property(name, &payload.as_deref().map_or(json!({"type": "null"}), schema))
            };
            json!({"oneOf": [side("ok", ok), side("err", err)]})
        }
        Shape::Handle(handle) => handle_schema(handle),
    }
}

/// The text says what it is, so that a reader does not make one up.
fn handle_schema(handle: &Handle) -> Value {
    let stays = if handle.owned { "" } else { "; it is only lent, and good for other calls" };
    let docs = format!("a handle to a `{}`, as a tool has returned it in this session{stays}", handle.resource);
    json!({"type": "string", "pattern": handle.pattern(), "description": docs})
}

fn record(fields: &[Field]) -> Value {
    let property = |field: &Field| {
        let mut schema = described(schema(&field.shape), field.docs.as_deref());
        if let (Some(default), Some(object)) = (&field.default, schema.as_object_mut()) {
            object.insert("default".into(), default.clone());
        }
        (field.key.clone(), schema)
    };
    let mut object = Map::new();
    object.insert("type".into(), json!("object"));
    object.insert("properties".into(), Value::Object(fields.iter().map(property).collect()));
    let required: Vec<_> = fields.iter().filter(|field| field.required()).map(|field| field.key.as_str()).collect();
    if !required.is_empty() {
        object.insert("required".into(), json!(required));
    }
    object.insert("additionalProperties".into(), json!(false));
    Value::Object(object)
}

/// A wide integer is printed as a string where a reader with 64-bit floats would lose digits, and both are accepted.
fn integer_schema(integer: Integer) -> Value {
    let (minimum, maximum) = integer.range();
    let number = |value: i128| i64::try_from(value).map_or_else(|_| json!(u64::MAX), |small| json!(small));
    let plain = json!({"type": "integer", "minimum": number(minimum), "maximum": number(maximum)});
    if !integer.is_wide() {
        return plain;
    }
    let pattern = if minimum < 0 { "^-?[0-9]{16,19}$" } else { "^[0-9]{16,20}$" };
    let docs = format!("beyond ±{SAFE_INTEGER_MAX}, as a decimal string");
    json!({"anyOf": [plain, {"type": "string", "pattern": pattern, "description": docs}]})
}

/// An option inside an option needs a wrapper, or `null` would not say which of the two is missing.
fn nullable(some: &Shape) -> Value {
    let some = match some {
        Shape::Option(_) => only_property("some", &schema(some)),
        _ => schema(some),
    };
    json!({"anyOf": [some, {"type": "null"}]})
}

fn only_property(name: &str, schema: &Value) -> Value {
    json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
}

/// Names; where they are documented, each name with its meaning.
fn enumeration(labels: &[Label]) -> Value {
    let names: Vec<_> = labels.iter().map(|label| label.name.as_str()).collect();
    let meaning = |label: &Label| label.docs.as_ref().map(|docs| format!("`{}`: {docs}", label.name));
    let meanings: Vec<_> = labels.iter().filter_map(meaning).collect();
    let docs = (!meanings.is_empty()).then(|| meanings.join("\n"));
    described(json!({"type": "string", "enum": names}), docs.as_deref())
}

fn described(mut schema: Value, docs: Option<&str>) -> Value {
    if let (Some(docs), Some(object)) = (docs, schema.as_object_mut()) {
        object.insert("description".into(), json!(docs));
    }
    schema
}
