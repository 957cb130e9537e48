//! What is written about settings is true: the schema, the example file, the README.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod example;
mod keys;
mod schema;

use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;
use toolpost::Settings;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn example_text() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("toolpost.example.toml")).unwrap()
}

/// What the reader says, line by line; nothing where it is right.
fn faults(text: &str) -> Vec<String> {
    let read = Settings::parse(text, &Path::new(ROOT).join("toolpost.toml"));
    read.err().unwrap_or_default().into_iter().map(|fault| fault.message).collect()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&toolpost::settings::schema()).unwrap()
}

/// A settings text as the JSON that its schema is about.
fn json(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

/// Reader and schema accept the text.
fn accepted(text: &str) {
    assert_eq!(faults(text), Vec::<String>::new(), "{text}");
    let instance = json(text);
    let errors: Vec<String> = validator().iter_errors(&instance).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{text}");
}
