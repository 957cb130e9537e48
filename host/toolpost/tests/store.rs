//! The folder of what is kept, in the hands of several hosts at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;
use toolpost::approve::{Answered, Desk, State};
use toolpost::core::catalog::shape::Shape;
use toolpost::core::check::approve::{Answer, Choice};
use toolpost::{Builder, Call, EffectClass, Native, Settings, Store};

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
async fn hosts_that_open_a_new_folder_at_once_all_get_it() {
    for _ in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let open = (0..8).map(|_| {
            let store = Store::at(folder.path().join("kept"));
            tokio::spawn(async move { store.state().await.map(drop).map_err(|error| error.to_string()) })
        });
        for opened in open.collect::<Vec<_>>() {
            assert_eq!(opened.await.unwrap(), Ok(()));
        }
    }
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

/// A file of the store, but for the log, that holds those bytes.
fn holding(folder: &Path, wanted: &[u8]) -> Option<String> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let mut files = files.filter(|file| !file.file_name().to_string_lossy().starts_with("log.db"));
    // One that is gone by now holds nothing.
    let holds = |path: &Path| std::fs::read(path).unwrap_or_default().windows(wanted.len()).any(|part| part == wanted);
    files.find(|file| holds(&file.path())).map(|file| file.file_name().to_string_lossy().into_owned())
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
        // It is left out behind the call's end, so that no caller waits for it; and the host still has its store open.
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        while let Some(name) = holding(folder.path(), b"TOPSECRET") {
            assert!(tokio::time::Instant::now() < until, "{name}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(desk.find(&question.id).await.unwrap()[0].state, State::Answered(answer.masked()));
    }
}

/// A store that was used before.
async fn used() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("kept");
    Store::at(&dir).state().await.unwrap();
    (folder, dir)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The settings of a host whose store is that folder.
fn settings(dir: &Path) -> Settings {
    let text = format!("store.dir = {}", json!(dir));
    Settings::parse(&text, Path::new("toolpost.toml")).unwrap()
}

#[tokio::test]
async fn a_folder_or_database_that_others_can_write_is_refused_with_what_would_help() {
    for (name, mode) in [("", 0o770), ("", 0o702), ("state.db", 0o620), ("state.db", 0o606)] {
        let (_folder, dir) = used().await;
        let open = if name.is_empty() { dir.clone() } else { dir.join(name) };
        set_mode(&open, mode);
        let error = Store::at(&dir).state().await.unwrap_err().to_string();
        let shown = open.display();
        let words = format!("`{shown}` can be written by others; `chmod go-w {shown}` would make it yours alone");
        assert_eq!(error, format!("the store: {words}"));
        set_mode(&open, if name.is_empty() { 0o755 } else { 0o644 });
        Store::at(&dir).state().await.expect("others may look where somebody has let them");
    }
}

#[tokio::test]
async fn what_belongs_to_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can make it so.
    }
    let (_folder, dir) = used().await;
    std::os::unix::fs::chown(&dir, Some(12_345), None).unwrap();
    let error = Store::at(&dir).key().unwrap_err().to_string();
    let words = format!("`{}` belongs to another user; name a folder of your own as `store.dir`", dir.display());
    assert_eq!(error, format!("the store: {words}"));
}

#[tokio::test]
async fn rules_that_others_can_have_written_allow_nothing() {
    for open in ["rules.toml", ""] {
        let (_folder, dir) = used().await;
        std::fs::write(dir.join("rules.toml"), "[[always]]\ntools = [\"*\"]\n").unwrap();
        set_mode(&dir.join("rules.toml"), 0o600);
        let tool = || Native::new("wipe", "").effect(EffectClass::Destroys);
        let load = async || {
            let builder = Builder::new().settings(settings(&dir)).native(tool(), |_| async { Ok(json!(1)) });
            let loaded = builder.load().await;
            (loaded.host.call(Call::new("wipe", json!({}))).await.result, loaded.faults)
        };
        assert!(load().await.0.is_ok());
        let open = dir.join(open);
        set_mode(&open, 0o777);
        let (result, faults) = load().await;
        assert!(result.unwrap_err().message.contains("the rules in the store cannot be read"));
        let fault = faults[0].to_string();
        assert!(fault.contains("can be written by others; `chmod go-w "), "{fault}");
    }
}

#[tokio::test]
async fn databases_are_for_the_user_alone_whatever_others_may_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    store.state().await.unwrap().write().await.unwrap().commit().await.unwrap();
    store.log().await.unwrap();
    for name in ["state.db", "state.db-wal", "log.db"] {
        let mode = folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_folder_without_a_name_is_a_fault() {
    for key in ["store.dir", "host.cache"] {
        let faults = Settings::parse(&format!("{key} = \"\""), Path::new("toolpost.toml")).unwrap_err();
        let words = "toolpost.toml:1: expected the name of a folder; leave the key out for the default";
        assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [words]);
    }
}
