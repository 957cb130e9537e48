//! How did it end? What is kept of a call, to be said again to the next one with its key.
//!
//! It is kept as JSON text, in memory as on a disk: most answers are never asked for again, and a text is one piece of memory
//! where the value of it is dozens.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::store::LedgerFailure;
use crate::catalog::json::{DEPTH_MAX, Node, ReadError};
use crate::tell::{CallError, ErrorKind, Output, Stage};

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It succeeded.
    Ok {
        /// With this, where it is kept.
        output: Option<Output>,
    },
    /// The tool failed for good.
    Failed {
        /// Why.
        message: String,
        /// The same for a program.
        detail: Option<Value>,
    },
}

impl Ending {
    /// The same answer once more.
    ///
    /// # Errors
    /// The tool's failure.
    pub fn answer(self) -> Result<Output, CallError> {
        match self {
            Ending::Ok { output: Some(output) } => Ok(output),
            Ending::Ok { output: None } => {
                let note = "this was done before, by a call with the same key; what it answered was not kept";
                Ok(Output { notes: vec![note.into()], ..Output::default() })
            }
            Ending::Failed { message, detail } => {
                let error = CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, message);
                Err(CallError { detail, ..error })
            }
        }
    }
}

/// An ending as it is kept: whether the call succeeded, and the rest as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    is_ok: bool,
    text: Arc<str>,
}

/// An [`Ending`] whose parts are somebody else's, written in the same way.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Told<'a> {
    Ok { output: Option<&'a Output> },
    Failed { message: &'a str, detail: Option<&'a Value> },
}

/// The text of an ending of which only the fact is kept.
const FACT: &str = "";

impl Kept {
    /// The call succeeded, with this, where it is kept.
    #[must_use]
    pub fn ok(output: Option<&Output>) -> Self {
        let text = Told::Ok { output }.text();
        Kept { is_ok: true, text: if is_readable(&text) { text.into() } else { FACT.into() } }
    }

    /// The tool failed for good.
    #[must_use]
    pub fn failed(message: &str, detail: Option<&Value>) -> Self {
        let whole = Told::Failed { message, detail }.text();
        let text = if is_readable(&whole) { whole } else { Told::Failed { message, detail: None }.text() };
        Kept { is_ok: false, text: text.into() }
    }

    /// Only that the call succeeded, or failed.
    #[must_use]
    pub fn fact(is_ok: bool) -> Self {
        Kept { is_ok, text: FACT.into() }
    }

    /// Such a text, from where it was kept.
    #[must_use]
    pub fn of_text(is_ok: bool, text: &str) -> Self {
        Kept { is_ok, text: text.into() }
    }

    /// The ending as text, for a store.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the call succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.is_ok
    }

    /// What it says.
    ///
    /// # Errors
    /// It says nothing: somebody has changed it where it was kept.
    pub fn ending(&self) -> Result<Ending, LedgerFailure> {
        match (&*self.text, self.is_ok) {
            (FACT, true) => Ok(Ending::Ok { output: None }),
            (FACT, false) => Ok(Ending::Failed { message: String::new(), detail: None }),
            (text, _) => {
                // Not `serde_json`'s own reader: it may read a float as its neighbour, and an answer is given twice in the same
                // bits.
                let node = Node::read(text).map_err(|ReadError { message, .. }| LedgerFailure::new(message))?;
                serde_json::from_value(value_of(&node)).map_err(LedgerFailure::new)
            }
        }
    }
}

impl Told<'_> {
    /// What is written into memory cannot fail.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether a JSON text nests no deeper than it can be read back.
pub(crate) fn is_readable(text: &str) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    text.bytes().all(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= DEPTH_MAX
    })
}

fn value_of(node: &Node<'_>) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(*value),
        Node::String(text) => Value::String(text.to_string()),
        Node::Number(text) => number(text).map_or(Value::Null, Value::Number),
        Node::Array(items) => items.iter().map(value_of).collect(),
        Node::Object(members) => {
            Value::Object(members.iter().map(|(key, item)| (key.to_string(), value_of(item))).collect::<Map<_, _>>())
        }
    }
}

fn number(text: &str) -> Option<Number> {
    let whole = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}
