//! The ways to write arguments: each carries them to the tool as they were written, or says why not.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use insta::assert_snapshot;
use toolpost_tests::{command, page, prebuilt, toolpost};

/// Calls a tool of a prebuilt guest, which the first word of its name tells.
fn call_in(folder: &Path, tool: &str, arguments: &[&str]) -> Output {
    let guest = prebuilt(tool.split('_').next().expect("a word"));
    toolpost(folder, &[&["call", tool], arguments, &["--tools", &guest]].concat())
}

fn call(tool: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    page(&call_in(folder.path(), tool, arguments))
}

fn call_with_input(tool: &str, arguments: &[&str], input: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guest = prebuilt("text");
    let arguments = [&["call", tool], arguments, &["--tools", &guest]].concat();
    let mut command = command(folder.path(), &arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary is built");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    page(&child.wait_with_output().expect("an end"))
}

#[test]
fn as_json() {
    assert_snapshot!(call("text_echo", &["--args", r#"{"text": "one two"}"#]), @"
    --- stdout
    one two
    --- exit 0
    ");
}

#[test]
fn as_json_in_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("echo.json"), r#"{"text": "from a file"}"#).expect("written");
    assert_snapshot!(page(&call_in(folder.path(), "text_echo", &["--args", "@echo.json"])), @"
    --- stdout
    from a file
    --- exit 0
    ");
    assert_snapshot!(page(&call_in(folder.path(), "text_echo", &["--args", "@nowhere.json"])), @"
    --- stderr
    error: `nowhere.json` cannot be read: No such file or directory (os error 2)
    --- exit 2
    ");
}

#[test]
fn as_json_on_standard_input() {
    let input = r#"{"text": "from a pipe"}"#;
    assert_snapshot!(call_with_input("text_echo", &["-"], input), @"
    --- stdout
    from a pipe
    --- exit 0
    ");
    assert_snapshot!(call_with_input("text_echo", &["--args", "-"], input), @"
    --- stdout
    from a pipe
    --- exit 0
    ");
}

#[test]
fn as_keys_and_values() {
    assert_snapshot!(call("divide_divide_integers", &["dividend=7", "divisor=2"]), @r#"
    --- stdout
    {
      "quotient": 3,
      "remainder": 1
    }
    --- exit 0
    "#);
    assert_snapshot!(call("divide_divide_integers", &["dividend:=7", "divisor:=2"]), @r#"
    --- stdout
    {
      "quotient": 3,
      "remainder": 1
    }
    --- exit 0
    "#);
    assert_snapshot!(call("text_echo", &["text=7"]), @"
    --- stdout
    7
    --- exit 0
    ");
    assert_snapshot!(call("text_echo", &[r#"text:="a=b""#]), @"
    --- stdout
    a=b
    --- exit 0
    ");
    assert_snapshot!(call("kitchen_echo_point", &[r#"value={"x": 1, "y": 2}"#]), @r#"
    --- stdout
    {
      "x": 1,
      "y": 2
    }
    --- exit 0
    "#);
}

#[test]
fn a_value_that_looks_like_json_stays_text_where_text_is_wanted() {
    assert_snapshot!(call("text_echo", &[r#"text={"a": 1, "a": "b" }"#]), @r#"
    --- stdout
    {"a": 1, "a": "b" }
    --- exit 0
    "#);
}

#[test]
fn no_digit_of_a_number_is_lost() {
    assert_snapshot!(call("kitchen_echo_u64", &["value=18446744073709551615"]), @"
    --- stdout
    18446744073709551615
    --- exit 0
    ");
    assert_snapshot!(call("kitchen_echo_u64", &["value:=18446744073709551616"]), @"
    --- stderr
    error: invalid_arguments: the arguments of `kitchen_echo_u64` cannot be used: at `/value`: expected an integer from 0 to 18446744073709551615, got 18446744073709551616
    --- exit 2
    ");
    assert_snapshot!(call("kitchen_echo_u64", &["value:=9007199254740993.0"]), @"
    --- stderr
    error: invalid_arguments: the arguments of `kitchen_echo_u64` cannot be used: at `/value`: expected an integer from 0 to 18446744073709551615, got 9007199254740993.0
    --- exit 2
    ");
}

#[test]
fn a_key_that_stands_twice_is_refused_however_it_is_written() {
    assert_snapshot!(call("text_echo", &["text=one", "text=two"]), @r#"
    --- stderr
    error: invalid_arguments: the arguments of `text_echo` cannot be used: the key "text" stands twice (at byte 14)
    --- exit 2
    "#);
    assert_snapshot!(call("text_echo", &["--args", r#"{"text": "one", "text": "two"}"#]), @r#"
    --- stderr
    error: invalid_arguments: the arguments of `text_echo` cannot be used: the key "text" stands twice (at byte 16)
    --- exit 2
    "#);
    assert_snapshot!(call("kitchen_echo_point", &[r#"value={"x": 1, "x": 2, "y": 3}"#]), @r#"
    --- stderr
    error: invalid_arguments: the arguments of `kitchen_echo_point` cannot be used: the key "x" stands twice (at byte 18)
    --- exit 2
    "#);
}

#[test]
fn a_value_cannot_bring_other_keys_along() {
    assert_snapshot!(call("divide_divide", &[r#"dividend:=1,"divisor":2"#]), @"
    --- stderr
    error: `dividend` is no JSON: trailing characters at line 1 column 2
    --- exit 2
    ");
}

#[test]
fn what_is_no_argument_says_what_would_be() {
    assert_snapshot!(call("text_echo", &["text"]), @"
    --- stderr
    error: `text` is no argument; write key=value, key:=JSON, or one `-` for standard input
    --- exit 2
    ");
    assert_snapshot!(call("text_echo", &["text:=nonsense"]), @"
    --- stderr
    error: `text` is no JSON: expected ident at line 1 column 2
    --- exit 2
    ");
    assert_snapshot!(call("text_echo", &["--args", "{"]), @"
    --- stderr
    error: invalid_arguments: the arguments of `text_echo` cannot be used: the text ends before its value does; send it again, whole (at byte 1)
    --- exit 2
    ");
    assert_snapshot!(call("divide_divide", &["dividend=one", "divisor=2"]), @r#"
    --- stderr
    error: invalid_arguments: the arguments of `divide_divide` cannot be used: at `/dividend`: expected a number that a 64-bit float can hold, got "one"
    --- exit 2
    "#);
}

#[test]
fn a_file_that_is_too_long_is_refused_and_not_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let long = File::create(folder.path().join("long.json")).expect("created");
    long.set_len((64 << 20) + 1).expect("a file with a hole");
    assert_snapshot!(page(&call_in(folder.path(), "text_echo", &["--args", "@long.json"])), @"
    --- stderr
    error: `long.json` is too long; at most 64.0 MiB are read as arguments
    --- exit 2
    ");
}
