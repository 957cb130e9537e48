//! Approval as a person meets it: a prompt on a real terminal, another terminal, rules that are listed and explained.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost_tests::pty::Pty;
use toolpost_tests::{detached, pending, prebuilt, toolpost};

const SETTINGS: &str = r#"
[approval]
timeout = "60s"
[[approval.deny]]
name = "no-etc"
reason = "it belongs to the system"
arguments = { "*" = "*/etc/*" }
match = [{ tool = "text_echo", arguments = { text = "cat /etc/passwd" } }]
no_match = [{ tool = "text_echo", arguments = { text = "etc" } }]
[components.text]
path = "text.wasm"
tools.echo.effect = "destroys"
"#;

/// A folder with a tool that is asked about.
fn folder_with(settings: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(prebuilt("text"), folder.path().join("text.wasm")).expect("copied");
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn folder() -> TempDir {
    folder_with(SETTINGS)
}

fn stdout(folder: &Path, args: &[&str]) -> String {
    String::from_utf8_lossy(&toolpost(folder, args).stdout).into_owned()
}

#[test]
fn a_prompt_shows_the_call_its_powers_and_every_argument_and_a_key_answers_it() {
    let folder = folder();
    let script = r#"printf '%s' '{"text": "two\nlines \u202e\u0430bc"}' | $T call text_echo - >out"#;
    let mut pty = Pty::run(folder.path(), script);
    let shown = pty.wait_for_prompt();
    for part in [
        "── may this call run? ──",
        "text_echo  destroys, high risk\n",
        "caller  nobody in particular",
        "powers  random numbers (given), standard input and output (captured)",
        "digest  sha256:",
        "why     a tool that may destroy something is asked about",
        "│ text:",
        "│   | two",
        r"│   | lines \u{202e}\u{430}bc",
        "from elsewhere: toolpost approvals show ask_",
        "[a] allow once  [A] always  [e] edit  [d] deny  [i] answer instead  [?] help",
    ] {
        assert!(shown.contains(part), "`{part}` in\n{shown}");
    }
    pty.press("xa");
    let (code, shown) = pty.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("allowed once"), "{shown}");
    // Nothing but the result is on standard output.
    let out = std::fs::read_to_string(folder.path().join("out")).expect("written");
    assert_eq!(out, "two\nlines \u{202e}\u{430}bc\n");
}

#[test]
fn a_denial_takes_a_reason_and_help_and_escape_lead_back() {
    let folder = folder();
    let mut pty =
        Pty::run(folder.path(), "$T call text_echo text=hello; echo code $?; stty -a | grep -o ' -\\?icanon'");
    pty.wait_for_prompt();
    pty.press("?");
    pty.wait_for("Ctrl-C is a denial");
    pty.press("d");
    pty.wait_for("why, for the one who called");
    pty.press("no\u{1b}");
    std::thread::sleep(Duration::from_millis(300));
    pty.press("d");
    std::thread::sleep(Duration::from_millis(300));
    pty.press("not noww\u{7f}\r");
    let (_, shown) = pty.end();
    assert!(shown.contains("error: declined: `text_echo` was declined: not now; do not try the same again"), "{shown}");
    assert!(shown.contains("code 3"), "{shown}");
    // The terminal is as it was.
    assert!(shown.ends_with(" icanon"), "{shown}");
}

#[test]
fn always_asks_whether_one_is_sure_and_holds_for_the_next_call() {
    let folder = folder();
    let mut pty = Pty::run(folder.path(), "$T call text_echo text=hello");
    pty.wait_for_prompt();
    pty.press("An");
    pty.wait_for("[y/N] no");
    pty.press("Ay");
    let (code, shown) = pty.end();
    assert_eq!(code, 0, "{shown}");
    let again = toolpost(folder.path(), &["call", "text_echo", "text=hello", "--json"]);
    let outcome: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    let rule = outcome["report"]["decisions"][0]["rule"].as_str().expect("a rule");
    assert!(rule.starts_with("always-ask_"), "{outcome}");
    let rules = stdout(folder.path(), &["rules", "list"]);
    assert!(rules.contains(rule) && rules.contains(r#"all arguments the value {"text":"hello"}"#), "{rules}");
}

#[test]
fn an_edit_is_made_in_a_line_or_in_the_editor_and_judged_again() {
    let folder = folder();
    let mut pty = Pty::run(folder.path(), "$T call text_echo text=hello");
    pty.wait_for_prompt();
    pty.press("e");
    pty.wait_for("arguments: { \"text\": \"hello\" }");
    pty.press("\u{15}{\"text\": \"other\"}\r");
    let (code, shown) = pty.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("allowed as edited") && shown.trim_end().ends_with("other"), "{shown}");

    // What is denied stays denied, whoever writes it; and before, an editor that changes nothing is no answer.
    let script =
        "printf 'case $2 in *) sed -i \"s,hello,/etc/x,\" \"$1\";; esac' >edit.sh; $T call text_echo text=hello";
    let mut pty = Pty::with(folder.path(), script, &[("EDITOR", "sh edit.sh")]);
    pty.wait_for_prompt();
    pty.press("e");
    let (code, shown) = pty.end();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("denied with these arguments by the rule `no-etc`: it belongs to the system"), "{shown}");
}

#[test]
fn a_second_process_answers_while_the_first_one_waits_at_its_prompt() {
    let folder = folder();
    let pty = Pty::run(folder.path(), "$T call text_echo text=hello; stty -a | grep -o ' -\\?icanon'");
    pty.wait_for_prompt();
    let [id] = &pending(folder.path())[..] else { panic!("one question") };
    let page = stdout(folder.path(), &["approvals", "show", id]);
    assert!(page.starts_with(&format!("{id}  pending\ntext_echo  destroys, high risk\n")), "{page}");
    let allowed = stdout(folder.path(), &["approvals", "allow", &id[4..10]]);
    assert_eq!(allowed, format!("{id}: text_echo allowed once\n"));
    let (_, shown) = pty.end();
    assert!(shown.contains("no longer asked: it was answered elsewhere, has expired, or was called off"), "{shown}");
    assert!(shown.contains("allowed by ") && shown.contains("(toolpost approvals)"), "{shown}");
    assert!(shown.contains("hello") && shown.ends_with(" icanon"), "{shown}");

    // The second click comes too late.
    let late = toolpost(folder.path(), &["approvals", "deny", id]);
    assert_eq!(late.status.code(), Some(3));
    let words = String::from_utf8_lossy(&late.stderr);
    assert!(words.starts_with(&format!("error: `{id}` is not pending: allowed once by ")), "{words}");
    assert!(words.ends_with("; nothing was changed\n"), "{words}");
}

#[test]
fn without_a_terminal_the_call_waits_for_another_process_and_says_how_to_answer() {
    let folder = folder();
    let run = |name: &str, answer: &dyn Fn(&str)| {
        let call = detached(folder.path(), &["call", "text_echo", &format!("text={name}")]).spawn().expect("started");
        let [id] = &pending(folder.path())[..] else { panic!("one question") };
        answer(id);
        let output = call.wait_with_output().expect("ended");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(&format!("for an answer: toolpost approvals show {id}")), "{stderr}");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr)
    };
    let approvals = |args: &[&str]| assert!(toolpost(folder.path(), &[&["approvals"], args].concat()).status.success());
    let (code, _, stderr) = run("a", &|id| approvals(&["deny", id, "not today"]));
    assert!(code == Some(3) && stderr.contains("declined: not today"), "{stderr}");
    let (code, out, _) = run("b", &|id| approvals(&["edit", id, "text=c"]));
    assert_eq!((code, out.as_str()), (Some(0), "c\n"));
    let (code, out, stderr) = run("d", &|id| approvals(&["answer", id, "\"e\""]));
    assert_eq!((code, out.as_str()), (Some(0), "e\n"), "{stderr}");
    assert_eq!(stdout(folder.path(), &["approvals", "list", "--json"]), "{\n  \"ok\": true,\n  \"questions\": []\n}\n");
    assert_eq!(toolpost(folder.path(), &["approvals", "allow", "ask_none"]).status.code(), Some(2));
}

#[test]
fn ctrl_c_is_a_denial_and_keys_that_came_before_the_prompt_are_none() {
    let folder = folder();
    let mut pty = Pty::run(folder.path(), "sleep 0.3; $T call text_echo text=hello; echo code $?");
    pty.press("aaaa");
    pty.wait_for_prompt();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!pty.text().contains("code"), "{}", pty.text());
    pty.press("\u{3}");
    let (_, shown) = pty.end();
    assert!(shown.contains("declined: interrupted") && shown.contains("code 3"), "{shown}");
}

#[test]
fn rules_are_listed_tested_and_explained() {
    let folder = folder();
    let list = stdout(folder.path(), &["rules", "list"]);
    assert!(list.contains("no-etc") && list.contains("* glob `*/etc/*`"), "{list}");
    assert_eq!(stdout(folder.path(), &["rules", "test"]), "all is well: 1 rule, 2 examples\n");
    let denied = stdout(folder.path(), &["rules", "explain", "text_echo", "text=cat /etc/passwd"]);
    assert!(denied.starts_with("text_echo is denied: the rule `no-etc` fits\n"), "{denied}");
    let asked = stdout(folder.path(), &["rules", "explain", "text_echo", "text=x"]);
    assert!(asked.starts_with("text_echo is asked about: no rule fits, and its effect class is destroys\n"), "{asked}");
    assert!(asked.contains("no: `*` does not fit glob `*/etc/*`"), "{asked}");
    let json: Value =
        serde_json::from_str(&stdout(folder.path(), &["rules", "explain", "text_echo", "text=x", "--json"]))
            .expect("JSON");
    assert_eq!(json["explained"]["action"], json!("ask"));

    let broken = folder_with(&SETTINGS.replace("text = \"etc\"", "text = \"/etc/\""));
    let output = toolpost(broken.path(), &["rules", "test"]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        words,
        "error: toolpost.toml:4: the rule fits `text_echo` with {\"text\":\"/etc/\"}, which it says it does not\n"
    );
}
