//! The guest `dynamo` with a table of DynamoDB, as its README says it: items with types, conditions on versions, and an end. The table
//! is a stand-in that checks signatures and knows conditions as the service does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../host/toolpost/tests/kv/table.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]
mod table;

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost_tests::{page, prebuilt, root, toolpost};

use self::table::{ACCESS_KEY, REGION, SECRET_KEY, TableServer};

/// A folder with the first settings of the guest's README, whose table is the stand-in.
fn folder(server: &TableServer) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = std::fs::read_to_string(root().join("guest-examples/dynamo/README.md")).expect("it is there");
    let (_, settings) = text.split_once("```toml\n").expect("settings");
    let settings = settings.split_once("```").expect("their end").0;
    assert!(settings.contains(ACCESS_KEY) && settings.contains(REGION), "{settings}");
    let settings = settings
        .replace("guest-examples/prebuilt/dynamo.wasm", &prebuilt("dynamo"))
        .replace("env = \"AWS_SECRET_ACCESS_KEY\"", "file = \"key\"")
        .replace("\n\n[components", &format!("\nendpoint = \"http://{}\"\n\n[components", server.address));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    std::fs::write(folder.path().join("key"), SECRET_KEY).expect("written");
    folder
}

/// What a tool answers, or all that was printed.
fn call(folder: &TempDir, tool: &str, arguments: &[&str]) -> Result<Value, String> {
    let tool = format!("dynamo_{tool}");
    let output = toolpost(folder.path(), &[&["call", &tool, "--json"], arguments].concat());
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|_| page(&output))?;
    match said["ok"].as_bool() {
        Some(true) => {
            let value = &said["output"]["value"];
            // An answer in parts is one part of JSON here.
            Ok(value["json"].as_str().map_or_else(|| value.clone(), |text| serde_json::from_str(text).unwrap()))
        }
        _ => {
            Err(format!("{}: {}", said["error"]["kind"].as_str().unwrap(), said["error"]["message"].as_str().unwrap()))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_have_types_and_are_found_by_how_their_keys_begin() {
    let server = TableServer::start().await;
    let folder = folder(&server);
    let call = |tool: &str, arguments: &[&str]| call(&folder, tool, arguments);
    let attributes = r#"attributes=[{"name": "city", "value": {"text": "Köln"}}, {"name": "visits", "value": {"integer": 41}},
        {"name": "rate", "value": {"float": 0.5}}, {"name": "tags", "value": {"texts": ["a", "b"]}}, {"name": "gone", "value": "null"},
        {"name": "is new", "value": {"boolean": true}}, {"name": "more", "value": {"json": "{\"x\": [1, null]}"}}]"#;
    let version = call("put_item", &["key=users/ann", attributes]).unwrap();
    let whole = json!({
        "city": "Köln", "visits": 41, "rate": 0.5, "tags": ["a", "b"], "gone": null, "is new": true, "more": {"x": [1, null]},
    });
    let item = json!({"key": "users/ann", "version": version.to_string().replace('"', ""), "attributes": whole});
    assert_eq!(call("get_item", &["key=users/ann"]), Ok(item));
    assert_eq!(call("get_item", &["key=users/nobody"]), Ok(Value::Null));
    let changed = call(
        "update_item",
        &[
            "key=users/ann",
            r#"add=[{"name": "visits", "by": 1}, {"name": "points", "by": -2}]"#,
            r#"remove=["gone", "more", "tags", "rate"]"#,
            r#"set=[{"name": "city", "value": {"text": "Bonn"}}]"#,
        ],
    );
    let then = json!({"city": "Bonn", "is new": true, "points": -2, "visits": 42});
    assert_eq!(changed.unwrap()["attributes"], then);
    for key in ["key=users/bob", "key=users/eve", "key=orders/1"] {
        call("put_item", &[key, "attributes=[]"]).unwrap();
    }
    let none = json!({});
    let of = |key: &str, attributes: &Value| json!({"key": key, "attributes": attributes});
    let page = call("query", &["begins_with=users/", "limit=2"]).unwrap();
    assert_eq!(page["items"], json!([of("users/ann", &then), of("users/bob", &none)]));
    let cursor = format!("cursor={}", page["cursor"].as_str().unwrap());
    let rest = call("query", &["begins_with=users/", "limit=2", &cursor]);
    assert_eq!(rest, Ok(json!({"items": [of("users/eve", &none)]})));
    assert_eq!(call("query", &[]).unwrap()["items"].as_array().unwrap().len(), 4);
    let wrong = call("update_item", &["key=users/ann", r#"add=[{"name": "city", "by": 1}]"#]).unwrap_err();
    assert_eq!(wrong, "invalid_arguments: the attribute `city` is no whole number");
    let twice = r#"attributes=[{"name": "a", "value": "null"}, {"name": "a", "value": "null"}]"#;
    let wrong = call("put_item", &["key=a", twice]).unwrap_err();
    assert_eq!(wrong, "invalid_arguments: the attribute `a` is there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_is_written_and_deleted_only_as_it_was_read() {
    let server = TableServer::start().await;
    let folder = folder(&server);
    let call = |tool: &str, arguments: &[&str]| call(&folder, tool, arguments);
    let number = |value: &Value| value.to_string().replace('"', "");
    let first = number(&call("put_item", &["key=a", "attributes=[]", "condition=absent"]).unwrap());
    let told =
        format!("invalid_arguments: the item `a` has the version {first} now; read it again before you change it");
    assert_eq!(call("put_item", &["key=a", "attributes=[]", "condition=absent"]), Err(told));
    let only_if = |version: &str| format!("condition={{\"version\": {version}}}");
    let second = number(&call("put_item", &["key=a", "attributes=[]", &only_if(&first)]).unwrap());
    assert_ne!(first, second);
    for (tool, last) in [
        ("put_item", vec!["attributes=[]".to_owned(), only_if(&first)]),
        ("update_item", vec![format!("version={first}")]),
        ("delete_item", vec![format!("version={first}")]),
    ] {
        let last: Vec<&str> = last.iter().map(String::as_str).collect();
        let error = call(tool, &[&["key=a"], &last[..]].concat()).unwrap_err();
        assert!(error.contains(&format!("has the version {second} now")), "{tool}: {error}");
    }
    let none = "invalid_arguments: there is no item `b`".to_owned();
    assert_eq!(call("update_item", &["key=b", "version=1"]), Err(none.clone()));
    assert_eq!(call("put_item", &["key=b", "attributes=[]", &only_if("1")]), Err(none));
    assert_eq!(call("delete_item", &["key=a", &format!("version={second}")]), Ok(json!(true)));
    assert_eq!(call("get_item", &["key=a"]), Ok(Value::Null));
    assert_eq!(call("delete_item", &["key=a", &format!("version={second}")]), Ok(json!(false)));
    // The key is free for whoever wants one that is not there.
    call("put_item", &["key=a", "attributes=[]", "condition=absent"]).unwrap();
    assert_eq!(call("delete_item", &["key=a"]), Ok(json!(true)));
    assert_eq!(call("delete_item", &["key=a"]), Ok(json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_ends_when_its_time_is_over_and_an_update_leaves_it_that_end() {
    let server = TableServer::start().await;
    let folder = folder(&server);
    let call = |tool: &str, arguments: &[&str]| call(&folder, tool, arguments);
    call("put_item", &["key=a", "attributes=[]", "ttl_seconds=3600"]).unwrap();
    let ends = call("update_item", &["key=a", r#"add=[{"name": "n", "by": 1}]"#]).unwrap();
    let left = ends["ttl_seconds"].as_u64().unwrap();
    assert!((3_000..=3_600).contains(&left), "{ends}");
    call("update_item", &["key=a", "ttl_seconds=1"]).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(call("get_item", &["key=a"]), Ok(Value::Null));
    assert_eq!(call("query", &[]), Ok(json!({"items": []})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_says_no_and_a_grant_that_does_not_reach_are_told_apart() {
    let server = TableServer::start().await;
    let folder = folder(&server);
    *server.table.says.lock().unwrap() = Some(("GetItem", 400, "ProvisionedThroughputExceededException"));
    let away = call(&folder, "get_item", &["key=a"]).unwrap_err();
    assert!(away.contains("the store of the items does not answer"), "{away}");
    *server.table.says.lock().unwrap() = None;
    let file = folder.path().join("toolpost.toml");
    let settings = std::fs::read_to_string(&file).unwrap().replace(", access = \"write\"", "");
    std::fs::write(&file, settings).unwrap();
    let denied = call(&folder, "put_item", &["key=a", "attributes=[]"]).unwrap_err();
    assert!(denied.starts_with("capability_denied: the tool may not change `items/a`"), "{denied}");
    let sheet = page(&toolpost(folder.path(), &["inspect", &prebuilt("dynamo")]));
    assert!(sheet.contains("grants  kv read items (in the store cloud)"), "{sheet}");
    assert!(!sheet.contains(SECRET_KEY));
}
