//! Tools that call tools, by the guest `delegate`: what was granted, in the name of the one who called first, and with no more power
//! than all of them have in common.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use toolpost_tests::{detached, page, pending, prebuilt, toolpost};

/// A folder whose settings have `delegate`, with more about it, and tools to which it can give work.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let part = |name: &str, more: &str| format!("[components.{name}]\npath = {:?}\n{more}\n", prebuilt(name));
    let files = "grants.dirs = [{ host = \".\", guest = \"/\", access = \"write\" }]";
    let rest = [part("text", ""), part("nap", ""), part("divide", ""), part("files", files)].concat();
    std::fs::write(folder.path().join("toolpost.toml"), part("delegate", more) + &rest).expect("written");
    folder
}

/// Calls a tool; what the page says as JSON.
fn call(folder: &TempDir, tool: &str, arguments: &Value) -> Value {
    let output = toolpost(folder.path(), &["call", tool, "--args", &arguments.to_string(), "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", page(&output)))
}

fn settings_of(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("toolpost.toml")
}

fn text_of(folder: &TempDir) -> String {
    std::fs::read_to_string(settings_of(folder)).expect("read")
}

fn task(tool: &str, arguments: &Value) -> Value {
    json!({"tool": tool, "arguments": arguments.to_string()})
}

const GRANTS: &str = "grants.tools = [\"text_*\", \"nap_*\", \"files_*\", \"delegate_*\"]";

#[test]
fn several_tools_work_at_once_and_the_answers_come_in_the_order_of_the_tasks() {
    let folder = folder(GRANTS);
    let nap = |ms: u64| task("nap_nap", &json!({"ms": ms}));
    let tasks = [nap(30), nap(20), task("text_echo", &json!({"text": "a"})), nap(10)];
    let said = call(&folder, "delegate_all", &json!({"tasks": tasks}));
    let answers = said["output"]["value"].as_array().expect("answers");
    let outcomes: Vec<&str> = answers.iter().filter_map(|answer| answer["outcome"]["ok"].as_str()).collect();
    assert_eq!(outcomes, ["30", "20", "\"a\"", "10"], "{said}");
    let effects = said["report"]["effects"].as_array().expect("effects");
    let called =
        |effect: &Value| format!("{} {} {}", effect["action"], effect["target"], effect["fate"]).replace('"', "");
    let called: Vec<String> = effects.iter().map(called).collect();
    let nap = "tools.call nap_nap done";
    assert_eq!(called, [nap, nap, "tools.call text_echo done", nap]);
    // Each is a call of its own, which says whose it is.
    let log = page(&toolpost(folder.path(), &["log", "--json"]));
    let parent = said["call"].as_str().expect("an id");
    assert_eq!(log.matches(&format!("\"parent\": \"{parent}\"")).count(), 4, "{log}");
}

#[test]
fn a_tool_is_answered_in_full_however_little_of_it_a_reader_would_see() {
    let folder = folder(GRANTS);
    let text = "0123456789".repeat(280);
    let tasks = [task("text_echo", &json!({"text": text}))];
    let arguments = json!({"tasks": tasks}).to_string();
    let call = ["call", "delegate_all", "--args", &arguments, "--reader", "4KiB", "--json"];
    let settings = folder.path().join("toolpost.toml");
    let before = std::fs::read_to_string(&settings).expect("read");
    let cut = before.replace("[components.text]", "[components.text]\nlimits.reader = \"1KiB\"");
    std::fs::write(&settings, cut).expect("written");
    let output = toolpost(folder.path(), &call);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", page(&output)));
    assert_eq!(said["output"]["value"][0]["outcome"]["ok"], format!("\"{text}\""), "{said}");
    let kept = std::fs::read_dir(folder.path().join(".toolpost/artifacts")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "it is kept for nobody");
}

#[test]
fn the_first_answer_is_enough_and_the_other_calls_are_cancelled() {
    let folder = folder(GRANTS);
    let tasks = [task("nap_nap", &json!({"ms": 25_000})), task("text_echo", &json!({"text": "b"}))];
    let begun = Instant::now();
    let said = call(&folder, "delegate_first", &json!({"tasks": tasks}));
    assert_eq!(said["output"]["value"]["outcome"]["ok"], "\"b\"", "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for the one that was not wanted any more");
    let log = page(&toolpost(folder.path(), &["log", "--tool", "nap_nap"]));
    // It may be gone before it was begun.
    assert!(!log.contains(" ok "), "{log}");
    assert_eq!(said["report"]["effects"][0]["fate"], "indeterminate", "{said}");
}

#[test]
fn what_was_not_granted_is_refused_with_the_line_that_would_allow_it() {
    let words = json!({"tool": "divide_divide", "arguments": "{}"});
    for (grants, line) in [
        ("", "`grants.tools = [\"divide_divide\"]` in `[components.delegate]`"),
        (GRANTS, "`\"divide_divide\"` in `grants.tools` of component `delegate`"),
    ] {
        let said = call(&folder(grants), "delegate_call", &words);
        assert_eq!(said["error"]["kind"], "capability_denied", "{said}");
        assert!(said["error"]["message"].as_str().expect("words").contains(line), "{said}");
        assert_eq!(said["report"]["effects"][0]["fate"], "refused", "{said}");
    }
    let said = call(&folder(GRANTS), "delegate_list", &json!({}));
    let listed: Vec<&str> =
        said["output"]["value"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    assert!(listed.contains(&"text_echo") && !listed.contains(&"divide_divide"), "{listed:?}");
}

#[test]
fn a_tool_has_no_more_power_through_another_than_it_and_its_caller_have() {
    let write = json!({"tool": "files_write", "arguments": json!({"path": "/x", "text": "x"}).to_string()});
    // What only reads changes nothing by calling what can.
    let reads = folder(&format!("{GRANTS}\ntools.call.effect = \"reads\""));
    let said = call(&reads, "delegate_call", &write);
    let words = said["error"]["message"].as_str().expect("words");
    assert!(words.contains("`delegate_call` has the effect `reads`, and calls `files_write`"), "{said}");
    assert!(!reads.path().join("x").exists());
    // A tool that its caller may not use is not there.
    let access = "[[access]]\ntools = [\"files_*\"]\ndeny = true\n[[access]]\n";
    let denied = folder(GRANTS);
    let settings = denied.path().join("toolpost.toml");
    let text = std::fs::read_to_string(&settings).expect("read");
    std::fs::write(&settings, format!("{access}{text}")).expect("written");
    let said = call(&denied, "delegate_call", &write);
    assert!(said["error"]["message"].as_str().expect("words").contains("no tool is named `files_write`"), "{said}");
    // Else it is done, and the list says how far the tool reaches by it.
    let open = folder(GRANTS);
    let said = call(&open, "delegate_call", &write);
    assert_eq!(said["ok"], true, "{said}");
    assert_eq!(std::fs::read_to_string(open.path().join("x")).expect("it is there"), "x");
    // What was done by the other tool stands in the report of the one that called it, and leads to that call.
    let log = toolpost(open.path(), &["log", "--json"]);
    let log: Value = serde_json::from_slice(&log.stdout).unwrap_or_else(|_| panic!("no JSON: {}", page(&log)));
    let written = log["calls"].as_array().expect("calls").iter().find(|call| call["tool"] == "files_write");
    let id = &written.expect("the call inside")["call"];
    let inside = json!({"call": id, "tool": "files_write", "effects": 2, "reach": "writes"});
    assert_eq!(said["report"]["inside"], json!([inside]), "{said}");
    let called = &said["report"]["effects"][0];
    assert_eq!((&called["class"], &called["detail"]), (&json!("writes"), id), "{said}");
    let shown = page(&toolpost(open.path(), &["show", said["call"].as_str().expect("an id")]));
    let line = format!("called files_write ({}): 2 effects, as far as writes", id.as_str().expect("an id"));
    assert!(shown.contains(&line), "{shown}");
    let sheet = page(&toolpost(open.path(), &["inspect", &prebuilt("delegate")]));
    assert!(sheet.contains("effect  writes (with what is granted)"), "{sheet}");
    let sheet = page(&toolpost(open.path(), &["inspect", &prebuilt("delegate"), "--json"]));
    assert!(sheet.contains("\"effect\": \"writes\"") && !sheet.contains("\"files_write\""), "{sheet}");
    // What cannot be loaded is told, because it may be what it calls.
    std::fs::write(settings_of(&open), text_of(&open) + "\n[components.gone]\npath = \"gone.wasm\"\n")
        .expect("written");
    let sheet = page(&toolpost(open.path(), &["inspect", &prebuilt("delegate")]));
    assert!(sheet.contains("effect  writes") && sheet.contains("warning: component `gone`:"), "{sheet}");
    let sheet = page(&toolpost(open.path(), &["inspect", &prebuilt("files")]));
    assert!(sheet.ends_with("exit 0") && !sheet.contains("gone"), "{sheet}");
    let list = page(&toolpost(open.path(), &["list"]));
    assert!(list.lines().any(|line| line.split_whitespace().take(2).eq(["delegate_call", "writes"])), "{list}");
}

#[test]
fn a_pattern_that_fits_no_tool_is_told_by_check() {
    let folder = folder(GRANTS);
    std::fs::write(settings_of(&folder), text_of(&folder).replace("grants.tools = [", "grants.tools = [\"flies_*\", "))
        .expect("written");
    let told = page(&toolpost(folder.path(), &["check"]));
    assert!(told.contains("`delegate_call` may call `flies_*`, which fits no tool of this host"), "{told}");
    assert!(!told.contains("`files_*`, which fits no tool"), "{told}");
    let told = page(&toolpost(folder.path(), &["check", "--json"]));
    assert!(told.contains("\"calls_nothing\"") && told.contains("\"flies_*\""), "{told}");
}

#[test]
fn a_question_about_a_call_that_a_tool_makes_says_so() {
    let folder = folder(GRANTS);
    let settings = folder.path().join("toolpost.toml");
    let text = std::fs::read_to_string(&settings).expect("read");
    std::fs::write(&settings, format!("{text}\n[[approval.ask]]\ntools = [\"files_write\"]\n")).expect("written");
    let write = json!({"tool": "files_write", "arguments": json!({"path": "/x", "text": "x"}).to_string()});
    let asked =
        detached(folder.path(), &["call", "delegate_call", "--args", &write.to_string()]).spawn().expect("started");
    let [id] = &pending(folder.path())[..] else { panic!("one question") };
    let shown = page(&toolpost(folder.path(), &["approvals", "show", id]));
    assert!(shown.lines().any(|line| line.trim() == "through delegate_call > files_write"), "{shown}");
    let shown = page(&toolpost(folder.path(), &["approvals", "show", id, "--json"]));
    assert!(shown.contains("\"inside\"") && shown.contains("\"delegate_call\""), "{shown}");
    assert!(toolpost(folder.path(), &["approvals", "allow", id]).status.success());
    assert!(asked.wait_with_output().expect("ended").status.success());
    assert!(folder.path().join("x").exists());
}

#[test]
fn calls_inside_of_one_another_go_only_so_deep() {
    let folder = folder(GRANTS);
    let mut inner = json!({"tool": "text_echo", "arguments": "{\"text\":\"deep\"}"});
    for _ in 0..9 {
        inner = json!({"tool": "delegate_call", "arguments": inner.to_string()});
    }
    let said = call(&folder, "delegate_call", &inner);
    assert!(said["error"]["message"].as_str().expect("words").contains("go no deeper than 8"), "{said}");
}

#[test]
fn a_lock_holds_also_for_tools_that_reach_as_far_as_others() {
    let folder = folder(GRANTS);
    assert!(toolpost(folder.path(), &["lock"]).status.success());
    let said = call(&folder, "delegate_call", &json!({"tool": "text_echo", "arguments": "{\"text\":\"a\"}"}));
    assert_eq!(said["output"]["value"], "\"a\"", "{said}");
}
