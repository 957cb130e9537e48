//! What came of a call, in words for a model.
//!
//! A failure says that it is one: most dialects have no other sign of it, and clients lose those that there are.

use std::time::Duration;

use serde_json::Value;

use super::AskedCall;
use crate::tell::{CallError, Content, Outcome, Output};

/// A part of an answer.
pub(super) enum Part {
    Text(String),
    Picture { mime_type: String, data: String },
}

/// The pictures that models take.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// All of it as one text.
pub(super) fn all(asked: &AskedCall, outcome: &Outcome) -> String {
    let said = match &outcome.result {
        Ok(output) => self::output(output),
        Err(error) => format!("error: {}", self::error(error)),
    };
    [vec![said], marked(notes(asked, outcome, true))].concat().join("\n")
}

/// All of it in texts and pictures; the texts that stand together are one.
pub(super) fn parts(asked: &AskedCall, outcome: &Outcome) -> Vec<Part> {
    let has_picture = |output: &Output| output.content.iter().any(|content| picture(content).is_some());
    let Some(output) = outcome.result.as_ref().ok().filter(|output| has_picture(output)) else {
        return vec![Part::Text(all(asked, outcome))];
    };
    let said = output.content.iter().map(|content| match picture(content) {
        Some((mime_type, data)) => Part::Picture { mime_type: mime_type.into(), data: data.into() },
        None => Part::Text(content_words(content)),
    });
    let mut parts: Vec<Part> = Vec::new();
    for part in said.chain(marked(notes(asked, outcome, true)).into_iter().map(Part::Text)) {
        match (parts.last_mut(), part) {
            (Some(Part::Text(said)), Part::Text(more)) => {
                said.push('\n');
                said.push_str(&more);
            }
            (_, part) => parts.push(part),
        }
    }
    parts
}

/// A picture that models take, with its bytes in base64.
fn picture(content: &Content) -> Option<(&str, &str)> {
    match content {
        Content::Image { mime_type, data } if PICTURES.contains(&mime_type.as_str()) => Some((mime_type, data)),
        _ => None,
    }
}

/// A result as one text.
pub(super) fn output(output: &Output) -> String {
    match (output.content.as_slice(), &output.value) {
        ([], Value::String(text)) => text.clone(),
        ([], value) => value.to_string(),
        (parts, _) => parts.iter().map(content_words).collect::<Vec<_>>().join("\n"),
    }
}

fn content_words(content: &Content) -> String {
    match content {
        Content::Text { text } => text.clone(),
        Content::Json { value } => value.to_string(),
        Content::Image { mime_type, data } | Content::Audio { mime_type, data } => {
            format!("[{mime_type}, about {} bytes, which cannot be shown here]", data.len() / 4 * 3)
        }
        Content::Link { uri, name, description, .. } => {
            let description = description.as_ref().map_or_else(String::new, |words| format!(": {words}"));
            format!("{name} <{uri}>{description}")
        }
    }
}

/// A failure: its kind, what happened, what would help, and when.
pub(super) fn error(error: &CallError) -> String {
    let after = error.retry_after.map_or_else(String::new, |span| format!("\nretry after: {}", rounded_up(span)));
    format!("{}: {error}{after}", error.kind.name())
}

/// In whole milliseconds: who waits as long as it was told must not come too early.
fn rounded_up(span: Duration) -> humantime::FormattedDuration {
    let milliseconds = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds))
}

/// What is to be said beside the result. `for_all` says that the answer stands for all calls of its id.
pub(super) fn notes(asked: &AskedCall, outcome: &Outcome, for_all: bool) -> Vec<String> {
    let said = outcome.result.iter().flat_map(|output| output.notes.clone());
    let others = (for_all && asked.repeated > 0).then(|| {
        let (calls, have) = if asked.repeated == 1 { ("call", "has") } else { ("calls", "have") };
        let count = asked.repeated;
        format!("{count} more {calls} that {have} this id did not run; give each call an id of its own")
    });
    said.chain(others).collect()
}

fn marked(notes: Vec<String>) -> Vec<String> {
    notes.into_iter().map(|note| format!("note: {note}")).collect()
}
