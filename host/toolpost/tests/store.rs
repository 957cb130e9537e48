//! The folder of what is kept, in the hands of several hosts at once.

use std::os::unix::fs::PermissionsExt as _;

use sqlx::Row as _;
use toolpost::Store;

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
