//! Functions that return what they are given, and the check that they do.

use serde_json::{Map, Value, json};
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::catalog::shape::{Field, Integer, Shape};
use toolpost_core::{ErrorKind, Host, Outcome};

use super::guest;

const U64: Shape = Shape::Integer(Integer::U64);

/// What the function returned. An `err` at the top is the failure of the tool, with the value in its detail.
fn returned(shape: &Shape, outcome: Outcome) -> Value {
    match (shape, outcome.result) {
        (Shape::Result { .. }, Ok(output)) => json!({"ok": output.value}),
        (Shape::Result { .. }, Err(error)) if error.kind == (ErrorKind::ToolFailed { retryable: false }) => {
            json!({"err": error.detail.unwrap()})
        }
        (_, Ok(output)) => output.value,
        (_, Err(error)) => panic!("{error}: {:?}", error.source),
    }
}

pub async fn assert_comes_back(host: &Host, tool: &str, shape: &Shape, value: &Value) {
    let parameters = host.catalog().find(tool).unwrap().parameters.clone();
    let is_pad = |field: &Field| field.key == "first" || field.key.starts_with("pad");
    let argument = |field: &Field| if is_pad(field) { json!(0xee) } else { value.clone() };
    let arguments: Map<_, _> = parameters.iter().map(|field| (field.key.clone(), argument(field))).collect();
    let outcome = super::call(host, tool, arguments.into()).await;
    assert!(outcome.report.cast.is_empty(), "the value is canonical: {value}");
    let came = returned(shape, outcome);
    // Equal to the last sign: also `-0.0` is not `0.0`.
    assert_eq!(came.to_string(), value.to_string(), "of type {}", shape.wit());
}

/// Passes the values through guests of that type: through memory, and as core values where there are few enough. Gives the
/// number of calls for each.
pub fn assert_all_come_back(shape: &Shape, values: &[Value], encoding: &str) -> (usize, usize) {
    let limits = LimitSettings { arguments: Some(Bytes(4 << 20)), ..LimitSettings::default() };
    let echo = |wat: String| super::host_of([&super::component(&wat)], &limits);
    let slots = guest::flat(shape).len();
    let check = |host: Host, shape: &Shape, wrap: fn(&Value) -> Value| {
        for value in values {
            super::blocking(assert_comes_back(&host, "guest_f", shape, &wrap(value)));
        }
        values.len()
    };
    let through_memory = if slots > 1 {
        check(echo(guest::echo_through_memory(shape, encoding)), shape, Value::clone)
    } else {
        // A single core value is not returned through memory: it gets company.
        let pair = Shape::Tuple(vec![shape.clone(), U64]);
        check(echo(guest::echo_through_memory(&pair, encoding)), &pair, |value| json!([value, 7]))
    };
    let flat = if slots <= 16 { check(echo(guest::echo_flat(shape, encoding)), shape, Value::clone) } else { 0 };
    (through_memory, flat)
}
