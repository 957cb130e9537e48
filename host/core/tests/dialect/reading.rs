//! What is read of a text, and what is refused: call by call, or as a whole.

use toolpost_core::ErrorKind;
use toolpost_core::dialect::{Bounds, Dialect};

use crate::{calls, passed_over, read, refusal};

const OF_THE_LAST: &str = "give the message whose calls are to be made, alone";

#[test]
fn arguments_reach_the_host_as_they_were_written() {
    let openai =
        |arguments: &str| format!(r#"[{{"id": "c", "function": {{"name": "add", "arguments": {arguments}}}}}]"#);
    for (written, read) in [
        (r#""{\"a\": 1e400, \"a\": 2}""#, r#"{"a": 1e400, "a": 2}"#),
        (r#"{"a": 12345678901234567890, "a": 2}"#, r#"{"a": 12345678901234567890, "a": 2}"#),
        ("{a: 'x', }", "{a: 'x', }"),
        ("\"\"", ""),
        ("null", ""),
        (r#""no \x JSON""#, r#""no \x JSON""#),
        ("17", "17"),
        ("[{]", ""),
    ] {
        if written == "[{]" {
            // Where the brackets do not close, nobody can say where the next call begins.
            let why = "it cannot be read: a `]` stands where none was opened (at byte 56)";
            assert_eq!(refusal(Dialect::OpenAi, openai(written)), why);
        } else {
            assert_eq!(calls(Dialect::OpenAi, openai(written)), [format!("c add {read}")], "{written}");
        }
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let anthropic = format!(r#"[{{"type": "tool_use", "id": "c", "name": "add", "input": {{"a": {deep}}}}}]"#);
    assert_eq!(calls(Dialect::Anthropic, anthropic), [format!("c add {{\"a\": {deep}}}")]);
}

#[test]
fn a_call_that_cannot_be_read_fails_alone() {
    assert_eq!(
        calls(
            Dialect::OpenAi,
            r#"{"role": "assistant", "tool_calls": [null, 5, {"id": "a"}, {"id": "b", "function": "add"},
                {"id": "c", "id": "d", "function": {"name": "add"}}, {"id": {}, "function": {"name": "add"}},
                {"id": "e", "function": {"name": "", "arguments": ""}}, {"id": "f", "function": {"name": 7}},
                {"id": "", "function": {"name": "add"}}, {"id": 18446744073709551615, "function": {"name": "add"}},
                {"id": 1.5, "function": {"name": "add"}}]}"#
        ),
        [
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 37)",
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 43)",
            "a   invalid_arguments: it has no `function`",
            "b   invalid_arguments: its `function` cannot be read: expected `{` (at byte 83)",
            "-   invalid_arguments: it cannot be read as a call: the key `id` stands twice (at byte 125)",
            "- add  invalid_arguments: its id is {}, and neither a text nor a whole number",
            "e   unknown_tool: it names no tool, but \"\"",
            "f   unknown_tool: it names no tool, but 7",
            "- add ",
            "18446744073709551615 add ",
            "- add  invalid_arguments: its id is 1.5, and neither a text nor a whole number",
        ]
    );
    assert_eq!(
        calls(Dialect::Anthropic, r#"{"content": [3, {"id": "a"}, {"type": "tool_use", "id": "b"}]}"#),
        [
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 13)",
            "a   invalid_arguments: it has no `type`",
            "b   unknown_tool: it names no tool",
        ]
    );
    assert_eq!(
        calls(
            Dialect::OpenAiResponses,
            r#"[3, {"name": "add"}, {"type": "function_call", "id": "fc_1", "name": "add"}]"#
        ),
        [
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 1)",
            "-   invalid_arguments: it has no `type`",
            "- add ",
        ]
    );
    assert_eq!(
        calls(
            Dialect::Gemini,
            r#"[{"functionCall": 5}, {"functionCall": {"name": "add", "args": {}, "willContinue": true}}]"#
        ),
        [
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 18)",
            "- add {} invalid_arguments: it is a piece of a call, and the rest is missing; give it whole",
        ]
    );
    assert_eq!(
        calls(Dialect::Ours, "{\"tool\": \"add\", \"key\": \"k\"}\n{\"tool\": \"add\", \"key\": 3}\n5\nnonsense"),
        [
            "- add ",
            "- add  invalid_arguments: its `key` is 3, and no text",
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 0)",
            "-   invalid_arguments: it cannot be read as a call: expected `{` (at byte 0)",
        ]
    );
}

#[test]
fn our_own_calls_may_bring_an_idempotency_key() {
    let reading = read(Dialect::Ours, r#"[{"tool": "add", "key": "order-7"}, {"tool": "add", "key": null}]"#).unwrap();
    let keys: Vec<_> = reading.calls.iter().map(|asked| asked.call().unwrap().idempotency_key).collect();
    assert_eq!(keys, [Some("order-7".into()), None]);
}

#[test]
fn each_call_gets_an_id_of_the_hosts_own() {
    let asked = read(Dialect::Ours, r#"{"id": "call_1", "tool": "add"}"#).unwrap().calls.remove(0);
    let [one, other] = [asked.call().unwrap().id, asked.call().unwrap().id];
    assert!(one != other && one.as_str() != "call_1", "{one} {other}");
}

#[test]
fn of_calls_with_one_id_only_the_first_may_run_whatever_is_wrong_with_it() {
    let text = r#"[{"id": "1", "tool": "add"}, {"id": 1, "tool": "fail"}, {"id": "1", "tool": ""}, {"id": "2", "tool": "add"}]"#;
    let reading = read(Dialect::Ours, text).unwrap();
    let repeats: Vec<_> = reading.calls.iter().map(|asked| (asked.repeats, asked.repeated)).collect();
    assert_eq!(repeats, [(None, 2), (Some(0), 0), (Some(0), 0), (None, 0)]);
    let runs: Vec<_> = reading.calls.iter().map(|asked| asked.call().is_ok()).collect();
    assert_eq!(runs, [true, false, false, true]);
}

#[test]
fn what_the_model_could_not_finish_does_not_run() {
    let cut = |reason: &str| {
        format!(
            "invalid_arguments: the model's answer was cut off (`{reason}`), so this call may not be whole, and was not run; \
             make it again"
        )
    };
    let anthropic = |reason: &str, last: &str| {
        format!(
            r#"{{"role": "assistant", "content": [{{"type": "tool_use", "id": "a", "name": "add", "input": {{}}}},
                {{"type": "tool_use", "id": "b", "name": "add", "input": {{}}}}{last}], "stop_reason": "{reason}"}}"#
        )
    };
    for reason in ["max_tokens", "model_context_window_exceeded"] {
        let wanted = ["a add {}".to_owned(), format!("b add {{}} {}", cut(reason))];
        assert_eq!(calls(Dialect::Anthropic, anthropic(reason, "")), wanted);
    }
    assert_eq!(calls(Dialect::Anthropic, anthropic("tool_use", "")), ["a add {}", "b add {}"]);
    // Then it was the text that was cut.
    let behind = r#", {"type": "text", "text": "And th"}"#;
    assert_eq!(calls(Dialect::Anthropic, anthropic("max_tokens", behind)), ["a add {}", "b add {}"]);
    let openai = |reason: &str, whole: bool| {
        let calls = ["a", "b"].map(|id| format!(r#"{{"id": "{id}", "function": {{"name": "add", "arguments": ""}}}}"#));
        let message = format!(r#"{{"role": "assistant", "tool_calls": [{}]}}"#, calls.join(", "));
        let choice = format!(r#"{{"index": 0, "finish_reason": "{reason}", "message": {message}}}"#);
        if whole { format!(r#"{{"choices": [{choice}]}}"#) } else { choice }
    };
    for whole in [true, false] {
        let wanted = ["a add ".to_owned(), format!("b add  {}", cut("length"))];
        assert_eq!(calls(Dialect::OpenAi, openai("length", whole)), wanted);
        assert_eq!(calls(Dialect::OpenAi, openai("tool_calls", whole)), ["a add ", "b add "]);
    }
    let gemini = r#"{"candidates": [{"content": {"parts": [{"functionCall": {"name": "add"}}]}, "finishReason": "MAX_TOKENS"}]}"#;
    assert_eq!(calls(Dialect::Gemini, gemini), [format!("- add  {}", cut("MAX_TOKENS"))]);
    let responses = r#"[{"type": "function_call", "call_id": "a", "name": "add", "arguments": "{}", "status": "incomplete"},
        {"type": "function_call", "call_id": "b", "name": "add", "arguments": "{}", "status": "completed"}]"#;
    assert_eq!(
        calls(Dialect::OpenAiResponses, responses),
        [format!("a add {{}} {}", cut("incomplete")), "b add {}".into()]
    );
}

#[test]
fn a_conversation_is_refused_because_its_calls_were_answered() {
    for (dialect, text, kind) in [
        (
            Dialect::OpenAi,
            r#"[{"role": "assistant", "tool_calls": []}, {"role": "tool", "tool_call_id": "a"}]"#,
            "tool",
        ),
        (
            Dialect::OpenAiResponses,
            r#"[{"type": "function_call", "call_id": "a"}, {"type": "function_call_output", "call_id": "a", "output": ""}]"#,
            "function_call_output",
        ),
        (
            Dialect::Anthropic,
            r#"{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}"#,
            "tool_result",
        ),
        (
            Dialect::Gemini,
            r#"{"role": "user", "parts": [{"functionResponse": {"name": "add", "response": {}}}]}"#,
            "functionResponse",
        ),
    ] {
        assert_eq!(refusal(dialect, text), format!("it holds answers to calls already (`{kind}`); {OF_THE_LAST}"));
    }
    let user = "it has a message of \"user\", and calls are in those of the assistant; give that message alone";
    assert_eq!(refusal(Dialect::OpenAi, r#"[{"role": "user", "content": "hi"}]"#), user);
    assert_eq!(refusal(Dialect::Anthropic, r#"{"role": "user", "content": "hi"}"#), user);
    assert_eq!(refusal(Dialect::Gemini, r#"{"role": "user", "parts": [{"text": "hi"}]}"#), user);
}

#[test]
fn several_messages_or_alternatives_are_refused_because_one_of_them_is_meant() {
    let several = "it has several messages or alternatives; give the one whose calls are to be made, alone";
    let message = r#"{"role": "assistant", "content": [], "parts": [], "tool_calls": []}"#;
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        assert_eq!(refusal(dialect, format!("[{message}, {message}]")), several, "{dialect}");
        assert_eq!(calls(dialect, format!("[{message}]")), Vec::<String>::new(), "{dialect}");
    }
    let choices = format!(r#"{{"choices": [{{"message": {message}}}, {{"message": {message}}}]}}"#);
    assert_eq!(refusal(Dialect::OpenAi, choices), several);
    let candidates = r#"{"candidates": [{"content": {"parts": []}}, {"content": {"parts": []}}]}"#;
    assert_eq!(refusal(Dialect::Gemini, candidates), several);
}

#[test]
fn the_pieces_of_a_response_that_was_streamed_are_one_message() {
    let piece = |part: &str| format!(r#"{{"candidates": [{{"content": {{"role": "model", "parts": [{part}]}}}}]}}"#);
    let [one, two] =
        ["add", "fail"].map(|name| piece(&format!(r#"{{"functionCall": {{"name": "{name}", "args": {{}}}}}}"#)));
    let text = format!("[{one}, {two}, {}]", piece(r#"{"text": "."}"#));
    assert_eq!(calls(Dialect::Gemini, &text), ["- add {}", "- fail {}"]);
    assert_eq!(passed_over(Dialect::Gemini, &text), ["text 1"]);
}

#[test]
fn other_tools_and_words_are_passed_over_and_counted() {
    let openai = r#"{"message": {"role": "assistant", "content": "Now.", "refusal": "no", "function_call": {"name": "add"},
        "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}]}}"#;
    assert_eq!(passed_over(Dialect::OpenAi, openai), ["text 1", "refusal 1", "function_call 1", "custom 1"]);
    let gemini = r#"[{"text": "a"}, {"text": "b"}, {"executableCode": {}}, {"thought": true, "text": "c"}, {"thoughtSignature": "d"}]"#;
    assert_eq!(passed_over(Dialect::Gemini, gemini), ["text 2", "executableCode 1", "thought 2"]);
    // A name of any length, and any number of them, is not kept.
    let kinds: Vec<_> = (0..100).map(|n| format!(r#"{{"type": "{}{n}"}}"#, "\\u202e".repeat(n))).collect();
    let kinds = passed_over(Dialect::Anthropic, format!("[{}]", kinds.join(",")));
    assert_eq!((kinds.len(), kinds[1].as_str(), kinds[32].as_str()), (33, "\\u{202e}1 1", "others 68"));
}

#[test]
fn what_is_too_much_is_refused_and_what_fits_exactly_is_not() {
    let text = r#"[{"id": "abc", "tool": "add"}, {"id": "ab", "tool": "add"}]"#;
    let bounds = Bounds { text_bytes_max: text.len(), calls_max: 2, id_bytes_max: 3 };
    let reading = Dialect::Ours.read(text, &bounds).unwrap();
    assert!(reading.calls.iter().all(|asked| asked.refused.is_none()), "{reading:?}");
    let refused = |bounds: Bounds| Dialect::Ours.read(text, &bounds).unwrap_err().message;
    let long = format!("it is {} bytes long; at most {} are read at once", text.len(), text.len() - 1);
    assert_eq!(refused(Bounds { text_bytes_max: text.len() - 1, ..bounds }), long);
    assert_eq!(refused(Bounds { calls_max: 1, ..bounds }), "it has more than 1 calls; make them in several batches");
    let reading = Dialect::Ours.read(text, &Bounds { id_bytes_max: 2, ..bounds }).unwrap();
    let errors: Vec<_> =
        reading.calls.iter().map(|asked| asked.refused.as_ref().map(|error| (error.kind, error.to_string()))).collect();
    let why = "its id is 3 bytes long; at most 2 are allowed".to_owned();
    assert_eq!(errors, [Some((ErrorKind::InvalidArguments, why)), None]);
    // It is answered under it all the same.
    assert_eq!(reading.calls[0].id.as_ref().unwrap().to_string(), "abc");
}

#[test]
fn a_text_that_is_broken_around_its_calls_is_refused_as_a_whole() {
    let early = "it cannot be read: the text ends before its value does; send it again, whole (at byte";
    for dialect in [Dialect::OpenAi, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini] {
        assert_eq!(refusal(dialect, r#"[{"id": "a""#), format!("{early} 11)"), "{dialect}");
        assert_eq!(refusal(dialect, ""), format!("{early} 0)"), "{dialect}");
        assert_eq!(refusal(dialect, "[] []"), "it cannot be read: more text follows after the value (at byte 3)");
        assert_eq!(refusal(dialect, "[1 2]"), "it cannot be read: expected `,` (at byte 3)", "{dialect}");
    }
    assert_eq!(refusal(Dialect::OpenAi, "5"), "it cannot be read: expected `{` (at byte 0)");
    let twice = "it cannot be read: the key `tool_calls` stands twice (at byte 34)";
    assert_eq!(refusal(Dialect::OpenAi, r#"{"tool_calls": [], "tool_calls" : []}"#), twice);
}
