//! How did it end? What is kept of a call, to be said again to the next one with its key.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::catalog::json::{Node, ReadError};
use crate::tell::{CallError, ErrorKind, Output, Stage, json_length};

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

    /// Its length as JSON.
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(json_length(self)).unwrap_or(usize::MAX)
    }

    /// The ending as JSON text, for a store. Where the result nests deeper than can be read back, only the fact is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        match Node::of(&value) {
            Ok(_) => value.to_string(),
            Err(_) => {
                let fact = match self {
                    Ending::Ok { .. } => Ending::Ok { output: None },
                    Ending::Failed { message, .. } => Ending::Failed { message: message.clone(), detail: None },
                };
                serde_json::to_value(fact).unwrap_or_default().to_string()
            }
        }
    }

    /// The ending that such a text says.
    ///
    /// # Errors
    /// It says none.
    pub fn of_text(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        // Not `serde_json`'s own reader: it may read a float as its neighbour, and an answer is given twice in the same bits.
        let node = Node::read(text).map_err(|ReadError { message, .. }| message)?;
        Ok(serde_json::from_value(value_of(&node))?)
    }
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
