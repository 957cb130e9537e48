//! Calls, answers and definitions as others write them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod definitions;
mod detection;
mod laws;
mod projection;
mod reading;
mod shapes;

use serde_json::{Value, json};
use toolpost_core::catalog::shape::{Field, Integer, Shape};
use toolpost_core::dialect::{AskedCall, Bounds, Dialect, DialectError, Reading};
use toolpost_core::tell::Report;
use toolpost_core::{CallError, CallId, Catalog, EffectClass, ErrorKind, Host, Native, Outcome, Stage, Tool};

const U32: Shape = Shape::Integer(Integer::U32);

fn read(dialect: Dialect, text: impl AsRef<str>) -> Result<Reading, DialectError> {
    dialect.read(text.as_ref(), &Bounds::default())
}

/// Why a text is refused as a whole.
fn refusal(dialect: Dialect, text: impl AsRef<str>) -> String {
    read(dialect, text).unwrap_err().message
}

/// The calls in short: `id tool arguments`, and what is wrong with them.
fn calls(dialect: Dialect, text: impl AsRef<str>) -> Vec<String> {
    let reading = read(dialect, text).unwrap();
    let words = |asked: &AskedCall| {
        let id = asked.id.as_ref().map_or_else(|| "-".into(), ToString::to_string);
        let arguments = match &asked.arguments {
            toolpost_core::Arguments::Text(text) => text.clone(),
            toolpost_core::Arguments::Value(value) => value.to_string(),
        };
        let refused =
            asked.refused.as_ref().map_or_else(String::new, |error| format!(" {}: {error}", error.kind.name()));
        format!("{id} {} {arguments}{refused}", asked.tool)
    };
    reading.calls.iter().map(words).collect()
}

/// The kinds of parts that were passed over, as `kind count`.
fn passed_over(dialect: Dialect, text: impl AsRef<str>) -> Vec<String> {
    let reading = read(dialect, text).unwrap();
    reading.passed_over.iter().map(|part| format!("{} {}", part.kind, part.count)).collect()
}

/// A host with a tool that adds, one that fails, and one that answers with an object.
fn host() -> Host {
    let add = Native::new("add", "Adds two numbers").parameter("a", U32).parameter("b", U32);
    let add = add.returns(U32).effect(EffectClass::Pure).run(|attempt| async move {
        let arguments = &attempt.call.arguments;
        Ok(json!(arguments["a"].as_u64().unwrap() + arguments["b"].as_u64().unwrap()))
    });
    let fail = Native::new("fail", "Fails").effect(EffectClass::Pure).run(|_| async {
        Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "the disk is full"))
    });
    let unit = Field::new("unit", Shape::Option(Box::new(Shape::String)));
    let weather = Native::new("weather", "Says what the weather is").parameter("city", Shape::String).field(unit);
    let weather = weather.effect(EffectClass::Pure).run(|attempt| async move {
        let unit = attempt.call.arguments["unit"].as_str().unwrap_or("C").to_owned();
        Ok(json!({"city": attempt.call.arguments["city"], "degrees": 21, "unit": unit}))
    });
    let mut catalog = Catalog::default();
    [add, fail, weather].into_iter().for_each(|tool| catalog.add(tool).unwrap());
    Host::new(catalog)
}

/// What comes of every call.
async fn outcomes(reading: &Reading) -> Vec<Outcome> {
    let host = host();
    let mut outcomes = Vec::new();
    for asked in &reading.calls {
        outcomes.push(match asked.call() {
            Ok(call) => host.call(call).await,
            Err(error) => ended(asked, Err(error)),
        });
    }
    outcomes
}

fn ended(asked: &AskedCall, result: Result<toolpost_core::Output, CallError>) -> Outcome {
    Outcome { call: CallId::fresh(), tool: asked.tool.clone(), result, report: Report::default() }
}

/// Makes all calls of a text, one by one, and answers them in this dialect.
async fn answered(dialect: Dialect, text: &str, out: Dialect) -> Value {
    assert_eq!(Dialect::detect(text).unwrap(), dialect);
    let reading = read(dialect, text).unwrap();
    let outcomes = outcomes(&reading).await;
    let mut answers = out.answers(reading.calls.iter().zip(&outcomes));
    // The host's own ids are new every time.
    for line in answers.as_array_mut().into_iter().flatten() {
        line.as_object_mut().unwrap().remove("call");
    }
    answers
}

/// A tool with these parameters.
fn tool(parameters: Vec<Field>) -> Tool {
    let tool = Native::new("tool", "A tool");
    parameters.into_iter().fold(tool, Native::field).run(|_| async { Ok(Value::Null) })
}
