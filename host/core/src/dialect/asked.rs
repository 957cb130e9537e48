//! What was asked, as it was written: the calls of one text, each with what its answer needs.

use std::fmt;

use serde::Serialize;
use serde_json::Number;

use super::Dialect;
use crate::call::{Arguments, Call};
use crate::catalog::cast::nearest;
use crate::catalog::json::ReadError;
use crate::check::approve::shown::escaped;
use crate::tell::{CallError, ErrorKind, Stage};

/// How much is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Length of the text in bytes; 16 MiB by default.
    pub text_bytes_max: usize,
    /// Calls in it; 1,024 by default.
    pub calls_max: usize,
    /// Length of an id in bytes; 16 KiB by default. Some gateways keep more in an id than an id.
    pub id_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { text_bytes_max: 16 << 20, calls_max: 1_024, id_bytes_max: 16 << 10 }
    }
}

impl Bounds {
    pub(super) fn take(&self, text: &str) -> Result<(), DialectError> {
        let (is, most) = (text.len(), self.text_bytes_max);
        if is > most {
            return Err(DialectError::new(format!("it is {is} bytes long; at most {most} are read at once")));
        }
        Ok(())
    }
}

/// What was read of a text.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The dialect in which it was read.
    pub dialect: Dialect,
    /// The calls, in order.
    pub calls: Vec<AskedCall>,
    /// What else was there, by kind, in the order in which it came first.
    pub passed_over: Vec<PassedOver>,
}

/// Parts of a text that are no calls of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Their kind, as the dialect names it.
    pub kind: String,
    /// How many there were.
    pub count: usize,
}

/// A call as it was asked for.
#[derive(Clone, Debug)]
pub struct AskedCall {
    /// Its place among the calls of its text, from 0.
    pub index: usize,
    /// The id that it came with.
    pub id: Option<AskedId>,
    /// The tool that it names; empty where it names none.
    pub tool: String,
    /// Its arguments, as they were written.
    pub arguments: Arguments,
    /// The idempotency key that it came with. Only our own dialect has a word for it.
    pub key: Option<String>,
    /// Why it must not run, whatever its tool: what it is answered with.
    pub refused: Option<CallError>,
    /// The place of the first call that has its id, where that is another one.
    pub repeats: Option<usize>,
    /// How many calls behind it have its id.
    pub repeated: usize,
    /// The id under which it is answered where answers need one.
    pub(super) answered_as: String,
}

impl AskedCall {
    /// The call for the host, with an id of the host's own: what a model calls it is unique only among the calls of one
    /// message.
    ///
    /// # Errors
    /// It must not run.
    pub fn call(&self) -> Result<Call, CallError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        Ok(Call { idempotency_key: self.key.clone(), ..Call::new(&self.tool, self.arguments.clone()) })
    }
}

/// The id of a call, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum AskedId {
    /// A text.
    Text(String),
    /// A whole number.
    Number(Number),
}

impl fmt::Display for AskedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskedId::Text(text) => f.write_str(text),
            AskedId::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Why a text as a whole cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectError {
    /// Why, and what would help.
    pub message: String,
}

impl DialectError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        DialectError { message: message.into() }
    }

    /// No format has that name.
    pub(super) fn unknown<const N: usize>(name: &str, known: [&str; N]) -> Self {
        let help = match nearest(name, known.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.map(|name| format!("`{name}`")).join(", ")),
        };
        DialectError::new(format!("no format is named `{}`; {help}", brief(name)))
    }
}

impl fmt::Display for DialectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DialectError {}

impl From<ReadError> for DialectError {
    fn from(error: ReadError) -> Self {
        DialectError::new(format!("it cannot be read: {error}"))
    }
}

/// What is wrong with one call.
pub(super) fn refused(kind: ErrorKind, why: impl Into<String>) -> CallError {
    let stage = if kind == ErrorKind::UnknownTool { Stage::Find } else { Stage::Accept };
    CallError::new(kind, stage, why)
}

/// The longest word of a text that is told again, in characters.
const BRIEF_MAX: usize = 80;

/// A word of a text that nobody has checked, short and with visible escapes.
pub(super) fn brief(word: &str) -> String {
    let start: String = word.chars().take(BRIEF_MAX).collect();
    let cut = if start.len() < word.len() { ".." } else { "" };
    format!("{}{cut}", escaped(&start))
}
