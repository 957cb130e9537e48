//! The host's own: a call on each line, and an answer on each line.

use serde_json::{Map, Value, json};

use super::gather::{Found, Gathering};
use super::{AskedCall, DialectError};
use crate::catalog::cast::nearest;
use crate::catalog::json::Raw;
use crate::tell::Outcome;

/// What a call may have.
const KEYS: [&str; 4] = ["id", "tool", "arguments", "key"];

/// One call, a list of calls, or a call on each line. A line that cannot be read is a call that fails.
pub(super) fn read<'a>(text: &'a str, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    match Raw::document(text) {
        Ok(list) if list.is_array() => list.items().try_for_each(|item| call(item?, gathering)),
        Ok(one) => call(one, gathering),
        Err(_) => lines(text).try_for_each(|line| match Raw::document(line) {
            Ok(one) => call(one, gathering),
            Err(error) => gathering.call(Found::broken(format!("the line is no JSON: {error}"))),
        }),
    }
}

/// The lines of a text with something on them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty())
}

fn call<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let found = match raw.pick(KEYS) {
        Ok([id, name, arguments, key]) => {
            let unknown = raw.members().flatten().map(|(name, _)| name).find(|name| !KEYS.contains(&name.as_ref()));
            let fault = unknown.map(|name| {
                let help = nearest(&name, KEYS.into_iter()).map_or_else(
                    || "there are `id`, `tool`, `arguments` and `key`".into(),
                    |near| format!("did you mean `{near}`?"),
                );
                format!("a call has no `{}`; {help}", super::asked::brief(&name))
            });
            Found { id, name, arguments, key, fault }
        }
        Err(error) => Found::broken(format!("it cannot be read as a call: {error}")),
    };
    gathering.call(found)
}

/// Calls with the same id are told apart by their `index`.
pub(super) fn answer(asked: &AskedCall, outcome: &Outcome) -> Value {
    let mut line = Map::new();
    line.insert("index".into(), json!(asked.index));
    if let Some(id) = &asked.id {
        line.insert("id".into(), json!(id));
    }
    line.insert("call".into(), json!(outcome.call));
    line.insert("tool".into(), json!(asked.tool));
    line.insert("ok".into(), json!(outcome.result.is_ok()));
    match &outcome.result {
        Ok(output) => line.insert("output".into(), json!(output)),
        Err(error) => line.insert("error".into(), json!(error)),
    };
    Value::Object(line)
}
