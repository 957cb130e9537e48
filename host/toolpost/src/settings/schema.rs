//! The JSON Schema of the settings, for editors and for those who write settings by program. It comes from the very types
//! that are read, so there is no key that one of them knows and the other does not.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Settings;

/// The JSON Schema (2020-12) of a settings file.
///
/// It accepts what is read, and refuses unknown keys, other types, numbers out of bounds and texts of another form. What
/// only the values tell (a span that is too long, two keys that do not fit together) the reader finds.
///
/// ```
/// let schema = toolpost::settings::schema();
/// assert_eq!(schema["properties"]["host"]["$ref"], "#/$defs/HostSettings");
/// ```
#[must_use]
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Settings>().to_value();
    without_absence(&mut schema);
    schema
}

/// Takes out how Rust sees a key that is not there: TOML has no null, and what holds without a key its description says.
fn without_absence(value: &mut Value) {
    let is_null = |value: &Value| {
        *value == Value::Null || *value == "null" || value.get("type").is_some_and(|kind| kind == "null")
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_absence),
        Value::Object(members) => {
            // The values of these are names of keys, not words of the schema.
            for (key, inner) in members.iter_mut() {
                match (key.as_str(), inner) {
                    ("description", Value::String(words)) => *words = words.replace('\n', " "),
                    ("properties" | "$defs", Value::Object(named)) => named.values_mut().for_each(without_absence),
                    (_, inner) => without_absence(inner),
                }
            }
            for key in ["default", "format"] {
                members.remove(key);
            }
            for key in ["type", "enum", "anyOf"] {
                let Some(Value::Array(choices)) = members.get_mut(key) else { continue };
                choices.retain(|choice| !is_null(choice));
                let only = if choices.len() == 1 && key != "enum" { choices.pop() } else { None };
                match only {
                    Some(Value::Object(only)) => {
                        members.remove(key);
                        members.extend(only);
                    }
                    Some(only) => drop(members.insert(key.into(), only)),
                    None => {}
                }
            }
        }
        _ => {}
    }
}
