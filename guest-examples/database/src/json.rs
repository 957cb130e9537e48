//! Rows as JSON.

use serde_json::{Value as Json, json};

use crate::sql::{Rows, Value};

/// A list with an object for each row, whose members are in the order of the columns.
pub fn rows(rows: &Rows) -> String {
    let objects = rows.rows.iter().map(|row| {
        let members = rows.columns.iter().zip(row).map(|(name, it)| format!("{}:{}", json!(name), value(it)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    });
    format!("[{}]", objects.collect::<Vec<_>>().join(","))
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
