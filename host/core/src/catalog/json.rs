//! What does this text say? Reads JSON the way models write it.
//!
//! A strict document is read as it stands. Almost-JSON is repaired, in the ways listed at [`Repair`], each of which only
//! *removes* or *re-quotes*; nothing is ever made up, so a text that ends early is refused (a path that was cut short is
//! another path). Numbers keep their source text, because an `f64` on the way would lose digits. A key that stands twice
//! is an error: which of the two was meant is anybody's guess.

pub(crate) mod canonical;
mod raw;
mod reader;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

pub use self::raw::Raw;

/// The depth to which arrays and objects may be nested.
pub const DEPTH_MAX: usize = 64;

/// A JSON value whose numbers are still text.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Cow<'a, str>),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object, in the order it was written; no key stands twice.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// One way in which a text was almost JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// A byte order mark stood first.
    ByteOrderMark,
    /// The value stood in a Markdown code fence.
    CodeFence,
    /// Words stood before the first `{`.
    LeadingText,
    /// A comma stood before a closing bracket.
    TrailingComma,
    /// `//`, `#` or `/* */` comments.
    Comment,
    /// A string or key stood in single quotes.
    SingleQuotes,
    /// A key stood without quotes.
    UnquotedKey,
    /// `True`, `False` or `None`.
    PythonLiteral,
}

impl Repair {
    /// The repair in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Repair::ByteOrderMark => "a byte order mark was removed",
            Repair::CodeFence => "a code fence was removed",
            Repair::LeadingText => "words before the first brace were removed",
            Repair::TrailingComma => "a comma before a closing bracket was removed",
            Repair::Comment => "comments were removed",
            Repair::SingleQuotes => "single quotes were made double ones",
            Repair::UnquotedKey => "keys were put in quotes",
            Repair::PythonLiteral => "`True`, `False` or `None` were written as JSON",
        }
    }
}

/// Why a text is no JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// What is wrong, for the one who wrote the text.
    pub message: String,
    /// Where it is wrong, in bytes from the start.
    pub offset: usize,
    /// The text ends before its value does.
    pub ends_early: bool,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.offset)
    }
}

impl<'a> Node<'a> {
    /// Reads a strict JSON document (RFC 8259).
    ///
    /// # Errors
    /// The text is not JSON, nests deeper than [`DEPTH_MAX`], or has a key twice in one object.
    pub fn read(text: &'a str) -> Result<Node<'a>, ReadError> {
        reader::Reader::strict(text).document()
    }

    /// Reads almost-JSON, and says what had to be repaired. A strict document needs no repair.
    ///
    /// # Errors
    /// As for [`Node::read`], where none of the repairs helps.
    pub fn read_repaired(text: &'a str) -> Result<(Node<'a>, Vec<Repair>), ReadError> {
        let strict = match Node::read(text) {
            Ok(node) => return Ok((node, Vec::new())),
            Err(error) => error,
        };
        let mut reader = reader::Reader::lenient(text);
        let node = reader.document().map_err(|error| if error.ends_early { error } else { strict })?;
        let mut repairs = std::mem::take(&mut reader.repairs);
        repairs.sort_unstable();
        repairs.dedup();
        Ok((node, repairs))
    }

    /// Looks at a value that a library has parsed.
    ///
    /// # Errors
    /// The value nests deeper than [`DEPTH_MAX`].
    pub fn of(value: &'a Value) -> Result<Node<'a>, ReadError> {
        Self::of_at(value, 0)
    }

    fn of_at(value: &'a Value, depth: usize) -> Result<Node<'a>, ReadError> {
        Ok(match value {
            Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => return Err(too_deep(0)),
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::Number(number) => Node::Number(Cow::Owned(number.to_string())),
            Value::String(text) => Node::String(Cow::Borrowed(text)),
            Value::Array(items) => {
                Node::Array(items.iter().map(|item| Self::of_at(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => Node::Object(
                members
                    .iter()
                    .map(|(key, value)| Ok((Cow::Borrowed(key.as_str()), Self::of_at(value, depth + 1)?)))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    /// The value as compact JSON text, cut on a character boundary after about `length` bytes.
    #[must_use]
    pub fn excerpt(&self, length: usize) -> String {
        let mut out = String::new();
        self.write(&mut out, length);
        if out.len() > length {
            let cut = out.floor_char_boundary(length);
            out.truncate(cut);
            out.push('…');
        }
        out
    }

    /// The value as compact JSON text. Numbers are printed as they were written.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, usize::MAX);
        out
    }

    fn write(&self, out: &mut String, enough: usize) {
        let string = |out: &mut String, text: &str| {
            // No more than can be seen is escaped, and never less, or what was cut would pass for whole.
            let seen = text.get(..text.ceil_char_boundary(enough.min(text.len()))).unwrap_or(text);
            out.push_str(&Value::from(seen).to_string());
        };
        match self {
            Node::Null => out.push_str("null"),
            Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Node::Number(text) => out.push_str(text),
            Node::String(text) => string(out, text),
            Node::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    if out.len() > enough {
                        return;
                    }
                    item.write(out, enough);
                }
                out.push(']');
            }
            Node::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    if out.len() > enough {
                        return;
                    }
                    string(out, key);
                    out.push(':');
                    value.write(out, enough);
                }
                out.push('}');
            }
        }
    }
}

fn too_deep(offset: usize) -> ReadError {
    ReadError { message: format!("nested deeper than {DEPTH_MAX} levels"), offset, ends_early: false }
}
