//! What an operator has written in settings: it is cast strictly, and every fault is told.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::json::Node;
use super::super::shape::{Field, Shape};
use super::{Cast, Caster, Fault};

/// Casts one value strictly.
pub(in crate::catalog) fn cast_one(value: &Value, shape: &Shape) -> Result<Value, Fault> {
    let mut caster = Caster::new(Cast::Strict, false);
    let cast = Node::of(value).ok().and_then(|node| caster.cast(&node, shape));
    cast.ok_or_else(|| {
        let nested = Fault { pointer: String::new(), expected: shape.wit(), got: "a value that nests too deep".into() };
        caster.faults.into_iter().next().unwrap_or(nested)
    })
}

/// What is written for all parameters of a function, as canonical arguments.
///
/// # Errors
/// It does not fit: every fault, between semicolons.
pub fn arguments(parameters: &[Field], written: &BTreeMap<String, Value>) -> Result<Value, String> {
    let written: Map<String, Value> = written.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let written = Value::Object(written);
    let node = Node::of(&written).map_err(|error| error.to_string())?;
    let mut caster = Caster::new(Cast::Strict, false);
    let cast = caster.record(&node, parameters);
    cast.ok_or_else(|| {
        let place = |fault: &Fault| fault.pointer.trim_start_matches('/').replace('/', ".");
        let words = |fault: &Fault| format!("`{}`: expected {}, got {}", place(fault), fault.expected, fault.got);
        caster.faults.iter().map(words).collect::<Vec<_>>().join("; ")
    })
}
