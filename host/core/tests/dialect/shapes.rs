//! Whole messages as the providers send them, and the answers that go back: calls beside one another of which one works, one
//! fails, one names no tool, one has broken arguments, and one has the id of another.

use serde_json::json;
use toolpost_core::dialect::Dialect;

use crate::answered;

const NO_TOOL: &str = "error: unknown_tool: no tool is named `wether`; did you mean `weather`?";
const CUT: &str = "error: invalid_arguments: the arguments of `add` cannot be used: the text ends before its value does; send it \
                   again, whole (at byte 9)";
const FAILED: &str = "error: tool_failed: the disk is full";
const WEATHER: &str = r#"{"city":"Zürich","degrees":21,"unit":"C"}"#;
const REPEATED: &str = "note: 1 more call that has this id did not run; give each call an id of its own";

const OPENAI: &str = r#"{
  "id": "chatcmpl-CyLO3nJ5kGxeTqYdqBZpLZ1yQ6m2t", "object": "chat.completion", "created": 1768472345, "model": "gpt-5.2",
  "choices": [{
    "index": 0,
    "message": {
      "role": "assistant", "content": null, "refusal": null, "annotations": [],
      "tool_calls": [
        {"id": "call_Ayh2pX", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1,\"b\":2}"}},
        {"id": "call_b7Tq0Z", "type": "function", "function": {"name": "fail", "arguments": ""}},
        {"id": "call_c1Lw9D", "type": "function", "function": {"name": "wether", "arguments": "{\"city\":\"Z\u00fcrich\"}"}},
        {"id": "call_d5Rk3E", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1,\"b"}},
        {"id": "call_Ayh2pX", "type": "function", "function": {"name": "add", "arguments": "{}"}},
        {"id": "call_e8Fg4H", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Z\u00fcrich\",\"unit\":null}"}}
      ]
    },
    "logprobs": null, "finish_reason": "tool_calls"
  }],
  "usage": {"prompt_tokens": 212, "completion_tokens": 118, "total_tokens": 330}
}"#;

#[tokio::test]
async fn openai_chat() {
    let tool = |id: &str, content: &str| json!({"role": "tool", "tool_call_id": id, "content": content});
    assert_eq!(
        answered(Dialect::OpenAi, OPENAI, Dialect::OpenAi).await,
        json!([
            tool("call_Ayh2pX", &format!("3\n{REPEATED}")),
            tool("call_b7Tq0Z", FAILED),
            tool("call_c1Lw9D", NO_TOOL),
            tool("call_d5Rk3E", CUT),
            tool("call_e8Fg4H", WEATHER),
        ])
    );
}

const RESPONSES: &str = r#"{
  "id": "resp_0a1b2c", "object": "response", "created_at": 1768472345, "status": "completed", "error": null, "model": "gpt-5.2",
  "output": [
    {"id": "rs_0a1b", "type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo"},
    {"id": "ws_0a1c", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "weather"}},
    {"id": "msg_0a1d", "type": "message", "status": "completed", "role": "assistant",
     "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Let me look."}]},
    {"id": "fc_0a1e", "type": "function_call", "status": "completed", "arguments": "{\"a\":1,\"b\":2}", "call_id": "call_Ayh2pX", "name": "add"},
    {"id": "fc_0a1f", "type": "function_call", "status": "completed", "arguments": "", "call_id": "call_b7Tq0Z", "name": "fail"},
    {"id": "fc_0a20", "type": "function_call", "status": "completed", "arguments": "{\"city\":\"Z\u00fcrich\"}", "call_id": "call_c1Lw9D", "name": "wether"},
    {"id": "fc_0a21", "type": "function_call", "status": "completed", "arguments": "{\"a\":1,\"b", "call_id": "call_d5Rk3E", "name": "add"},
    {"id": "fc_0a22", "type": "function_call", "status": "completed", "arguments": "{}", "call_id": "call_Ayh2pX", "name": "add"},
    {"id": "ctc_0a23", "type": "custom_tool_call", "status": "completed", "call_id": "call_f0", "name": "sql", "input": "select 1"},
    {"id": "fc_0a24", "type": "function_call", "status": "completed", "arguments": "{\"city\":\"Z\u00fcrich\"}", "call_id": "call_e8Fg4H", "name": "weather"}
  ],
  "parallel_tool_calls": true, "tool_choice": "auto", "usage": {"input_tokens": 212, "output_tokens": 118, "total_tokens": 330}
}"#;

#[tokio::test]
async fn openai_responses() {
    let item = |id: &str, output: &str| json!({"type": "function_call_output", "call_id": id, "output": output});
    assert_eq!(
        answered(Dialect::OpenAiResponses, RESPONSES, Dialect::OpenAiResponses).await,
        json!([
            item("call_Ayh2pX", &format!("3\n{REPEATED}")),
            item("call_b7Tq0Z", FAILED),
            item("call_c1Lw9D", NO_TOOL),
            item("call_d5Rk3E", CUT),
            item("call_e8Fg4H", WEATHER),
        ])
    );
    assert_eq!(
        crate::passed_over(Dialect::OpenAiResponses, RESPONSES),
        ["reasoning 1", "web_search_call 1", "message 1", "custom_tool_call 1"]
    );
}

const ANTHROPIC: &str = r#"{
  "model": "claude-opus-4-8", "id": "msg_01HCDu5LRGeP2o7s2xGmxyx8", "type": "message", "role": "assistant",
  "content": [
    {"type": "thinking", "thinking": "Both at once.", "signature": "EqQBCgIYAhIM"},
    {"type": "text", "text": "I'll look."},
    {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {"query": "weather"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": []},
    {"type": "tool_use", "id": "toolu_01A", "name": "add", "input": {"a": 1, "b": 2}, "caller": {"type": "direct"}},
    {"type": "tool_use", "id": "toolu_01B", "name": "fail", "input": {}},
    {"type": "tool_use", "id": "toolu_01C", "name": "wether", "input": {"city": "Zürich"}},
    {"type": "tool_use", "id": "toolu_01D", "name": "add", "input": {"a": 1, "b": "two"}},
    {"type": "tool_use", "id": "toolu_01A", "name": "add", "input": {}},
    {"type": "tool_use", "id": "toolu_01E", "name": "weather", "input": {"city": "Zürich"}}
  ],
  "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 472, "output_tokens": 143}
}"#;

#[tokio::test]
async fn anthropic() {
    let block = |id: &str, content: &str| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let failed = |id: &str, content: &str| json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": true});
    let broken = "error: invalid_arguments: the arguments of `add` cannot be used: at `/b`: expected an integer from 0 to \
                  4294967295, got \"two\"";
    assert_eq!(
        answered(Dialect::Anthropic, ANTHROPIC, Dialect::Anthropic).await,
        json!({"role": "user", "content": [
            block("toolu_01A", &format!("3\n{REPEATED}")),
            failed("toolu_01B", FAILED),
            failed("toolu_01C", NO_TOOL),
            failed("toolu_01D", broken),
            block("toolu_01E", WEATHER),
        ]})
    );
    assert_eq!(
        crate::passed_over(Dialect::Anthropic, ANTHROPIC),
        ["thinking 1", "text 1", "server_tool_use 1", "web_search_tool_result 1"]
    );
}

const GEMINI: &str = r#"{
  "candidates": [{
    "content": {
      "parts": [
        {"text": "Both at once.", "thought": true},
        {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}, "thoughtSignature": "CpwBAdHtim9"},
        {"functionCall": {"name": "fail", "args": {}}},
        {"functionCall": {"name": "wether", "args": {"city": "Zürich"}}},
        {"functionCall": {"name": "add", "args": {"a": 1, "b": "two"}}},
        {"functionCall": {"id": "f1", "name": "add", "args": {"a": 3, "b": 4}}},
        {"functionCall": {"id": "f1", "name": "add", "args": {}}},
        {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}}
      ],
      "role": "model"
    },
    "finishReason": "STOP", "index": 0
  }],
  "usageMetadata": {"promptTokenCount": 88, "candidatesTokenCount": 40, "totalTokenCount": 128},
  "modelVersion": "gemini-3-pro", "responseId": "abc"
}"#;

#[tokio::test]
async fn gemini() {
    let part =
        |name: &str, response: serde_json::Value| json!({"functionResponse": {"name": name, "response": response}});
    let with_id =
        |response: serde_json::Value| json!({"functionResponse": {"name": "add", "id": "f1", "response": response}});
    let broken = "invalid_arguments: the arguments of `add` cannot be used: at `/b`: expected an integer from 0 to \
                  4294967295, got \"two\"";
    let taken = "invalid_arguments: the id `f1` is that of an earlier call, so this one was not run; give each call an id of \
                 its own";
    assert_eq!(
        answered(Dialect::Gemini, GEMINI, Dialect::Gemini).await,
        json!({"role": "user", "parts": [
            part("add", json!({"output": 3})),
            part("fail", json!({"error": "tool_failed: the disk is full"})),
            part("wether", json!({"error": "unknown_tool: no tool is named `wether`; did you mean `weather`?"})),
            part("add", json!({"error": broken})),
            with_id(json!({"output": 7})),
            with_id(json!({"error": taken})),
            part("weather", json!({"output": {"city": "Zürich", "degrees": 21, "unit": "C"}})),
        ]})
    );
    assert_eq!(crate::passed_over(Dialect::Gemini, GEMINI), ["thought 1"]);
}

const OURS: &str = r#"
{"id": "a", "tool": "add", "arguments": {"a": 1, "b": 2}}
{"id": 7, "tool": "fail"}
{"tool": "wether", "arguments": {"city": "Zürich"}}
{"id": "d", "tool": "add", "arguments": "{\"a\":1,\"b"}
{"id": "a", "tool": "add", "arguments": {}}

{"id": "f", "tool": "add", "argumens": {}}
{"id": "g", "tool": "weather",
{"id": "h", "tool": "weather", "arguments": {city: 'Zürich'}}
"#;

#[tokio::test]
async fn ours() {
    let error = |kind: &str, stage: &str, message: &str| json!({"kind": kind, "stage": stage, "message": message, "fault": if kind == "tool_failed" { "tool" } else { "caller" }});
    let mut failed = error("tool_failed", "run", "the disk is full");
    failed["retryable"] = json!(false);
    let unknown = error("unknown_tool", "find", "no tool is named `wether`; did you mean `weather`?");
    let invalid = |message: &str| error("invalid_arguments", "accept", message);
    let cut = invalid(CUT.strip_prefix("error: invalid_arguments: ").unwrap());
    let taken = "the id `a` is that of an earlier call, so this one was not run; give each call an id of its own";
    let line = "the line is no JSON: the text ends before its value does; send it again, whole (at byte 30)";
    let weather = json!({"city": "Zürich", "degrees": 21, "unit": "C"});
    assert_eq!(
        answered(Dialect::Ours, OURS, Dialect::Ours).await,
        json!([
            {"index": 0, "id": "a", "tool": "add", "ok": true, "output": {"value": 3}},
            {"index": 1, "id": 7, "tool": "fail", "ok": false, "error": failed},
            {"index": 2, "tool": "wether", "ok": false, "error": unknown},
            {"index": 3, "id": "d", "tool": "add", "ok": false, "error": cut},
            {"index": 4, "id": "a", "tool": "add", "ok": false, "error": invalid(taken)},
            {"index": 5, "id": "f", "tool": "add", "ok": false,
             "error": invalid("a call has no `argumens`; did you mean `arguments`?")},
            {"index": 6, "tool": "", "ok": false, "error": invalid(line)},
            {"index": 7, "id": "h", "tool": "weather", "ok": true, "output": {"value": weather}},
        ])
    );
}

#[tokio::test]
async fn what_is_asked_in_one_dialect_can_be_answered_in_another() {
    let gemini = r#"[{"functionCall": {"id": "call_2", "name": "add", "args": {"a": 1, "b": 2}}},
                     {"functionCall": {"name": "add", "args": {"a": 3, "b": 4}}}]"#;
    let tool = |id: &str, content: &str| json!({"role": "tool", "tool_call_id": id, "content": content});
    assert_eq!(
        answered(Dialect::Gemini, gemini, Dialect::OpenAi).await,
        json!([tool("call_2", "3"), tool("call_2_", "7")])
    );
    let ours = r#"{"id": 7, "tool": "add", "arguments": {"a": 1, "b": 2}}"#;
    assert_eq!(answered(Dialect::Ours, ours, Dialect::OpenAi).await, json!([tool("7", "3")]));
    let openai = r#"{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1,\"b\":2}"}}"#;
    assert_eq!(
        answered(Dialect::OpenAi, openai, Dialect::Gemini).await,
        json!({"role": "user", "parts": [{"functionResponse": {"name": "add", "id": "c", "response": {"output": 3}}}]})
    );
}
