//! The components are those that their sources say, and those in other languages are tools like the others.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Command;

use toolpost_tests::{prebuilt, root, sources_hash, toolpost};

fn is_built_from_its_sources(guest: &str) {
    let written = std::fs::read_to_string(root().join(format!("guest-examples/prebuilt/{guest}.sources")));
    let written = written.expect("the hash of the sources stands beside the component");
    assert_eq!(written.trim(), sources_hash(guest), "`{guest}` is older than its sources: run `just guests {guest}`");
}

fn is_small_and_built_from_its_sources(guest: &str) {
    is_built_from_its_sources(guest);
    assert!(std::fs::metadata(prebuilt(guest)).expect("the component is there").len() < 200_000, "`{guest}` is small");
}

/// Inspects and calls a component that is too large to be committed; where it was not built, says so.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn greets_where_it_is_built(guest: &str, language: &str) {
    if !Path::new(&prebuilt(guest)).is_file() {
        eprintln!(
            "skipped: `{guest}` is too large to be committed, and is not built here: `just guests-all` builds it"
        );
        return;
    }
    is_built_from_its_sources(guest);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = format!("{}_greet", guest.replace('-', "_"));
    let sheet = toolpost(folder.path(), &["inspect", &prebuilt(guest)]);
    let sheet = String::from_utf8_lossy(&sheet.stdout).into_owned();
    for part in [&format!("{tool}(name: string) -> result<string, string>"), "asks    nothing", "Returns a greeting"] {
        assert!(sheet.contains(part), "{part} in {sheet}");
    }
    let call = |name: &str| {
        let output = toolpost(folder.path(), &["call", &tool, name, "--tools", &prebuilt(guest)]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.code())
    };
    assert_eq!(call("name=Ann"), (format!("Hello, Ann, from {language}!\n"), String::new(), Some(0)));
    assert_eq!(call("name="), (String::new(), "error: tool_failed: the name is empty\n".into(), Some(1)));
}

/// The guests whose components are committed.
fn committed() -> Vec<String> {
    let folder = "guest-examples/prebuilt/";
    let listed = Command::new("git").args(["ls-files", folder]).current_dir(root()).output();
    let listed = listed.ok().filter(|output| output.status.success() && !output.stdout.is_empty());
    let files: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        // No repository, as in an archive of the sources: what is there, but for what is never committed.
        None => std::fs::read_dir(root().join(folder))
            .expect("the folder is there")
            .map(|entry| format!("{folder}{}", entry.expect("an entry").file_name().to_string_lossy()))
            .filter(|file| !file.contains("/greet-"))
            .collect(),
    };
    let names = files.iter().filter_map(|file| file.strip_prefix(folder)?.strip_suffix(".wasm"));
    names.map(str::to_owned).collect()
}

#[test]
fn every_committed_component_has_a_test_of_its_sources() {
    let tests = include_str!("prebuilt.rs");
    let guests = committed();
    assert!(!guests.is_empty());
    for guest in guests {
        let test = format!("is_small_and_built_from_its_sources(\"{guest}\");");
        assert!(tests.contains(&test), "`{guest}` has no test here that says `{test}`");
    }
}

#[test]
fn text_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("text");
}

#[test]
fn pi_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("pi");
}

#[test]
fn divide_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("divide");
}

#[test]
fn kitchen_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("kitchen");
}

#[test]
fn hostile_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("hostile");
}

#[test]
fn nap_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("nap");
}

#[test]
fn posix_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("posix");
}

#[test]
fn libc_tests_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("libc-tests");
}

#[test]
fn fetch_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("fetch");
}

#[test]
fn orders_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("orders");
}

#[test]
fn files_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("files");
}

#[test]
fn disk_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("disk");
}

#[test]
fn notes_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("notes");
}

#[test]
fn keys_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("keys");
}

#[test]
fn database_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("database");
}

#[test]
fn transact_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("transact");
}

#[test]
fn signer_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("signer");
}

#[test]
fn delegate_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("delegate");
}

#[test]
fn busy_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("busy");
}

#[test]
fn weather_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("weather");
}

#[test]
fn mail_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("mail");
}

#[test]
fn line_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("line");
}

#[test]
fn dynamo_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("dynamo");
}

#[test]
fn basket_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("basket");
}

#[test]
fn holder_is_built_from_its_sources() {
    is_small_and_built_from_its_sources("holder");
}

#[test]
fn greet_js_is_built_from_its_sources_and_greets() {
    greets_where_it_is_built("greet-js", "JavaScript");
}

#[test]
fn greet_py_is_built_from_its_sources_and_greets() {
    greets_where_it_is_built("greet-py", "Python");
}
