//! Tools that a session or a task brings along: components with settings of their own, above those of a host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use toolpost::{Builder, Call, EffectClass, ErrorKind, Host, Loaded, Native, Outcome, Settings};

const PREBUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt");

fn settings(folder: &TempDir, text: &str) -> Settings {
    let text = text.replace("PREBUILT", PREBUILT);
    let file = folder.path().join("toolpost.toml");
    Settings::parse(&text, &file).unwrap_or_else(|faults| panic!("{faults:?}"))
}

async fn host(folder: &TempDir) -> Loaded {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
    let text = format!(
        "host.cache = {}\nsecrets.TOKEN.file = \"token\"\n[components.text]\npath = \"PREBUILT/text.wasm\"\n",
        json!(cache)
    );
    std::fs::write(folder.path().join("token"), "a secret of the host").unwrap();
    let loaded = Builder::new().settings(settings(folder, &text)).in_memory().load().await;
    assert_eq!(loaded.faults, []);
    loaded
}

async fn count(host: &Host) -> Outcome {
    host.call(Call::new("text_word_count", json!({"text": "one two"}))).await
}

#[tokio::test]
async fn a_session_brings_components_with_limits_of_their_own() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let loaded = host(&folder).await;
    let brought = "limits.fuel = 10\n[components.text]\npath = \"PREBUILT/text.wasm\"\n\
                   [components.divide]\npath = \"PREBUILT/divide.wasm\"\nlimits.fuel = 100_000\n";
    let builder = Builder::new().settings(settings(&other, brought));
    let builder = builder.native(Native::new("mine", "").effect(EffectClass::Pure), |_| async { Ok(json!(1)) });
    let session = loaded.host.scoped(loaded.tool_set("session-1", builder).await.unwrap()).unwrap();
    assert_eq!(count(&loaded.host).await.result.unwrap().value["words"], 2);
    let error = count(&session).await.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfFuel, "{error}");
    let divided = session.call(Call::new("divide_divide", json!({"dividend": 1, "divisor": 2}))).await;
    assert_eq!(divided.result.unwrap().value, json!(0.5));
    assert_eq!(session.call(Call::new("mine", json!({}))).await.result.unwrap().value, 1);
    assert!(loaded.host.catalog().get("mine").is_none() && loaded.host.catalog().get("divide_divide").is_none());
}

#[tokio::test]
async fn a_set_in_which_anything_is_wrong_is_not_brought_along() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let loaded = host(&folder).await;
    let told = async |text: &str| {
        let builder = Builder::new().settings(settings(&other, text));
        loaded.tool_set("task-1", builder).await.map(|_| ()).unwrap_err().to_string()
    };
    let gone = told("[components.gone]\npath = \"gone.wasm\"\n").await;
    assert!(gone.starts_with("component `gone`: ") && gone.contains("No such file"), "{gone}");
    // Secrets are those of the host.
    let sends = |name: &str| {
        format!(
            "[components.fetch]\npath = \"PREBUILT/fetch.wasm\"\n\
             grants.net = [{{ to = \"https://example.com/**\", inject = {{ headers = {{ x-key = \"${{secret:{name}}}\" }} }} }}]\n"
        )
    };
    let unknown = told(&sends("TOKN")).await;
    assert!(unknown.contains("no secret is named `TOKN`; did you mean `TOKEN`?"), "{unknown}");
    let builder = Builder::new().settings(settings(&other, &sends("TOKEN")));
    assert!(loaded.tool_set("task-1", builder).await.is_ok());
    let named = loaded.tool_set("no name", Builder::new()).await.unwrap_err();
    assert!(named.to_string().starts_with("set `no name`: no set of tools can be named"), "{named}");
    assert!(!Path::new("toolpost.lock").exists());
}

#[tokio::test]
async fn what_one_session_keeps_no_other_one_finds_nor_does_the_host() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let notes = "[components.notes]\npath = \"PREBUILT/notes.wasm\"\ngrants.kv = [{ bucket = \"notes\", access = \"write\" }]\n\
                 [kv.default]\nkind = \"memory\"\n";
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
    let whole = settings(&folder, &format!("host.cache = {}\n{notes}", json!(cache)));
    let loaded = Builder::new().settings(whole).in_memory().load().await;
    assert_eq!(loaded.faults, []);
    let mut levels = vec![loaded.host.clone()];
    for name in ["session-1", "session-2"] {
        let set = loaded.tool_set(name, Builder::new().settings(settings(&other, notes))).await.unwrap();
        levels.push(loaded.host.scoped(set).unwrap());
    }
    for (at, host) in levels.iter().enumerate() {
        let stored = host.call(Call::new("notes_store", json!({"name": "n", "text": format!("of {at}")}))).await;
        assert!(stored.result.is_ok(), "{:?}", stored.result);
    }
    for (at, host) in levels.iter().enumerate() {
        let recalled = host.call(Call::new("notes_recall", json!({"name": "n"}))).await;
        assert_eq!(recalled.result.unwrap().value, json!(format!("of {at}")));
    }
}
