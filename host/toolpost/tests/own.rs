//! An interface that a program adds, by `examples/own_interface.rs`: its grants, its state, its effects, and how little of it there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost::{Builder, Settings};

/// A tool that sends the letter that it is given, twice.
const GUEST: &str = r#"(component
  (import "acme:mail/outbox@1.0.0" (instance $outbox
    (export "send" (func (param "to" string) (param "text" string) (result (result (error string)))))))
  (core module $memory
    (memory (export "memory") 1)
    (global $end (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $end) (i32.const 7)) (i32.const -8)))
      (global.set $end (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $memory))
  (core func $send (canon lower (func $outbox "send") (memory $libc "memory") (realloc (func $libc "realloc"))))
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "outbox" "send" (func $send (param i32 i32 i32 i32 i32)))
    (func (export "write") (param i32 i32 i32 i32) (result i32)
      (call $send (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 16))
      (if (i32.eqz (i32.load8_u (i32.const 16)))
        (then (call $send (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 16))))
      (i32.const 16)))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "outbox" (instance (export "send" (func $send))))))
  (func $write (param "to" string) (param "text" string) (result (result (error string)))
    (canon lift (core func $i "write") (memory $libc "memory") (realloc (func $libc "realloc"))))
  (export "write" (func $write)))"#;

fn folder(grant: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("letters.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
    let settings = format!("[components.letters]\npath = \"letters.wasm\"\n{grant}\n");
    std::fs::write(folder.path().join("toolpost.toml"), settings).unwrap();
    folder
}

/// What the example prints and says.
fn run(grant: &str, to: &str) -> (Vec<String>, String) {
    let folder = folder(grant);
    let exe = std::env::current_exe().unwrap();
    let example: PathBuf = exe.ancestors().nth(2).unwrap().join("examples/own_interface");
    let mut command = Command::new(example);
    let arguments = json!({"to": to, "text": "hello"}).to_string();
    command.arg(folder.path().join("toolpost.toml")).args(["letters_write", &arguments]);
    let output = command.output().expect("the example is built: `cargo build --workspace --examples`");
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (lines, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_granted_interface_acts_and_is_reported_and_keeps_count_for_the_attempt() {
    let (said, error) = run("grants.own.mail = { to = \"@example.org\", letters = 2 }", "ann@example.org");
    assert_eq!(said[..2], ["to ann@example.org: hello", "to ann@example.org: hello"], "{error}");
    let effects: Value = serde_json::from_str(&said[2]).unwrap();
    assert_eq!(
        effects[0],
        json!({"class": "open", "action": "mail.send", "target": "ann@example.org", "attempt": 1, "fate": "done"})
    );
    let (said, error) = run("grants.own.mail = { to = \"@example.org\", letters = 1 }", "ann@example.org");
    assert_eq!(said[0], "to ann@example.org: hello");
    let effects: Value = serde_json::from_str(&said[1]).unwrap();
    assert_eq!([&effects[0]["fate"], &effects[1]["fate"]], ["done", "refused"]);
    assert!(error.contains("the tool may send 1 letters to `*@example.org`"), "{error}");
}

#[test]
fn without_a_grant_it_is_refused_with_the_line_that_would_allow_it() {
    let (said, error) = run("", "ann@example.org");
    assert!(
        said[0].contains("\"refused\"") && error.contains("`grants.own.mail` in `[components.letters]`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_grant_that_no_interface_reads_is_a_fault() {
    let fault = |grant: &'static str| async move {
        let folder = folder(grant);
        let settings = Settings::read(&folder.path().join("toolpost.toml")).unwrap();
        let loaded = Builder::new().settings(settings).in_memory().load().await;
        loaded.faults.iter().map(ToString::to_string).collect::<String>()
    };
    let other = fault("grants.own.post = 1").await;
    assert!(other.contains("this host does not offer") || other.contains("it adds none"), "{other}");
    let (_, error) = run("grants.own.mail = { to = 1 }", "a");
    assert!(error.contains("`grants.own.mail`: invalid type: integer `1`"), "{error}");
    let (_, error) = run("grants.own.post = 1", "a");
    assert!(error.contains("`grants.own.post` is no interface that this program adds; it adds `mail`"), "{error}");
}

#[test]
fn all_that_is_particular_to_an_interface_fits_in_sixty_lines() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/own_interface.rs");
    let text = std::fs::read_to_string(example).unwrap();
    let seam = text.split_once("// The seam begins.").unwrap().1.split_once("// The seam ends.").unwrap().0;
    let lines = seam.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines < 60, "{lines} lines");
}
