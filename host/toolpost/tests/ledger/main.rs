//! The ledger on the disk: everything that a store of records must do, in the hands of one host and of several.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../../core/tests/ledger/conformance.rs"]
mod conformance;
mod crash;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use toolpost::Store;
use toolpost::core::guard::replay::{Begin, Book, Fenced, Query, Record};
use toolpost::store::ledger::LedgerTable;

async fn disk() -> (conformance::Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let table = LedgerTable::new(Arc::new(Store::at(folder.path())));
    (Arc::new(table), folder)
}

conformance!(disk);

#[tokio::test]
async fn of_many_hosts_on_one_folder_one_gets_each_key() {
    let folder = tempfile::tempdir().unwrap();
    // Opened anew, as another process would.
    let books: Vec<Book> =
        (0..4).map(|_| Book::new(Arc::new(LedgerTable::new(Arc::new(Store::at(folder.path())))))).collect();
    let claims = books.iter().flat_map(|book| {
        (0..10).map(move |number| {
            let book = book.clone();
            tokio::spawn(async move {
                let asked = conformance::asked(&format!("k{number}"));
                let begin = book.begin(&asked, Duration::from_secs(60)).await.unwrap();
                matches!(begin, Begin::Acquired { .. })
            })
        })
    });
    let mut acquired = 0;
    for claim in claims.collect::<Vec<_>>() {
        acquired += u32::from(claim.await.unwrap());
    }
    assert_eq!(acquired, 10);
}

#[tokio::test]
async fn expired_records_leave_the_disk_as_new_ones_come() {
    let (store, folder) = disk().await;
    let book = Book::new(store.clone());
    for number in 0..20 {
        let asked = conformance::asked(&format!("old{number}"));
        let fence = conformance::claim(&book, &asked, Duration::from_secs(60)).await;
        let ttl = Duration::from_millis(1);
        let _ = book.complete(&asked.key, fence, &conformance::ending("x"), ttl).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    for number in 0..3 {
        conformance::claim(&book, &conformance::asked(&format!("new{number}")), Duration::from_secs(60)).await;
    }
    let other = Store::at(folder.path());
    let rows = sqlx::query("SELECT * FROM ledger").fetch_all(other.state().await.unwrap().read()).await.unwrap();
    assert_eq!(rows.len(), 3);
    let all = Query { limit: 100, ..Query::default() };
    assert_eq!(store.list(&all).await.unwrap().records.len(), 3);
}

#[tokio::test]
async fn a_database_that_is_full_takes_no_new_key_and_ends_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let table = LedgerTable::new(Arc::new(Store::at(folder.path()))).holding(200_000);
    let book = Book::new(Arc::new(table));
    let (begun, lease) = (conformance::asked("begun"), Duration::from_secs(60));
    let fence = conformance::claim(&book, &begun, lease).await;
    let answer = conformance::ending(&"x".repeat(50_000));
    let mut kept = 0;
    let failure = loop {
        let asked = conformance::asked(&format!("a{kept}"));
        match book.begin(&asked, lease).await {
            Ok(Begin::Acquired { fence, .. }) => {
                assert_eq!(book.complete(&asked.key, fence, &answer, lease).await.unwrap(), Fenced::Held)
            }
            Ok(begin) => panic!("{begin:?}"),
            Err(failure) => break failure.to_string(),
        }
        kept += 1;
        assert!(kept < 100, "it is never full");
    };
    assert!(failure.contains("takes no new key; shorten `guard.idempotency.ttl`"), "{failure}");
    assert!(kept > 1, "{kept}");
    let ended = book.complete(&begun.key, fence, &conformance::ending("y"), lease).await.unwrap();
    assert_eq!(ended, Fenced::Held);
    assert_eq!(book.begin(&begun, lease).await.unwrap(), Begin::Finished(conformance::ending("y")));
}

#[tokio::test]
async fn a_row_that_a_later_version_wrote_is_a_failure_and_not_a_free_key() {
    let (store, folder) = disk().await;
    let book = Book::new(store.clone());
    let asked = conformance::asked("a");
    conformance::claim(&book, &asked, Duration::from_secs(60)).await;
    let other = Store::at(folder.path());
    let mut write = other.state().await.unwrap().write().await.unwrap();
    sqlx::query("UPDATE ledger SET state = 9").execute(&mut *write).await.unwrap();
    write.commit().await.unwrap();
    let failure = book.begin(&asked, Duration::from_secs(60)).await.unwrap_err();
    assert!(failure.to_string().contains("the state 9, which only a later version knows"), "{failure}");
}

#[tokio::test]
async fn a_large_answer_is_had_back_whole() {
    let (store, _folder) = disk().await;
    let key = conformance::key("large");
    let now = store.get(&key).await.unwrap().now_ms;
    let book = Book::new(store.clone());
    let asked = conformance::asked("large");
    let fence = conformance::claim(&book, &asked, Duration::from_secs(60)).await;
    let text = "\u{1f600}\n".repeat(1 << 20);
    let ending = conformance::ending(&text);
    let _ = book.complete(&key, fence, &ending, Duration::from_secs(60)).await.unwrap();
    let (Some(record), later): (Option<Record>, u64) = book.get(&key).await.unwrap() else { panic!("it is gone") };
    assert!(later >= now);
    assert_eq!(record.ending(), Some(&ending));
}

#[tokio::test]
async fn of_swaps_that_go_to_the_disk_together_one_that_fails_fails_alone() {
    let (store, folder) = disk().await;
    let book = Book::new(store);
    conformance::claim(&book, &conformance::asked("first"), Duration::from_secs(60)).await;
    let other = Store::at(folder.path());
    let mut write = other.state().await.unwrap().write().await.unwrap();
    let trigger = "CREATE TRIGGER wrong BEFORE INSERT ON ledger WHEN NEW.key LIKE '%wrong%' BEGIN \
                   SELECT RAISE(ABORT, 'not this one'); END";
    sqlx::query(trigger).execute(&mut *write).await.unwrap();
    write.commit().await.unwrap();
    let claims = (0..40).map(|number| {
        let book = book.clone();
        tokio::spawn(async move {
            let asked = conformance::asked(&format!("{}{number}", if number % 10 == 3 { "wrong" } else { "right" }));
            book.begin(&asked, Duration::from_secs(60)).await
        })
    });
    for (number, claim) in claims.collect::<Vec<_>>().into_iter().enumerate() {
        match claim.await.unwrap() {
            Ok(Begin::Acquired { .. }) => assert_ne!(number % 10, 3),
            Err(failure) => {
                assert_eq!(number % 10, 3);
                assert!(failure.to_string().contains("not this one"), "{failure}");
            }
            Ok(begin) => panic!("{begin:?}"),
        }
    }
}

#[test]
fn a_table_whose_runtime_ended_in_the_middle_of_a_swap_serves_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::at(folder.path()));
    for number in 0..20 {
        let book = Book::new(Arc::new(LedgerTable::new(store.clone())));
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        first.block_on(async {
            let begun = book.clone();
            tokio::spawn(async move {
                let _ = begun.begin(&conformance::asked(&format!("a{number}")), Duration::from_secs(60)).await;
            });
            // It ends a little later each time.
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
        });
        drop(first);
        let later = Book::new(Arc::new(LedgerTable::new(Arc::new(Store::at(folder.path())))));
        runtime().block_on(async {
            conformance::claim(&later, &conformance::asked(&format!("b{number}")), Duration::from_secs(60)).await;
            let asked = conformance::asked(&format!("c{number}"));
            let same = tokio::time::timeout(Duration::from_secs(20), book.begin(&asked, Duration::from_secs(60)));
            // The pool of connections was the first one's; whatever comes, somebody is told.
            let _ = same.await.expect("it is answered");
        });
    }
}
