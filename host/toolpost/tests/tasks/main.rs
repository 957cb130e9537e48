//! Tasks on the disk: everything that a store of tasks must do, in the hands of one host and of several.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../../core/tests/tasks/conformance.rs"]
mod conformance;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use toolpost::Store;
use toolpost::core::task::{Asked, HostId, Looking, Record, Room, State, TaskStore};
use toolpost::store::tasks::TaskTable;

async fn disk() -> (conformance::Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(table(&folder)), folder)
}

conformance!(disk);

/// The tasks in that folder, opened anew, as another process would.
fn table(folder: &TempDir) -> TaskTable {
    TaskTable::new(Arc::new(Store::at(folder.path())))
}

const ROOM: Room = Room { waiting_max: 1_000, kept_max: 1_000 };

fn asked(text: &str) -> Asked {
    Asked { arguments: text.into(), idempotency_key: Some("a-key-of-the-caller".into()) }
}

fn host(name: &str) -> HostId {
    HostId::of_text(name)
}

async fn running(store: &TaskTable, number: u32, by: &str) -> Record {
    let filed = conformance::record(number, store.now_ms());
    assert!(store.file(Arc::new(filed.clone()), asked("{}"), ROOM).await.unwrap());
    let state = State::Running { host: host(by) };
    let running = Record { version: 1_000 + u64::from(number), fence: 1, state, runs: 1, ..filed.clone() };
    assert!(store.swap(&filed.request.id, filed.version, Some(Arc::new(running.clone()))).await.unwrap());
    running
}

#[tokio::test]
async fn a_host_whose_process_is_gone_is_known_to_be_at_once_and_not_only_when_its_lease_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (table(&folder), table(&folder));
    let lease = Duration::from_secs(3_600);
    first.renew(&host("first"), lease).await.unwrap();
    running(&first, 1, "first").await;
    second.renew(&host("second"), lease).await.unwrap();
    let looking = Looking { host: host("second"), scope: "here".into(), limit: 10 };
    assert!(second.look(&looking).await.unwrap().ready.is_empty());
    assert!(!second.get(&conformance::id(1)).await.unwrap().is_gone);
    // As its process does, it lets go of everything, and says nothing.
    drop(first);
    assert!(second.get(&conformance::id(1)).await.unwrap().is_gone);
    assert_eq!(second.look(&looking).await.unwrap().ready, [conformance::id(1)]);
}

#[tokio::test]
async fn hosts_that_are_gone_and_ran_nothing_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        table(&folder).renew(&host(&format!("h{number}")), Duration::from_secs(60)).await.unwrap();
    }
    let last = table(&folder);
    last.renew(&host("last"), Duration::from_secs(60)).await.unwrap();
    let left = || std::fs::read_dir(folder.path().join("hosts")).unwrap().count();
    assert_eq!(left(), 1);
    last.leave(&host("last")).await.unwrap();
    assert_eq!(left(), 0);
    let store = Store::at(folder.path());
    let rows = sqlx::query("SELECT * FROM task_hosts").fetch_all(store.tasks().await.unwrap().read()).await.unwrap();
    assert!(rows.is_empty());
}

#[tokio::test]
async fn of_many_hosts_on_one_folder_one_gets_each_task() {
    let folder = tempfile::tempdir().unwrap();
    let tables: Vec<TaskTable> = (0..4).map(|_| table(&folder)).collect();
    for number in 0..10 {
        let filed = conformance::record(number, tables[0].now_ms());
        assert!(tables[0].file(Arc::new(filed), asked("{}"), ROOM).await.unwrap());
    }
    let takes = tables.iter().enumerate().flat_map(|(by, table)| {
        (0..10).map(move |number| {
            let (table, by) = (table.clone(), by as u64);
            tokio::spawn(async move {
                let id = conformance::id(number);
                let seen = table.get(&id).await.unwrap().record.unwrap();
                let state = State::Running { host: host(&by.to_string()) };
                let taken = Record { version: 100 + by, fence: by + 1, state, ..Record::clone(&seen) };
                let is_queued = matches!(seen.state, State::Queued { .. });
                is_queued && table.swap(&id, seen.version, Some(Arc::new(taken))).await.unwrap()
            })
        })
    });
    let mut taken = 0;
    for take in takes.collect::<Vec<_>>() {
        taken += u32::from(take.await.unwrap());
    }
    assert_eq!(taken, 10);
}

/// Whether a text is in any file of the folder.
fn is_written(folder: &TempDir, text: &str) -> bool {
    let files = std::fs::read_dir(folder.path()).unwrap().filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test]
async fn what_only_the_tool_may_see_is_in_no_file_and_is_had_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = table(&folder);
    let filed = conformance::record(1, store.now_ms());
    let secret = asked("{\"password\": \"swordfish-swordfish\"}");
    assert!(store.file(Arc::new(filed.clone()), secret.clone(), ROOM).await.unwrap());
    assert!(is_written(&folder, filed.request.id.as_str()), "it is looked where it would be");
    assert!(!is_written(&folder, "swordfish") && !is_written(&folder, "a-key-of-the-caller"));
    assert_eq!(table(&folder).asked(&filed.request.id).await.unwrap(), Some(secret.clone()));
    // It is sealed for this task: nobody can put it below another one.
    let other = conformance::record(2, store.now_ms());
    assert!(store.file(Arc::new(other.clone()), asked("{}"), ROOM).await.unwrap());
    let open = Store::at(folder.path());
    let mut write = open.tasks().await.unwrap().write().await.unwrap();
    let copy = "UPDATE tasks SET asked = (SELECT asked FROM tasks WHERE id = ?) WHERE id = ?";
    let copy = sqlx::query(copy).bind(filed.request.id.as_str()).bind(other.request.id.as_str());
    copy.execute(&mut *write).await.unwrap();
    write.commit().await.unwrap();
    let failure = store.asked(&other.request.id).await.unwrap_err().to_string();
    assert_eq!(failure, "the tasks: the store: the arguments of a task were sealed with another key");
    // And with a key that is lost, it is too.
    std::fs::remove_file(folder.path().join("key")).unwrap();
    assert!(table(&folder).asked(&filed.request.id).await.is_err());
}

#[tokio::test]
async fn a_database_that_is_full_takes_no_more_tasks_and_ends_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = table(&folder).holding(300_000);
    let begun = running(&store, 0, "h").await;
    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(50_000));
    let mut filed = 0;
    while store.file(Arc::new(conformance::record(filed + 1, store.now_ms())), asked(&large), ROOM).await.unwrap() {
        filed += 1;
        assert!(filed < 100, "it is never full");
    }
    assert!(filed > 1, "{filed}");
    let back = Record { version: 7, state: State::Queued { due_ms: 1 }, ..begun.clone() };
    assert!(store.swap(&begun.request.id, begun.version, Some(Arc::new(back))).await.unwrap());
}

/// Writes to the rows of the folder, as somebody may who does not know this store.
async fn written(folder: &TempDir, sql: &'static str) {
    let open = Store::at(folder.path());
    let mut write = open.tasks().await.unwrap().write().await.unwrap();
    sqlx::query(sql).execute(&mut *write).await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test]
async fn rows_that_cannot_be_read_keep_nobody_from_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = table(&folder);
    for number in 1..=8 {
        let filed = conformance::record(number, 1);
        assert!(store.file(Arc::new(filed), asked("{}"), ROOM).await.unwrap());
    }
    written(&folder, "UPDATE tasks SET id = 'task_' || number WHERE number <= 3").await;
    written(&folder, "UPDATE tasks SET progress = '{' WHERE number = 4").await;
    written(&folder, "UPDATE tasks SET caller_rest = 'x' WHERE number = 5").await;
    let query = toolpost::core::task::Query { limit: 100, ..Default::default() };
    let listed = store.list(&query).await.unwrap().tasks;
    let ids: Vec<_> = listed.iter().map(|filed| filed.record.request.id.clone()).collect();
    assert_eq!(ids, [8, 7, 6].map(conformance::id));
    let looking = Looking { host: host("h"), scope: "here".into(), limit: 2 };
    assert_eq!(store.look(&looking).await.unwrap().ready, [4, 5].map(conformance::id));
}

#[tokio::test]
async fn what_is_too_old_leaves_the_disk_also_where_nothing_more_is_filed() {
    let folder = tempfile::tempdir().unwrap();
    let store = table(&folder);
    for number in 1..=40 {
        running(&store, number, "h").await;
    }
    written(&folder, "INSERT INTO task_effects SELECT id, 1, 0, '{}' FROM tasks").await;
    written(&folder, "UPDATE tasks SET state = 2, host = NULL, expires_ms = 1").await;
    store.renew(&host("h"), Duration::from_secs(30)).await.unwrap();
    for table in ["SELECT count(*) FROM tasks", "SELECT count(*) FROM task_effects"] {
        let open = Store::at(folder.path());
        let left: i64 = sqlx::query_scalar(table).fetch_one(open.tasks().await.unwrap().read()).await.unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn how_a_host_is_made_is_believed_only_with_the_key_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let scope = store.scope_of("a way").unwrap();
    assert_eq!(store.way_of(&scope).unwrap(), Some("a way"));
    assert_eq!(Store::at(folder.path()).scope_of("a way").unwrap(), scope);
    let mark = scope.split(' ').next().unwrap();
    let cut = &mark[..62];
    let others = ["a way", "", " a way", "zz a way", "é a way"].map(str::to_owned);
    for other in
        others.into_iter().chain([format!("{mark} another"), format!("{cut} a way"), format!("{scope}\nset s")])
    {
        assert_eq!(store.way_of(&other).unwrap(), None, "{other}");
    }
    std::fs::remove_file(folder.path().join("key")).unwrap();
    assert_eq!(store.way_of(&scope).unwrap(), None);
}

#[tokio::test]
async fn a_row_that_a_later_version_wrote_is_a_failure_and_not_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let store = table(&folder);
    running(&store, 1, "h").await;
    written(&folder, "UPDATE tasks SET state = 9").await;
    let failure = store.get(&conformance::id(1)).await.unwrap_err().to_string();
    assert!(failure.contains("the state 9, which only a later version knows"), "{failure}");
}
