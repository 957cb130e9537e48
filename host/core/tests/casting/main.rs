//! What each mode of casting makes of what models send: every row of the table, accepted and refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod lossless;
mod numbers;
mod parts;
mod words;

use std::sync::Arc;

use serde_json::Value;
use toolpost_core::catalog::accept;
use toolpost_core::catalog::shape::{Field, Integer, Label, Shape};
use toolpost_core::{AcceptedCall, Arguments, Call, CallError, Cast, EffectClass, ErrorKind, Native};

const MODES: [Cast; 3] = [Cast::Strict, Cast::Safe, Cast::Lax];
const U32: Shape = Shape::Integer(Integer::U32);
const U64: Shape = Shape::Integer(Integer::U64);
const S8: Shape = Shape::Integer(Integer::S8);
const S64: Shape = Shape::Integer(Integer::S64);

/// `{"value": input}` for a tool with the one parameter `value`.
fn cast(mode: Cast, shape: &Shape, arguments: impl Into<Arguments>) -> Result<AcceptedCall, CallError> {
    let tool = Native::new("tool", "").parameter("value", shape.clone()).effect(EffectClass::Pure).cast(mode);
    accept(Arc::new(tool.run(|_| async { Ok(Value::Null) })), Call::new("tool", arguments))
}

/// The input is accepted from the mode `from` on, as that canonical text, and refused in the modes before it. The value
/// that a library makes of the input fares the same.
fn check(shape: &Shape, from: Cast, input: &str, canonical: &str) {
    let text = format!("{{\"value\": {input}}}");
    let value: Value = serde_json::from_str(&text).unwrap();
    for (way, arguments) in [("text", Arguments::from(text)), ("value", Arguments::from(value))] {
        check_arguments(shape, from, arguments, canonical, &format!("{input} as {way} for {}", shape.wit()));
    }
}

/// As `check`, for what a library would not keep as it was written.
fn check_text(shape: &Shape, from: Cast, input: &str, canonical: &str) {
    let arguments = Arguments::from(format!("{{\"value\": {input}}}"));
    check_arguments(shape, from, arguments, canonical, &format!("{input} for {}", shape.wit()));
}

fn check_arguments(shape: &Shape, from: Cast, arguments: Arguments, canonical: &str, what: &str) {
    for mode in MODES {
        let accepted = cast(mode, shape, arguments.clone());
        if mode < from {
            assert_refused(accepted, &format!("{mode:?}: {what}"));
            continue;
        }
        let accepted = accepted.unwrap_or_else(|error| panic!("{mode:?}: {what}: {error}"));
        assert_eq!(accepted.arguments["value"].to_string(), canonical, "{mode:?}: {what}");
        let changes = accepted.cast.changes;
        assert_eq!(changes.is_empty(), from == Cast::Strict, "{mode:?}: {what}: {changes:?}");
        // What came out is canonical: nothing is left to do in any mode.
        for again in MODES {
            let second = cast(again, shape, accepted.arguments.clone()).unwrap();
            assert_eq!(second.arguments, accepted.arguments, "{again:?} after {mode:?}: {what}");
            assert!(second.cast.is_empty(), "{again:?} after {mode:?}: {what}: {:?}", second.cast);
        }
    }
}

/// The inputs are refused in every mode.
fn refused(shape: &Shape, inputs: &[&str]) {
    for input in inputs {
        for mode in MODES {
            let what = format!("{mode:?}: {input} for {}", shape.wit());
            assert_refused(cast(mode, shape, format!("{{\"value\": {input}}}")), &what);
        }
    }
}

fn assert_refused(accepted: Result<AcceptedCall, CallError>, what: &str) {
    match accepted {
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::InvalidArguments, "{what}");
            let pointer = error.detail.as_ref().and_then(|detail| detail["faults"][0]["pointer"].as_str());
            assert!(pointer.is_some_and(|pointer| pointer.starts_with("/value")), "{what}: {error}");
        }
        Ok(accepted) => panic!("{what}: became {}", accepted.arguments["value"]),
    }
}

fn list(item: Shape) -> Shape {
    Shape::List(Box::new(item))
}

fn option(some: Shape) -> Shape {
    Shape::Option(Box::new(some))
}

fn labels(names: &[&str]) -> Vec<Label> {
    names.iter().copied().map(Label::new).collect()
}

fn point() -> Shape {
    Shape::Record(vec![Field::new("x-pos", U32), Field::new("label", option(Shape::String))])
}
