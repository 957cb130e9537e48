//! Hosts of one store of tasks, with a tool that counts its runs; each host can be cut off from the store, as if its process
//! had ended or hung.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::GuardSettings;
use toolpost_core::guard::replay::{self, Ledger, LedgerFailure, LedgerStore, RecordKey};
use toolpost_core::task::{
    Asked, Ended, HostId, Listed, Look, Looking, Memory, Notes, Query, Record, Room, Seen, Sheet, Standing, Task,
    TaskFailure, TaskStore, Touch, Words,
};
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, Effect, EffectClass, Host, Native, TaskId, TaskSettings, Tasks, Tool,
};

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The way of one host to its stores. What it says behind a cut is not heard, and not answered.
pub(crate) struct Wire {
    store: Arc<Memory>,
    keys: Arc<replay::Memory>,
    cut: AtomicBool,
    cut_tasks: AtomicBool,
    mended: Notify,
    pub(crate) is_failing: AtomicBool,
    /// It cannot say that it lives, and everything else.
    pub(crate) has_no_lease: AtomicBool,
    pub(crate) says: AtomicU32,
    pub(crate) touches: AtomicU32,
}

impl Wire {
    fn to(Ground { tasks, keys, .. }: &Ground) -> Arc<Self> {
        let (cut, cut_tasks, mended) = (AtomicBool::new(false), AtomicBool::new(false), Notify::new());
        let (is_failing, has_no_lease) = (AtomicBool::new(false), AtomicBool::new(false));
        let (says, touches, store, keys) = (AtomicU32::new(0), AtomicU32::new(0), tasks.clone(), keys.clone());
        Arc::new(Wire { store, keys, cut, cut_tasks, mended, is_failing, has_no_lease, says, touches })
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, SeqCst);
    }

    /// Cuts the way to the tasks alone.
    pub(crate) fn cut_tasks(&self) {
        self.cut_tasks.store(true, SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.cut.store(false, SeqCst);
        self.cut_tasks.store(false, SeqCst);
        self.mended.notify_waiters();
    }

    async fn open(&self) {
        while self.cut.load(SeqCst) {
            self.mended.notified().await;
        }
    }

    fn through<'a, T: Send + 'a>(
        &'a self,
        step: BoxFuture<'a, Result<T, TaskFailure>>,
    ) -> BoxFuture<'a, Result<T, TaskFailure>> {
        async move {
            while self.cut_tasks.load(SeqCst) {
                self.mended.notified().await;
            }
            self.open().await;
            if self.is_failing.load(SeqCst) { Err(TaskFailure::new("the disk is full")) } else { step.await }
        }
        .boxed()
    }
}

impl LedgerStore for Wire {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<replay::Seen, LedgerFailure>> {
        async move {
            self.open().await;
            self.keys.get(key).await
        }
        .boxed()
    }
    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<replay::Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        async move {
            self.open().await;
            self.keys.swap(key, expected, record).await
        }
        .boxed()
    }
    fn list<'a>(&'a self, query: &'a replay::Query) -> BoxFuture<'a, Result<replay::Listed, LedgerFailure>> {
        self.keys.list(query)
    }
}

impl TaskStore for Wire {
    fn now_ms(&self) -> u64 {
        self.store.now_ms()
    }
    fn file(&self, record: Arc<Record>, asked: Asked, room: Room) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        self.through(self.store.file(record, asked, room))
    }
    fn asked<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Option<Asked>, TaskFailure>> {
        self.through(async move { self.store.asked(id).await }.boxed())
    }
    fn get<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Seen, TaskFailure>> {
        self.through(async move { self.store.get(id).await }.boxed())
    }
    fn swap<'a>(
        &'a self,
        id: &'a TaskId,
        expected: u64,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, TaskFailure>> {
        self.through(self.store.swap(id, expected, record))
    }
    fn touch(&self, touch: Touch) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        self.touches.fetch_add(1, SeqCst);
        self.through(self.store.touch(touch))
    }
    fn say(&self, words: Words) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        self.says.fetch_add(1, SeqCst);
        self.through(self.store.say(words))
    }
    fn notes<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Notes, TaskFailure>> {
        self.through(async move { self.store.notes(id).await }.boxed())
    }
    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, TaskFailure>> {
        self.through(async move { self.store.list(query).await }.boxed())
    }
    fn look<'a>(&'a self, looking: &'a Looking) -> BoxFuture<'a, Result<Look, TaskFailure>> {
        self.through(async move { self.store.look(looking).await }.boxed())
    }
    fn renew<'a>(&'a self, host: &'a HostId, lease: Duration) -> BoxFuture<'a, Result<(), TaskFailure>> {
        if self.has_no_lease.load(SeqCst) {
            return std::future::ready(Err(TaskFailure::new("the disk is full"))).boxed();
        }
        self.through(self.store.renew(host, lease))
    }
    fn leave<'a>(&'a self, host: &'a HostId) -> BoxFuture<'a, Result<(), TaskFailure>> {
        self.through(self.store.leave(host))
    }
}

/// A store of tasks and one of keys, for hosts that share them.
#[derive(Clone, Default)]
pub(crate) struct Ground {
    pub(crate) tasks: Arc<Memory>,
    pub(crate) keys: Arc<replay::Memory>,
    pub(crate) settings: TaskSettings,
}

/// A host on it.
pub(crate) struct Desk {
    pub(crate) host: Host,
    pub(crate) wire: Arc<Wire>,
}

impl Ground {
    pub(crate) fn with(settings: Value) -> Self {
        Ground { settings: serde_json::from_value(settings).unwrap(), ..Ground::default() }
    }

    pub(crate) fn host(&self, tool: Tool) -> Desk {
        self.host_of("here", "v1", tool)
    }

    pub(crate) fn host_of(&self, scope: &str, version: &str, tool: Tool) -> Desk {
        let mut catalog = Catalog::default();
        catalog.add(tool).unwrap();
        let wire = Wire::to(self);
        let tasks = Tasks::new(wire.clone()).with_settings(self.settings.clone()).made_by(scope, version);
        let ledger = Ledger::new(wire.clone());
        let host = Host::new(catalog).with_ledger(Arc::new(ledger)).with_tasks(Arc::new(tasks));
        Desk { host, wire }
    }

    /// A task, as anybody sees it who has the store.
    pub(crate) async fn sheet(&self, id: &TaskId) -> Sheet {
        Tasks::new(self.tasks.clone()).get(id).await.unwrap().expect("it is there")
    }

    pub(crate) async fn standing(&self, id: &TaskId) -> Standing {
        self.sheet(id).await.standing()
    }

    /// Waits until a task stands so.
    pub(crate) async fn until(&self, id: &TaskId, wanted: Standing) -> Sheet {
        for _ in 0..100_000 {
            let sheet = self.sheet(id).await;
            if sheet.standing() == wanted {
                return sheet;
            }
            assert!(!sheet.standing().has_ended(), "{:?}, not {wanted:?}: {:?}", sheet.standing(), sheet.record);
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it is never {wanted:?}: {:?}", self.sheet(id).await);
    }
}

pub(crate) fn guard(settings: Value) -> GuardSettings {
    serde_json::from_value(settings).unwrap()
}

/// A tool that does what `act` says, by the number of times that it was run; and that number.
pub(crate) fn tool<R>(
    class: EffectClass,
    settings: Value,
    act: impl Fn(u32, Attempt) -> R + Send + Sync + 'static,
) -> (Tool, Arc<AtomicU32>)
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let tool = Native::new("work", "")
        .parameter("n", Shape::Integer(Integer::U64))
        .effect(class)
        .guard(guard(settings))
        .limits(serde_json::from_value(json!({"time": "1h", "call_time": "2h"})).unwrap())
        .run(move |attempt| act(counted.fetch_add(1, SeqCst) + 1, attempt));
    (tool, runs)
}

/// A tool that waits for so long, and changes nothing.
pub(crate) fn reads(span: Duration) -> Tool {
    tool(EffectClass::Reads, json!({}), move |run, _| async move {
        sleep(span).await;
        Ok(json!(run))
    })
    .0
}

/// A tool that changes something after half of that time.
pub(crate) fn writes(span: Duration, settings: Value) -> (Tool, Arc<AtomicU32>) {
    let changed = Arc::new(AtomicU32::new(0));
    let count = changed.clone();
    let act = move |run, attempt: Attempt| {
        let count = count.clone();
        async move {
            sleep(span / 2).await;
            change(&attempt, "a").await?;
            count.fetch_add(1, SeqCst);
            sleep(span / 2).await;
            Ok(json!(run))
        }
    };
    (tool(EffectClass::Writes, settings, act).0, changed)
}

/// Passes the gate with a change.
pub(crate) async fn change(attempt: &Attempt, target: &str) -> Result<(), CallError> {
    let effect =
        Effect { class: EffectClass::Writes, action: "files.write".into(), target: target.into(), detail: None };
    attempt.pass(effect).await?.done();
    Ok(())
}

pub(crate) fn call(n: u64) -> Call {
    Call::new("work", json!({"n": n})).by(Caller::named("ann"))
}

/// The same task, by way of that host.
pub(crate) async fn task_of(host: &Host, task: &Task) -> Task {
    host.task(task.id(), &Caller::named("ann")).await.unwrap().expect("it is there")
}

pub(crate) async fn ended(task: &Task) -> Ended {
    task.wait().await.unwrap().expect("it is there")
}

/// What a task answered.
pub(crate) async fn answer(task: &Task) -> Value {
    ended(task).await.result().unwrap().unwrap().value
}

/// Why a task did not succeed.
pub(crate) async fn error(task: &Task) -> CallError {
    ended(task).await.result().unwrap().unwrap_err()
}
