//! Whose words a text has.

use toolpost_core::dialect::definition::Form;
use toolpost_core::dialect::{Dialect, DialectError};

fn check(dialect: Dialect, texts: &[&str]) {
    for text in texts {
        assert_eq!(Dialect::detect(text), Ok(dialect), "{text}");
        // What is known as a dialect's can be read in it.
        dialect.read(text, &Default::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_dialect_is_known_by_its_calls_or_by_what_is_around_them() {
    check(
        Dialect::OpenAi,
        &[
            r#"{"choices": []}"#,
            r#"{"index": 0, "message": {"role": "assistant", "tool_calls": []}, "finish_reason": "tool_calls"}"#,
            r#"{"role": "assistant", "content": null, "tool_calls": []}"#,
            r#"{"role": "assistant", "content": [{"type": "text", "text": "hi"}], "tool_calls": []}"#,
            r#"{"role": "assistant", "content": "hi"}"#,
            r#"{"role": "assistant", "content": null, "function_call": {"name": "add", "arguments": "{}"}}"#,
            r#"[{"id": "a", "type": "function", "function": {"name": "add", "arguments": ""}}]"#,
            r#"[{"id": "b", "type": "custom", "custom": {}}, {"id": "a", "type": "function", "function": {}}]"#,
            "\u{feff} {\"function\": {\"name\": \"add\"}} ",
        ],
    );
    check(
        Dialect::OpenAiResponses,
        &[
            r#"{"id": "resp_1", "object": "response", "output": []}"#,
            r#"[{"type": "reasoning", "summary": []}, {"type": "function_call", "call_id": "a", "name": "add", "arguments": ""}]"#,
            r#"{"type": "function_call", "call_id": "a", "name": "add", "arguments": ""}"#,
            r#"[{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}]"#,
            r#"[{"type": "reasoning", "summary": []}]"#,
        ],
    );
    check(
        Dialect::Anthropic,
        &[
            r#"{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}"#,
            r#"{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "add", "input": {}}]}"#,
            r#"[{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "a", "name": "add", "input": {}}]"#,
            r#"{"type": "tool_use", "id": "a", "name": "add", "input": {}}"#,
            r#"[{"type": "text", "text": "hi"}]"#,
        ],
    );
    check(
        Dialect::Gemini,
        &[
            r#"{"candidates": []}"#,
            r#"{"content": {"role": "model", "parts": []}, "finishReason": "STOP"}"#,
            r#"{"role": "model", "parts": [{"text": "hi"}]}"#,
            r#"[{"text": "hi"}, {"functionCall": {"name": "add", "args": {}}}]"#,
            r#"{"function_call": {"name": "add", "args": {}}}"#,
            r#"[{"name": "add", "args": {}}]"#,
            r#"[{"text": "hi"}]"#,
            r#"[{"candidates": []}, {"candidates": []}]"#,
        ],
    );
    check(
        Dialect::Ours,
        &[
            r#"{"tool": "add"}"#,
            r#"[{"id": "a", "tool": "add", "arguments": {}}]"#,
            "{\"tool\": \"add\"}\n{\"tool\": \"add\"}",
            "nonsense\n{\"tool\": \"add\"}\n",
            "{\n  \"tool\": \"add\",\n  \"arguments\": {}\n}",
        ],
    );
}

#[test]
fn what_shows_nothing_is_not_guessed_at() {
    let nothing = "nothing in it shows which format it has: there are no `tool_calls`, no `function_call`, no `tool_use`, no \
                   `functionCall` and no `tool`; say which format it is";
    for text in ["[]", "{}", "5", "null", "\"tool_use\"", "[[], 5]", r#"{"name": "add"}"#, r#"{"output": "x"}"#] {
        assert_eq!(Dialect::detect(text).map_err(|error| error.message), Err(nothing.into()), "{text}");
    }
    let early = "it cannot be read: the text ends before its value does; send it again, whole (at byte 0)";
    assert_eq!(Dialect::detect(" \n").map_err(|error| error.message), Err(early.replace("byte 0", "byte 2")));
    let more = "it cannot be read: more text follows after the value (at byte 5)";
    assert_eq!(
        Dialect::detect("I will call add").map_err(|error| error.message),
        Err(more.replace("byte 5", "byte 2"))
    );
}

#[test]
fn every_format_is_found_by_its_name_and_a_misspelt_one_is_told_what_was_meant() {
    assert!(Dialect::ALL.into_iter().all(|dialect| dialect.name().parse() == Ok(dialect)));
    assert!(Form::ALL.into_iter().all(|form| form.name().parse() == Ok(form)));
    let told = |name: &str| name.parse::<Dialect>().unwrap_err();
    let error = |message: &str| DialectError { message: message.into() };
    assert_eq!(told("openia"), error("no format is named `openia`; did you mean `openai`?"));
    let all = "no format is named `xml`; there are `ours`, `openai`, `openai-responses`, `anthropic`, `gemini`";
    assert_eq!(told("xml"), error(all));
}
