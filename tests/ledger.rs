//! Idempotency keys on the command line: what was done is answered again, and an operator sees and settles what is not known.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use toolpost::core::guard::replay::settings::OnCrash;
use toolpost::core::guard::replay::{
    Asked, Begin, Book, Claim, Fenced, Fingerprint, Known, RecordKey, Release, ToolId,
};
use toolpost::store::ledger::LedgerTable;
use toolpost::{CallId, Store};
use toolpost_tests::{filters, page, prebuilt, toolpost};

const SETTINGS: &str = r#"
store.dir = "kept"
[components.text]
path = "text.wasm"
[components.text.tools.echo]
effect = "writes"
[components.text.tools.word-count]
effect = "writes"
guard.idempotency.key = "args"
[components.text.tools.replace]
effect = "writes"
guard.idempotency = { key = { fields = ["/text"] }, hash = "sha256", scope = [] }
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(prebuilt("text"), folder.path().join("text.wasm")).expect("copied");
    std::fs::write(folder.path().join("toolpost.toml"), SETTINGS).expect("written");
    folder
}

fn run(folder: &Path, args: &[&str]) -> String {
    page(&toolpost(folder, args))
}

fn run_json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_slice(&toolpost(folder, args).stdout).expect("JSON")
}

/// What changes from run to run.
fn shown() -> (impl Drop, impl Drop) {
    let outer = filters();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"/[0-9a-v]{50,52}\b", "/[hash]");
    settings.add_filter(r"(?m)^ [0-9a-v]{10} ", " [hash]     ");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[instant]");
    settings.add_filter(r"\((in )?[0-9a-z]+( [0-9a-z]+)?( ago)?\)", "([span])");
    settings.add_filter(r"\b\d+s ago", "[span] ago");
    (settings.bind_to_scope(), outer)
}

/// Puts a key into the store of which nobody knows whether its call had its effect.
fn unknown(folder: &Path, hash: &str) -> String {
    let key = RecordKey::of_text(&format!("v1/text_echo/caller/{hash}")).expect("a key");
    let asked = Asked {
        key: key.clone(),
        claim: Arc::new(Claim {
            fingerprint: Fingerprint([1; 32]),
            tool: Arc::new(ToolId { name: "text_echo".into(), digest: None }),
            caller: "ann".into(),
            call: CallId::given("call_00000000000000000000"),
        }),
        on_crash: OnCrash::Unknown,
        known: Known::default(),
    };
    let book = Book::new(Arc::new(LedgerTable::new(Arc::new(Store::at(folder.join("kept"))))));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let begin = book.begin(&asked, Duration::from_secs(60)).await.expect("a store");
        let Begin::Acquired { fence, .. } = begin else { panic!("{begin:?}") };
        let marked = book.mark_effects(&key, fence, "orders.create 7").await.expect("a store");
        let left = book.release(&key, fence, Release::Unknown).await.expect("a store");
        assert_eq!([marked, left], [Fenced::Held; 2]);
    });
    key.to_string()
}

#[test]
fn a_call_with_the_same_key_gets_the_same_answer_from_another_process() {
    let folder = folder();
    let call = |text: &str, key: &str| {
        let args = ["call", "text_echo", text, "--key", key, "--caller", "ann", "--json"];
        let outcome = run_json(folder.path(), &args);
        (
            outcome["report"]["idempotency"]["how"].clone(),
            outcome["output"]["value"].clone(),
            outcome["error"]["kind"].clone(),
        )
    };
    assert_eq!(call("text=one", "k"), ("new".into(), "one".into(), Value::Null));
    assert_eq!(call("text=one", "k"), ("replayed".into(), "one".into(), Value::Null));
    assert_eq!(call("text=two", "k"), (Value::Null, Value::Null, "key_reused".into()));
    assert_eq!(call("text=two", "l"), ("new".into(), "two".into(), Value::Null));
    let by_bob = ["call", "text_echo", "text=one", "--key", "k", "--caller", "bob", "--json"];
    assert_eq!(run_json(folder.path(), &by_bob)["report"]["idempotency"]["how"], "new");
    let _filters = shown();
    let refused = ["call", "text_echo", "text=three", "--key", "k", "--caller", "ann"];
    assert_snapshot!(run(folder.path(), &refused), @"
    --- stderr
    error: key_reused: this idempotency key was used with other arguments; take another key, or call with the same arguments
    --- exit 3
    ");
    for name in ["call-new", "call-replayed"] {
        assert_snapshot!(name, run(folder.path(), &["call", "text_word_count", "text=a b", "-v"]));
    }
}

#[test]
fn keys_are_listed_shown_and_forgotten() {
    let folder = folder();
    let _filters = shown();
    assert_snapshot!(run(folder.path(), &["ledger", "list"]), @"
    --- stderr
    no key is remembered
    --- exit 0
    ");
    let outcome = run_json(folder.path(), &["call", "text_word_count", "text=a b", "--caller", "ann", "--json"]);
    let key = outcome["report"]["idempotency"]["key"].as_str().expect("a key").to_owned();
    unknown(folder.path(), "0123456789abcdefghijklmnopqrstuv0123456789abcdefghij");
    assert_snapshot!("list", run(folder.path(), &["ledger", "list"]));
    assert_snapshot!("list-json", run(folder.path(), &["ledger", "list", "--tool", "text_word_count", "--json"]));
    assert_snapshot!(run(folder.path(), &["ledger", "list", "--state", "failed"]), @"
    --- stderr
    no key is remembered
    --- exit 0
    ");
    assert_snapshot!("list-wrong", run(folder.path(), &["ledger", "list", "--state", "lost"]));
    assert_snapshot!("show", run(folder.path(), &["ledger", "show", &key]));
    assert_snapshot!("show-json", run(folder.path(), &["ledger", "show", &key, "--json"]));
    assert_snapshot!("show-unknown", run(folder.path(), &["ledger", "show", "012345"]));
    assert_snapshot!(run(folder.path(), &["ledger", "show", "zzz"]), @"
    --- stderr
    error: no key `zzz` is remembered; `toolpost ledger list` shows those that are
    --- exit 2
    ");
    assert_snapshot!(run(folder.path(), &["ledger", "forget", &key]), @"
    --- stdout
    v1/text_word_count/args/[hash]: forgotten
    --- exit 0
    ");
    let outcome = run_json(folder.path(), &["call", "text_word_count", "text=a b", "--caller", "ann", "--json"]);
    assert_eq!(outcome["report"]["idempotency"]["how"], "new");
}

#[test]
fn what_is_unknown_is_settled_by_an_operator_and_what_is_known_is_not() {
    let folder = folder();
    let _filters = shown();
    for (start, truth) in [
        ("a", &["rerun"][..]),
        ("b", &["done", "--result", "{\"n\": 1}"][..]),
        ("c", &["failed", "--message", "the order was refused"][..]),
    ] {
        let key = unknown(folder.path(), &format!("{start}123456789abcdefghijklmnopqrstuv0123456789abcdefghij"));
        let resolve = [&["ledger", "resolve", start][..], truth].concat();
        assert_snapshot!(format!("resolve-{}", truth[0]), run(folder.path(), &resolve));
        assert_snapshot!(format!("resolved-{}", truth[0]), run(folder.path(), &["ledger", "show", &key]));
        let again = toolpost(folder.path(), &resolve);
        assert_eq!(again.status.code(), Some(3), "{}", page(&again));
    }
    unknown(folder.path(), "d123456789abcdefghijklmnopqrstuv0123456789abcdefghij");
    for wrong in [&["rerun", "--result", "1"][..], &["done", "--message", "x"][..], &["done", "--result", "{"][..]] {
        let resolve = toolpost(folder.path(), &[&["ledger", "resolve", "d"][..], wrong].concat());
        assert_eq!(resolve.status.code(), Some(2), "{}", page(&resolve));
    }
}

#[test]
fn a_key_of_fields_that_a_tool_does_not_take_is_a_fault() {
    let folder = folder();
    let settings = SETTINGS.replace("[\"/text\"]", "[\"/txet\", \"/text\", \"/~1/0\"]");
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    assert_snapshot!(run(folder.path(), &["check"]), @"
    --- stderr
    error: component `text`: `replace` (line 10): `guard.idempotency` makes its key from `/txet`, `/~1/0`, which it does not take
    --- exit 2
    ");
}
