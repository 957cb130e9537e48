//! What of an outcome a model is told, beside the plain cases.

use std::time::Duration;

use serde_json::{Value, json};
use toolpost_core::dialect::{AskedCall, Dialect};
use toolpost_core::{CallError, Content, ErrorKind, Output, Stage};

use crate::{ended, read};

/// A call that can be answered in every dialect.
fn asked() -> AskedCall {
    read(Dialect::Ours, r#"{"id": "c1", "tool": "look"}"#).unwrap().calls.remove(0)
}

/// What a dialect says of a result: the part of the answer that is not about which call it answers.
fn said(dialect: Dialect, result: Result<Output, CallError>) -> Value {
    let asked = asked();
    let answer = dialect.answer(&asked, &ended(&asked, result)).unwrap();
    match dialect {
        Dialect::Ours => answer["output"].clone(),
        Dialect::OpenAi | Dialect::Anthropic => answer["content"].clone(),
        Dialect::OpenAiResponses => answer["output"].clone(),
        Dialect::Gemini => answer["functionResponse"]["response"].clone(),
    }
}

fn check(output: &Output, wanted: [(Dialect, Value); 4]) {
    for (dialect, wanted) in wanted {
        assert_eq!(said(dialect, Ok(output.clone())), wanted, "{dialect}");
    }
}

#[test]
fn a_result_that_is_no_text_is_told_as_json_and_gemini_gets_it_as_a_value() {
    for (value, text) in [
        (json!(null), "null"),
        (json!("plain"), "plain"),
        (json!([1, {"a": "b"}]), r#"[1,{"a":"b"}]"#),
        (json!(5), "5"),
    ] {
        let output = Output { value: value.clone(), ..Output::default() };
        check(
            &output,
            [
                (Dialect::OpenAi, json!(text)),
                (Dialect::OpenAiResponses, json!(text)),
                (Dialect::Anthropic, json!(text)),
                (Dialect::Gemini, json!({"output": value})),
            ],
        );
    }
}

#[test]
fn pictures_go_where_a_dialect_has_room_for_them_and_are_named_elsewhere() {
    let picture = |mime_type: &str| Content::Image { mime_type: mime_type.into(), data: "aGk=".into() };
    let link = Content::Link {
        uri: "https://a.b/c".into(),
        name: "c".into(),
        description: Some("the sea".into()),
        mime_type: None,
    };
    let content = vec![
        Content::Text { text: "Two:".into() },
        Content::Json { value: json!({"n": 2}) },
        picture("image/png"),
        picture("image/tiff"),
        link,
    ];
    let output = Output { value: json!("not this"), content, notes: vec!["it was cut".into()] };
    let tiff = "[image/tiff, about 3 bytes, which cannot be shown here]\nc <https://a.b/c>: the sea";
    let all = format!("Two:\n{{\"n\":2}}\n[image/png, about 3 bytes, which cannot be shown here]\n{tiff}");
    let behind = format!("{tiff}\nnote: it was cut");
    check(
        &output,
        [
            (Dialect::OpenAi, json!(format!("{all}\nnote: it was cut"))),
            (
                Dialect::OpenAiResponses,
                json!([
                    {"type": "input_text", "text": "Two:\n{\"n\":2}"},
                    {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
                    {"type": "input_text", "text": behind},
                ]),
            ),
            (
                Dialect::Anthropic,
                json!([
                    {"type": "text", "text": "Two:\n{\"n\":2}"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    {"type": "text", "text": behind},
                ]),
            ),
            (Dialect::Gemini, json!({"output": {"result": all, "notes": ["it was cut"]}})),
        ],
    );
}

#[test]
fn a_failure_says_its_kind_and_when_to_come_again() {
    let busy = |span| CallError::new(ErrorKind::Busy, Stage::Guard, "no place is free").retry_after(span);
    let words = "busy: no place is free\nretry after: 1s 500ms";
    let span = Duration::from_micros(1_499_001);
    for dialect in [Dialect::OpenAi, Dialect::OpenAiResponses, Dialect::Anthropic] {
        assert_eq!(said(dialect, Err(busy(span))), json!(format!("error: {words}")), "{dialect}");
    }
    assert_eq!(said(Dialect::Gemini, Err(busy(span))), json!({"error": words}));
}

#[test]
fn answers_stand_in_the_order_of_the_calls_whatever_came_first() {
    let text = "{\"id\": \"a\", \"tool\": \"x\"}\n{\"id\": \"b\", \"tool\": \"x\"}\n{\"id\": \"c\", \"tool\": \"x\"}";
    let reading = read(Dialect::Ours, text).unwrap();
    let outcomes: Vec<_> = reading.calls.iter().map(|asked| ended(asked, Ok(Output::default()))).collect();
    let finished = [2, 0, 1].map(|index: usize| (&reading.calls[index], &outcomes[index]));
    for dialect in Dialect::ALL {
        let in_order = dialect.answers(reading.calls.iter().zip(&outcomes));
        assert_eq!(dialect.answers(finished), in_order, "{dialect}");
    }
}
