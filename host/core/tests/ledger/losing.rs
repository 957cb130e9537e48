//! Stores that fail, hosts that stop, and claims that come too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost_core::effect::Fate;
use toolpost_core::guard::replay::{
    How, Ledger, LedgerFailure, LedgerStore, Listed, Memory, Query, Record, RecordKey, Seen, Standing,
};
use toolpost_core::{Call, Catalog, EffectClass, ErrorKind, Host, Native, Stage};

use crate::work::{change, failed, host_on, how, keyed, seconds, settled, standing, tool, works};

/// A store that can be cut off, from one host alone, and counts what is written through it.
struct Wire {
    store: Arc<Memory>,
    cut: AtomicBool,
    swaps: AtomicU32,
    /// Cut before so many swaps.
    swaps_max: u32,
}

impl Wire {
    fn to(store: &Arc<Memory>) -> Arc<Self> {
        Self::with(store, u32::MAX)
    }

    fn with(store: &Arc<Memory>, swaps_max: u32) -> Arc<Self> {
        Arc::new(Wire { store: store.clone(), cut: AtomicBool::new(false), swaps: AtomicU32::new(0), swaps_max })
    }

    fn check(&self) -> Result<(), LedgerFailure> {
        if self.cut.load(SeqCst) { Err(LedgerFailure::new("no way to the store")) } else { Ok(()) }
    }
}

impl LedgerStore for Wire {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>> {
        async move {
            self.check()?;
            self.store.get(key).await
        }
        .boxed()
    }

    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        async move {
            if self.swaps.fetch_add(1, SeqCst) >= self.swaps_max {
                self.cut.store(true, SeqCst);
            }
            self.check()?;
            self.store.swap(key, expected, record).await
        }
        .boxed()
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>> {
        self.store.list(query)
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_ledger_nothing_is_run_that_may_change_something_and_the_rest_is() {
    for class in [EffectClass::Pure, EffectClass::Reads, EffectClass::Writes, EffectClass::Open] {
        let store = Arc::new(Memory::default());
        for swaps_max in [0, u32::MAX] {
            let wire = Wire::with(&store, swaps_max);
            wire.cut.store(swaps_max > 0, SeqCst);
            let settings = json!({"idempotency": {"key": "args"}});
            let (tool, runs) = tool(class, settings, |run, _| async move { Ok(json!(run)) });
            let host = host_on(wire, tool);
            let outcome = host.call(Call::new("work", json!({"n": 1}))).await;
            settled(&host).await;
            if class.may_change() {
                let error = outcome.result.unwrap_err();
                let told = "the ledger of idempotency keys cannot be used, and without it nothing is done that may change \
                            something; call again later";
                assert_eq!(
                    (error.kind, error.stage, error.message.as_str()),
                    (ErrorKind::Internal, Stage::Guard, told)
                );
                assert_eq!(runs.load(SeqCst), 0, "{class:?}");
            } else {
                assert_eq!((outcome.result.unwrap().value, runs.load(SeqCst)), (json!(1), 1), "{class:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_key_never_asks_the_ledger() {
    let wire = Wire::with(&Arc::default(), 0);
    wire.cut.store(true, SeqCst);
    let (tool, runs) = tool(EffectClass::Writes, json!({}), works);
    let host = host_on(wire, tool);
    assert!(host.call(Call::new("work", json!({"n": 1}))).await.result.is_ok());
    assert_eq!(runs.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_cannot_be_written_down_beforehand_does_not_happen() {
    let store = Arc::new(Memory::default());
    // The claim is the first write.
    let wire = Wire::with(&store, 1);
    let (tool, _) = tool(EffectClass::Writes, json!({}), |_, attempt| async move {
        change(&attempt).await?;
        panic!("it went through the gate");
    });
    let host = host_on(wire, tool);
    let outcome = host.call(keyed(1, "k")).await;
    let error = outcome.result.unwrap_err();
    assert!(error.message.starts_with("the ledger of idempotency keys cannot be used"), "{error}");
    assert_eq!(outcome.report.effects[0].fate, Fate::Refused);
}

#[tokio::test(start_paused = true)]
async fn one_write_before_the_first_change_is_enough_for_all_of_a_call() {
    let store = Arc::new(Memory::default());
    let wire = Wire::to(&store);
    let settings = json!({"idempotency": {"idempotent": true}, "retry": {"max_attempts": 2, "backoff": {"fixed": {"delay": "1s"}}}});
    let (tool, _) = tool(EffectClass::Writes, settings, |run, attempt| async move {
        let changes = [change(&attempt), change(&attempt), change(&attempt)];
        futures_util::future::try_join_all(changes).await?;
        if run == 1 { Err(failed(true)) } else { Ok(json!(run)) }
    });
    let host = host_on(wire.clone(), tool);
    assert!(host.call(keyed(1, "k")).await.result.is_ok());
    assert_eq!(wire.swaps.load(SeqCst), 3, "the claim, the mark and the end");
}

#[tokio::test(start_paused = true)]
async fn what_was_done_and_cannot_be_recorded_is_not_told_as_done() {
    for (effect, swaps_max) in [(true, 2), (false, 1)] {
        let store = Arc::new(Memory::default());
        let (tool, _) = tool(EffectClass::Writes, json!({}), move |run, attempt| async move {
            if effect {
                change(&attempt).await?;
            }
            Ok(json!(run))
        });
        let host = host_on(Wire::with(&store, swaps_max), tool);
        let outcome = host.call(keyed(1, "k")).await;
        if effect {
            let error = outcome.result.clone().unwrap_err();
            assert_eq!((error.kind, error.stage), (ErrorKind::OutcomeUnknown, Stage::Tell));
            let told = "the tool has answered; what it did was executed but not recorded; look before you call again, also \
                        with the same key";
            assert_eq!(error.message, told);
            assert_eq!(error.detail.unwrap()["output"]["value"], json!(1));
        } else {
            assert_eq!(outcome.result.as_ref().unwrap().value, json!(1), "what had no effect is as good as not done");
        }
        // Another host finds it unknown once the lease is over, or free.
        sleep(seconds(31)).await;
        let (tool, runs) = crate::work::tool(EffectClass::Writes, json!({}), works);
        let other = host_on(store.clone(), tool);
        let again = other.call(keyed(1, "k")).await;
        let (failed, run) = if effect { (Some(ErrorKind::OutcomeUnknown), 0) } else { (None, 1) };
        assert_eq!((again.failed(), runs.load(SeqCst)), (failed, run));
    }
}

/// A host that runs for a minute behind a wire that is cut after a second, and another one on the same store.
async fn partition(
    settings: serde_json::Value,
    effect: bool,
) -> (toolpost_core::Outcome, Host, Arc<AtomicU32>, Instant) {
    let store = Arc::new(Memory::default());
    let wire = Wire::to(&store);
    let (mut first, _) = tool(EffectClass::Writes, settings.clone(), move |_, attempt| async move {
        if effect {
            change(&attempt).await?;
        }
        sleep(seconds(60)).await;
        change(&attempt).await?;
        panic!("it went on without its key");
    });
    first.limits = first.limits.with(&serde_json::from_value(json!({"time": "100s"})).unwrap());
    let zombie = host_on(wire.clone(), first);
    let (second, runs) = tool(EffectClass::Writes, settings, works);
    let other = host_on(store, second);
    let started = Instant::now();
    let cut = async {
        sleep(seconds(1)).await;
        wire.cut.store(true, SeqCst);
    };
    let (outcome, ()) = tokio::join!(zombie.call(keyed(1, "k")), cut);
    (outcome, other, runs, started)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_keep_its_lease_is_stopped_before_another_takes_over() {
    let (outcome, other, runs, started) = partition(json!({}), false).await;
    assert_eq!(started.elapsed().as_secs(), 30, "at the end of its lease, not of its time");
    assert_eq!(outcome.failed(), Some(ErrorKind::KeyInUse));
    assert_eq!(outcome.result.unwrap_err().stage, Stage::Run);
    let again = other.call(keyed(1, "k")).await;
    assert_eq!((how(&again), runs.load(SeqCst)), (Some(How::TakenOver), 1));
    assert_eq!(again.result.unwrap().value, json!(1));
}

#[tokio::test(start_paused = true)]
async fn behind_an_effect_the_one_that_is_stopped_and_the_next_are_told_that_it_is_unknown() {
    let (outcome, other, runs, _) = partition(json!({}), true).await;
    assert_eq!(outcome.failed(), Some(ErrorKind::OutcomeUnknown));
    let again = other.call(keyed(1, "k")).await;
    assert_eq!((again.failed(), runs.load(SeqCst)), (Some(ErrorKind::OutcomeUnknown), 0));

    let (outcome, other, runs, _) = partition(json!({"idempotency": {"on_crash": "rerun"}}), true).await;
    assert_eq!(outcome.failed(), Some(ErrorKind::OutcomeUnknown));
    let again = other.call(keyed(1, "k")).await;
    assert_eq!((how(&again), runs.load(SeqCst)), (Some(How::TakenOver), 1), "where settings say so, it is run again");
    assert!(again.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_for_as_long_as_the_call_runs() {
    let store = Arc::new(Memory::default());
    let (mut tool_, _) = tool(EffectClass::Writes, json!({}), |run, attempt| async move {
        sleep(seconds(100)).await;
        change(&attempt).await?;
        sleep(seconds(100)).await;
        Ok(json!(run))
    });
    tool_.limits = tool_.limits.with(&serde_json::from_value(json!({"time": "300s", "call_time": "300s"})).unwrap());
    let host = host_on(store.clone(), tool_);
    let (other, runs) = tool(EffectClass::Writes, json!({"idempotency": {"on_conflict": "reject"}}), works);
    let other = host_on(store, other);
    let ask = async {
        for _ in 0..19 {
            sleep(seconds(10)).await;
            assert_eq!(other.call(keyed(1, "k")).await.failed(), Some(ErrorKind::KeyInUse));
        }
    };
    let (outcome, ()) = tokio::join!(host.call(keyed(1, "k")), ask);
    assert_eq!((outcome.result.is_ok(), runs.load(SeqCst)), (true, 0));
    assert_eq!(how(&other.call(keyed(1, "k")).await), Some(How::Replayed));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_costs_nobody_the_lease() {
    let store = Arc::new(Memory::default());
    let wire = Wire::to(&store);
    let (mut tool, _) = tool(EffectClass::Writes, json!({}), |run, attempt| async move {
        sleep(seconds(60)).await;
        change(&attempt).await?;
        Ok(json!(run))
    });
    tool.limits = tool.limits.with(&serde_json::from_value(json!({"time": "100s"})).unwrap());
    let host = host_on(wire.clone(), tool);
    let cut = async {
        sleep(seconds(9)).await;
        wire.cut.store(true, SeqCst);
        sleep(seconds(15)).await;
        wire.cut.store(false, SeqCst);
    };
    let (outcome, ()) = tokio::join!(host.call(keyed(1, "k")), cut);
    assert_eq!(standing(&host, &outcome).await, Some(Standing::Done));
    assert!(outcome.result.is_ok());
}

/// A tool that may change something, and does so by calling another one.
fn outer_and_inner(store: Arc<dyn LedgerStore>) -> (Host, Arc<AtomicU32>) {
    let (inner, changes) = tool(EffectClass::Writes, json!({}), |run, attempt| async move {
        change(&attempt).await?;
        Ok(json!(run))
    });
    let outer = Native::new("outer", "").effect(EffectClass::Writes).run(|attempt| async move {
        let inner = attempt.call("work", json!({"n": 1})).await;
        inner.result.map(|output| output.value)?;
        Err(failed(true))
    });
    let mut catalog = Catalog::default();
    catalog.add(inner).unwrap();
    catalog.add(outer).unwrap();
    (Host::new(catalog).with_ledger(Arc::new(Ledger::new(store))), changes)
}

#[tokio::test(start_paused = true)]
async fn a_change_by_a_call_inside_is_one_of_the_call_around_it_and_written_down_for_that_one_first() {
    let store = Arc::new(Memory::default());
    let call = || Call { idempotency_key: Some("k".into()), ..Call::new("outer", json!({})) };
    let (host, changes) = outer_and_inner(store.clone());
    let outcome = host.call(call()).await;
    assert_eq!(outcome.failed(), Some(ErrorKind::OutcomeUnknown));
    assert_eq!(standing(&host, &outcome).await, Some(Standing::Unknown));
    assert_eq!(host.call(call()).await.failed(), Some(ErrorKind::OutcomeUnknown));
    assert_eq!(changes.load(SeqCst), 1);
    let listed = store.list(&Query { limit: 9, ..Query::default() }).await.unwrap().records;
    assert_eq!(listed[0].1.first_effect.as_deref(), Some("files.write a"));

    // Where it cannot be written down, the call inside changes nothing.
    let (host, _) = outer_and_inner(Wire::with(&Arc::default(), 1));
    let error = host.call(call()).await.result.unwrap_err();
    assert!(error.message.starts_with("the ledger of idempotency keys cannot be used"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_panics_behind_an_effect_leaves_it_unknown() {
    let (tool, _) = tool(EffectClass::Writes, json!({}), |_, attempt| async move {
        change(&attempt).await?;
        panic!("as tools do");
    });
    let host = host_on(Arc::new(Memory::default()), tool);
    let outcome = host.call(keyed(1, "k")).await;
    assert_eq!(outcome.failed(), Some(ErrorKind::Internal));
    assert_eq!(standing(&host, &outcome).await, Some(Standing::Unknown));
}

#[tokio::test]
async fn a_host_whose_runtime_ends_leaves_what_is_true() {
    let store = Arc::new(Memory::default());
    for (key, effect) in [("k", true), ("l", false)] {
        let (tool, _) = tool(EffectClass::Writes, json!({}), move |_, attempt| async move {
            if effect {
                change(&attempt).await?;
            }
            std::future::pending().await
        });
        let host = host_on(store.clone(), tool);
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let call =
                async { tokio::time::timeout(std::time::Duration::from_millis(200), host.call(keyed(1, key))).await };
            assert!(runtime.block_on(call).is_err());
        });
        ended.join().unwrap();
    }
    let listed = store.list(&Query { limit: 9, ..Query::default() }).await.unwrap();
    for (_, record) in listed.records {
        // The lease of both runs out.
        let later = listed.now_ms + 60_000;
        let wanted = if record.first_effect.is_some() { Standing::Unknown } else { Standing::Left };
        assert_eq!(record.standing(later), wanted);
    }
}
