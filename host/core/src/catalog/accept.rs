//! May these arguments go to that tool? Reads, repairs and casts them, once, before anything else looks at them.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::{Map, Value};

use super::cast::{Cast, Caster, Change, Fault};
use super::json::{Node, Repair};
use super::tool::Tool;
use crate::call::{AcceptedCall, Arguments, Call};
use crate::tell::{CallError, ErrorKind, Stage};

/// What was done to the arguments until they fitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CastReport {
    /// How the text had to be repaired before it was JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<Repair>,
    /// Which values had to be cast before they fitted the tool's parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Changes beyond those that could be listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub changes_unlisted: usize,
}

impl CastReport {
    /// Whether the arguments fitted as they were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.repairs.is_empty() && self.changes.is_empty()
    }
}

/// Faults that are spelled out in the message to the agent; all that are listed are in the error's detail.
const SPELLED_OUT_MAX: usize = 10;

/// Turns a call into one whose arguments are exactly what the tool takes.
///
/// # Errors
/// [`ErrorKind::InvalidArguments`], with every fault that was found.
pub fn accept(tool: Arc<Tool>, call: Call) -> Result<AcceptedCall, CallError> {
    let limit = tool.limits.arguments_bytes_max;
    let too_large = |bytes: u64| {
        invalid(&tool.name, format!("they are {bytes} bytes long; at most {limit} are allowed"))
            .with_help(format!("limits.arguments = \"{}\" would allow them", bytesize::ByteSize(bytes)))
    };
    let (canonical, cast) = match &call.arguments {
        Arguments::Text(text) => {
            if text.len() as u64 > limit {
                return Err(too_large(text.len() as u64));
            }
            from_text(&tool, text)?
        }
        Arguments::Value(value) => {
            let bytes = rough_size(value);
            if bytes > limit {
                return Err(too_large(bytes));
            }
            let node = Node::of(value).map_err(|error| invalid(&tool.name, error.to_string()))?;
            from_node(&tool, &node, Vec::new())?
        }
    };
    Ok(AcceptedCall {
        call,
        tool,
        arguments: canonical,
        cast,
        keyed: None,
        asks: OnceLock::new(),
        hash: OnceLock::new(),
    })
}

fn from_text(tool: &Tool, text: &str) -> Result<(Value, CastReport), CallError> {
    if text.trim().is_empty() {
        return from_node(tool, &Node::Null, Vec::new());
    }
    let read = match tool.cast {
        Cast::Strict => Node::read(text).map(|node| (node, Vec::new())),
        Cast::Safe | Cast::Lax => Node::read_repaired(text),
    };
    let (node, repairs) = read.map_err(|error| invalid(&tool.name, error.to_string()))?;
    from_node(tool, &node, repairs)
}

fn from_node(tool: &Tool, node: &Node<'_>, repairs: Vec<Repair>) -> Result<(Value, CastReport), CallError> {
    // Some front ends send the whole object as one JSON string, some send nothing where there is nothing to say.
    let empty = Node::Object(Vec::new());
    let inner;
    let (node, repairs) = match node {
        Node::Null => (&empty, repairs),
        Node::String(text) if text.trim().is_empty() => (&empty, repairs),
        Node::String(text) if tool.cast == Cast::Strict => {
            inner = Node::read(text).map_err(|error| invalid(&tool.name, error.to_string()))?;
            (&inner, repairs)
        }
        Node::String(text) => {
            let (node, more) = Node::read_repaired(text).map_err(|error| invalid(&tool.name, error.to_string()))?;
            inner = node;
            (&inner, [repairs, more].concat())
        }
        _ => (node, repairs),
    };
    let mut caster = Caster::new(tool.cast, !tool.effect.may_change());
    match caster.record(node, &tool.parameters) {
        Some(arguments) => {
            let (mut changes, changes_unlisted) = (caster.changes, caster.changes_unlisted);
            for Change { pointer, from, to } in &mut changes {
                tool.secret_arguments.hide(pointer, &tool.parameters, from);
                tool.secret_arguments.hide(pointer, &tool.parameters, to);
            }
            Ok((arguments, CastReport { repairs, changes, changes_unlisted }))
        }
        None => {
            for fault in &mut caster.faults {
                tool.secret_arguments.hide(&fault.pointer, &tool.parameters, &mut fault.got);
            }
            Err(faulty(&tool.name, &caster.faults, caster.faults_unlisted))
        }
    }
}

fn invalid(tool: &str, why: String) -> CallError {
    CallError::new(
        ErrorKind::InvalidArguments,
        Stage::Accept,
        format!("the arguments of `{tool}` cannot be used: {why}"),
    )
}

fn faulty(tool: &str, faults: &[Fault], unlisted: usize) -> CallError {
    let mut why: Vec<String> = faults
        .iter()
        .take(SPELLED_OUT_MAX)
        .map(|fault| match fault.pointer.as_str() {
            "" => format!("expected {}, got {}", fault.expected, fault.got),
            pointer => format!("at `{pointer}`: expected {}, got {}", fault.expected, fault.got),
        })
        .collect();
    let more = faults.len().saturating_sub(SPELLED_OUT_MAX) + unlisted;
    if more > 0 {
        why.push(format!("and {more} more"));
    }
    let mut detail = Map::new();
    detail.insert("faults".into(), serde_json::to_value(faults).unwrap_or_default());
    invalid(tool, why.join("; ")).with_detail(Value::Object(detail))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// About as many bytes as the value has as JSON text, without printing it.
pub(crate) fn rough_size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => items.iter().map(|item| rough_size(item) + 1).sum::<u64>() + 2,
        Value::Object(members) => {
            members.iter().map(|(key, item)| key.len() as u64 + rough_size(item) + 4).sum::<u64>() + 2
        }
    }
}
