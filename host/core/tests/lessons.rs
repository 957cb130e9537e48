//! What went wrong elsewhere, where it belongs to no part alone: ends that are waited for, retries inside of retries, effects
//! that nobody knows of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use toolpost_core::guard::replay::{
    Ledger, LedgerFailure, LedgerStore, Listed, Memory, Query, Record, RecordKey, Seen,
};
use toolpost_core::tell::ArtifactError;
use toolpost_core::tell::artifact::Whole;
use toolpost_core::{
    Artifacts, Attempt, Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Host, Native, Outcome, Stage, Tool,
};

const CLASSES: [EffectClass; 3] = [EffectClass::Pure, EffectClass::Reads, EffectClass::Writes];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A tool without a breaker, that is ended after 30 seconds.
fn tool<R>(class: EffectClass, guard: Value, run: impl Fn(Attempt) -> R + Send + Sync + 'static) -> Tool
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let mut settings = json!({"breaker": {"kind": "none"}});
    settings.as_object_mut().unwrap().extend(guard.as_object().unwrap().clone());
    Native::new("work", "").effect(class).guard(serde_json::from_value(settings).unwrap()).run(run)
}

fn host(tool: Tool) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog)
}

async fn call(host: &Host) -> Outcome {
    host.call(Call::new("work", json!({}))).await
}

fn change() -> Effect {
    Effect { class: EffectClass::Writes, action: "orders.create".into(), target: "1".into(), detail: None }
}

/// Once, without a wait for another attempt.
fn once() -> Value {
    json!({"retry": {"max_attempts": 1}})
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_hard_also_for_a_tool_that_does_not_stop_or_whose_clean_up_has_no_end() {
    /// Begins to clean up when it is dropped, and never ends with it.
    struct Untidy(Arc<AtomicU32>);
    impl Drop for Untidy {
        fn drop(&mut self) {
            let at_work = self.0.clone();
            tokio::spawn(async move {
                at_work.fetch_add(1, SeqCst);
                pending::<()>().await;
            });
        }
    }
    for class in CLASSES {
        let (at_work, pulse) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (cleaning, beating) = (at_work.clone(), pulse.clone());
        let host = host(tool(class, once(), move |_| {
            let (untidy, beating) = (Untidy(cleaning.clone()), beating.clone());
            async move {
                let _untidy = untidy;
                // Nobody can end this, and the tool waits for it.
                let deaf = tokio::spawn(async move {
                    loop {
                        sleep(seconds(1)).await;
                        beating.fetch_add(1, SeqCst);
                    }
                });
                deaf.await.map_err(|error| CallError::new(ErrorKind::Internal, Stage::Run, error.to_string()))
            }
        }));
        let started = Instant::now();
        let outcome = call(&host).await;
        assert_eq!((outcome.failed(), started.elapsed()), (Some(ErrorKind::TimedOut), seconds(30)), "{class:?}");
        assert_eq!(host.in_use(), (0, 0), "{class:?}: its place is free");
        sleep(seconds(60)).await;
        assert_eq!(at_work.load(SeqCst), 1, "{class:?}: it still cleans up");
        assert!(pulse.load(SeqCst) > 80, "{class:?}: and the task that it left still runs");
    }
}

/// A store of keys, and of results, that answers until it hangs.
#[derive(Default)]
struct Hanging {
    memory: Memory,
    hangs: AtomicBool,
}

impl Hanging {
    async fn answers(&self) {
        if self.hangs.load(SeqCst) {
            pending::<()>().await;
        }
    }
}

impl LedgerStore for Hanging {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>> {
        self.answers().then(|()| self.memory.get(key)).boxed()
    }

    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        self.answers().then(move |()| self.memory.swap(key, expected, record)).boxed()
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>> {
        self.memory.list(query)
    }
}

impl Artifacts for Hanging {
    fn keep(&self, _: Whole) -> BoxFuture<'_, Result<String, ArtifactError>> {
        self.answers().map(|()| Ok("work-1.txt".into())).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_deadline_clean_up_has_its_own_bounded_budget() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        // From the beginning, from the attempt on, or never.
        for (from, waits) in [(0, 10), (1, 20), (2, 0)] {
            let store = Arc::new(Hanging::default());
            let hangs = store.clone();
            let guard = json!({"idempotency": {"key": "args"}, "retry": {"max_attempts": 1}});
            let host = host(tool(class, guard, move |attempt| {
                let hangs = hangs.clone();
                async move {
                    if attempt.call.tool.effect.may_change() {
                        attempt.pass(change()).await?.done();
                    }
                    sleep(seconds(5)).await;
                    hangs.hangs.store(from == 1, SeqCst);
                    Ok(json!("x".repeat(100_000)))
                }
            }));
            store.hangs.store(from == 0, SeqCst);
            let host = host.with_ledger(Arc::new(Ledger::new(store.clone()))).with_artifacts(store.clone());
            let what = format!("{class:?}, {from}");
            let started = Instant::now();
            let outcome = call(&host).await;
            let ends = match (from, class) {
                // It is asked for an answer before the call is judged, and for the key behind that. Without a key nothing
                // runs that may change something; what only reads runs without one.
                (0, EffectClass::Writes) => (Some(ErrorKind::Internal), seconds(10)),
                (0, _) => (None, seconds(20 + 5)),
                // What was done and could not be recorded is not told as done.
                (1, EffectClass::Writes) => (Some(ErrorKind::OutcomeUnknown), seconds(5 + waits)),
                _ => (None, seconds(5 + waits)),
            };
            assert_eq!((outcome.failed(), started.elapsed()), ends, "{what}");
            assert_eq!(host.in_use(), (0, 0), "{what}");
            sleep(seconds(60)).await;
            assert_eq!(host.ledger().in_use(), (0, 0), "{what}: its twins do not wait for it");
        }
    }
}
