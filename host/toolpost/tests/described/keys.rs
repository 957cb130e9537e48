//! The keys that the schema knows, and where they are in a file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The keys of a schema, by the place of their object in it and their name, with what is said of each.
pub(crate) struct Keys {
    schema: Value,
}

pub(crate) type Key = (String, String);

impl Keys {
    pub(crate) fn of_settings() -> Self {
        Keys { schema: toolpost::settings::schema() }
    }

    /// Every key, and its schema.
    pub(crate) fn all(&self) -> BTreeMap<Key, Value> {
        let mut all = BTreeMap::new();
        collect("", &self.schema, &mut all);
        all
    }

    /// The keys that a file has.
    pub(crate) fn in_file(&self, file: &Value) -> BTreeMap<Key, Value> {
        let mut found = BTreeMap::new();
        self.visit("", &self.schema, file, &mut found);
        found
    }

    /// The constants of a key that is one of several words.
    pub(crate) fn words(&self, said: &Value) -> Vec<String> {
        let said = match said["$ref"].as_str() {
            Some(name) => self.schema.pointer(&name[1..]).unwrap(),
            None => said,
        };
        if let Some(words) = said["enum"].as_array() {
            return words.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
        }
        let choices = said["oneOf"].as_array().or(said["anyOf"].as_array());
        let words = choices.into_iter().flatten().flat_map(|choice| match choice["const"].as_str() {
            Some(word) => vec![word.to_owned()],
            None => self.words(choice),
        });
        words.collect()
    }

    fn visit(&self, place: &str, said: &Value, value: &Value, found: &mut BTreeMap<Key, Value>) {
        if let Some(name) = said["$ref"].as_str() {
            let place = &name[1..];
            self.visit(place, self.schema.pointer(place).unwrap(), value, found);
        }
        for choice in ["anyOf", "oneOf"] {
            for (number, choice_said) in said[choice].as_array().into_iter().flatten().enumerate() {
                let alone = json!({"$defs": self.schema["$defs"], "allOf": [choice_said]});
                if jsonschema::draft202012::is_valid(&alone, value) {
                    self.visit(&format!("{place}/{choice}/{number}"), choice_said, value, found);
                }
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.visit(&format!("{place}/items"), &said["items"], item, found);
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            if let Some(of_key) = said["properties"].get(name) {
                found.insert((place.to_owned(), name.clone()), of_key.clone());
                self.visit(&format!("{place}/properties/{name}"), of_key, value, found);
            } else if said["additionalProperties"].is_object() {
                self.visit(&format!("{place}/additionalProperties"), &said["additionalProperties"], value, found);
            }
            // No two of them fit one name.
            for said in said["patternProperties"].as_object().into_iter().flat_map(|patterns| patterns.values()) {
                self.visit(&format!("{place}/patternProperties"), said, value, found);
            }
        }
    }
}

fn collect(place: &str, said: &Value, all: &mut BTreeMap<Key, Value>) {
    for (name, inner) in said["properties"].as_object().into_iter().flatten() {
        all.insert((place.to_owned(), name.clone()), inner.clone());
        collect(&format!("{place}/properties/{name}"), inner, all);
    }
    for (name, inner) in said["$defs"].as_object().into_iter().flatten() {
        collect(&format!("{place}/$defs/{name}"), inner, all);
    }
    for choice in ["anyOf", "oneOf"] {
        for (number, inner) in said[choice].as_array().into_iter().flatten().enumerate() {
            collect(&format!("{place}/{choice}/{number}"), inner, all);
        }
    }
    for below in ["items", "additionalProperties"] {
        if said[below].is_object() {
            collect(&format!("{place}/{below}"), &said[below], all);
        }
    }
}
