//! Rules about what a running tool does, as an operator meets them: asked at the moment of the effect, answered from another
//! terminal, and told in the story of the call.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{detached, filters, page, pending, prebuilt, toolpost};

const SETTINGS: &str = r#"
grants.dirs = [{ host = "notes", guest = "/notes", access = "write" }]
limits.time = "2s"
[approval]
timeout = "60s"
[[approval.ask]]
name = "notes-go"
tools = ["files_*"]
does = { action = "files.delete", target = { path = "/notes/*.md" } }
reason = "notes are dear"
match = [{ tool = "files_delete", does = { action = "files.delete", target = "/notes/plan.md" } }]
no_match = [{ tool = "files_delete", does = { action = "files.delete", target = "/notes/plan.txt" } }]
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (grants, rest) = SETTINGS.trim_start().split_once('\n').expect("two parts");
    let (limits, rules) = rest.split_once('\n').expect("two parts");
    let settings = format!("{rules}\n[components.files]\npath = {:?}\n{grants}\n{limits}\n", prebuilt("files"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    std::fs::create_dir(folder.path().join("notes")).expect("made");
    for name in ["plan.md", "plan.txt"] {
        std::fs::write(folder.path().join("notes").join(name), "one").expect("written");
    }
    folder
}

/// Runs a call that is asked about; its exit code, and what it said to the one who waits for it.
fn asked(folder: &Path, answer: &dyn Fn(&str)) -> (Option<i32>, String) {
    let call = detached(folder, &["call", "files_delete", "path=/notes/plan.md"]).spawn().expect("started");
    let [id] = &pending(folder)[..] else { panic!("one question") };
    // Longer than the tool may take: its clock stands still.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    answer(id);
    let output = call.wait_with_output().expect("ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn approvals(folder: &Path, args: &[&str]) -> String {
    page(&toolpost(folder, &[&["approvals"], args].concat()))
}

#[test]
fn a_person_is_asked_with_the_exact_effect_in_hand_and_the_tool_waits() {
    let folder = folder();
    let (code, stderr) = asked(folder.path(), &|id| {
        let _filters = filters();
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"ask_[0-9a-f]{20}", "[question]");
        settings.add_filter(r"\d+s\b", "[span]");
        let _more = settings.bind_to_scope();
        assert_snapshot!(approvals(folder.path(), &["list"]));
        assert_snapshot!(approvals(folder.path(), &["show", id]));
        assert_snapshot!(approvals(folder.path(), &["edit", id, "path=/notes/other.md"]));
        assert_snapshot!(approvals(folder.path(), &["answer", id, "{}"]));
        assert!(folder.path().join("notes/plan.md").exists(), "nothing happens before the answer");
        approvals(folder.path(), &["allow", id]);
    });
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!folder.path().join("notes/plan.md").exists());
}

#[test]
fn what_is_denied_leaves_no_trace_and_its_story_says_who_denied_what() {
    let folder = folder();
    let (code, stderr) = asked(folder.path(), &|id| drop(approvals(folder.path(), &["deny", id, "we need it"])));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("`files.delete /notes/plan.md` of `files_delete` was declined: we need it"), "{stderr}");
    assert!(folder.path().join("notes/plan.md").exists());
    let log = page(&toolpost(folder.path(), &["log", "--json"]));
    let id = log.split('"').find(|text| text.starts_with("call_")).expect("a call is in the log");
    let story = page(&toolpost(folder.path(), &["show", id]));
    for told in ["about to do: files.delete /notes/plan.md", "files.delete /notes/plan.md", "we need it", "notes-go"] {
        assert!(story.contains(told), "{told}:\n{story}");
    }
}

#[test]
fn what_no_rule_names_is_not_asked_about() {
    let folder = folder();
    let output = toolpost(folder.path(), &["call", "files_delete", "path=/notes/plan.txt"]);
    assert!(output.status.success() && !folder.path().join("notes/plan.txt").exists(), "{}", page(&output));
}
