//! How large is a strict schema? Each provider has room for so much of it, and refuses the whole request where there is more.

use serde_json::Value;

/// So many values an enum may have before its characters are counted by themselves.
const MANY: usize = 250;

/// What counts against a provider's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    tools: usize,
    properties: usize,
    levels: usize,
    /// Of all names and values.
    characters: usize,
    values: usize,
    optional: usize,
    unions: usize,
    /// The characters of the longest enum among those with many values.
    longest_of_many: usize,
}

impl Size {
    /// The size of a tool with that schema.
    pub(super) fn of(schema: &Value) -> Self {
        let mut size = Size { tools: 1, ..Size::default() };
        size.count(schema, 0);
        size
    }

    fn count(&mut self, schema: &Value, level: usize) {
        let Some(said) = schema.as_object() else { return };
        let nests = matches!(said.get("type").and_then(Value::as_str), Some("object" | "array"));
        let level = level + usize::from(nests);
        self.levels = self.levels.max(level);
        let required = said.get("required").and_then(Value::as_array).map_or(0, Vec::len);
        if let Some(properties) = said.get("properties").and_then(Value::as_object) {
            self.properties += properties.len();
            self.optional += properties.len().saturating_sub(required);
            for (key, schema) in properties {
                self.characters += key.chars().count();
                self.count(schema, level);
            }
        }
        if let Some(values) = said.get("enum").and_then(Value::as_array) {
            self.values += values.len();
            let characters = values.iter().map(characters).sum();
            self.characters += characters;
            if values.len() > MANY {
                self.longest_of_many = self.longest_of_many.max(characters);
            }
        }
        if let Some(arms) = said.get("anyOf").and_then(Value::as_array) {
            self.unions += 1;
            arms.iter().for_each(|arm| self.count(arm, level));
        }
        said.get("items").into_iter().for_each(|items| self.count(items, level));
    }

    /// Both together.
    pub(super) fn and(self, other: Size) -> Size {
        Size {
            tools: self.tools + other.tools,
            properties: self.properties + other.properties,
            levels: self.levels.max(other.levels),
            characters: self.characters + other.characters,
            values: self.values + other.values,
            optional: self.optional + other.optional,
            unions: self.unions + other.unions,
            longest_of_many: self.longest_of_many.max(other.longest_of_many),
        }
    }

    /// Whether OpenAI takes such a schema in its strict mode.
    pub(super) fn fits_schema(self) -> Result<(), String> {
        let counts = [
            (self.properties, 5_000, "properties"),
            (self.levels, 10, "levels"),
            (self.characters, 120_000, "characters in names and values"),
            (self.values, 1_000, "values of enums"),
            (self.longest_of_many, 15_000, "characters in one enum"),
        ];
        within(counts, "a strict schema")
    }

    /// Whether Anthropic takes all of that as strict in one request.
    pub(super) fn fits_request(self) -> Result<(), String> {
        let counts = [
            (self.tools, 20, "strict tools"),
            (self.optional, 24, "optional parameters"),
            (self.unions, 16, "parameters of several types"),
        ];
        within(counts, "all strict tools of a request")
    }
}

fn within<const N: usize>(counts: [(usize, usize, &str); N], of: &str) -> Result<(), String> {
    match counts.into_iter().find(|(is, most, _)| is > most) {
        Some((is, most, what)) => Err(format!("there would be {is} {what}, and {of} may have {most}")),
        None => Ok(()),
    }
}

fn characters(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}
