//! What may stand in settings where a text has a meaning of its own: the JSON Schema of bytes and spans.
//!
//! A schema knows the form of such a text, not its value: that a span is longer than its setting allows, only the reader says.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bytes, Span};

/// A number and a unit, as `bytesize` reads them.
const BYTES: &str = r"^[0-9]*(\.?[0-9]|[0-9]\.)[0-9]*\s*([kKmMgGtTpPeE]([iI]?[bB])?|[bB])$|^[0-9]+$";

/// A number in front of a unit of time, and the units, as `humantime` reads them.
const NUMBER: &str = r"[0-9][0-9\s]*(\.[0-9\s]+)?";
const UNIT: &str = concat!(
    "(nanos|nsec|ns|usec|us|µs|micros|msec|millis|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m|",
    "hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y)",
);

/// The pattern of so many calls in a span; a unit alone is one of it.
pub(crate) fn rate_pattern() -> String {
    format!(r"^\s*0*[1-9][0-9]*\s*/\s*({NUMBER})?{UNIT}(\s*{NUMBER}{UNIT})*\s*$")
}

/// The schema of a number of bytes between bounds: for `schema_with`, beside [`bytes_within`](super::bytes_within).
#[must_use]
pub fn bytes_between<const LEAST: u64, const MOST: u64>(_: &mut SchemaGenerator) -> Schema {
    bytes(LEAST, Some(MOST))
}

fn bytes(least: u64, most: Option<u64>) -> Schema {
    const WORDS: &str = "A number of bytes, or a text with a unit, for example \"64 MiB\".";
    let mut number = json_schema!({"type": "integer", "minimum": least});
    if let Some(most) = most {
        number.insert("maximum".into(), most.into());
    }
    json_schema!({"description": WORDS, "anyOf": [number, {"type": "string", "pattern": BYTES}]})
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        bytes(0, None)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // No span is zero.
        json_schema!({
            "description": "A span of time, for example \"30s\", \"500ms\" or \"1h 30m\".",
            "type": "string",
            "pattern": format!(r"^(\s*{NUMBER}{UNIT})+\s*$"),
            "allOf": [{"pattern": "[1-9]"}],
        })
    }
}
