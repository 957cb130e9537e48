//! Results that are too long for a screen: what is shown of them, and where the rest is.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Read as _;
use std::path::Path;

use insta::assert_snapshot;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;
use toolpost_tests::{command, page, prebuilt, toolpost};

const NAME: &str = "hostile_huge_string-59d98cfd9c1d1c2ce8a0.txt";

/// Calls for a text of that many bytes.
fn call(folder: &Path, bytes: u32, more: &[&str]) -> std::process::Output {
    let (bytes, hostile) = (format!("bytes={bytes}"), prebuilt("hostile"));
    let args = ["call", "hostile_huge_string", &bytes, "--tools", &hostile];
    toolpost(folder, &[&args, more].concat())
}

fn artifact(folder: &Path) -> String {
    let output = toolpost(folder, &["artifact", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    list["artifacts"][0]["name"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn who_reads_in_a_pipe_gets_all_of_a_result() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = call(folder.path(), 1_000_000, &[]);
    assert_eq!(output.stdout.len(), 1_000_001);
    assert_eq!(page(&toolpost(folder.path(), &["artifact"])), "--- stderr\nno artifacts are kept\n--- exit 0");
}

#[test]
fn a_result_that_is_cut_is_whole_in_its_artifact_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = call(folder.path(), 5_000, &["--reader", "1KiB"]);
    let shown = String::from_utf8(output.stdout).expect("text");
    let name = artifact(folder.path());
    let wanted = format!(
        "{x}\n[...]\n{y}\n[3983 of 5000 bytes are missing; `toolpost artifact {name}` prints all of them]\n",
        x = "x".repeat(509),
        y = "x".repeat(508)
    );
    assert_eq!(shown, wanted);
    let whole = toolpost(folder.path(), &["artifact", &name]);
    assert_eq!((whole.stdout, whole.status.code()), (vec![b'x'; 5_000], Some(0)));
    let as_json = call(folder.path(), 5_000, &["--reader", "1KiB", "--json"]);
    let outcome: Value = serde_json::from_slice(&as_json.stdout).expect("JSON");
    let truncated = serde_json::json!({"bytes": 5_000, "shown_bytes": 1_017, "artifact": name});
    assert_eq!(outcome["report"]["truncated"], truncated);
    let list = page(&toolpost(folder.path(), &["artifact"]));
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["ARTIFACT", "SIZE", "AGE"]);
    assert_eq!(rows[2][..3], [&name, "4.9", "KiB"]);
    assert_eq!(page(&toolpost(folder.path(), &["artifact", &name, "--remove"])), "--- exit 0");
    assert_snapshot!(page(&toolpost(folder.path(), &["artifact", NAME])), @"
    --- stderr
    error: no artifact is named `hostile_huge_string-59d98cfd9c1d1c2ce8a0.txt`; `toolpost artifact` lists them
    --- exit 2
    ");
}

#[test]
fn a_terminal_gets_as_much_as_the_settings_say() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hostile = prebuilt("hostile");
    let plain = command(folder.path(), &["call", "hostile_huge_string", "bytes=70000", "--tools", &hostile]);
    let pty = native_pty_system().openpty(PtySize { rows: 40, cols: 200, ..PtySize::default() }).expect("a terminal");
    let mut run = CommandBuilder::new(plain.get_program());
    run.args(plain.get_args());
    run.cwd(folder.path());
    run.env("XDG_CACHE_HOME", folder.path());
    run.env("XDG_DATA_HOME", folder.path());
    let mut child = pty.slave.spawn_command(run).expect("the binary is built");
    drop(pty.slave);
    let mut screen = String::new();
    // The terminal ends with an error when nobody writes to it any more.
    let _ = pty.master.try_clone_reader().expect("a reader").read_to_string(&mut screen);
    assert!(child.wait().expect("it ends").success());
    assert!(
        screen.contains("[4471 of 70000 bytes are missing; `toolpost artifact "),
        "{}",
        &screen[screen.len() - 300..]
    );
    assert!(artifact(folder.path()).starts_with("hostile_huge_string-"));
}

#[test]
fn the_settings_say_how_much_is_kept_and_where() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = "[artifacts]\nquota = \"4000\"\nttl = \"1h\"\n[store]\ndir = \"here\"\n";
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    let kept = || std::fs::read_dir(folder.path().join("here/artifacts")).map_or(0, Iterator::count);
    let told = |bytes| String::from_utf8_lossy(&call(folder.path(), bytes, &["--reader", "1KiB"]).stdout).into_owned();
    assert!(told(5_000).ends_with("[3983 of 5000 bytes are missing; raise `limits.reader` to get all of them]\n"));
    assert_eq!(kept(), 0);
    assert!(told(3_000).contains("toolpost artifact"));
    assert!(told(2_000).contains("toolpost artifact"));
    assert_eq!(kept(), 1, "the older one made room");
}
