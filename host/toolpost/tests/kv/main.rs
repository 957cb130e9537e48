//! Whatever keeps keys and values keeps them the same way: one suite, and every backend goes through all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod conformance;
#[cfg(all(feature = "dynamodb", feature = "redis"))]
mod dynamodb;
#[cfg(all(feature = "dynamodb", feature = "redis"))]
mod redis;
#[cfg(all(feature = "dynamodb", feature = "redis"))]
mod server;
#[cfg(all(feature = "dynamodb", feature = "redis"))]
mod table;

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost::kv::sqlite::KvTable;
use toolpost::wasm::Memory;
use toolpost::wasm::kv::Backend;
use toolpost::{Builder, Call, Settings, Store};

/// A backend, and what it needs for as long as it is used.
type Made = (Arc<dyn Backend>, Option<Box<dyn Send>>);

async fn in_memory() -> Option<Made> {
    Some((Arc::new(Memory::default()), None))
}

async fn in_sqlite() -> Option<Made> {
    let folder = TempDir::new().unwrap();
    let table = KvTable::new(Arc::new(Store::at(folder.path().join("kept"))));
    Some((Arc::new(table), Some(Box::new(folder))))
}

suite!(memory, in_memory);
suite!(sqlite, in_sqlite);
#[cfg(all(feature = "dynamodb", feature = "redis"))]
suite!(on_redis, redis::of_its_own);
#[cfg(all(feature = "dynamodb", feature = "redis"))]
suite!(on_dynamodb, dynamodb::of_its_own);

#[expect(clippy::print_stdout, reason = "whoever looks is to know")]
fn skipped(what: &str) {
    println!("skipped: there is no {what} on this machine");
}

#[tokio::test]
async fn what_is_in_the_store_is_there_in_the_next_life_of_the_host() {
    let folder = TempDir::new().unwrap();
    let table = || KvTable::new(Arc::new(Store::at(folder.path().join("kept"))));
    let scope = conformance::scope("s");
    let set = conformance::set("a", "1");
    table().change(&scope, vec![set]).await.pop().unwrap().unwrap();
    let found = table().get(&scope, &["a".to_owned()]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().value, b"1");
}

#[tokio::test]
async fn what_is_in_memory_stays_when_the_settings_are_read_again_and_say_the_same_of_it() {
    let folder = TempDir::new().unwrap();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt/keys.wasm");
    let settings = |more: &str| {
        let text = format!(
            "[store]\ndir = \"kept\"\n[kv.fast]\nkind = \"memory\"\n{more}\n[components.keys]\npath = \"{guest}\"\n\
             grants.kv = [{{ bucket = \"b\", access = \"write\", store = \"fast\" }}]\n"
        );
        Settings::parse(&text, &folder.path().join("toolpost.toml")).unwrap()
    };
    let loaded = Builder::new().settings(settings("")).load().await;
    assert_eq!(loaded.faults, []);
    let reloader = loaded.reloader("toolpost.toml");
    let count = async || {
        let call = Call::new("keys_count", json!({"bucket": "b", "key": "n"}));
        reloader.host().call(call).await.result.unwrap().value
    };
    assert_eq!(count().await, json!(1));
    for more in ["", "[kv.other]\nkind = \"memory\"", "[host]\nmax_parallel = 2"] {
        let before = count().await.as_i64().unwrap();
        reloader.reload_with(settings(more)).await.unwrap();
        assert_eq!(count().await, json!(before + 1), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_at_once_share_the_few_connections_of_the_database() {
    let folder = TempDir::new().unwrap();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt/keys.wasm");
    let text = format!(
        "[host]\nmax_parallel = 200\n[kv.default]\nkind = \"sqlite\"\ntimeout = \"20s\"\n[components.keys]\n\
         path = \"{guest}\"\ngrants.kv = [{{ bucket = \"b\", access = \"write\" }}]\n"
    );
    let settings = Settings::parse(&text, &folder.path().join("toolpost.toml")).unwrap();
    let store = Arc::new(Store::at(folder.path().join("kept")));
    let host = Builder::new().settings(settings).store(store.clone()).build().await.unwrap();
    let call = |tool: &str, arguments: Value| host.call(Call::new(tool, arguments));
    let calls = join_all((0..200).map(|_| async {
        let sum = call("keys_count", json!({"bucket": "b", "key": "n"})).await.result.unwrap().value.as_i64().unwrap();
        let steps = json!({"bucket": "b", "steps": [{"get": "n"}]});
        let seen = call("keys_steps", steps).await.result.unwrap().value[0].as_str().unwrap().parse::<i64>().unwrap();
        // Whoever has been told that it was written sees it.
        assert!(seen >= sum, "{seen} {sum}");
        sum
    }));
    let mut sums = calls.await;
    sums.sort_unstable();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    assert!((1..=4).contains(&store.kv().await.unwrap().read().size()));
}
