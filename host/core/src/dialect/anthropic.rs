//! Messages of Anthropic.

use serde_json::{Value, json};

use super::gather::{Found, Gathering, answered_already};
use super::words::{self, Part};
use super::{AskedCall, DialectError};
use crate::catalog::json::Raw;
use crate::tell::Outcome;

/// A message, a list of its blocks, or one block.
pub(super) fn read<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    if raw.is_array() {
        for item in raw.items() {
            let item = item?;
            match item.pick(["role"]) {
                Ok([Some(_)]) => message(item, gathering)?,
                _ => block(item, gathering)?,
            }
        }
        return Ok(());
    }
    let [content, role] = raw.pick(["content", "role"])?;
    if content.is_some() || role.is_some() { message(raw, gathering) } else { block(raw, gathering) }
}

fn message<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let [role, content, stop_reason] = raw.pick(["role", "content", "stop_reason"])?;
    match content {
        Some(content) if content.is_array() => {
            // Answers stand in a message of the user: that they are answers says more.
            content.items().try_for_each(|part| block(part?, gathering))?;
            role.map_or(Ok(()), super::openai::of_assistant)?;
        }
        content => {
            role.map_or(Ok(()), super::openai::of_assistant)?;
            content.into_iter().for_each(|_| gathering.pass_over("text"));
        }
    }
    gathering.message()?;
    if let Some(reason @ ("max_tokens" | "model_context_window_exceeded")) =
        stop_reason.and_then(Raw::string).as_deref()
    {
        gathering.cut_off(reason);
    }
    Ok(())
}

fn block<'a>(raw: Raw<'a>, gathering: &mut Gathering<'a>) -> Result<(), DialectError> {
    let [kind, id, name, input] = match raw.pick(["type", "id", "name", "input"]) {
        Ok(parts) => parts,
        Err(error) => return gathering.call(Found::broken(format!("it cannot be read as a call: {error}"))),
    };
    match kind.and_then(Raw::string).as_deref() {
        Some("tool_use") => gathering.call(Found { id, name, arguments: input, ..Found::default() }),
        Some(kind @ "tool_result") => Err(answered_already(kind)),
        Some(kind) => {
            gathering.pass_over(kind);
            Ok(())
        }
        None => gathering.call(Found { id, ..Found::broken("it has no `type`") }),
    }
}

pub(super) fn answer(asked: &AskedCall, outcome: &Outcome) -> Value {
    let parts = words::parts(asked, outcome);
    let content = match parts.as_slice() {
        [Part::Text(text)] => json!(text),
        _ => parts.into_iter().map(part).collect(),
    };
    let mut block = json!({"type": "tool_result", "tool_use_id": asked.answered_as, "content": content});
    if let (Err(_), Some(block)) = (&outcome.result, block.as_object_mut()) {
        block.insert("is_error".into(), json!(true));
    }
    block
}

fn part(part: Part) -> Value {
    match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Picture { mime_type, data } => {
            json!({"type": "image", "source": {"type": "base64", "media_type": mime_type, "data": data}})
        }
    }
}

/// The one message that holds the answers to all calls of a message.
pub(super) fn message_of(blocks: Vec<Value>) -> Value {
    json!({"role": "user", "content": blocks})
}
