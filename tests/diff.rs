//! What changed from one component to another, as a person and as a program reads it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;
use toolpost_tests::versions::tides;
use toolpost_tests::{filters, page, prebuilt, toolpost};

fn diff(folder: &Path, args: &[&str]) -> String {
    page(&toolpost(folder, &[&["diff"], args].concat()))
}

#[test]
fn powers_tools_and_schemas_that_changed_are_told_in_words() {
    let _filters = filters();
    let folder = tempfile::tempdir().expect("a temporary folder");
    tides(folder.path(), "old", 1);
    tides(folder.path(), "new", 2);
    assert_snapshot!("diff", diff(folder.path(), &["old.wasm", "new.wasm"]));
    assert_snapshot!("diff-back", diff(folder.path(), &["new.wasm", "old.wasm"]));
    assert_snapshot!("diff-json", diff(folder.path(), &["old.wasm", "new.wasm", "--json"]));
}

#[test]
fn real_components_are_compared_by_what_they_ask_for_and_export() {
    let _filters = filters();
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_snapshot!("diff-prebuilt", diff(folder.path(), &[&prebuilt("text"), &prebuilt("notes")]));
}

#[test]
fn the_same_is_no_difference_whatever_it_is_called() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A name that no tool could have
    std::fs::copy(prebuilt("text"), folder.path().join("2.0.wasm")).expect("copied");
    let output = toolpost(folder.path(), &["diff", &prebuilt("text"), "2.0.wasm"]);
    assert_eq!(output.status.code(), Some(0), "{}", page(&output));
    let json = toolpost(folder.path(), &["diff", &prebuilt("text"), "2.0.wasm", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["same"], &json["wider"], &json["changes"]), (&true.into(), &false.into(), &Value::Array(vec![])));
    assert_eq!(json["old"], json["new"]);
}

#[test]
fn other_code_alone_is_a_difference_and_is_told_as_that() {
    let _filters = filters();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = std::fs::read(prebuilt("divide")).expect("read");
    // A custom section, which means nothing
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(folder.path().join("divide.wasm"), bytes).expect("written");
    assert_snapshot!("diff-code", diff(folder.path(), &[&prebuilt("divide"), "divide.wasm"]));
}

#[test]
fn a_component_of_the_settings_is_known_by_its_name() {
    let _filters = filters();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!("[components.words]\npath = {:?}\n", prebuilt("text"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    assert_snapshot!(diff(folder.path(), &["words", &prebuilt("text")]), @r"
    --- stdout
    no difference: both are [digest]
    --- exit 0
    ");
}

#[test]
fn what_is_no_component_is_told_and_compared_with_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.wasm"), "not wasm").expect("written");
    std::fs::write(folder.path().join("core.wasm"), b"\0asm\x01\0\0\0").expect("written");
    std::fs::create_dir(folder.path().join("folder")).expect("made");
    assert_snapshot!(diff(folder.path(), &["text.wasm", "core.wasm"]), @r#"
    --- stderr
    error: `text.wasm` cannot be used: it is no WebAssembly component
    --- exit 2
    "#);
    assert_snapshot!(diff(folder.path(), &["core.wasm", "text.wasm"]), @r#"
    --- stderr
    error: `core.wasm` cannot be used: it is a core module, not a component; build it for `wasm32-wasip2`, or wrap it with `wasm-tools component new`
    --- exit 2
    "#);
    assert_snapshot!(diff(folder.path(), &["folder", "text.wasm"]), @r#"
    --- stderr
    error: `folder` cannot be read: it is no file
    --- exit 2
    "#);
    assert_snapshot!(diff(folder.path(), &["nowhere.wasm", "text.wasm", "--json"]), @r#"
    --- stdout
    {
      "ok": false,
      "faults": [
        "`nowhere.wasm` cannot be read: No such file or directory (os error 2)"
      ]
    }
    --- exit 2
    "#);
}
