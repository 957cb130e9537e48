//! What did the tool answer? A result, or an error in its own words.

use std::time::Duration;

use serde_json::Value;
use toolpost_core::catalog::shape::{Case, Field, Integer, Shape};
use toolpost_core::{CallError, Content, ErrorKind, Output, Stage};

/// The longest message of a tool that an error carries, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The most parts of a JSON text that is parsed.
const JSON_PARTS_MAX: usize = 200_000;

/// How to read the answers of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether it returns a `result`.
    fallible: bool,
    /// Whether its error is `failure` of `toolpost:tool/types`.
    failure: bool,
    parts: Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    None,
    One,
    Many,
}

impl Answer {
    pub(crate) fn of(result: Option<&Shape>) -> Self {
        let (fallible, ok, err) = match result {
            Some(Shape::Result { ok, err }) => (true, ok.as_deref(), err.as_deref()),
            other => (false, other, None),
        };
        let content = content();
        let parts = match ok {
            Some(Shape::List(item)) if item.wit() == content => Parts::Many,
            Some(shape) if shape.wit() == content => Parts::One,
            _ => Parts::None,
        };
        Answer { fallible, failure: err.is_some_and(|err| err.wit() == failure()), parts }
    }

    pub(crate) fn output(self, value: Value) -> Result<Output, CallError> {
        let value = if self.fallible { self.settle(value)? } else { value };
        let content = match (self.parts, &value) {
            (Parts::Many, Value::Array(items)) => items.iter().filter_map(part).collect(),
            (Parts::One, item) => part(item).into_iter().collect(),
            _ => Vec::new(),
        };
        Ok(Output { value, content, ..Output::default() })
    }

    /// `{"ok": value}` or `{"err": error}`.
    fn settle(self, value: Value) -> Result<Value, CallError> {
        let Value::Object(mut members) = value else { return Ok(value) };
        match (members.remove("ok"), members.remove("err")) {
            (_, Some(error)) if self.failure => Err(failed(error)),
            (_, Some(error)) => Err(refused(ErrorKind::ToolFailed { retryable: false }, &error).with_detail(error)),
            (ok, None) => Ok(ok.unwrap_or_default()),
        }
    }
}

/// The tool's words, with the author's judgement of who is at fault.
fn failed(error: Value) -> CallError {
    let case = |name: &str| error.get(name);
    if let Some(message) = case("invalid-arguments") {
        return refused(ErrorKind::InvalidArguments, message);
    }
    if let Some(unavailable) = case("unavailable") {
        let message = unavailable.get("message").unwrap_or(&Value::Null);
        let error = refused(ErrorKind::ToolFailed { retryable: true }, message);
        let after = unavailable.get("retry_after_ms");
        let after = after.and_then(|ms| ms.as_u64().or_else(|| ms.as_str()?.parse().ok()));
        return match after {
            Some(ms) => error.retry_after(Duration::from_millis(ms)),
            None => error,
        };
    }
    refused(ErrorKind::ToolFailed { retryable: false }, case("failed").unwrap_or(&error))
}

fn refused(kind: ErrorKind, words: &Value) -> CallError {
    let words = match words {
        Value::String(text) if text.is_empty() => "the tool failed, and does not say why".into(),
        Value::String(text) => text.clone(),
        Value::Null => "the tool failed, and does not say why".into(),
        other => other.to_string(),
    };
    let shown = words.get(..words.floor_char_boundary(MESSAGE_BYTES_MAX)).unwrap_or_default();
    CallError::new(kind, Stage::Run, shown)
}

fn part(value: &Value) -> Option<Content> {
    let (case, payload) = value.as_object()?.iter().next()?;
    let text = |key: &str| payload.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(match case.as_str() {
        "text" => Content::Text { text: payload.as_str()?.to_owned() },
        // What calls itself JSON and is not, or not within reason, stays text: nothing of an answer is lost.
        "json" => match json(payload.as_str()?) {
            Some(value) => Content::Json { value },
            None => Content::Text { text: payload.as_str()?.to_owned() },
        },
        "image" => Content::Image { mime_type: text("mime_type")?, data: text("data")? },
        "audio" => Content::Audio { mime_type: text("mime_type")?, data: text("data")? },
        "link" => Content::Link {
            uri: text("uri")?,
            name: text("name")?,
            description: text("description"),
            mime_type: text("mime_type"),
        },
        _ => return None,
    })
}

/// JSON text as a value, where it does not have very many parts: each takes far more room than its text.
fn json(text: &str) -> Option<Value> {
    let parts = text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if parts > JSON_PARTS_MAX { None } else { serde_json::from_str(text).ok() }
}

/// `failure` of `toolpost:tool/types`, as WIT. Types have no names in a component: what looks like it is it.
fn failure() -> String {
    let unavailable = Shape::Record(vec![
        Field::new("message", Shape::String),
        Field::new("retry-after-ms", Shape::Option(Box::new(Shape::Integer(Integer::U64)))),
    ]);
    Shape::Variant(vec![
        Case::new("invalid-arguments", Some(Shape::String)),
        Case::new("unavailable", Some(unavailable)),
        Case::new("failed", Some(Shape::String)),
    ])
    .wit()
}

/// `content` of `toolpost:tool/types`, as WIT.
fn content() -> String {
    let optional = || Shape::Option(Box::new(Shape::String));
    let media = || Shape::Record(vec![Field::new("mime-type", Shape::String), Field::new("data", Shape::Bytes)]);
    let link = Shape::Record(vec![
        Field::new("uri", Shape::String),
        Field::new("name", Shape::String),
        Field::new("description", optional()),
        Field::new("mime-type", optional()),
    ]);
    Shape::Variant(vec![
        Case::new("text", Some(Shape::String)),
        Case::new("json", Some(Shape::String)),
        Case::new("image", Some(media())),
        Case::new("audio", Some(media())),
        Case::new("link", Some(link)),
    ])
    .wit()
}
