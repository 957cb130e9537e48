//! `toolpost list`: which tools are chosen, and how they are defined for models.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, toolpost};

/// A folder whose settings have four components, with labels and a default.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!(
        "[components.text]\npath = {:?}\nlabels = [\"words\"]\n\
         tools.replace = {{ labels = [\"changing\"], defaults = {{ replacement = \"\" }} }}\n\
         [components.kitchen]\npath = {:?}\n\
         [components.files]\npath = {:?}\nlabels = [\"disk\"]\ngrants.dirs = [{{ host = \".\", guest = \"/data\", access = \"write\" }}]\n\
         [components.fetch]\npath = {:?}\ngrants.net = [{{ to = \"https://example.com/**\" }}]\n",
        prebuilt("text"),
        prebuilt("kitchen"),
        prebuilt("files"),
        prebuilt("fetch"),
    );
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

/// The definitions, and what is said beside them.
fn definitions(folder: &TempDir, args: &[&str]) -> (Value, String) {
    let output = toolpost(folder.path(), args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let stderr = String::from_utf8(output.stderr).expect("text");
    (serde_json::from_slice(&output.stdout).expect("JSON"), stderr)
}

#[test]
fn every_form_defines_the_tools_in_its_own_words() {
    let _filters = filters();
    let folder = folder();
    let tools = ["text_replace", "kitchen_echo_shape", "kitchen_nothing_in"];
    for (form, strict) in [
        ("openai", false),
        ("openai", true),
        ("openai-responses", true),
        ("anthropic", false),
        ("anthropic", true),
        ("gemini", false),
        ("mcp", false),
    ] {
        let more: &[&str] = if strict { &["--strict"] } else { &[] };
        let args = [&["list", "--format", form], tools.as_slice(), more].concat();
        let name = if strict { format!("defined-{form}-strict") } else { format!("defined-{form}") };
        assert_snapshot!(name, run(&folder, &args));
    }
}

#[test]
fn what_a_client_of_mcp_may_think_of_a_tool_follows_from_its_grants() {
    let folder = folder();
    let (tools, _) = definitions(&folder, &["list", "--format", "mcp"]);
    let hints = |name: &str| {
        let tool = tools.as_array().expect("a list").iter().find(|tool| tool["name"] == name).expect(name);
        ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"]
            .map(|hint| tool["annotations"][hint].clone())
    };
    assert_eq!(hints("text_echo"), [true, false, true, false]);
    assert_eq!(hints("files_read"), [false, false, false, false]);
    let names = tools.as_array().expect("a list").iter().filter_map(|tool| tool["name"].as_str());
    let fetching: Vec<&str> = names.filter(|name| name.starts_with("fetch_")).collect();
    assert!(!fetching.is_empty());
    for name in fetching {
        assert_eq!(hints(name), [true, false, false, true], "{name}");
    }
}

#[test]
fn a_strict_definition_accepts_a_call_that_leaves_out_what_it_may() {
    let folder = folder();
    let (tools, beside) = definitions(&folder, &["list", "text_replace", "--format", "openai", "--strict"]);
    assert_eq!(beside, "");
    let schema = &tools[0]["function"]["parameters"];
    let arguments = serde_json::json!({"text": "a1b2", "pattern": "[0-9]", "replacement": null});
    assert!(jsonschema::draft202012::is_valid(schema, &arguments), "{schema}");
    // The default of the settings stands in.
    let call = run(&folder, &["call", "text_replace", "--args", &arguments.to_string()]);
    assert_eq!(call, "--- stdout\nab\n--- exit 0");
}

#[test]
fn all_tools_can_be_defined_strictly_for_openai_and_as_many_as_there_is_room_for_for_anthropic() {
    let folder = folder();
    for form in ["openai", "openai-responses"] {
        let (tools, beside) = definitions(&folder, &["list", "--format", form, "--strict"]);
        let strict = |tool: &&Value| tool["strict"] == true || tool["function"]["strict"] == true;
        let tools = tools.as_array().expect("a list");
        assert_eq!((tools.iter().filter(strict).count(), beside.as_str()), (tools.len(), ""), "{form}");
    }
    let (tools, beside) = definitions(&folder, &["list", "kitchen_*", "--format", "anthropic", "--strict"]);
    let strict = tools.as_array().expect("a list").iter().filter(|tool| tool["strict"] == true).count();
    assert!((10..=20).contains(&strict), "{strict}");
    assert!(beside.lines().all(|line| line.starts_with("warning: not strict: `kitchen_")), "{beside}");
    assert!(
        beside.contains(" more: there would be 21 strict tools, and all strict tools of a request may have 20"),
        "{beside}"
    );
}

#[test]
fn tools_are_chosen_by_name_and_by_label() {
    let folder = folder();
    assert_snapshot!(run(&folder, &["list", "--label", "words"]), @"
    --- stdout
     TOOL             EFFECT  TAKES                        LABELS           DESCRIPTION
     text_echo        pure    text                         words            Returns the text unchanged
     text_replace     pure    text, pattern, replacement?  changing, words  Replaces every match of a regular expression in a text and returns the new text
     text_word_count  pure    text                         words            Counts the words, lines and characters of a text
    --- exit 0
    ");
    assert_snapshot!(run(&folder, &["list", "*_replace", "files_re*", "--label", "changing", "--label", "disk"]), @"
    --- stdout
     TOOL          EFFECT  TAKES                        LABELS           DESCRIPTION
     files_read    writes  path, from_line?, lines?     disk             Returns a text file, or some lines of it
     text_replace  pure    text, pattern, replacement?  changing, words  Replaces every match of a regular expression in a text and returns the new text
    --- exit 0
    ");
    let list = toolpost(folder.path(), &["list", "text_*", "--label", "changing", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    assert_eq!(list["tools"][0]["labels"], serde_json::json!(["changing", "words"]));
    assert_snapshot!(run(&folder, &["list", "--label", "wrods"]), @"
    --- stderr
    error: no tool has the label `wrods`; did you mean `words`?
    --- exit 2
    ");
    assert_snapshot!(run(&folder, &["list", "text_ehco", "--format", "gemini"]), @"
    --- stderr
    error: no tool is named `text_ehco`; did you mean `text_echo`?
    --- exit 2
    ");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let folder = folder();
    for form in ["gemini", "mcp"] {
        let page = run(&folder, &["list", "--format", form, "--strict"]);
        let wanted = format!("--- stderr\nerror: `{form}` has no strict definitions; leave `--strict` out\n--- exit 2");
        assert_eq!(page, wanted);
    }
    for args in [&["list", "--strict"] as &[_], &["list", "--json", "--format", "mcp"], &["list", "--format", "ours"]] {
        assert!(run(&folder, args).ends_with("--- exit 2"), "{args:?}");
    }
    assert_snapshot!(run(&folder, &["list", "[a"]), @"
    --- stderr
    error: invalid value '[a' for '[GLOB]...': `[a`: unclosed character class; missing ']'

    For more information, try '--help'.
    --- exit 2
    ");
    std::fs::write(folder.path().join("toolpost.toml"), "[components.x]\npath = \"x.wasm\"\nlabels = [\"Big\"]\n")
        .expect("written");
    assert_snapshot!(run(&folder, &["list"]), @"
    --- stderr
    error: toolpost.toml:3: `Big` is no label: it has 1 to 40 characters of a-z, 0-9, `_` and `-`
    --- exit 2
    ");
}
