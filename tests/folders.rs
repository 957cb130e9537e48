//! Folders as an operator grants them: from where their paths count, what `inspect` and `check` show of them, and calls that
//! use them.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{command, filters, page, prebuilt, toolpost};

/// A folder with `notes` and a file in it, whose settings have `files`, with more about it.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!("[components.files]\npath = {:?}\n{more}", prebuilt("files"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    std::fs::create_dir(folder.path().join("notes")).expect("made");
    std::fs::write(folder.path().join("notes/plan.md"), "one\ntwo\nthree\n").expect("written");
    folder
}

const GRANTS: &str = "grants.dirs = [\n  { host = \"notes\", guest = \"/notes\", access = \"write\", deny = [\"**/.env\"] },\n\
                      ]\ntools.read.grants.dirs = [{ host = \"notes\", guest = \"/notes\" }]\n\
                      tools.list.grants.dirs = [{ host = \"notes\", guest = \"/notes\", access = \"list\" }]\n\
                      tools.move.grants.dirs = []\n";

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

#[test]
fn a_tool_that_looks_for_a_folder_and_has_none_is_told_the_line_that_would_give_it_one() {
    let said = run(&folder(""), &["call", "files_read", "path=/notes/plan.md"]);
    assert!(said.contains("No such file or directory"), "{said}");
    assert!(
        said.contains("`grants.dirs = [{ host = \"FOLDER\", guest = \"/PATH\" }]` in `[components.files]`"),
        "{said}"
    );
    // What fails for another reason is not told so.
    let settings = format!("[components.divide]\npath = {:?}\n", prebuilt("divide"));
    let other = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(other.path().join("toolpost.toml"), settings).expect("written");
    let said = run(&other, &["call", "divide_divide_integers", "dividend=1", "divisor=0"]);
    assert!(said.contains("error: ") && !said.contains("grants.dirs"), "{said}");
}

#[test]
fn inspect_and_check_show_which_folders_are_granted_and_to_which_tool() {
    let _filters = filters();
    let folder = folder(GRANTS);
    let sheet = run(&folder, &["inspect", &prebuilt("files")]);
    assert_snapshot!(sheet.lines().take(5).collect::<Vec<_>>().join("\n"), @r#"
    --- stdout
    files  [size]  [digest]
    effect  writes (with what is granted)
    asks    clocks (given), standard input and output (captured), files (granted)
    grants  dirs write /notes (but **/.env)
    "#);
    let of = |tool: &str| {
        let lines = sheet.lines().skip_while(|line| !line.starts_with(tool)).skip(1);
        lines.take_while(|line| line.starts_with(' ')).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(of("files_read"), @r#"
    Returns a text file, or some lines of it.
    effect reads
    grants dirs read /notes
    "#);
    assert_snapshot!(of("files_move"), @r#"
    Moves or renames a file or folder. A file that was there is replaced.
    effect pure
    grants nothing
    "#);
    let listed = run(&folder, &["list"]);
    let effects = listed.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    let effects: Vec<_> = effects.filter(|line| line.starts_with("files_")).collect();
    assert_snapshot!(effects.join("\n"), @r#"
    files_append writes
    files_delete writes
    files_list reads
    files_move pure
    files_patch writes
    files_read reads
    files_search writes
    files_write writes
    "#);
    assert_snapshot!(run(&folder, &["check"]), @r#"
    --- stdout
     TOOL        ASKS FOR, AND IS NOT GRANTED
     files_move  files

    all is well: 1 component, 8 tools
    --- exit 0
    "#);
}

#[test]
fn a_folder_counts_from_the_settings_wherever_the_host_is_started() {
    let folder = folder(GRANTS);
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let settings = folder.path().join("toolpost.toml");
    let settings = settings.to_str().expect("text");
    let call = |args: &[&str]| {
        let args = [&["call"], args, &["--config", settings]].concat();
        page(&command(elsewhere.path(), &args).output().expect("it runs"))
    };
    let told = |args: &[&str], expected: &str| {
        let page = call(args);
        assert!(page.contains(expected), "{args:?}: {page}");
    };
    told(&["files_read", "path=/notes/plan.md", "from-line=2", "lines=1"], "two");
    told(&["files_write", "path=/notes/deep/er/a.txt", "text=hello"], "5");
    told(&["files_append", "path=/notes/deep/er/a.txt", "text= world"], "11");
    told(&["files_patch", "path=/notes/plan.md", "old=two", "new=2"], "2");
    told(&["files_search", "path=/notes", "text=o w"], "/notes/deep/er/a.txt");
    told(&["files_list", "path=/notes"], "plan.md");
    told(&["files_delete", "path=/notes/deep/er/a.txt"], "");
    assert!(!folder.path().join("notes/deep/er/a.txt").exists());
    let plan = std::fs::read_to_string(folder.path().join("notes/plan.md")).expect("it is there");
    assert_eq!(plan, "one\n2\nthree\n");
}

#[test]
fn what_is_refused_shows_the_setting_that_would_allow_it_and_leaves_no_trace() {
    let folder = folder(
        "grants.dirs = [{ host = \"notes\", guest = \"/notes\", deny = [\"**/.env\"] }]\n\
         tools.append.grants.dirs = [{ host = \"notes\", guest = \"/notes\", access = \"append\", max_file = 20 }]\n",
    );
    std::fs::write(folder.path().join("notes/.env"), "TOKEN=1").expect("written");
    assert_snapshot!(run(&folder, &["call", "files_write", "path=/notes/plan.md", "text=x"]), @r#"
    --- stderr
    error: capability_denied: the tool may not change `/notes/plan.md`; the operator can allow it with `access = "write"` in the grant of `/notes`; the tool ended with: `/notes/plan.md`: Operation not permitted (os error 63)
    --- exit 3
    "#);
    assert_snapshot!(run(&folder, &["call", "files_read", "path=/notes/.env"]), @r#"
    --- stderr
    error: capability_denied: the tool may not read `/notes/.env`, which is kept from it; the operator can allow it by taking `**/.env` out of `deny` in the grant of `/notes`; the tool ended with: `/notes/.env`: Permission denied (os error 2)
    --- exit 3
    "#);
    assert_snapshot!(run(&folder, &["call", "files_read", "path=/notes/../../etc/passwd"]), @r#"
    --- stderr
    error: capability_denied: `/notes/../../etc/passwd` leads out of `/notes`, where the tool may not go; the operator can grant the folder to which it leads with `{ host = "FOLDER", guest = "/PATH", access = "read" }` in `grants.dirs` of component `files`; the tool ended with: `/notes/../../etc/passwd`: Operation not permitted (os error 63)
    --- exit 3
    "#);
    assert_snapshot!(run(&folder, &["call", "files_append", "path=/notes/plan.md", "text=four and five"]), @r#"
    --- stderr
    error: quota_exceeded: `/notes/plan.md` would become longer than the 20 B that a file may have; the operator can raise `max_file` in the grant of `/notes`; the tool ended with: `/notes/plan.md`: I/O error (os error 29)
    --- exit 3
    "#);
    let plan = std::fs::read_to_string(folder.path().join("notes/plan.md")).expect("it is there");
    assert_eq!(plan, "one\ntwo\nthree\n");
}

#[test]
fn check_finds_a_folder_that_is_none_and_a_grant_for_who_asks_for_no_files() {
    let _filters = filters();
    let folder = folder("grants.dirs = [{ host = \"nowhere\", guest = \"/x\" }]\n");
    let page = run(&folder, &["check"]).replace(folder.path().to_str().expect("text"), "[folder]");
    assert_snapshot!(page, @r#"
    --- stderr
    error: component `files`: the folder `[folder]/nowhere`, granted as `/x`, cannot be opened: No such file or directory (os error 2)
    --- exit 2
    "#);
    let nap = format!(
        "[components.nap]\npath = {:?}\ngrants.dirs = [{{ host = \"notes\", guest = \"/x\" }}]\n",
        prebuilt("nap")
    );
    std::fs::write(folder.path().join("toolpost.toml"), nap).expect("written");
    assert_snapshot!(run(&folder, &["check"]), @r#"
    --- stderr
    error: component `nap`: `grants.dirs` is of no use to it: it does not import `wasi:filesystem/preopens`; take the grant out
    --- exit 2
    "#);
}
