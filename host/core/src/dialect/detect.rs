//! Whose words are these? Told by the names of their parts.

use super::{Dialect, DialectError, ours};
use crate::catalog::json::Raw;

/// What shows a dialect: a call of it or what is around one, which no other dialect has, or only something that it has too.
#[derive(Clone, Copy)]
enum Sign {
    Sure(Dialect),
    Likely(Dialect),
}

pub(super) fn detect(text: &str) -> Result<Dialect, DialectError> {
    let unknown = || {
        DialectError::new(
            "nothing in it shows which format it has: there are no `tool_calls`, no `function_call`, no `tool_use`, no \
             `functionCall` and no `tool`; say which format it is",
        )
    };
    let raw = match Raw::document(text) {
        Ok(raw) => raw,
        // One line that is a call of ours is enough: the others are calls that fail.
        Err(error) => {
            let is_ours = |line| matches!(Raw::document(line).map(sign), Ok(Some(Sign::Sure(Dialect::Ours))));
            return if ours::lines(text).any(is_ours) { Ok(Dialect::Ours) } else { Err(error.into()) };
        }
    };
    let found = if raw.is_array() { of_list(raw)? } else { sign(raw) };
    match found {
        Some(Sign::Sure(dialect) | Sign::Likely(dialect)) => Ok(dialect),
        None => Err(unknown()),
    }
}

/// What is sure of one item decides; else what is likely of the first that has something.
fn of_list(list: Raw<'_>) -> Result<Option<Sign>, DialectError> {
    let mut likely = None;
    for item in list.items() {
        match sign(item?) {
            sure @ Some(Sign::Sure(_)) => return Ok(sure),
            other => likely = likely.or(other),
        }
    }
    Ok(likely)
}

fn sign(raw: Raw<'_>) -> Option<Sign> {
    const KEYS: [&str; 14] = [
        "tool",
        "choices",
        "tool_calls",
        "function",
        "message",
        "candidates",
        "parts",
        "functionCall",
        "output",
        "type",
        "content",
        "role",
        "function_call",
        "args",
    ];
    let picked = raw.pick(KEYS).ok()?;
    let [tool, choices, tool_calls, function, message, candidates, parts, call, output, kind, content, role, old, args] =
        picked;
    let kind = kind.and_then(Raw::string);
    let sure = |dialect| Some(Sign::Sure(dialect));
    let likely = |dialect| Some(Sign::Likely(dialect));
    match kind.as_deref() {
        Some("tool_use") => return sure(Dialect::Anthropic),
        Some("function_call") => return sure(Dialect::OpenAiResponses),
        _ => {}
    }
    if choices.or(tool_calls).or(function).or(message).is_some() {
        return sure(Dialect::OpenAi);
    }
    if candidates.or(parts).or(call).is_some() || old.is_some() && role.is_none() {
        return sure(Dialect::Gemini);
    }
    if output.is_some_and(Raw::is_array) {
        return sure(Dialect::OpenAiResponses);
    }
    match content {
        Some(content) if content.is_array() => return of_content(content).or(likely(Dialect::Anthropic)),
        Some(content) if content.is_object() => return sure(Dialect::Gemini),
        _ => {}
    }
    if tool.is_some() {
        return sure(Dialect::Ours);
    }
    if role.is_some() {
        return likely(Dialect::OpenAi);
    }
    if args.is_some() {
        return likely(Dialect::Gemini);
    }
    // A block, an item or a part that is no call.
    match kind.as_deref() {
        Some("reasoning" | "message") => likely(Dialect::OpenAiResponses),
        Some(_) => likely(Dialect::Anthropic),
        None => raw.pick(["text"]).ok()?.iter().any(Option::is_some).then_some(Sign::Likely(Dialect::Gemini)),
    }
}

/// A list of blocks, which is Anthropic's where one of them is a call.
fn of_content(content: Raw<'_>) -> Option<Sign> {
    content.items().flatten().find_map(|block| match block.pick(["type"]).ok()? {
        [Some(kind)] if kind.text() == "\"tool_use\"" => Some(Sign::Sure(Dialect::Anthropic)),
        [Some(kind)] if kind.text() == "\"output_text\"" => Some(Sign::Likely(Dialect::OpenAiResponses)),
        _ => None,
    })
}
