//! Batches as a model and a person meet them: every provider's calls and answers, the plan, the display, the report.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Stdio;

use insta::{assert_snapshot, with_settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost_tests::pty::Pty;
use toolpost_tests::{command, filters, page, prebuilt, toolpost};

/// A folder with tools that compute, that read and write what their `path` names, that wait, and that fail.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("notes")).expect("a folder");
    let grant = |access: &str| {
        format!(r#"[{{ host = "notes", guest = "/notes", access = "{access}", only = "${{args.path}}" }}]"#)
    };
    let (read, write) = (grant("read"), grant("write"));
    let components = ["text", "nap", "hostile", "divide"]
        .map(|name| format!("[components.{name}]\npath = \"{}\"\n", prebuilt(name)));
    let settings = format!(
        "[store]\ndir = \"kept\"\n{}\n[components.files]\npath = \"{}\"\n\
         tools.read.grants.dirs = {read}\ntools.write.grants.dirs = {write}\n\
         tools.delete = {{ grants.dirs = {write}, effect = \"destroys\" }}\n",
        components.concat(),
        prebuilt("files"),
    );
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

/// Times, with the blanks that line them up, and how many calls happened to run at once.
fn timeless() -> Vec<(&'static str, &'static str)> {
    vec![(r"\d+(\.\d+)? m?s\b", "[time]"), (" {2,}", "  "), (r"at once: \d+", "at once: [number]")]
}

/// A call of ours for each line.
fn lines(calls: &[(&str, Value)]) -> String {
    let line = |(index, (tool, arguments)): (usize, &(&str, Value))| {
        format!("{}\n", json!({"id": index + 1, "tool": tool, "arguments": arguments}))
    };
    calls.iter().enumerate().map(line).collect()
}

/// Several that work, one that fails, one that there is not, one with broken arguments, and one with an id that stands twice.
const ASKED: [(&str, &str, &str); 6] = [
    ("a", "text_word_count", r#"{"text": "one two"}"#),
    ("b", "files_write", r#"{"path": "/notes/a.md", "text": "hello"}"#),
    ("c", "divide_divide", r#"{"dividend": 1, "divisor": 0}"#),
    ("d", "weather_forecast", "{}"),
    ("e", "text_echo", r#"{"text": "cut of"#),
    ("a", "text_echo", r#"{"text": "again"}"#),
];

fn openai() -> Value {
    let call = |(id, name, arguments)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls: Vec<Value> = ASKED.into_iter().map(call).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]})
}

fn responses() -> Value {
    let call = |(id, name, arguments)| json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name, "arguments": arguments, "status": "completed"});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let items: Vec<Value> = std::iter::once(reasoning).chain(ASKED.into_iter().map(call)).collect();
    json!({"id": "resp_1", "object": "response", "status": "completed", "output": items})
}

/// The arguments as a value; broken ones as a text, as some gateways hand them on.
fn value(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into())
}

fn anthropic() -> Value {
    let call = |(id, name, arguments)| json!({"type": "tool_use", "id": id, "name": name, "input": value(arguments)});
    let text = json!({"type": "text", "text": "I will look."});
    let searched =
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}});
    let blocks: Vec<Value> = [text, searched].into_iter().chain(ASKED.into_iter().map(call)).collect();
    json!({"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "tool_use", "content": blocks})
}

fn gemini() -> Value {
    let call = |(_, name, arguments)| json!({"functionCall": {"name": name, "args": value(arguments)}});
    let parts: Vec<Value> = ASKED.into_iter().map(call).collect();
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}]})
}

fn ours() -> String {
    let line = |(id, tool, arguments)| format!("{}\n", json!({"id": id, "tool": tool, "arguments": value(arguments)}));
    ASKED.into_iter().map(line).collect()
}

#[test]
fn every_format_is_answered_in_its_own_words_and_every_id_once() {
    let asked = [
        ("openai", openai().to_string()),
        ("responses", responses().to_string()),
        ("anthropic", anthropic().to_string()),
        ("gemini", gemini().to_string()),
        ("ours", ours()),
    ];
    for (name, text) in asked {
        let folder = folder();
        write(folder.path(), "calls", &text);
        let output = toolpost(folder.path(), &["batch", "calls"]);
        let _filters = filters();
        assert_snapshot!(name, page(&output));
        assert_eq!(std::fs::read_to_string(folder.path().join("notes/a.md")).expect("written"), "hello");
    }
}

#[test]
fn calls_of_one_format_can_be_answered_in_another() {
    let folder = folder();
    write(folder.path(), "calls", &gemini().to_string());
    let output = toolpost(folder.path(), &["batch", "calls", "--out", "openai"]);
    let answers: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ids: Vec<&str> =
        answers.as_array().expect("a list").iter().filter_map(|one| one["tool_call_id"].as_str()).collect();
    assert_eq!((ids.len(), answers[0]["role"].as_str()), (6, Some("tool")));
}

#[test]
fn the_plan_says_what_goes_when_and_why_not_earlier_and_nothing_runs() {
    let folder = folder();
    let calls = [
        ("files_write", json!({"path": "/notes/a.md", "text": "one"})),
        ("text_word_count", json!({"text": "one two"})),
        ("files_read", json!({"path": "/notes/a.md"})),
        ("files_write", json!({"path": "/notes/a.md", "text": "two"})),
        ("files_read", json!({"path": "/notes/b.md"})),
        ("files_delete", json!({"path": "/notes/b.md"})),
        ("weather_forecast", json!({})),
    ];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let _filters = filters();
    assert_snapshot!("plan", page(&toolpost(folder.path(), &["batch", "calls.jsonl", "--plan"])));
    let output = toolpost(folder.path(), &["batch", "calls.jsonl", "--plan", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["calls"][2]["waits_for"], json!([{"call": 1, "why": "it uses /notes/a.md, which 1 may change"}]));
    assert_eq!((&plan["calls"][5]["class"], &plan["calls"][5]["asks"]), (&json!("destructive"), &json!(true)));
    assert_eq!(plan["calls"][6]["error"]["kind"], "unknown_tool");
    assert!(!folder.path().join("notes/a.md").exists());
}

#[test]
fn one_folder_under_two_names_is_one_folder() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("notes/deep")).expect("a folder");
    std::os::unix::fs::symlink("deep", folder.path().join("notes/link")).expect("a link");
    let calls = [
        ("files_write", json!({"path": "/notes/deep/a.md", "text": "seen"})),
        ("files_read", json!({"path": "/notes/link/a.md"})),
    ];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let output = toolpost(folder.path(), &["batch", "calls.jsonl"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().nth(1).is_some_and(|line| line.contains("seen")), "{}", page(&output));
}

#[test]
fn the_report_counts_classes_waits_errors_and_names_the_longest_way() {
    let folder = folder();
    let calls = [
        ("files_write", json!({"path": "/notes/a.md", "text": "one"})),
        ("files_read", json!({"path": "/notes/a.md"})),
        ("text_word_count", json!({"text": "one two"})),
        ("divide_divide", json!({"dividend": 1, "divisor": 0})),
        ("nap_nap", json!({"ms": 300})),
        ("weather_forecast", json!({})),
    ];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let output = toolpost(folder.path(), &["batch", "calls.jsonl", "--report"]);
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    with_settings!({filters => timeless()}, {
        assert_snapshot!("report", report);
    });
    let output = toolpost(folder.path(), &["batch", "calls.jsonl", "--json"]);
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let report = &whole["report"];
    assert_eq!((&report["calls"], &report["ok"]), (&json!(6), &json!(4)));
    assert_eq!(report["failed"], json!({"tool_failed": 1, "unknown_tool": 1}));
    assert_eq!(report["critical_path"][0]["index"], 4);
    assert_eq!(whole["outcomes"][1]["output"]["value"], json!("one"));
    assert_eq!(whole["answers"].as_array().map(Vec::len), Some(6));
}

#[test]
fn calls_that_wait_run_at_once_and_a_tool_that_spins_does_not_hold_them_up() {
    let folder = folder();
    let naps = std::iter::repeat_n(("nap_nap", json!({"ms": 200})), 10);
    let calls: Vec<_> = [("hostile_spin", json!({}))].into_iter().chain(naps).collect();
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let args = ["batch", "calls.jsonl", "--unordered", "--fuel", "1000000000000", "--time", "2s"];
    let output = toolpost(folder.path(), &args);
    let answers: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 11, "{}", page(&output));
    // Each was told when it was there: the one that spins to its end comes last.
    assert_eq!(answers[10]["error"]["kind"], "timed_out");
    assert!(answers[..10].iter().all(|answer| answer["ok"] == true));
}

#[test]
fn on_a_terminal_running_calls_have_a_line_each_and_what_has_ended_stands_above() {
    let folder = folder();
    let calls = [
        ("text_word_count", json!({"text": "one two"})),
        ("nap_nap", json!({"ms": 3_000})),
        ("divide_divide", json!({"dividend": 1, "divisor": 0})),
        ("files_write", json!({"path": "/notes/a.md", "text": "x"})),
    ];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let pty = Pty::run(folder.path(), "$T batch calls.jsonl --out openai >out");
    let shown = pty.wait_for("3/4 1 running, 0 waiting");
    for part in ["✓ 1 text_word_count", "✗ 3 divide_divide tool_failed", "✓ 4 files_write", " 2 nap_nap"] {
        assert!(shown.contains(part), "`{part}` in\n{shown}");
    }
    let (code, shown) = pty.end();
    assert_eq!(code, 1, "{shown}");
    with_settings!({filters => timeless()}, {
        // Whoever is quickest is first.
        let lines = shown.replace("    ✓", "\n✓").replace("    ✗", "\n✗");
        let (ended, rest): (Vec<&str>, Vec<&str>) =
            lines.lines().map(str::trim_end).filter(|line| !line.is_empty()).partition(|line| line.starts_with(['✓', '✗']));
        let mut ended = ended;
        ended.sort_by_key(|line| line.split(' ').nth(1).map(str::to_owned));
        assert_snapshot!("terminal", [ended, rest].concat().join("\n"));
    });
}

#[test]
fn one_interruption_cancels_and_still_answers_every_call_and_two_end_at_once() {
    let folder = folder();
    let calls = [("nap_nap", json!({"ms": 60_000})), ("text_echo", json!({"text": "hi"}))];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let mut pty = Pty::run(folder.path(), "$T batch calls.jsonl >out; echo code $?");
    pty.wait_for("1/2 1 running");
    pty.press("\u{3}");
    let (_, shown) = pty.end();
    assert!(shown.contains("cancelling: what may change something ends by itself"), "{shown}");
    assert!(shown.contains("1 ok, 1 cancelled"), "{shown}");
    let out = std::fs::read_to_string(folder.path().join("out")).expect("answers");
    assert_eq!(out.lines().count(), 2, "{out}");

    // A tool that may change something does not stop at the first one; at the second one its host is gone.
    let settings = format!("[components.nap]\npath = \"{}\"\ntools.nap.effect = \"writes\"\n", prebuilt("nap"));
    write(folder.path(), "toolpost.toml", &settings);
    let mut pty = Pty::run(folder.path(), "trap '' INT; $T call nap_nap ms=60000; echo code $?");
    pty.wait_for("calling nap_nap");
    pty.press("\u{3}");
    pty.wait_for("interrupt once more to end at once");
    pty.press("\u{3}");
    let (_, shown) = pty.end();
    assert!(shown.contains("code 130"), "{shown}");
}

#[test]
fn what_cannot_be_read_is_told_with_what_would_help() {
    let folder = folder();
    write(folder.path(), "odd.json", "{\"what\": 1}");
    write(folder.path(), "calls.jsonl", &lines(&[("text_echo", json!({"text": "hi"}))]));
    let page = |args: &[&str]| page(&toolpost(folder.path(), args));
    let pages = [
        page(&["batch", "missing.json"]),
        page(&["batch", "odd.json"]),
        page(&["batch", "calls.jsonl", "--format", "opnai"]),
        page(&["batch", "calls.jsonl", "--out", "gemini", "--unordered"]),
    ];
    assert_snapshot!("wrong", pages.join("\n\n"));
}

#[test]
fn calls_may_come_by_standard_input() {
    let folder = folder();
    let mut child = command(folder.path(), &["batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut { stdin }, lines(&[("text_echo", json!({"text": "hi"}))]).as_bytes())
        .expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"value\":\"hi\""), "{}", page(&output));
}
