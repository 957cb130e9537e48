//! The binary as a person uses it: what it prints, where, and how it exits.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use toolpost_tests::{prebuilt, toolpost};

/// Runs the binary in an empty folder and compares exit code, standard output and standard error.
fn check(args: &[&str], code: i32, stdout: &str, stderr: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = toolpost(folder.path(), args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output.stderr), stderr, "standard error of {args:?}");
    assert_eq!(text(&output.stdout), stdout, "standard output of {args:?}");
    assert_eq!(output.status.code(), Some(code), "exit code of {args:?}");
}

#[test]
fn a_call_prints_its_result_and_nothing_else() {
    let text = prebuilt("text");
    let counts = "{\n  \"words\": 2,\n  \"lines\": 1,\n  \"characters\": 7\n}\n";
    check(&["call", "text_word_count", "text=one two", "--tools", &text], 0, counts, "");
    check(&["call", "text_word_count", "--args", "{\"text\": \"one two\"}", "--tools", &text], 0, counts, "");
    check(&["call", "pi_leibniz", "precision=4", "--tools", &prebuilt("pi")], 0, "3.1415\n", "");
}

#[test]
fn a_failing_tool_exits_with_1_and_its_words_go_to_standard_error() {
    let words = "error: tool_failed: cannot divide 1 by zero\n";
    check(&["call", "divide_divide", "dividend=1", "divisor=0", "--tools", &prebuilt("divide")], 1, "", words);
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_would_help() {
    let text = prebuilt("text");
    let near = "error: unknown_tool: no tool is named `text_wordcount`; did you mean `text_word_count`?\n";
    check(&["call", "text_wordcount", "--tools", &text], 2, "", near);
    let fault = "error: invalid_arguments: the arguments of `text_echo` cannot be used: at `/txt`: expected no such field; \
        did you mean `text`?, got \"x\"; at `/text`: expected string, got nothing\n";
    check(&["call", "text_echo", "txt=x", "--tools", &text], 2, "", fault);
    let none = "error: no tools are given; name components with `--tools FILE-OR-DIR`, or in `toolpost.toml`\n";
    check(&["list"], 2, "", none);
}

#[test]
fn a_limit_exits_with_4() {
    let hostile = prebuilt("hostile");
    let fuel =
        "error: out_of_fuel: the tool used up its fuel of 1000000; ask for less at once, or raise `limits.fuel`\n";
    check(&["call", "hostile_spin", "--fuel", "1000000", "--tools", &hostile], 4, "", fuel);
    let time = "error: timed_out: the tool did not answer within 200ms; ask for less at once, or raise `limits.time`\n";
    check(&["call", "hostile_sleep", "ms=10000", "--time", "200ms", "--tools", &hostile], 4, "", time);
}

#[test]
fn a_component_that_does_not_load_is_named_and_the_others_serve() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(prebuilt("text"), folder.path().join("text.wasm")).expect("copied");
    std::fs::write(folder.path().join("broken.wasm"), "not wasm").expect("written");
    let output = toolpost(folder.path(), &["list", "--tools", "."]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("text_word_count"), "{stdout}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "error: component `broken`: `./broken.wasm` cannot be used: it is no WebAssembly component\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn all_faults_of_a_settings_file_are_named_at_once_with_their_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings =
        "[host]\nmax_paralel = 3\n[limits]\ntime = \"soon\"\n[components.text]\npath = \"text.wasm\"\nlimit.fuel = 1\n";
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    let output = toolpost(folder.path(), &["check"]);
    let expected = "error: toolpost.toml:2: unknown key `max_paralel`; did you mean `max_parallel`?\n\
        error: toolpost.toml:4: `soon` is no span of time above zero; write for example \"30s\" or \"500ms\"\n\
        error: toolpost.toml:7: unknown key `limit`; did you mean `limits`?\n\
        error: component `text`: `text.wasm` cannot be read: No such file or directory (os error 2)\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn settings_rename_a_tool_and_limit_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(prebuilt("hostile"), folder.path().join("hostile.wasm")).expect("copied");
    let settings = "[components.hostile]\npath = \"hostile.wasm\"\n[components.hostile.tools.spin]\nname = \"turn\"\nlimits.fuel = 5\n";
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    let output = toolpost(folder.path(), &["call", "turn", "--json"]);
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcome["error"]["kind"], "out_of_fuel", "{outcome}");
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn inspect_shows_tools_powers_and_limits_on_one_sheet() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = toolpost(folder.path(), &["inspect", &prebuilt("divide")]);
    let sheet = String::from_utf8_lossy(&output.stdout);
    for part in ["divide_divide(dividend: f64, divisor: f64) -> result<f64, string>", "effect  pure", "Divides two"] {
        assert!(sheet.contains(part), "{part} in {sheet}");
    }
    assert!(sheet.lines().count() <= 40, "fits a screen");
}

#[test]
fn options_of_a_group_stand_before_or_behind_its_command() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!(
        "[store]\ndir = \"kept\"\n[[approval.deny]]\nname = \"never\"\n[components.text]\npath = {:?}\n",
        prebuilt("text")
    );
    std::fs::write(folder.path().join("other.toml"), settings).expect("written");
    let commands: [&[&str]; 6] = [
        &["ledger", "list"],
        &["rules", "list"],
        &["rules", "test"],
        &["rules", "explain", "text_echo", "text=x"],
        &["approvals", "list"],
        &["breakers", "release", "text_echo"],
    ];
    for command in commands {
        let (group, rest) = command.split_first().expect("a group");
        for options in [["--json", "--config=other.toml"], ["--config=other.toml", "--json"]] {
            let around = [&[*group, options[0]], rest, &[options[1]]].concat();
            for args in [[&[*group], &options[..], rest].concat(), around, [command, &options[..]].concat()] {
                let output = toolpost(folder.path(), &args);
                let stdout = String::from_utf8_lossy(&output.stdout);
                assert!(stdout.contains("\"ok\": true"), "{args:?}: {stdout}");
                assert!(*group != "rules" || stdout.contains("never"), "{args:?}: {stdout}");
            }
        }
    }
}
