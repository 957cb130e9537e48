//! Responses of OpenAI.

use serde_json::{Value, json};

use super::gather::{Found, Gathering, answered_already};
use super::words::{self, Part};
use super::{AskedCall, DialectError};
use crate::catalog::json::Raw;
use crate::tell::Outcome;

/// A response, a list of its items, or one item.
pub(super) fn read<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    if raw.is_array() {
        return items(raw, gathering);
    }
    let [output] = raw.pick(["output"])?;
    match output {
        Some(output) if output.is_array() => items(output, gathering),
        _ => item(raw, gathering),
    }
}

fn items<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    raw.items().try_for_each(|part| item(part?, gathering))
}

fn item<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let parts = raw.pick(["type", "call_id", "name", "arguments", "status", "role"]);
    let [kind, id, name, arguments, status, role] = match parts {
        Ok(parts) => parts,
        Err(error) => return gathering.call(Found::broken(format!("it cannot be read as a call: {error}"))),
    };
    match kind.and_then(Raw::string).as_deref() {
        Some("function_call") => {
            gathering.call(Found { id, name, arguments, ..Found::default() })?;
            if let Some(status @ "incomplete") = status.and_then(Raw::string).as_deref() {
                gathering.cut_off(status);
            }
        }
        Some(kind) if kind.ends_with("call_output") => return Err(answered_already(kind)),
        Some(kind) => gathering.pass_over(kind),
        None => match role {
            Some(role) => {
                super::openai::of_assistant(role)?;
                gathering.pass_over("message");
            }
            None => gathering.call(Found::broken("it has no `type`"))?,
        },
    }
    Ok(())
}

pub(super) fn answer(asked: &AskedCall, outcome: &Outcome) -> Value {
    let parts = words::parts(asked, outcome);
    let output = match parts.as_slice() {
        [Part::Text(text)] => json!(text),
        _ => parts.into_iter().map(part).collect(),
    };
    json!({"type": "function_call_output", "call_id": asked.answered_as, "output": output})
}

fn part(part: Part) -> Value {
    match part {
        Part::Text(text) => json!({"type": "input_text", "text": text}),
        Part::Picture { mime_type, data } => {
            json!({"type": "input_image", "image_url": format!("data:{mime_type};base64,{data}")})
        }
    }
}
