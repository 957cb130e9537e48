//! Whole pages, as a person or a program sees them. After a change that is meant: `INSTA_UPDATE=always cargo test`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use serde_json::Value;
use toolpost_tests::{filters, page, prebuilt, toolpost};

const GUESTS: [&str; 25] = [
    "text",
    "pi",
    "divide",
    "kitchen",
    "hostile",
    "nap",
    "fetch",
    "orders",
    "files",
    "disk",
    "notes",
    "keys",
    "database",
    "transact",
    "posix",
    "libc-tests",
    "signer",
    "delegate",
    "busy",
    "weather",
    "mail",
    "line",
    "dynamo",
    "basket",
    "holder",
];

/// The page of a run in an empty folder.
fn run(args: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    page(&toolpost(folder.path(), args))
}

/// Runs in an empty folder; exit code and standard output, which has to be JSON whatever happens.
fn run_json(args: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = toolpost(folder.path(), args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "standard error of {args:?}");
    (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Every subcommand.
const COMMANDS: [&str; 15] = [
    "inspect",
    "list",
    "call",
    "check",
    "diff",
    "lock",
    "approvals",
    "rules",
    "ledger",
    "artifact",
    "log",
    "show",
    "task",
    "breakers",
    "completions",
];

#[test]
fn help_of_every_subcommand() {
    let _filters = filters();
    assert_snapshot!("help", run(&["--help"]));
    for command in COMMANDS {
        assert_snapshot!(format!("help-{command}"), run(&[command, "--help"]));
    }
}

#[test]
fn version_is_that_of_toolpost() {
    let expected = format!("toolpost {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), format!("--- stdout\n{expected}--- exit 0"));
}

#[test]
fn inspect_of_every_prebuilt_guest() {
    let _filters = filters();
    for guest in GUESTS {
        assert_snapshot!(format!("inspect-{guest}"), run(&["inspect", &prebuilt(guest)]));
    }
    assert_snapshot!("inspect-divide-json", run(&["inspect", &prebuilt("divide"), "--json"]));
}

#[test]
fn inspect_of_text_fits_a_screen() {
    let sheet = run(&["inspect", &prebuilt("text")]);
    let rows: usize = sheet.lines().map(|line| line.len().div_ceil(80).max(1)).sum();
    assert!(rows <= 24, "{rows} rows of 80 columns:\n{sheet}");
}

#[test]
fn list_of_every_prebuilt_guest() {
    let _filters = filters();
    // Only settings can say what that one is set up with.
    let guests: Vec<String> = GUESTS.into_iter().filter(|guest| *guest != "basket").map(prebuilt).collect();
    let tools = guests.iter().flat_map(|guest| ["--tools", guest.as_str()]);
    assert_snapshot!("list", run(&["list"].into_iter().chain(tools).collect::<Vec<_>>()));
    assert_snapshot!("list-divide-json", run(&["list", "--json", "--tools", &prebuilt("divide")]));
}

#[test]
fn check_of_what_is_well_and_of_what_is_not() {
    let _filters = filters();
    assert_snapshot!(run(&["check", "--tools", &prebuilt("text")]), @"
    --- stdout
    all is well: 1 component, 3 tools
    --- exit 0
    ");
    assert_snapshot!(run(&["check", "--tools", "nowhere.wasm"]), @"
    --- stderr
    error: component `nowhere`: `nowhere.wasm` cannot be read: No such file or directory (os error 2)
    --- exit 2
    ");
}

#[test]
fn check_shows_which_tools_ask_for_what_they_are_not_granted() {
    let asking = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
        (import "wasi:http/types@0.2.0" (instance))
        (import "wasi:clocks/wall-clock@0.2.0" (instance))
        (core module $m (func (export "f") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m))
        (func (export "seven") (result u32) (canon lift (core func $i "f")))
        (func (export "the-same") (result u32) (canon lift (core func $i "f"))))"#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("asking.wasm"), wat::parse_str(asking).expect("valid")).expect("written");
    let text = prebuilt("text");
    assert_snapshot!(page(&toolpost(folder.path(), &["check", "--tools", "asking.wasm", "--tools", &text])), @"
    --- stdout
     TOOL             ASKS FOR, AND IS NOT GRANTED
     asking_seven     environment and arguments, HTTP requests
     asking_the_same  environment and arguments, HTTP requests

    all is well: 2 components, 5 tools
    --- exit 0
    ");
    let check = toolpost(folder.path(), &["check", "--json", "--tools", "asking.wasm"]);
    let check: Value = serde_json::from_slice(&check.stdout).expect("JSON");
    let seven = serde_json::json!({"tool": "asking_seven", "powers": ["environment", "http"]});
    assert_eq!((&check["ok"], &check["not_granted"][0]), (&Value::Bool(true), &seven), "{check}");
}

#[test]
fn completions_for_bash_complete_toolpost() {
    let script = run(&["completions", "bash"]);
    assert!(script.starts_with("--- stdout\n_toolpost() {"), "{script}");
    assert!(script.ends_with("complete -F _toolpost -o bashdefault -o default toolpost\nfi\n--- exit 0"), "{script}");
    for command in COMMANDS {
        assert!(script.contains(&format!("toolpost,{command})")), "{command} in {script}");
    }
}

#[test]
fn a_call_says_with_v_what_it_took() {
    let _filters = filters();
    assert_snapshot!(run(&["call", "pi_leibniz", "precision=4", "-v", "--tools", &prebuilt("pi")]), @"
    --- stdout
    3.1415
    --- stderr
    info 4 digits of pi took 262144 terms
    attempt 1: [time], fuel [fuel], memory [size]
    --- exit 0
    ");
}

#[test]
fn a_call_says_with_v_what_the_tool_wrote_and_handed_out() {
    let _filters = filters();
    assert_snapshot!(run(&["call", "kitchen_chatter", "lines=1", "-v", "--tools", &prebuilt("kitchen")]), @"
    --- stderr
    debug log, line 1
    partial part 1
    stdout standard output, line 1
    stderr standard error, line 1
    attempt 1: [time], fuel [fuel], memory [size]
    --- exit 0
    ");
    assert_snapshot!(run(&["call", "kitchen_chatter", "lines=1", "--tools", &prebuilt("kitchen")]), @"--- exit 0");
}

#[test]
fn a_call_as_json() {
    let _filters = filters();
    let divide = prebuilt("divide");
    assert_snapshot!(
        "call-json",
        run(&["call", "divide_divide", "dividend=1", "divisor=2", "--json", "--tools", &divide])
    );
    assert_snapshot!(
        "call-json-failed",
        run(&["call", "divide_divide", "dividend=1", "divisor=0", "--json", "--tools", &divide])
    );
    assert_snapshot!("call-json-unknown", run(&["call", "nope", "--json", "--tools", &divide]));
}

#[test]
fn a_limit_of_the_command_line_exits_with_4() {
    let _filters = filters();
    let hostile = prebuilt("hostile");
    assert_snapshot!(run(&["call", "hostile_spin", "--fuel", "1000", "--tools", &hostile]), @"
    --- stderr
    error: out_of_fuel: the tool used up its fuel of 1000; ask for less at once, or raise `limits.fuel`
    --- exit 4
    ");
    assert_snapshot!(run(&["call", "hostile_hog", "--memory", "4MiB", "--tools", &hostile]), @"
    --- stderr
    error: out_of_memory: the tool wanted 4.1 MiB of memory; 4.0 MiB are allowed; ask for less at once, or raise `limits.memory`
    --- exit 4
    ");
    assert_snapshot!(run(&["call", "hostile_sleep", "ms=10000", "--time", "100ms", "--tools", &hostile]), @"
    --- stderr
    error: timed_out: the tool did not answer within 100ms; ask for less at once, or raise `limits.time`
    --- exit 4
    ");
}

#[test]
fn a_tool_that_fails_exits_with_1() {
    let divide = prebuilt("divide");
    assert_snapshot!(run(&["call", "divide_divide", "dividend=1", "divisor=0", "--tools", &divide]), @"
    --- stderr
    error: tool_failed: cannot divide 1 by zero
    --- exit 1
    ");
    assert_snapshot!(run(&["call", "divide_divide_integers", "dividend=1", "divisor=0", "--tools", &divide]), @"
    --- stderr
    error: tool_failed: by-zero
    --- exit 1
    ");
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2() {
    assert_snapshot!(run(&["call", "text_echo", "--memory", "much", "--tools", &prebuilt("text")]), @r#"
    --- stderr
    error: invalid value 'much' for '--memory <BYTES>': `much` is no number of bytes; write for example "64 MiB"

    For more information, try '--help'.
    --- exit 2
    "#);
    assert_snapshot!(run(&["call", "text_echo", "--memory", "1KiB", "--tools", &prebuilt("text")]), @"
    --- stderr
    error: invalid value '1KiB' for '--memory <BYTES>': expected from 64 KiB to 4 GiB, got 1 KiB

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(run(&["call", "text_echo", "--fuel", "0", "--tools", &prebuilt("text")]), @"
    --- stderr
    error: invalid value '0' for '--fuel <UNITS>': 0 is not in 1..18446744073709551615

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(run(&["inspect", "."]), @"
    --- stderr
    error: `.` is a folder; name one component
    --- exit 2
    ");
    assert_snapshot!(run(&["inspect", "nowhere.wasm"]), @"
    --- stderr
    error: component `nowhere`: `nowhere.wasm` cannot be read: No such file or directory (os error 2)
    --- exit 2
    ");
}

#[test]
fn json_that_is_asked_for_is_printed_also_where_nothing_works() {
    let none = "no tools are given; name components with `--tools FILE-OR-DIR`, or in `toolpost.toml`";
    let nowhere = "component `nowhere`: `nowhere.wasm` cannot be read: No such file or directory (os error 2)";
    let faults = |faults: &[&str]| (Some(2), serde_json::json!({"ok": false, "faults": faults}));
    let with = |more: Value| {
        let mut whole = serde_json::json!({"ok": false, "faults": [nowhere]});
        whole.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        (Some(2), whole)
    };
    assert_eq!(run_json(&["list", "--json"]), faults(&[none]));
    assert_eq!(run_json(&["call", "nope", "--json"]), faults(&[none]));
    assert_eq!(run_json(&["check", "--json"]), faults(&[none]));
    assert_eq!(run_json(&["inspect", "nowhere.wasm", "--json"]), faults(&[nowhere]));
    let unknown = "no tool is named `nope`; there are no tools";
    assert_eq!(run_json(&["call", "nope", "--json", "--tools", "nowhere.wasm"]), faults(&[nowhere, unknown]));
    let list = run_json(&["list", "--json", "--tools", "nowhere.wasm"]);
    assert_eq!(list, with(serde_json::json!({"tools": []})));
    let check = run_json(&["check", "--json", "--tools", "nowhere.wasm"]);
    let nothing = serde_json::json!({"tools": 0, "left_out": [], "not_granted": [], "calls_nothing": [], "kept": {}, "locked": false});
    assert_eq!(check, with(nothing));
    let unread = "`nowhere.wasm` cannot be read: No such file or directory (os error 2)";
    assert_eq!(run_json(&["diff", "nowhere.wasm", "elsewhere.wasm", "--json"]), faults(&[unread]));
    let no_settings = "there are no settings; what is locked are the components that `toolpost.toml` names";
    assert_eq!(run_json(&["lock", "--json"]), faults(&[no_settings]));
}
