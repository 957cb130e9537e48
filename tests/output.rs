//! Where the binary's words go: data as it is, and what happens when nobody takes it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs::File;
use std::process::{Output, Stdio};

use toolpost_tests::{command, prebuilt, toolpost};

fn run(args: &[&str], stdout: impl Into<Stdio>) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    command(folder.path(), args).stdout(stdout).output().expect("the binary is built")
}

/// Runs with a standard output that nobody reads, and compares the exit code and standard error.
fn check_unread(args: &[&str], code: i32, stderr: &str) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = run(args, writer);
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr, "standard error of {args:?}");
    assert_eq!(output.status.code(), Some(code), "exit code of {args:?}");
}

/// Runs with a standard output on a full disk.
fn check_full(args: &[&str]) {
    let full = File::options().write(true).open("/dev/full").expect("Linux has `/dev/full`");
    let output = run(args, full);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "error: the answer cannot be written to standard output: No space left on device (os error 28)\n";
    assert_eq!(stderr, expected, "standard error of {args:?}");
    assert_eq!(output.status.code(), Some(5), "exit code of {args:?}");
}

#[test]
fn a_tools_text_is_written_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = r#"{"text": "\u001b[31mred\u001b[0m\u0007 \u202e \u009b1m\r\nend"}"#;
    let output = toolpost(folder.path(), &["call", "text_echo", "--args", arguments, "--tools", &prebuilt("text")]);
    let expected = "\u{1b}[31mred\u{1b}[0m\u{7} \u{202e} \u{9b}1m\r\nend\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn what_is_piped_has_no_style() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = toolpost(folder.path(), &["inspect", &prebuilt("text")]);
    assert!(!output.stdout.is_empty() && !output.stdout.contains(&0x1b), "{output:?}");
}

#[test]
fn a_reader_that_went_away_does_not_change_the_exit_code() {
    let divide = prebuilt("divide");
    check_unread(&["list", "--tools", &divide], 0, "");
    check_unread(&["inspect", &divide], 0, "");
    check_unread(&["completions", "bash"], 0, "");
    check_unread(&["call", "divide_divide", "dividend=1", "divisor=2", "--tools", &divide], 0, "");
    check_unread(&["call", "divide_divide", "dividend=1", "divisor=0", "--json", "--tools", &divide], 1, "");
    check_unread(&["list", "--json"], 2, "");
}

#[test]
fn a_disk_that_is_full_is_told_and_exits_with_5() {
    let divide = prebuilt("divide");
    check_full(&["list", "--tools", &divide]);
    check_full(&["list", "--json", "--tools", &divide]);
    check_full(&["inspect", &divide]);
    check_full(&["check", "--tools", &divide]);
    check_full(&["completions", "bash"]);
    check_full(&["call", "divide_divide", "dividend=1", "divisor=2", "--tools", &divide]);
}
