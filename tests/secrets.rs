//! A planted secret is in nothing that the binary prints or keeps.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use toolpost_tests::{command, detached, page, pending, prebuilt};

const SETTINGS: &str = "[secrets]\nTOKEN = { env = \"PLANTED\" }\n[limits]\nreader = \"1 KiB\"\n";

/// Runs with the secret in the environment; all that it printed.
fn run(folder: &Path, planted: &str, args: &[&str]) -> String {
    let guests = ["text", "hostile", "divide"].map(prebuilt);
    let tools: Vec<&str> = guests.iter().flat_map(|guest| ["--tools", guest.as_str()]).collect();
    let output = command(folder, &[args, &tools].concat()).env("PLANTED", planted).output();
    page(&output.expect("the binary is built"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files in which that stands.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| {
        let bytes = std::fs::read(file).expect("readable");
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    };
    files(folder).into_iter().filter(holds).collect()
}

#[test]
fn a_planted_secret_is_in_nothing_that_the_binary_prints_or_keeps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    std::fs::write(folder.join("toolpost.toml"), SETTINGS).expect("written");
    // Nobody else has it.
    let planted = format!("planted/{:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH));
    let text = format!("text=<{planted}>");
    let as_json = serde_json::json!({"text": format!("<{planted}>")}).to_string();
    let escaped = as_json.replace('l', "\\u006c");
    let long = format!("text={}", format!("<{planted}>").repeat(500));
    let calls: [&[&str]; 7] = [
        &["call", "text_echo", &text],
        &["call", "text_echo", "--args", &escaped],
        &["call", "text_echo", "--reader", "1KiB", &long],
        &["call", "hostile_panic", &format!("message=<{planted}>")],
        &["call", "divide_divide", &format!("dividend=<{planted}>"), "divisor=1"],
        &["call", "text_echo", &format!("<{planted}>=1")],
        &["call", &format!("<{planted}>")],
    ];
    for call in calls {
        for more in [&[][..], &["-vv"], &["-vvv", "--json"]] {
            let page = run(folder, &planted, &[call, more].concat());
            assert!(!page.contains("planted/"), "{call:?} {more:?}: {page}");
        }
    }
    assert!(run(folder, &planted, calls[0]).starts_with("--- stdout\n<***>\n"));
    assert!(run(folder, &planted, calls[3]).contains("it wrote: "));
    let kept = files(folder);
    assert!(kept.iter().any(|file| file.display().to_string().contains("artifacts/text_echo-")), "{kept:?}");
    assert_eq!(holding(folder, "planted/"), Vec::<PathBuf>::new());
}

#[test]
fn a_secret_argument_is_shown_to_nobody() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = prebuilt("text");
    let settings = format!("[components.text]\npath = {text:?}\ntools.echo.secret_arguments = [\"/text\"]\n");
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    let page = |args: &[&str]| page(&command(folder.path(), args).output().expect("the binary is built"));
    let wrong = page(&["call", "text_echo", "-vvv", "--args", r#"{"text": ["hunter2"], "txt": "hunter2"}"#]);
    assert!(!wrong.contains("hunter2") && wrong.contains("expected a string, got ***"), "{wrong}");
    // The tool itself may say it.
    assert!(page(&["call", "text_echo", "text=hunter2"]).starts_with("--- stdout\nhunter2\n"));
}

#[test]
fn what_an_edit_writes_into_a_secret_argument_is_printed_and_kept_nowhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let text = prebuilt("text");
    let settings = format!(
        "[components.text]\npath = {text:?}\n[components.text.tools.word-count]\neffect = \"destroys\"\n\
         secret_arguments = [\"/text\"]\n"
    );
    std::fs::write(folder.join("toolpost.toml"), settings).expect("written");
    for json in [&["--json"][..], &[]] {
        let call = detached(folder, &["call", "text_word_count", "text=swordfish", "-vvv"]).spawn().expect("started");
        let [id] = &pending(folder)[..] else { panic!("one question") };
        let run = |args: &[&str]| page(&command(folder, args).output().expect("the binary is built"));
        let edited = run(&[&["approvals", "edit", id, "text=TOPSECRET or more"], json].concat());
        let called = page(&call.wait_with_output().expect("ended"));
        assert!(called.contains("\"words\": 3"), "{called}");
        let shown = run(&[&["approvals", "show", id], json].concat());
        let logged = run(&[&["log"], json].concat());
        for page in [edited, called, shown, logged] {
            assert!(!page.contains("TOPSECRET") && !page.contains("swordfish"), "{page}");
        }
    }
    for secret in ["TOPSECRET", "swordfish"] {
        assert_eq!(holding(folder, secret), Vec::<PathBuf>::new());
    }
}
