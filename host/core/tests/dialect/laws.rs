//! What holds for every text and every set of calls, in every dialect.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use toolpost_core::dialect::{Bounds, Dialect, Reading};
use toolpost_core::{Arguments, CallError, ErrorKind, Output, Stage};

use crate::{ended, read};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A call as somebody means it.
#[derive(Clone, Debug)]
struct Meant {
    id: Option<String>,
    name: String,
    arguments: Value,
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let object = prop::collection::vec((".{0,4}", inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn meant() -> impl Strategy<Value = Meant> {
    let arguments = prop::collection::vec(("[a-z]{1,4}", json_value()), 0..4);
    let id = prop::option::weighted(0.8, select(vec!["a", "b", "c", "d", "call_1", "call_2", "\u{202e}é\"\\", "7"]));
    (id, ".{1,8}", arguments).prop_map(|(id, name, arguments)| Meant {
        id: id.map(str::to_owned),
        name,
        arguments: Value::Object(arguments.into_iter().collect()),
    })
}

/// A call as a dialect writes it.
fn written(dialect: Dialect, call: &Meant) -> Value {
    let Meant { id, name, arguments } = call;
    let mut object = match dialect {
        Dialect::Ours => json!({"tool": name, "arguments": arguments}),
        Dialect::OpenAi => json!({"type": "function", "function": {"name": name, "arguments": arguments.to_string()}}),
        Dialect::OpenAiResponses => json!({"type": "function_call", "name": name, "arguments": arguments.to_string()}),
        Dialect::Anthropic => json!({"type": "tool_use", "name": name, "input": arguments}),
        Dialect::Gemini => json!({"functionCall": {"name": name, "args": arguments}}),
    };
    if let Some(id) = id {
        match dialect {
            Dialect::OpenAiResponses => object["call_id"] = json!(id),
            Dialect::Gemini => object["functionCall"]["id"] = json!(id),
            _ => object["id"] = json!(id),
        }
    }
    object
}

/// Something beside the calls that a dialect has.
fn beside(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Ours => json!({"tool": "beside"}),
        Dialect::OpenAi => json!({"type": "custom", "id": "x", "custom": {"name": "sql", "input": ""}}),
        Dialect::OpenAiResponses => json!({"type": "reasoning", "summary": []}),
        Dialect::Anthropic => json!({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}),
        Dialect::Gemini => json!({"text": "hm", "thought": true}),
    }
}

/// The calls with all that may be around them, from the list alone to the whole response.
fn around(dialect: Dialect, calls: Vec<Value>) -> Vec<String> {
    let calls = Value::Array(calls);
    let wholes = match dialect {
        Dialect::Ours => {
            let lines: Vec<String> = calls.as_array().unwrap().iter().map(Value::to_string).collect();
            return vec![calls.to_string(), lines.join("\n"), format!("\n{}\r\n\n", lines.join("\r\n"))];
        }
        Dialect::OpenAi => {
            let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
            let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
            vec![calls, message, choice.clone(), json!({"object": "chat.completion", "choices": [choice]})]
        }
        Dialect::OpenAiResponses => {
            vec![calls.clone(), json!({"object": "response", "status": "completed", "output": calls})]
        }
        Dialect::Anthropic => {
            let message = json!({"type": "message", "role": "assistant", "content": calls, "stop_reason": "tool_use"});
            vec![calls, message.clone(), json!([message])]
        }
        Dialect::Gemini => {
            let content = json!({"role": "model", "parts": calls});
            let candidate = json!({"content": content, "finishReason": "STOP"});
            vec![calls, content, candidate.clone(), json!({"candidates": [candidate]})]
        }
    };
    wholes.iter().flat_map(|whole| [whole.to_string(), serde_json::to_string_pretty(whole).unwrap()]).collect()
}

fn check_read(dialect: Dialect, meant: &[Meant], text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(Dialect::detect(text), Ok(dialect), "{}", text);
    let reading = read(dialect, text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
    prop_assert_eq!(reading.calls.len(), meant.len(), "{}", text);
    for (asked, meant) in reading.calls.iter().zip(meant) {
        prop_assert_eq!(asked.id.as_ref().map(ToString::to_string), meant.id.clone(), "{}", text);
        prop_assert_eq!(&asked.tool, &meant.name, "{}", text);
        let Arguments::Text(arguments) = &asked.arguments else { return Err(TestCaseError::fail("a value")) };
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        prop_assert_eq!(&arguments, &meant.arguments, "{}", text);
        prop_assert_eq!(asked.refused.is_some(), asked.repeats.is_some(), "{}", text);
    }
    check_answers(&reading)
}

/// The ids that a dialect answers, in order.
fn answered(dialect: Dialect, answers: &Value) -> Vec<String> {
    let list = match dialect {
        Dialect::Anthropic => &answers["content"],
        Dialect::Gemini => &answers["parts"],
        _ => answers,
    };
    let id = |answer: &Value| match dialect {
        Dialect::Ours => answer["index"].to_string(),
        Dialect::OpenAi => answer["tool_call_id"].as_str().unwrap().to_owned(),
        Dialect::OpenAiResponses => answer["call_id"].as_str().unwrap().to_owned(),
        Dialect::Anthropic => answer["tool_use_id"].as_str().unwrap().to_owned(),
        Dialect::Gemini => answer["functionResponse"]["name"].as_str().unwrap().to_owned(),
    };
    list.as_array().unwrap().iter().map(id).collect()
}

/// Whatever comes of the calls, each is answered once in every dialect: by its id, by its place, or by its order and name.
fn check_answers(reading: &Reading) -> Result<(), TestCaseError> {
    let result = |index: usize| match index % 2 {
        0 => Ok(Output { value: json!(index), ..Output::default() }),
        _ => Err(CallError::new(ErrorKind::Trapped, Stage::Run, "it fell")),
    };
    let outcome = |asked: &toolpost_core::dialect::AskedCall| {
        let result = asked.call().and_then(|_| result(asked.index));
        ended(asked, result)
    };
    let outcomes: Vec<_> = reading.calls.iter().map(outcome).collect();
    let mut given: BTreeMap<String, usize> = BTreeMap::new();
    for asked in reading.calls.iter().filter_map(|asked| asked.id.as_ref()) {
        *given.entry(asked.to_string()).or_default() += 1;
    }
    let unnamed = reading.calls.iter().filter(|asked| asked.id.is_none()).count();
    for out in Dialect::ALL {
        let answers = answered(out, &out.answers(reading.calls.iter().zip(&outcomes)));
        match out {
            Dialect::Ours => {
                let places: Vec<_> = (0..reading.calls.len()).map(|index| index.to_string()).collect();
                prop_assert_eq!(answers, places);
            }
            Dialect::Gemini => {
                let names: Vec<_> = reading.calls.iter().map(|asked| asked.tool.clone()).collect();
                prop_assert_eq!(answers, names);
            }
            _ => {
                prop_assert_eq!(answers.len(), given.len() + unnamed, "{}", out);
                let once = |id: &String| answers.iter().filter(|answer| *answer == id).count() == 1;
                prop_assert!(given.keys().all(once) && answers.iter().all(once), "{out}: {answers:?} for {given:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn what_is_written_in_a_dialect_is_read_as_it_was_meant(
        meant in prop::collection::vec(meant(), 1..6),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        for dialect in Dialect::ALL {
            let mut calls: Vec<Value> = meant.iter().map(|call| written(dialect, call)).collect();
            if dialect != Dialect::Ours {
                places.iter().for_each(|place| calls.insert(place.index(calls.len() + 1), beside(dialect)));
            }
            for text in around(dialect, calls) {
                check_read(dialect, &meant, &text)?;
            }
        }
    }
}

/// JSON that is made of the words of all dialects.
fn like_a_dialect() -> impl Strategy<Value = Value> {
    let words = [
        "role",
        "assistant",
        "user",
        "tool",
        "model",
        "content",
        "tool_calls",
        "choices",
        "message",
        "function",
        "name",
        "arguments",
        "type",
        "function_call",
        "output",
        "call_id",
        "id",
        "tool_use",
        "input",
        "candidates",
        "parts",
        "functionCall",
        "args",
        "finishReason",
        "MAX_TOKENS",
        "stop_reason",
        "max_tokens",
        "status",
        "incomplete",
        "text",
        "a",
        "{}",
        "{\"a\":1}",
        "",
        "key",
    ];
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        5 => select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let object = prop::collection::vec((select(words.to_vec()), inner.clone()), 0..6);
        prop_oneof![
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
            3 => object.prop_map(|members| {
                Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
            }),
        ]
    })
}

/// Whatever it is, it is read or refused; and what is read is answered.
fn check_any(text: &str) -> Result<usize, TestCaseError> {
    let _ = Dialect::detect(text);
    let mut calls = 0;
    for dialect in Dialect::ALL {
        if let Ok(reading) = dialect.read(text, &Bounds { calls_max: 16, ..Bounds::default() }) {
            calls += reading.calls.len();
            check_answers(&reading)?;
        }
    }
    Ok(calls)
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn any_json_is_read_or_refused(value in like_a_dialect()) {
        check_any(&value.to_string())?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in r#"[\[\]{}":,\\ \na-z0-9é]{0,60}"#) {
        check_any(&text)?;
    }

    #[test]
    fn a_message_that_is_damaged_anywhere_is_read_or_refused(
        meant in prop::collection::vec(meant(), 1..4),
        at in any::<prop::sample::Index>(),
        put in select(vec!["", "{", "}", "[", "]", "\"", "\\", ",", ":", "null", "\u{feff}", "\n"]),
        cut in any::<bool>(),
        form in any::<prop::sample::Index>(),
        dialect in select(Dialect::ALL.to_vec()),
    ) {
        let texts = around(dialect, meant.iter().map(|call| written(dialect, call)).collect());
        let text = form.get(&texts);
        let at = text.floor_char_boundary(at.index(text.len() + 1));
        let rest = if cut { "" } else { &text[at..] };
        check_any(&format!("{}{put}{rest}", &text[..at]))?;
    }
}

#[test]
fn random_messages_hold_calls_often_enough_to_mean_something() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let calls =
        (0..1_000).map(|_| check_any(&like_a_dialect().new_tree(&mut runner).unwrap().current().to_string()).unwrap());
    let with_calls = calls.filter(|calls| *calls > 0).count();
    assert!(with_calls >= 200, "{with_calls} of 1000");
}
