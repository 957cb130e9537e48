//! Gemini of Google.

use serde_json::{Map, Value, json};

use super::gather::{Found, Gathering, answered_already};
use super::words;
use super::{AskedCall, DialectError};
use crate::catalog::json::Raw;
use crate::tell::{Content, Outcome, Output};

/// A response, or the pieces of one that was streamed; a candidate, a content, a list of its parts, or one part. A call may
/// also stand without its part around it.
pub(super) fn read<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    if raw.is_array() {
        return pieces(raw, gathering);
    }
    let [candidates, content, parts] = raw.pick(["candidates", "content", "parts"])?;
    match (candidates, content, parts) {
        (Some(candidates), ..) => response(candidates, gathering, true),
        (_, Some(_), _) => candidate(raw, gathering),
        (_, _, Some(_)) => contents(raw, gathering),
        _ => part(raw, gathering),
    }
}

/// A list: of parts, of contents, or of the pieces of a response. All pieces are one message.
fn pieces<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let mut is_first = true;
    for item in raw.items() {
        let item = item?;
        match item.pick(["candidates", "parts"]) {
            Ok([Some(candidates), _]) => response(candidates, gathering, std::mem::take(&mut is_first))?,
            Ok([None, Some(_)]) => contents(item, gathering)?,
            _ => part(item, gathering)?,
        }
    }
    Ok(())
}

fn response<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>, is_first: bool) -> Result<(), DialectError> {
    for (index, one) in raw.items().enumerate() {
        let one = one?;
        // Of each piece, the first candidate goes on where that of the piece before has ended.
        if index > 0 || is_first {
            gathering.message()?;
        }
        candidate(one, gathering)?;
    }
    Ok(())
}

fn candidate<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let [content, camel, snake] = raw.pick(["content", "finishReason", "finish_reason"])?;
    if let Some(content) = content {
        let [role, parts] = content.pick(["role", "parts"])?;
        of_model(role)?;
        all_parts(parts, gathering)?;
    }
    if let Some(reason @ "MAX_TOKENS") = camel.or(snake).and_then(Raw::string).as_deref() {
        gathering.cut_off(reason);
    }
    Ok(())
}

fn contents<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let [role, parts] = raw.pick(["role", "parts"])?;
    all_parts(parts, gathering)?;
    of_model(role)?;
    gathering.message()
}

fn of_model(role: Option<Raw<'_>>) -> Result<(), DialectError> {
    role.map_or(Ok(()), super::openai::of_assistant)
}

fn all_parts<'a>(raw: Option<Raw<'a>>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    raw.map_or(Ok(()), |parts| parts.items().try_for_each(|one| part(one?, gathering)))
}

fn part<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let keys = ["functionCall", "function_call", "functionResponse", "function_response", "name", "args"];
    let [camel, snake, response, other, name, args] = match raw.pick(keys) {
        Ok(parts) => parts,
        Err(error) => return gathering.call(Found::broken(format!("it cannot be read as a call: {error}"))),
    };
    if response.or(other).is_some() {
        return Err(answered_already("functionResponse"));
    }
    match camel.or(snake) {
        Some(inner) => call(inner, gathering),
        None if name.is_some() && args.is_some() => call(raw, gathering),
        None => {
            let thought = raw.pick(["thought"]).is_ok_and(|[thought]| thought.is_some_and(|is| is.text() == "true"));
            let kind = raw.members().flatten().map(|(key, _)| key).find(|key| !key.starts_with("thought"));
            gathering.pass_over(if thought { "thought" } else { kind.as_deref().unwrap_or("thought") });
            Ok(())
        }
    }
}

fn call<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let found = match raw.pick(["id", "name", "args", "willContinue", "will_continue"]) {
        Ok([id, name, arguments, camel, snake]) => {
            let goes_on = camel.or(snake).is_some_and(|goes_on| goes_on.text() == "true");
            let fault = goes_on.then(|| "it is a piece of a call, and the rest is missing; give it whole".into());
            Found { id, name, arguments, fault, ..Found::default() }
        }
        Err(error) => Found::broken(format!("it cannot be read as a call: {error}")),
    };
    gathering.call(found)
}

/// Answers are told apart by their order, their names, and their ids where the calls have some.
pub(super) fn answer(asked: &AskedCall, outcome: &Outcome) -> Value {
    let mut response = Map::new();
    response.insert("name".into(), json!(asked.tool));
    if let Some(id) = &asked.id {
        response.insert("id".into(), json!(id.to_string()));
    }
    let said = match &outcome.result {
        Ok(output) => {
            let (value, notes) = (value(output), words::notes(asked, outcome, false));
            // What stands beside `output` is not promised to be read.
            if notes.is_empty() {
                json!({"output": value})
            } else {
                json!({"output": {"result": value, "notes": notes}})
            }
        }
        Err(error) => json!({"error": words::error(error)}),
    };
    response.insert("response".into(), said);
    json!({"functionResponse": response})
}

/// The result as a value, where it is one; pictures and sounds are named.
fn value(output: &Output) -> Value {
    match output.content.as_slice() {
        [] => output.value.clone(),
        [Content::Json { value }] => value.clone(),
        _ => words::output(output).into(),
    }
}

/// The one content that holds the answers to all calls of a content.
pub(super) fn message_of(parts: Vec<Value>) -> Value {
    json!({"role": "user", "parts": parts})
}
