//! Settings as an operator meets them: what is passed over, what is not, and what `inspect` shows of them.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, toolpost};

const SETTINGS: &str = r#"
[limits]
time = "10s"
[components.divide]
path = "divide.wasm"
limits.fuel = 5_000
[components.divide.tools.divide-integers]
name = "whole"
description = "Divides whole numbers."
limits = { fuel = 7, stdio = "1 KiB" }
[components.other]
path = "nowhere.wasm"
"#;

fn folder_with(settings: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(prebuilt("divide"), folder.path().join("divide.wasm")).expect("copied");
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn run(folder: &Path, args: &[&str]) -> String {
    page(&toolpost(folder, args))
}

#[test]
fn a_settings_file_that_leads_nowhere_is_a_fault_and_not_passed_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink("nowhere.toml", folder.path().join("toolpost.toml")).expect("linked");
    let text = prebuilt("text");
    assert_snapshot!(run(folder.path(), &["call", "text_echo", "text=x", "--tools", &text]), @"
    --- stderr
    error: toolpost.toml: cannot be read: No such file or directory (os error 2)
    --- exit 2
    ");
    assert_snapshot!(run(folder.path(), &["inspect", &text]), @"
    --- stderr
    error: toolpost.toml: cannot be read: No such file or directory (os error 2)
    --- exit 2
    ");
}

#[test]
fn a_settings_file_that_is_a_folder_is_a_fault_and_not_passed_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("toolpost.toml")).expect("created");
    assert_snapshot!(run(folder.path(), &["list", "--tools", &prebuilt("text")]), @"
    --- stderr
    error: toolpost.toml: cannot be read: Is a directory (os error 21)
    --- exit 2
    ");
}

#[test]
fn settings_are_found_by_their_option() {
    let folder = folder_with("");
    std::fs::write(folder.path().join("mine.toml"), "[components.d]\npath = \"divide.wasm\"\n").expect("written");
    let arguments = ["call", "d_divide", "dividend=1", "divisor=2", "--config", "mine.toml"];
    assert_snapshot!(run(folder.path(), &arguments), @"
    --- stdout
    0.5
    --- exit 0
    ");
    assert_snapshot!(run(folder.path(), &["check", "--config", "nowhere.toml"]), @"
    --- stderr
    error: nowhere.toml: cannot be read: No such file or directory (os error 2)
    --- exit 2
    ");
}

#[test]
fn inspect_shows_the_limits_that_apply_and_names_as_they_are_called() {
    let _filters = filters();
    assert_snapshot!(run(folder_with(SETTINGS).path(), &["inspect", "divide.wasm"]), @"
    --- stdout
    divide  [size]  [digest]
    effect  pure (with nothing granted)
    asks    standard input and output (captured)
    limits  fuel 5000, memory 64.0 MiB, time 10s, call_time 2m, arguments 1.0 MiB,
            result 8.0 MiB, reader 64.0 KiB, handles 10000, log 64.0 KiB, stdio 64.0 KiB

    divide_divide(dividend: f64, divisor: f64) -> result<f64, string>
      Divides two numbers. Fails when the divisor is zero.

    whole(dividend: s64, divisor: s64) -> result<record { quotient: s64, remainder: s64 }, variant { by-zero, overflow(s64) }>
      Divides whole numbers.
      limits fuel 7, stdio 1.0 KiB
    --- exit 0
    ");
}

#[test]
fn inspect_shows_the_limits_of_all_tools_also_of_a_component_that_the_settings_do_not_name() {
    let _filters = filters();
    let folder = folder_with("[limits]\nfuel = 3\n");
    assert_snapshot!(run(folder.path(), &["inspect", &prebuilt("nap")]), @"
    --- stdout
    nap  [size]  [digest]
    effect  pure (with nothing granted)
    asks    clocks (given)
    limits  fuel 3, memory 64.0 MiB, time 30s, call_time 2m, arguments 1.0 MiB,
            result 8.0 MiB, reader 64.0 KiB, handles 10000, log 64.0 KiB, stdio 64.0 KiB

    nap_nap(ms: u64) -> u64
      Waits for the given time, then returns it.
    --- exit 0
    ");
}

#[test]
fn inspect_names_what_the_settings_hide() {
    let _filters = filters();
    let settings = r#"
[components.d]
path = "divide.wasm"
tools.divide.hidden = true
tools.divide-integers.effect = "writes"
"#;
    assert_snapshot!(run(folder_with(settings).path(), &["inspect", "divide.wasm"]), @"
    --- stdout
    d  [size]  [digest]
    effect  pure (with nothing granted)
    asks    standard input and output (captured)
    limits  fuel 1000000000, memory 64.0 MiB, time 30s, call_time 2m, arguments 1.0 MiB,
            result 8.0 MiB, reader 64.0 KiB, handles 10000, log 64.0 KiB, stdio 64.0 KiB

    left out: divide: hidden by the settings

    d_divide_integers(dividend: s64, divisor: s64) -> result<record { quotient: s64, remainder: s64 }, variant { by-zero, overflow(s64) }>
      Divides two integers; returns the quotient and the remainder. Fails when the divisor is zero.
      effect writes
    --- exit 0
    ");
}

#[test]
fn inspect_as_json_has_the_limits_of_each_tool_that_differs() {
    let folder = folder_with(SETTINGS);
    let output = toolpost(folder.path(), &["inspect", "divide.wasm", "--json"]);
    let sheet: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(sheet["limits"]["fuel"], 5000, "{sheet}");
    let of_tools: Vec<_> =
        sheet["tools"].as_array().expect("tools").iter().map(|tool| &tool["limits"]["fuel"]).collect();
    assert_eq!(of_tools, [&serde_json::Value::Null, &serde_json::json!(7)], "{sheet}");
}

#[test]
fn settings_guard_a_tool_and_say_who_may_use_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(prebuilt("divide"), folder.path().join("divide.wasm")).expect("copied");
    let write = |settings: &str| {
        let components = "[components.divide]\npath = \"divide.wasm\"\n";
        std::fs::write(folder.path().join("toolpost.toml"), format!("{settings}\n{components}")).expect("written");
    };
    let stderr = |args: &[&str]| String::from_utf8_lossy(&toolpost(folder.path(), args).stderr).into_owned();

    write(
        "[guard]\nrate = { tool = \"1/min\" }\nbreaker = { kind = \"adaptive\" }\nretry = { max_attempts = 2 }\n[[access]]\ntools = [\"divide_divide\"]",
    );
    assert!(toolpost(folder.path(), &["call", "divide_divide", "dividend=1", "divisor=2"]).status.success());
    let hidden = stderr(&["call", "divide_divide_integers", "dividend=1", "divisor=2"]);
    assert!(hidden.contains("no tool is named `divide_divide_integers`"), "{hidden}");

    write("[[access]]\ncallers = [\"ann\"]\n[[access]]\ncallers = [\"group:staff\"]\ntools = [\"*_integers\"]");
    let listed = |args: &[&str]| {
        let output = toolpost(folder.path(), &[&["list", "--json"], args].concat());
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let tools = list["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), ["divide_divide", "divide_divide_integers"], "the operator sees all");
    assert_eq!(listed(&["--caller", "ann"]), ["divide_divide", "divide_divide_integers"]);
    assert_eq!(listed(&["--caller", "bob"]), Vec::<String>::new());
    assert_eq!(listed(&["--caller", "bob", "--group", "staff"]), ["divide_divide_integers"]);
    assert_eq!(listed(&["--group", "guests", "--group", "staff"]), ["divide_divide_integers"]);

    write("[guard]\nrate = { tol = \"1/min\" }\nretry = { max_attempts = 99 }\n[repeat]\nwarm = 3");
    let faults = stderr(&["check"]);
    for part in [
        "toolpost.toml:2: unknown key `tol`; did you mean `tool`?",
        "toolpost.toml:3:",
        "toolpost.toml:5: unknown key `warm`; did you mean `warn`?",
    ] {
        assert!(faults.contains(part), "{part} in {faults}");
    }
}

#[test]
fn a_budget_that_is_used_up_refuses_a_call_and_a_price_is_told() {
    let component = "[components.divide]\npath = \"divide.wasm\"\n";
    let divide = ["call", "divide_divide", "dividend=7", "divisor=2", "-v"];
    let folder = folder_with(&format!("[budget]\ncaller = {{ calls = 0, per = \"1d\" }}\n{component}"));
    assert_snapshot!(run(folder.path(), &divide), @"
    --- stderr
    error: quota_exceeded: this caller has used up its budget of 0 calls in 1day; call again in 1day, or raise `budget.caller.calls`
    --- exit 3
    ");
    let folder = folder_with(&format!("[guard]\ncost.per_call = 0.25\n{component}"));
    assert!(run(folder.path(), &divide).contains("cost 0.25"));
}
