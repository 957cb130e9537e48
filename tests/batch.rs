//! Batches as a model and a person meet them: every provider's calls and answers, the plan, the display, the report.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use insta::{assert_snapshot, with_settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost_tests::pty::{COLUMNS, Pty};
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

/// Adds to its settings.
fn set(folder: &TempDir, settings: &str) {
    let file = folder.path().join("toolpost.toml");
    let before = std::fs::read_to_string(&file).expect("read");
    std::fs::write(file, format!("{before}{settings}")).expect("written");
}

fn json_of(folder: &TempDir, args: &[&str]) -> Value {
    let output = toolpost(folder.path(), args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", page(&output)))
}

/// How each call ended, in one word.
fn ends(whole: &Value) -> Vec<&str> {
    let outcomes = whole["outcomes"].as_array().expect("a list");
    outcomes.iter().map(|outcome| outcome["error"]["kind"].as_str().unwrap_or("ok")).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

/// Times, with the blanks that line them up, how many calls happened to run at once, and what turns while a call runs.
fn timeless() -> Vec<(&'static str, &'static str)> {
    let number = (r"at once: \d+", "at once: [number]");
    vec![(r"\d+(\.\d+)? m?s\b", "[time]"), (r"\b\d+s\b", "[time]"), (" {2,}", "  "), number, ("[⠀-⣿]", "*")]
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
    let (_, shown) = Pty::run(folder.path(), "$T batch calls.jsonl --plan").end();
    assert_snapshot!("plan_terminal", shown);
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
        ("nap_nap", json!({"ms": 301})),
    ];
    set(&folder, "[[class]]\ntools = \"nap_*\"\nclass = \"sequential\"\n");
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let output = toolpost(folder.path(), &["batch", "calls.jsonl", "--report"]);
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    with_settings!({filters => timeless()}, {
        assert_snapshot!("report", report);
    });
    let output = toolpost(folder.path(), &["batch", "calls.jsonl", "--json"]);
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let report = &whole["report"];
    assert_eq!((&report["calls"], &report["ok"]), (&json!(7), &json!(5)));
    assert_eq!(report["failed"], json!({"tool_failed": 1, "unknown_tool": 1}));
    let way = report["critical_path"].as_array().expect("a list").iter().map(|step| &step["index"]);
    assert_eq!(way.collect::<Vec<_>>(), [4, 6]);
    assert_eq!(whole["outcomes"][1]["output"]["value"], json!("one"));
    assert_eq!(whole["answers"].as_array().map(Vec::len), Some(7));
}

#[test]
fn calls_that_wait_run_at_once_and_a_tool_that_spins_does_not_hold_them_up() {
    let folder = folder();
    let naps = std::iter::repeat_n(("nap_nap", json!({"ms": 300})), 10);
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
    // From the beginning of the batch to its end each took a part of what all took together.
    let whole = json_of(&folder, &["batch", "calls.jsonl", "--json", "--fuel", "1000000000000", "--time", "2s"]);
    let paces = whole["report"]["paces"].as_array().expect("a list");
    let spans = |pace: &Value| ["judged_ms", "waited_ms", "ran_ms"].map(|name| pace[name].as_f64().expect("a number"));
    let naps = || paces.iter().filter(|pace| pace["tool"] == "nap_nap").map(spans);
    let ran: f64 = naps().map(|[.., ran]| ran).sum();
    let longest = naps().map(|spans| spans.iter().sum()).fold(0.0, f64::max);
    assert!(naps().count() == 10 && ran >= 3_000.0 && longest * 3.0 < ran, "{longest} of {ran}");
}

#[test]
fn how_many_run_how_long_all_may_take_and_whether_a_failure_ends_all_can_be_said() {
    let folder = folder();
    let nap = |ms: u64| ("nap_nap", json!({"ms": ms}));
    write(folder.path(), "short.jsonl", &lines(&[nap(50), nap(50), nap(50)]));
    let whole = json_of(&folder, &["batch", "short.jsonl", "--json", "--max-parallel", "1"]);
    let way = whole["report"]["critical_path"].as_array().map(Vec::len);
    assert_eq!((&whole["report"]["parallel"], way), (&json!(1), Some(3)));

    let text = ("text_word_count", json!({"text": "one two"}));
    write(folder.path(), "long.jsonl", &lines(&[nap(600_000), text, nap(600_000)]));
    let whole = json_of(&folder, &["batch", "long.jsonl", "--json", "--within", "2s"]);
    assert_eq!(ends(&whole), ["timed_out", "ok", "timed_out"]);

    let fails = ("divide_divide", json!({"dividend": 1, "divisor": 0}));
    write(folder.path(), "fails.jsonl", &lines(&[nap(600_000), fails, nap(600_000)]));
    let whole = json_of(&folder, &["batch", "fails.jsonl", "--json", "--fail-fast", "--max-parallel", "2"]);
    assert_eq!(ends(&whole), ["cancelled", "tool_failed", "cancelled"]);
    let words = "call 2 of its batch failed, and the first failure ends all";
    assert_eq!(whole["outcomes"][2]["error"]["message"], words);
}

#[test]
fn settings_may_say_the_class_of_tools_and_what_is_destructive_is_asked_about() {
    let folder = folder();
    let class = |tools: &str, rest: &str| format!("[[class]]\ntools = \"{tools}\"\nclass = {rest}\n");
    let classes = [
        class("files_write", "\"destructive\""),
        class("nap_*", "\"sequential\"\ngroup = \"slow\""),
        class("divide_*", "\"sequential\"\ngroup = \"slow\""),
        class("files_delete", "\"parallel\""),
    ];
    set(&folder, &format!("[approval]\ntimeout = \"1s\"\n{}", classes.concat()));
    let calls = [
        ("nap_nap", json!({"ms": 1})),
        ("divide_divide", json!({"dividend": 4, "divisor": 2})),
        ("files_delete", json!({"path": "/notes/b.md"})),
        ("files_write", json!({"path": "/notes/a.md", "text": "one"})),
    ];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let plan = json_of(&folder, &["batch", "calls.jsonl", "--plan", "--json"]);
    let calls = plan["calls"].as_array().expect("a list");
    let classes: Vec<_> = calls.iter().map(|call| (call["class"].as_str(), call["asks"] == true)).collect();
    let expected = [("sequential", false), ("sequential", false), ("parallel", true), ("destructive", true)];
    assert_eq!(classes, expected.map(|(class, asks)| (Some(class), asks)));
    assert_eq!(plan["calls"][1]["waits_for"], json!([{"call": 1, "why": "both are of the group slow"}]));
    // Nobody answers here; alone, the tool is what it was.
    let whole = json_of(&folder, &["batch", "calls.jsonl", "--json"]);
    assert_eq!(ends(&whole), ["ok", "ok", "approval_timed_out", "approval_timed_out"]);
    assert!(!folder.path().join("notes/a.md").exists());
    let alone = toolpost(folder.path(), &["call", "files_write", "path=/notes/a.md", "text=one"]);
    assert!(alone.status.success() && folder.path().join("notes/a.md").exists(), "{}", page(&alone));
}

#[test]
fn on_a_terminal_running_calls_have_a_line_each_and_what_has_ended_stands_above() {
    let folder = folder();
    let nap = prebuilt("nap");
    let class = |tool: &str| format!("[[class]]\ntools = \"{tool}\"\nclass = \"sequential\"\ngroup = \"slow\"\n");
    set(&folder, &format!("{}{}[components.rest]\npath = \"{nap}\"\n", class("nap_nap"), class("files_write")));
    let calls = [
        ("text_word_count", json!({"text": "one two"})),
        ("nap_nap", json!({"ms": 3_000})),
        ("rest_nap", json!({"ms": 3_000})),
        ("divide_divide", json!({"dividend": 1, "divisor": 0})),
        ("files_write", json!({"path": "/notes/a.md", "text": "x"})),
    ];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let pty = Pty::run(folder.path(), "$T batch calls.jsonl --out openai >out");
    // Both naps run, one call waits for one of them, and the two others have ended.
    let running = [" 2 nap_nap", " 3 rest_nap", "2/5 2 running, 1 waiting"];
    let running = pty.wait_for_all(&running);
    let (code, ended) = pty.end();
    assert_eq!(code, 1, "{ended}");
    with_settings!({filters => timeless()}, {
        assert_snapshot!("running", in_order(&running));
        assert_snapshot!("terminal", in_order(&ended));
    });
}

/// A screen with the lines of its calls in their order: whoever is quickest is first.
fn in_order(screen: &str) -> String {
    // A row that is full goes on in the next one.
    let rows = screen.lines().flat_map(|line| {
        let row: Vec<char> = line.chars().collect();
        row.chunks(COLUMNS).map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect::<Vec<_>>()
    });
    let rows: Vec<String> = rows.filter(|row| !row.is_empty()).collect();
    let number = |line: &&str| line.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    let is_of_call =
        |line: &&str| !line.starts_with(|c: char| c == ' ' || c.is_alphanumeric()) && number(line).is_some();
    let (mut calls, rest): (Vec<&str>, Vec<&str>) = rows.iter().map(String::as_str).partition(is_of_call);
    calls.sort_by_key(|line| (!line.starts_with(['✓', '✗']), number(line)));
    [calls, rest].concat().join("\n")
}

#[test]
fn what_ends_while_somebody_is_asked_is_shown_afterwards_and_the_wait_is_on_the_longest_way() {
    let folder = folder();
    write(folder.path(), "notes/a.md", "old");
    let calls = [("nap_nap", json!({"ms": 10})), ("files_delete", json!({"path": "/notes/a.md"}))];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let mut pty = Pty::run(folder.path(), "$T batch calls.jsonl >out");
    pty.wait_for_prompt();
    // The first call has ended when its answer is there.
    let out = || std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
    (0..1_000).take_while(|_| out().lines().count() == 0).for_each(|_| std::thread::sleep(Duration::from_millis(20)));
    pty.press("a");
    let (code, shown) = pty.end();
    assert_eq!(code, 0, "{shown}");
    for part in ["✓ 1 nap_nap", "✓ 2 files_delete", "longest way: 2 files_delete asked "] {
        assert!(shown.contains(part), "`{part}` in\n{shown}");
    }
}

#[test]
fn what_runs_is_shown_again_when_a_question_is_taken_back() {
    let folder = folder();
    let settings = format!(
        "[components.nap]\npath = \"{}\"\ntools.nap.effect = \"writes\"\n\
         [components.hostile]\npath = \"{}\"\nlimits.time = \"2s\"\n\
         [components.text]\npath = \"{}\"\ntools.echo.effect = \"destroys\"\n",
        prebuilt("nap"),
        prebuilt("hostile"),
        prebuilt("text"),
    );
    write(folder.path(), "toolpost.toml", &settings);
    let calls = [("hostile_spin", json!({})), ("nap_nap", json!({"ms": 60_000})), ("text_echo", json!({"text": "hi"}))];
    write(folder.path(), "calls.jsonl", &lines(&calls));
    let mut pty = Pty::run(
        folder.path(),
        "trap '' INT; $T batch calls.jsonl --fail-fast --fuel 1000000000000 >out; echo code $?",
    );
    pty.wait_for_prompt();
    // What may change something goes on when the first failure ends all; the question does not.
    pty.wait_for_all(&["✗ 1 hostile_spin timed_out", "✗ 3 text_echo cancelled", " 2 nap_nap", "1 running"]);
    pty.press("\u{3}");
    pty.wait_for("interrupt once more to end at once");
    pty.press("\u{3}");
    let (_, shown) = pty.end();
    assert!(shown.contains("code 130"), "{shown}");
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
