//! Chat Completions of OpenAI.

use serde_json::{Value, json};

use super::gather::{Found, Gathering, answered_already};
use super::words;
use super::{AskedCall, DialectError};
use crate::catalog::json::Raw;
use crate::tell::Outcome;

/// A response, a choice of it, a message, a list of calls, or one call.
pub(super) fn read<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    if raw.is_array() {
        for item in raw.items() {
            let item = item?;
            match item.pick(["role", "tool_calls"]) {
                Ok([None, None]) | Err(_) => call(item, gathering)?,
                Ok(_) => message(item, gathering)?,
            }
        }
        return Ok(());
    }
    let [choices, inner, function] = raw.pick(["choices", "message", "function"])?;
    match (choices, inner, function) {
        (Some(choices), ..) => choices.items().try_for_each(|one| choice(one?, gathering)),
        (_, Some(_), _) => choice(raw, gathering),
        (_, _, Some(_)) => call(raw, gathering),
        _ => message(raw, gathering),
    }
}

fn choice<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let [inner, reason] = raw.pick(["message", "finish_reason"])?;
    inner.map_or(Ok(()), |inner| message(inner, gathering))?;
    if let Some(reason @ "length") = reason.and_then(Raw::string).as_deref() {
        gathering.cut_off(reason);
    }
    Ok(())
}

fn message<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let keys = ["role", "tool_calls", "content", "refusal", "function_call"];
    let [role, calls, content, refusal, function_call] = raw.pick(keys)?;
    role.map_or(Ok(()), of_assistant)?;
    gathering.message()?;
    if content.is_some_and(|content| !matches!(content.text(), "\"\"" | "[]")) {
        gathering.pass_over("text");
    }
    for (kind, part) in [("refusal", refusal), ("function_call", function_call)] {
        part.into_iter().for_each(|_| gathering.pass_over(kind));
    }
    if let Some(calls) = calls {
        for item in calls.items() {
            call(item?, gathering)?;
        }
    }
    Ok(())
}

/// Whether a message is one that can hold calls.
pub(super) fn of_assistant(role: Raw<'_>) -> Result<(), DialectError> {
    match role.string().as_deref() {
        Some("assistant" | "model") => Ok(()),
        Some("tool" | "function") => Err(answered_already("tool")),
        _ => Err(DialectError::new(format!(
            "it has a message of {}, and calls are in those of the assistant; give that message alone",
            super::asked::brief(role.text())
        ))),
    }
}

fn call<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let [id, kind, function] = match raw.pick(["id", "type", "function"]) {
        Ok(parts) => parts,
        Err(error) => return gathering.call(Found::broken(format!("it cannot be read as a call: {error}"))),
    };
    // Tools that take a text and no arguments are not the host's.
    if let Some(kind) = kind.and_then(Raw::string).filter(|kind| kind != "function") {
        gathering.pass_over(&kind);
        return Ok(());
    }
    let picked = function.map(|function| function.pick(["name", "arguments"]));
    let found = match picked {
        Some(Ok([name, arguments])) => Found { id, name, arguments, ..Found::default() },
        Some(Err(error)) => Found { id, ..Found::broken(format!("its `function` cannot be read: {error}")) },
        None => Found { id, ..Found::broken("it has no `function`") },
    };
    gathering.call(found)
}

pub(super) fn answer(asked: &AskedCall, outcome: &Outcome) -> Value {
    json!({
        "role": "tool",
        "tool_call_id": asked.answered_as,
        "content": words::all(asked, outcome),
    })
}
