//! Rows as JSON.

use serde_json::{Map, Value as Json, json};

use crate::sql::{Rows, Value};

/// A list with an object for each row. Where two columns have one name, the last one stands.
pub fn rows(rows: &Rows) -> Json {
    let object = |row: &Vec<Value>| {
        let members = rows.columns.iter().cloned().zip(row.iter().map(value));
        Json::Object(members.collect::<Map<_, _>>())
    };
    rows.rows.iter().map(object).collect()
}

fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        // An exact number stays exact.
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Timestamp(text)
        | Value::Uuid(text) => json!(text),
    }
}
