//! The lock as an operator meets it: what is written, what is refused, what is shown, and who has to say yes.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Output;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use toolpost_tests::pty::Pty;
use toolpost_tests::versions::tides;
use toolpost_tests::{detached, filters, page, prebuilt, toolpost};

const SETTINGS: &str = r#"
[components.files]
path = "files.wasm"
grants.dirs = [{ host = "notes", guest = "/notes", access = "write", deny = ["**/.env"] }]
tools.read.grants.dirs = [{ host = "notes", guest = "/notes" }]
tools.delete.effect = "destroys"

[components.text]
path = "text.wasm"

[components.tides]
path = "tides.wasm"
"#;

/// A folder with three components, of which nothing is locked.
fn unlocked() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["text", "files"] {
        std::fs::copy(prebuilt(name), folder.path().join(format!("{name}.wasm"))).expect("copied");
    }
    std::fs::create_dir(folder.path().join("notes")).expect("made");
    tides(folder.path(), "tides", 1);
    says(&folder, SETTINGS);
    folder
}

fn locked() -> TempDir {
    let folder = unlocked();
    assert_eq!(toolpost(folder.path(), &["lock"]).status.code(), Some(0));
    folder
}

/// The tides are of the second version, and a folder that could be written to can be read.
fn changed() -> TempDir {
    let folder = locked();
    tides(folder.path(), "tides", 2);
    says(&folder, &SETTINGS.replace("access = \"write\", ", ""));
    folder
}

/// What the guest `basket` cannot do without.
const SHOP: &str = "lifetime = \"session\"\nsetup = { currency = \"EUR\", prices = [[\"apple\", 40]] }\n";

fn says(folder: &TempDir, settings: &str) {
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
}

fn text(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("toolpost.lock")).expect("there is a lock")
}

fn run(folder: &TempDir, args: &[&str]) -> Output {
    toolpost(folder.path(), args)
}

/// Runs without a terminal.
fn alone(folder: &Path, args: &[&str]) -> Output {
    detached(folder, args).output().expect("started")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_first_lock_is_written_shown_and_for_people_to_review() {
    let _filters = filters();
    let folder = unlocked();
    assert_snapshot!("lock-first", page(&run(&folder, &["lock"])));
    assert_snapshot!("lock-file", text(&folder));
    let first = text(&folder);
    assert_snapshot!(page(&run(&folder, &["lock"])), @r#"
    --- stdout
    all is as it was locked: 3 components
    --- exit 0
    "#);
    assert_eq!(text(&folder), first);
    assert_snapshot!("lock-check", page(&run(&folder, &["check"])));
}

#[test]
fn every_prebuilt_guest_can_be_locked_and_is_what_was_locked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guests = std::fs::read_dir(Path::new(&prebuilt("text")).parent().expect("a folder")).expect("readable");
    let guests =
        guests.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension() == Some("wasm".as_ref()));
    let settings: String = guests
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .filter(|(name, _)| !name.starts_with("greet-"))
        .map(|(name, path)| format!("[components.{name}]\npath = {path:?}\n"))
        .collect();
    says(&folder, &settings.replace("[components.basket]\n", &format!("[components.basket]\n{SHOP}")));
    assert_eq!(run(&folder, &["lock"]).status.code(), Some(0));
    let again = run(&folder, &["lock", "--check"]);
    assert_eq!(again.status.code(), Some(0), "{}", page(&again));
    assert_eq!(run(&folder, &["check"]).status.code(), Some(0));
}

#[test]
fn a_component_that_was_swapped_is_refused_and_does_not_run_and_the_others_do() {
    let _filters = filters();
    let folder = locked();
    // It has a tool of the same name, which would say 7.
    let other = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m))
        (func (export "echo") (result u32) (canon lift (core func $i "f"))))"#;
    std::fs::write(folder.path().join("text.wasm"), wat::parse_str(other).expect("valid")).expect("written");
    assert_snapshot!("lock-call-refused", page(&run(&folder, &["call", "text_echo"])));
    assert_snapshot!("lock-check-refused", page(&run(&folder, &["check"])));
    let other = run(&folder, &["call", "tides_hello"]);
    assert!(
        page(&other).starts_with("--- stdout\n7\n--- stderr\nwarning: component `text`: its file"),
        "{}",
        page(&other)
    );
    assert_eq!(other.status.code(), Some(0));
    let list = page(&run(&folder, &["list"]));
    assert!(list.contains("tides_hello") && !list.contains("text_echo"), "{list}");
    assert!(list.ends_with("--- exit 2"), "{list}");
    // What is refused can be looked at.
    let sheet = page(&run(&folder, &["inspect", "text.wasm"]));
    assert!(sheet.contains("\nlock    not as it was locked\n") && sheet.contains("text_echo() -> u32"), "{sheet}");
    let sheet = json(&run(&folder, &["inspect", "text.wasm", "--json"]));
    assert_eq!(sheet["lock"], "changed");
    let sheet = page(&run(&folder, &["inspect", "tides.wasm"]));
    assert!(sheet.contains("\nlock    as it was locked\n"), "{sheet}");
}

#[test]
fn what_is_not_as_it_was_locked_is_told_in_words_and_changes_nothing() {
    let _filters = filters();
    let folder = changed();
    let before = text(&folder);
    assert_snapshot!("lock-differs", page(&run(&folder, &["lock"])));
    let checked = run(&folder, &["lock", "--check"]);
    assert_eq!(page(&checked), page(&run(&folder, &["lock"])));
    assert_eq!(checked.status.code(), Some(1));
    assert_snapshot!("lock-differs-json", page(&run(&folder, &["lock", "--json"])));
    assert_eq!(text(&folder), before);
}

#[test]
fn to_check_writes_no_first_lock() {
    let folder = unlocked();
    assert_snapshot!(page(&run(&folder, &["lock", "--check"])), @r#"
    --- stderr
    error: there is no `toolpost.lock`; `toolpost lock` writes it
    --- exit 1
    "#);
    assert_snapshot!(page(&run(&folder, &["lock", "--update"])), @r#"
    --- stderr
    error: there is no `toolpost.lock` yet; `toolpost lock` writes it
    --- exit 2
    "#);
    assert!(!folder.path().join("toolpost.lock").exists());
}

#[test]
fn without_a_terminal_only_flags_say_yes_and_what_is_wider_has_one_of_its_own() {
    let _filters = filters();
    let folder = changed();
    let before = text(&folder);
    assert_snapshot!("lock-update-alone", page(&alone(folder.path(), &["lock", "--update"])));
    assert_eq!(text(&folder), before);
    let both = page(&alone(folder.path(), &["lock", "--update", "--allow-wider"]));
    assert!(both.contains("--yes") && both.ends_with("--- exit 2"), "{both}");
    assert_snapshot!("lock-update-yes", page(&alone(folder.path(), &["lock", "--update", "--yes"])));
    assert_eq!(alone(folder.path(), &["call", "tides_height"]).status.code(), Some(2), "it is still refused");
    assert_snapshot!("lock-update-wider", page(&alone(folder.path(), &["lock", "--update", "--yes", "--allow-wider"])));
    assert_eq!(alone(folder.path(), &["lock"]).status.code(), Some(0));
    assert_eq!(alone(folder.path(), &["call", "tides_forecast", "days=1"]).status.code(), Some(0));
    let nothing = alone(folder.path(), &["lock", "--update"]);
    assert_eq!(page(&nothing), "--- stdout\nnothing has changed since it was locked\n--- exit 0");
}

#[test]
fn with_json_nobody_is_asked() {
    let _filters = filters();
    let folder = changed();
    let output = run(&folder, &["lock", "--update", "tides", "--json"]);
    let refused = json(&output);
    assert_eq!((output.status.code(), &refused["ok"], &refused["written"]), (Some(3), &false.into(), &false.into()));
    assert_eq!(
        refused["faults"][0],
        "`tides` stays as it was locked: with `--json` nobody is asked; add `--yes --allow-wider`: it can do more than before"
    );
    let taken = json(&run(&folder, &["lock", "--update", "files", "--yes", "--json"]));
    assert_eq!((&taken["ok"], &taken["written"], &taken["same"]), (&true.into(), &true.into(), &false.into()));
    let states = |list: &Value| -> Vec<String> {
        let list = list["components"].as_array().expect("a list").iter();
        list.map(|entry| format!("{} {} {}", entry["name"], entry["state"], entry["locked"]).replace('"', "")).collect()
    };
    assert_eq!(states(&taken), ["files changed true", "text same true", "tides changed false"]);
    let first = json(&run(&unlocked(), &["lock", "--json"]));
    assert_eq!(states(&first), ["files new true", "text new true", "tides new true"]);
}

#[test]
fn at_a_terminal_a_key_says_yes_and_what_is_wider_needs_a_yes_that_is_written() {
    let folder = changed();
    let mut pty = Pty::run(folder.path(), "$T lock --update; echo code $?");
    let shown = pty.wait_for("lock `files` as it is now? [y/N]");
    assert!(shown.contains("dirs read /notes (but **/.env), the folder `notes`: access read, was write"), "{shown}");
    pty.press("y");
    let shown = pty.wait_for("lock `tides` as it is now? [y/N]");
    assert!(shown.contains("+ asks for HTTP requests"), "{shown}");
    pty.press("y");
    pty.wait_for("`tides` can do more than before (1 line with a +): allow that?\n  write yes:");
    pty.press("yes\r");
    let (_, shown) = pty.end();
    assert!(shown.contains("taken over in toolpost.lock: files, tides\ncode 0"), "{shown}");
    assert_eq!(run(&folder, &["lock"]).status.code(), Some(0));
}

#[test]
fn a_no_leaves_that_component_as_it_was_and_the_others_are_taken_over() {
    let folder = changed();
    let mut pty = Pty::run(folder.path(), "$T lock --update; echo code $?");
    pty.wait_for("lock `files` as it is now? [y/N]");
    pty.press("n");
    pty.wait_for("lock `tides` as it is now? [y/N]");
    pty.press("y");
    pty.wait_for("write yes:");
    pty.press("YES\r");
    let (_, shown) = pty.end();
    assert!(shown.contains("taken over in toolpost.lock: tides\n"), "{shown}");
    assert!(shown.contains("error: `files` stays as it was locked\ncode 3"), "{shown}");
    let left = json(&run(&folder, &["lock", "--json"]));
    assert_eq!([&left["components"][0]["state"], &left["components"][2]["state"]], ["changed", "same"]);
}

#[test]
fn what_is_wider_is_taken_over_by_nothing_but_a_yes_that_is_written_out() {
    for answer in ["no\r", "y\r", "\r"] {
        let folder = changed();
        // With `--yes` only what is wider is asked about; the rest is confirmed on the command line.
        let mut pty = Pty::run(folder.path(), "$T lock --update --yes; echo code $?");
        pty.wait_for("write yes:");
        pty.press(answer);
        let (_, shown) = pty.end();
        assert!(shown.contains("taken over in toolpost.lock: files"), "{answer:?}: {shown}");
        assert!(shown.contains("error: `tides` stays as it was locked\ncode 3"), "{answer:?}: {shown}");
        let left = json(&run(&folder, &["lock", "--json"]));
        assert_eq!(
            [&left["components"][0]["state"], &left["components"][2]["state"]],
            ["same", "changed"],
            "{answer:?}"
        );
    }
}

#[test]
fn ctrl_c_calls_all_of_it_off() {
    let folder = changed();
    let before = text(&folder);
    let mut pty = Pty::run(folder.path(), "$T lock --update; echo code $?; stty -a | grep -o ' -\\?icanon'");
    pty.wait_for("lock `files` as it is now? [y/N]");
    pty.press("y");
    pty.wait_for("lock `tides` as it is now? [y/N]");
    pty.press("\u{3}");
    let (_, shown) = pty.end();
    assert!(shown.contains("error: called off; nothing was changed\ncode 3"), "{shown}");
    assert!(shown.ends_with(" icanon"), "{shown}");
    assert_eq!(text(&folder), before);
}

#[test]
fn who_is_asked_sees_what_about_also_where_the_page_goes_elsewhere() {
    let folder = changed();
    let mut pty = Pty::run(folder.path(), "$T lock --update files >out; echo code $?");
    let shown = pty.wait_for("[y/N]");
    assert!(shown.contains("files is not as it was locked") && shown.contains("access read, was write"), "{shown}");
    pty.press("n");
    let (_, shown) = pty.end();
    assert!(shown.contains("`files` stays as it was locked\ncode 3"), "{shown}");
    let out = std::fs::read_to_string(folder.path().join("out")).expect("written");
    assert!(out.starts_with("files is not as it was locked\n"), "{out}");
}

#[test]
fn what_came_and_what_went_is_told_and_taken_over() {
    let _filters = filters();
    let folder = locked();
    let settings =
        SETTINGS.replace("components.text", "components.words").replace("components.tides", "components.sea");
    says(&folder, &settings);
    assert_snapshot!("lock-came-and-went", page(&run(&folder, &["lock"])));
    let output = alone(folder.path(), &["lock", "--update", "words", "tides", "--yes"]);
    assert!(page(&output).contains("taken over in toolpost.lock: tides, words\n"), "{}", page(&output));
    let left = json(&run(&folder, &["lock", "--json"]));
    let names: Vec<_> = left["components"].as_array().expect("a list").iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["files", "sea", "text", "words"]);
}

#[test]
fn a_broken_component_keeps_its_place_and_nobody_else_from_being_taken_over() {
    let folder = changed();
    std::fs::write(folder.path().join("text.wasm"), "broken").expect("written");
    for args in [&["lock"][..], &["lock", "--update"], &["lock", "--update", "text"]] {
        let output = page(&alone(folder.path(), args));
        assert_eq!(
            output,
            "--- stderr\nerror: component `text`: `text.wasm` cannot be used: it is no WebAssembly component\n--- exit 2"
        );
    }
    let output = page(&alone(folder.path(), &["lock", "--update", "files", "--yes"]));
    assert!(output.contains("taken over in toolpost.lock: files\n"), "{output}");
    assert!(output.contains("warning: component `text`: `text.wasm` cannot be used"), "{output}");
    std::fs::copy(prebuilt("text"), folder.path().join("text.wasm")).expect("copied");
    assert_eq!(json(&run(&folder, &["lock", "--json"]))["components"][1]["state"], "same");
}

#[test]
fn a_lock_or_settings_that_cannot_be_used_are_told() {
    let folder = locked();
    assert_snapshot!(page(&run(&folder, &["lock", "--update", "tide"])), @r#"
    --- stderr
    error: no component is named `tide`; did you mean `tides`?
    --- exit 2
    "#);
    let text = text(&folder);
    let lock = folder.path().join("toolpost.lock");
    std::fs::write(&lock, text.replace("version = 1", "version = 2")).expect("written");
    assert_snapshot!(page(&run(&folder, &["lock"])), @r#"
    --- stderr
    error: toolpost.lock: is a lock of version 2, and this program knows version 1; update the program, or remove it and lock anew
    --- exit 2
    "#);
    std::fs::write(&lock, text.replace("digest", "<<<<<<< HEAD\ndigest")).expect("written");
    assert_snapshot!(page(&run(&folder, &["lock", "--update", "--json"])), @r#"
    --- stdout
    {
      "ok": false,
      "faults": [
        "toolpost.lock:7: key with no value, expected `=`",
        "toolpost.lock:150: key with no value, expected `=`",
        "toolpost.lock:207: key with no value, expected `=`",
        "toolpost.lock:7: invalid unquoted key, expected letters, numbers, `-`, `_`"
      ]
    }
    --- exit 2
    "#);
    std::fs::rename(&lock, folder.path().join("kept.lock")).expect("moved");
    std::os::unix::fs::symlink("nowhere", &lock).expect("linked");
    assert_snapshot!(page(&run(&folder, &["lock"])), @r#"
    --- stderr
    error: toolpost.lock: cannot be read: it is a link that leads nowhere
    --- exit 2
    "#);
    assert!(!folder.path().join("nowhere").exists());
    let empty = tempfile::tempdir().expect("a temporary folder");
    assert_snapshot!(page(&run(&empty, &["lock"])), @r#"
    --- stderr
    error: there are no settings; what is locked are the components that `toolpost.toml` names
    --- exit 2
    "#);
    says(&empty, "");
    assert_snapshot!(page(&run(&empty, &["lock"])), @r#"
    --- stderr
    error: the settings name no component; there is nothing to lock
    --- exit 2
    "#);
}

#[test]
fn settings_of_another_name_have_a_lock_of_that_name() {
    let folder = locked();
    std::fs::rename(folder.path().join("toolpost.toml"), folder.path().join("other.toml")).expect("moved");
    let output = page(&run(&folder, &["lock", "--config", "other.toml"]));
    assert!(output.ends_with("\nlocked: 3 components in other.lock\n--- exit 0"), "{output}");
    assert_eq!(text(&folder), std::fs::read_to_string(folder.path().join("other.lock")).expect("written"));
}

#[test]
fn what_can_do_more_is_red_on_a_terminal_and_what_can_do_less_green() {
    let folder = changed();
    let mut command = toolpost_tests::command(folder.path(), &["lock"]);
    let output = command.env("CLICOLOR_FORCE", "1").output().expect("started");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("\u{1b}[1m\u{1b}[31m+ asks for HTTP requests\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("\u{1b}[32m- dirs read /notes"), "{shown:?}");
    assert!(!String::from_utf8_lossy(&run(&folder, &["lock"]).stdout).contains('\u{1b}'));
}

#[test]
fn a_name_by_which_another_component_may_call_a_tool_lets_that_one_do_more() {
    let folder = unlocked();
    std::fs::copy(prebuilt("delegate"), folder.path().join("delegate.wasm")).expect("copied");
    let delegate = "\n[components.delegate]\npath = \"delegate.wasm\"\ngrants.tools = [\"safe_*\"]\n";
    says(&folder, &format!("{SETTINGS}{delegate}"));
    assert_eq!(run(&folder, &["lock"]).status.code(), Some(0));
    let renamed = SETTINGS.replace("tools.delete.effect", "tools.delete.name = \"safe_delete\"\ntools.delete.effect");
    says(&folder, &format!("{renamed}{delegate}"));
    let told = page(&alone(folder.path(), &["lock", "--update", "--yes"]));
    let line = |words: &str| told.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
    assert!(line("calls + may call `safe_delete`, which can do: destroys"), "{told}");
    assert!(told.contains("--allow-wider") && told.contains("`delegate` stays as it was locked"), "{told}");
    let refused = page(&run(&folder, &["call", "delegate_list"]));
    assert!(refused.contains("may call `safe_delete`, which can do: destroys"), "{refused}");
    // The other one is as it was locked now.
    assert!(page(&run(&folder, &["list"])).contains("safe_delete"));
    let taken = alone(folder.path(), &["lock", "--update", "--yes", "--allow-wider"]);
    assert_eq!(taken.status.code(), Some(0), "{}", page(&taken));
    assert!(text(&folder).contains("\nsafe_delete = \"destroys\"\n"), "{}", text(&folder));
    assert_eq!(run(&folder, &["lock"]).status.code(), Some(0));
    assert!(page(&run(&folder, &["list"])).contains("delegate_list"));
}
