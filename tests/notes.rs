//! Keys and values as an operator grants them, by the guest `notes`: calls that outlast the process, what `inspect` and `check` show,
//! and what is refused.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, toolpost};

/// A folder whose settings have `notes`, with more about it, and keep everything in it.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&folder, more);
    folder
}

fn write(folder: &TempDir, more: &str) {
    let settings = format!("[store]\ndir = \"kept\"\n[components.notes]\npath = {:?}\n{more}", prebuilt("notes"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

const GRANTS: &str = "grants.kv = [{ bucket = \"notes\", access = \"write\", max_keys = 3 }]\n\
                      tools.recall.grants.kv = [{ bucket = \"notes\" }]\n\
                      tools.search.grants.kv = [{ bucket = \"notes\" }]\n";

#[test]
fn a_note_is_stored_recalled_changed_and_found_from_one_process_to_the_next() {
    let folder = folder(GRANTS);
    let told = |args: &[&str], expected: &str| {
        let page = run(&folder, &[&["call"], args].concat());
        assert!(page.contains(expected), "{args:?}: {page}");
    };
    told(&["notes_store", "name=people/ann", "text=Ann takes her coffee black"], "exit 0");
    told(&["notes_store", "name=door", "text=The code has changed", "days=30"], "exit 0");
    told(&["notes_recall", "name=people/ann"], "Ann takes her coffee black");
    told(&["notes_update", "name=people/ann", "text=She likes Java", "add=true"], "black\nShe likes");
    told(&["notes_update", "name=door", "text=The code is new"], "The code is new");
    told(&["notes_recall", "name=door"], "The code is new");
    assert_snapshot!(run(&folder, &["call", "notes_search", "text=JAVA"]), @r#"
    --- stdout
    [
      {
        "name": "people/ann",
        "line": "She likes Java"
      }
    ]
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["call", "notes_search", "below=people/"]), @r#"
    --- stdout
    [
      {
        "name": "people/ann",
        "line": "Ann takes her coffee black"
      }
    ]
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["call", "notes_search", "limit=1"]), @r#"
    --- stdout
    [
      {
        "name": "door",
        "line": "The code is new"
      }
    ]
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["call", "notes_search", "text=nothing of the kind"]), @r#"
    --- stdout
    []
    --- exit 0
    "#);
}

#[test]
fn inspect_and_check_show_which_buckets_are_granted_and_to_which_tool() {
    let _filters = filters();
    let folder = folder(&format!("{GRANTS}tools.store.grants.kv = []\n"));
    let sheet = run(&folder, &["inspect", &prebuilt("notes")]);
    assert_snapshot!(sheet.lines().take(5).collect::<Vec<_>>().join("\n"), @r#"
    --- stdout
    notes  [size]  [digest]
    effect  writes (with what is granted)
    asks    standard input and output (captured), keys and values (granted)
    grants  kv write notes (in the store default)
    "#);
    let of = |tool: &str| {
        let lines = sheet.lines().skip_while(|line| !line.starts_with(tool)).skip(1);
        lines.take_while(|line| line.starts_with(' ')).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(of("notes_recall"), @r#"
    Recalls a note by its name.
    effect reads
    grants kv read notes (in the store default)
    "#);
    assert_snapshot!(of("notes_store"), @r#"
    Stores a new note. It fails where there is one of that name: `update` changes it.
    effect pure
    grants nothing
    "#);
    assert_snapshot!(run(&folder, &["check"]), @r#"
    --- stdout
     TOOL         ASKS FOR, AND IS NOT GRANTED
     notes_store  keys and values

    all is well: 1 component, 4 tools
    --- exit 0
    "#);
    write(&folder, "grants.kv = [{ bucket = \"notes\", store = \"fast\" }]\n");
    assert_snapshot!(run(&folder, &["check"]), @r#"
    --- stderr
    error: component `notes`: the bucket `notes` is granted in the store `fast`, which is not in `[kv]`; there is `default`
    --- exit 2
    "#);
}

#[test]
fn what_is_refused_shows_the_setting_that_would_allow_it_and_leaves_no_trace() {
    let folder = folder("");
    let store = ["call", "notes_store", "name=a", "text=x"];
    assert_snapshot!(run(&folder, &store), @r#"
    --- stderr
    error: capability_denied: the tool may not open the bucket `notes`; the operator can allow it with `grants.kv = [{ bucket = "notes" }]` in `[components.notes]`; the tool ended with: this may not be done with the notes
    --- exit 3
    "#);
    assert!(!folder.path().join("kept/kv.db").exists());
    write(&folder, "grants.kv = [{ bucket = \"notes\" }]\n");
    assert_snapshot!(run(&folder, &store), @r#"
    --- stderr
    error: capability_denied: the tool may not change `notes/a`; the operator can allow it with `access = "write"` in the grant of bucket `notes`; the tool ended with: this may not be done with the notes
    --- exit 3
    "#);
    assert_snapshot!(run(&folder, &["call", "notes_recall", "name=a"]), @r#"
    --- stderr
    error: invalid_arguments: there is no note `a`; `search` finds those that there are
    --- exit 2
    "#);
    write(
        &folder,
        "grants.kv = [{ bucket = \"notes\", access = \"write\", prefix = \"mine/\", max_value = 5, max_keys = 1 }]\n",
    );
    assert_snapshot!(run(&folder, &["call", "notes_store", "name=../a", "text=x"]), @r#"
    --- stderr
    error: capability_denied: `../a` leads out of `notes`, where the tool may not go; the operator can grant what lies there as a bucket of its own, with `{ bucket = "NAME", prefix = "PREFIX" }` in `grants.kv` of component `notes`; the tool ended with: this may not be done with the notes
    --- exit 3
    "#);
    assert_snapshot!(run(&folder, &["call", "notes_store", "name=a", "text=too long"]), @r#"
    --- stderr
    error: quota_exceeded: a value in `notes` may have 5 B, and no more; the operator can raise `max_value` in the grant of bucket `notes`; the tool ended with: the value is too long
    --- exit 3
    "#);
    assert_snapshot!(run(&folder, &store), @"--- exit 0");
    assert_snapshot!(run(&folder, &store), @r#"
    --- stderr
    error: invalid_arguments: there is a note `a` already; `update` changes it
    --- exit 2
    "#);
    assert_snapshot!(run(&folder, &["call", "notes_store", "name=b", "text=x"]), @r#"
    --- stderr
    error: quota_exceeded: `notes` may have 1 keys, and no more; the operator can raise `max_keys` in the grant of bucket `notes`; the tool ended with: the bucket is full
    --- exit 3
    "#);
    // Whoever has another part of the bucket does not see it.
    write(&folder, "grants.kv = [{ bucket = \"notes\", prefix = \"other/\" }]\n");
    assert_snapshot!(run(&folder, &["call", "notes_search"]), @r#"
    --- stdout
    []
    --- exit 0
    "#);
}
