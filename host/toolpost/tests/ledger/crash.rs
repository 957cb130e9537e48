//! A real process is killed in every window between a claim and its end. Whoever comes next finds what is true: an effect
//! happens at most once, unless settings say that it may be run again.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost::core::catalog::shape::{Integer, Shape};
use toolpost::core::guard::replay::{
    Book, Fenced, How, Ledger, LedgerFailure, LedgerStore, Listed, Query, Record, RecordKey, Seen, State,
};
use toolpost::store::ledger::LedgerTable;
use toolpost::{Call, Catalog, Effect, EffectClass, ErrorKind, Host, Native, Outcome, Store};

use crate::conformance;

/// Short, so that the next one need not wait for long.
const LEASE: Duration = Duration::from_millis(1_500);

/// Where the process is killed.
const WINDOWS: [&str; 7] =
    ["before-claim", "after-claim", "before-mark", "after-mark", "after-effect", "before-end", "after-end"];

/// Says that the window is reached, and stays there until the process is killed.
async fn stay(folder: &Path) {
    std::fs::write(folder.join("reached"), "").unwrap();
    std::future::pending().await
}

/// A store at which the process stays in a window.
struct Window {
    store: LedgerTable,
    folder: PathBuf,
    window: String,
}

impl Window {
    async fn is(&self, when: &str, what: Option<&str>) {
        if what.is_some_and(|what| self.window == format!("{when}-{what}")) {
            stay(&self.folder).await;
        }
    }
}

impl LedgerStore for Window {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>> {
        LedgerStore::get(&self.store, key)
    }

    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        let what = record.as_ref().and_then(|record| match record.state {
            State::Claimed { .. } if expected.is_none() => Some("claim"),
            State::Effects { .. } => Some("mark"),
            State::Done(_) => Some("end"),
            State::Claimed { .. } | State::Unknown => None,
        });
        async move {
            self.is("before", what).await;
            let swapped = LedgerStore::swap(&self.store, key, expected, record).await;
            self.is("after", what).await;
            swapped
        }
        .boxed()
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>> {
        LedgerStore::list(&self.store, query)
    }
}

/// A host with a tool that changes a file, on the store of that folder.
fn host(folder: &Path, on_crash: &str, window: &str) -> Host {
    let guard = json!({"idempotency": {"on_crash": on_crash}});
    let (place, stays) = (folder.to_owned(), window == "after-effect");
    let tool = Native::new("work", "")
        .parameter("n", Shape::Integer(Integer::U32))
        .effect(EffectClass::Writes)
        .guard(serde_json::from_value(guard).unwrap())
        .run(move |attempt| {
            let place = place.clone();
            async move {
                let class = EffectClass::Writes;
                let effect = Effect { class, action: "files.write".into(), target: "effects".into(), detail: None };
                let passage = attempt.pass(effect).await?;
                let mut file =
                    std::fs::OpenOptions::new().create(true).append(true).open(place.join("effects")).unwrap();
                file.write_all(b"x").unwrap();
                file.sync_all().unwrap();
                if stays {
                    stay(&place).await;
                }
                passage.done();
                Ok(json!("done"))
            }
        });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let store = LedgerTable::new(Arc::new(Store::at(folder.join("store"))));
    let window = Window { store, folder: folder.to_owned(), window: window.to_owned() };
    Host::new(catalog).with_ledger(Arc::new(Ledger::new(Arc::new(window)).with_lease(LEASE)))
}

fn call() -> Call {
    Call { idempotency_key: Some("k".into()), ..Call::new("work", json!({"n": 1})) }
}

/// The process that is killed: this very test, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is run by the other tests, and killed"]
async fn victim() {
    let [folder, on_crash, window] = ["FOLDER", "ON_CRASH", "WINDOW"].map(|name| std::env::var(name).unwrap());
    let outcome = host(Path::new(&folder), &on_crash, &window).call(call()).await;
    panic!("it was to be killed, and came to {:?}", outcome.result);
}

/// Runs the victim until it is in the window, and kills it there.
async fn kill(folder: &Path, on_crash: &str, window: &str) {
    struct Killed(Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::victim", "--ignored", "--nocapture"]).stdout(Stdio::null());
    command.env("FOLDER", folder).env("ON_CRASH", on_crash).env("WINDOW", window);
    let mut victim = Killed(command.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(60);
    while !folder.join("reached").exists() {
        assert!(Instant::now() < until, "{window} was not reached");
        assert!(victim.0.try_wait().unwrap().is_none(), "the victim has ended before {window}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn effects(folder: &Path) -> u64 {
    folder.join("effects").metadata().map_or(0, |file| file.len())
}

fn told(outcome: &Outcome) -> Result<How, ErrorKind> {
    match &outcome.result {
        Ok(_) => Ok(outcome.report.idempotency.as_ref().unwrap().how),
        Err(error) => Err(error.kind),
    }
}

/// What the next call is told, and how often the effect has happened then.
async fn check(on_crash: &str, window: &str, wanted: Result<How, ErrorKind>, wanted_effects: u64) {
    let folder = tempfile::tempdir().unwrap();
    kill(folder.path(), on_crash, window).await;
    let host = host(folder.path(), on_crash, "");
    let outcome = host.call(call()).await;
    assert_eq!((told(&outcome), effects(folder.path())), (wanted, wanted_effects), "{on_crash}, {window}");
    // And whoever comes behind is told the same, and does nothing.
    let again = host.call(call()).await;
    let wanted = wanted.map(|_| How::Replayed);
    assert_eq!((told(&again), effects(folder.path())), (wanted, wanted_effects), "{on_crash}, {window}, again");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_says_unknown_an_effect_happens_at_most_once_wherever_the_process_is_killed() {
    for window in WINDOWS {
        let (wanted, effects) = match window {
            "before-claim" => (Ok(How::New), 1),
            "after-claim" | "before-mark" => (Ok(How::TakenOver), 1),
            "after-mark" => (Err(ErrorKind::OutcomeUnknown), 0),
            "after-effect" | "before-end" => (Err(ErrorKind::OutcomeUnknown), 1),
            _ => (Ok(How::Replayed), 1),
        };
        check("unknown", window, wanted, effects).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_says_rerun_every_call_comes_to_its_end_wherever_the_process_is_killed() {
    for window in WINDOWS {
        let (wanted, effects) = match window {
            "before-claim" => (Ok(How::New), 1),
            "after-claim" | "before-mark" | "after-mark" => (Ok(How::TakenOver), 1),
            "after-effect" | "before-end" => (Ok(How::TakenOver), 2),
            _ => (Ok(How::Replayed), 1),
        };
        check("rerun", window, wanted, effects).await;
    }
}

/// The version of a record that stands in the store.
async fn version(store: &LedgerTable, key: &RecordKey) -> Option<u64> {
    LedgerStore::get(store, key).await.unwrap().record.map(|record| record.version)
}

#[tokio::test]
async fn a_log_of_the_database_that_was_cut_anywhere_shows_a_state_that_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let table = LedgerTable::new(Arc::new(Store::at(folder.path())));
    let book = Book::new(Arc::new(table.clone()));
    let (asked, day) = (conformance::asked("k"), Duration::from_secs(86_400));
    let key = &asked.key;
    // What there was, in order.
    let mut versions = vec![None];
    let fence = conformance::claim(&book, &asked, day).await;
    versions.push(version(&table, key).await);
    for _ in 0..3 {
        assert_eq!(book.renew(key, fence, day).await.unwrap(), Fenced::Held);
        versions.push(version(&table, key).await);
    }
    assert_eq!(book.mark_effects(key, fence, "e").await.unwrap(), Fenced::Held);
    versions.push(version(&table, key).await);
    assert_eq!(book.complete(key, fence, &conformance::ending("x"), day).await.unwrap(), Fenced::Held);
    versions.push(version(&table, key).await);

    let [main, log] = ["state.db", "state.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    let mut latest = 0;
    for cut in (0..log.len()).step_by(1_999).chain([log.len()]) {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join("state.db"), &main).unwrap();
        std::fs::write(copy.path().join("state.db-wal"), &log[..cut]).unwrap();
        let found = version(&LedgerTable::new(Arc::new(Store::at(copy.path()))), key).await;
        let at = versions.iter().position(|known| *known == found).expect("a state that there was");
        assert!(at >= latest, "cut at {cut}: what was on the disk before is there");
        latest = at;
    }
    assert_eq!(latest, versions.len() - 1);
}
