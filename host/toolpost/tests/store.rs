//! The folder of what is kept, in the hands of several hosts at once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;
use toolpost::approve::{Answered, Desk, State};
use toolpost::core::catalog::shape::Shape;
use toolpost::core::check::approve::{Answer, Choice};
use toolpost::{Builder, Call, EffectClass, Native, Store};

#[tokio::test]
async fn what_several_hosts_write_at_once_is_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("kept");
    let stores = [Store::at(&dir), Store::at(&dir)];
    let mut setup = stores[0].state().await.unwrap().write().await.unwrap();
    sqlx::query("CREATE TABLE counts (number INTEGER)").execute(&mut *setup).await.unwrap();
    sqlx::query("INSERT INTO counts VALUES (0)").execute(&mut *setup).await.unwrap();
    setup.commit().await.unwrap();
    let count = async |store: &Store| {
        for _ in 0..50 {
            let mut write = store.state().await.unwrap().write().await.unwrap();
            let row = sqlx::query("SELECT number FROM counts").fetch_one(&mut *write).await.unwrap();
            let number: i64 = row.get(0);
            sqlx::query("UPDATE counts SET number = ?").bind(number + 1).execute(&mut *write).await.unwrap();
            write.commit().await.unwrap();
        }
    };
    tokio::join!(count(&stores[0]), count(&stores[1]));
    let read = stores[1].state().await.unwrap().read();
    let number: i64 = sqlx::query("SELECT number FROM counts").fetch_one(read).await.unwrap().get(0);
    assert_eq!(number, 100);
}

#[tokio::test]
async fn nobody_else_may_look_into_the_folder_and_nothing_is_made_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("kept");
    let store = Store::at(&dir);
    assert!(!dir.exists());
    store.log().await.unwrap();
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_that_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::at(file.path().join("below")).state().await.unwrap_err();
    assert!(error.to_string().starts_with("the store: "), "{error}");
}

#[tokio::test]
async fn what_was_written_in_an_answer_is_on_no_disk_once_it_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::at(folder.path()));
    let tool = Native::new("wipe", "").effect(EffectClass::Destroys).parameter("path", Shape::String);
    let host = Builder::new().store(store.clone()).native(tool, |_| async { Ok(json!(null)) }).build().await.unwrap();
    for choice in [
        Choice::Edit { arguments: json!({"path": "TOPSECRET".repeat(1_000)}) },
        Choice::Answer { value: json!(["TOPSECRET"]) },
    ] {
        let call = tokio::spawn({
            let host = host.clone();
            async move { host.call(Call::new("wipe", json!({"path": "a"}))).await }
        });
        let (desk, question) = loop {
            let desk = Desk::of(&Arc::new(Store::at(folder.path())));
            if let [filed] = &desk.pending().await.unwrap()[..] {
                break (desk, filed.question.clone());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let answer = Answer { choice, by: "bob".into() };
        assert_eq!(desk.answer(&question, &answer).await.unwrap(), Answered::Taken);
        call.await.unwrap().result.unwrap();
        assert_eq!(desk.find(&question.id).await.unwrap()[0].state, State::Answered(answer.masked()));
        // The host still has its store open.
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let name = file.file_name();
            let is_log = name.to_string_lossy().starts_with("log.db");
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(is_log || !bytes.windows(9).any(|part| part == b"TOPSECRET"), "{name:?}");
        }
    }
}
