//! Whatever keeps keys and values keeps them the same way: one suite, and every backend goes through all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod conformance;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod server;

use std::sync::Arc;

use tempfile::TempDir;
use toolpost::Store;
use toolpost::kv::sqlite::KvTable;
use toolpost::wasm::Memory;
use toolpost::wasm::kv::Backend;

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
#[cfg(feature = "redis")]
suite!(on_redis, redis::of_its_own);

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
