//! A call may be dropped or ended at any moment: nothing of it stays behind, and nothing of it acts any more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::door::{Door, GUEST, engine, guest_that_starts_with, host};
use common::{assert_empty, call, figure, kind, prebuilt_file, span, timed};
use serde_json::json;
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Call, Catalog, EffectClass, ErrorKind, Host, HostLimits, Outcome};
use toolpost_wasm::Engine;

/// Some 25,000,000 operations: two or three turns of a guest.
const WORK: &str = "(local.set 0 (i32.const 5000000))
    (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";

const ENDLESS: &str = "(loop (br 0))";

/// More fuel than can be burnt, and that time.
fn time(text: &str) -> LimitSettings {
    LimitSettings { fuel: Some(u64::MAX / 2), time: span(text), ..LimitSettings::default() }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a call so often, or to its end.
async fn polled(call: &mut Pin<&mut impl Future<Output = Outcome>>, polls: usize) -> Option<Outcome> {
    for _ in 0..polls {
        if let Poll::Ready(outcome) = poll_fn(|_| Poll::Ready(poll_once(call.as_mut()))).await {
            return Some(outcome);
        }
    }
    None
}

/// Nothing is in use, at once: what only computes or reads ends within the drop.
fn check_empty(engine: &Engine, host: &Host, what: &str) {
    assert_eq!((engine.live_instances(), host.in_use()), (Some(0), (0, 0)), "{what}");
}

#[tokio::test]
async fn a_call_may_be_dropped_after_any_number_of_polls() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    // It yields while it is instantiated, while it computes, and inside a host function.
    let host = host(&engine, &guest_that_starts_with(WORK), EffectClass::Reads, &LimitSettings::default());
    let mut seen_inside = 0;
    let mut turns = 0;
    // How many turns it takes is up to the clock.
    loop {
        {
            let mut call = pin!(host.call(Call::new("guest_work", json!({}))));
            if polled(&mut call, turns).await.is_some() {
                break;
            }
            assert_eq!(host.in_use().0, usize::from(turns > 0));
            seen_inside += door.inside.load(SeqCst);
        }
        check_empty(&engine, &host, &format!("after {turns} polls"));
        assert_eq!(door.inside.load(SeqCst), 0, "a host function is dropped with its call");
        turns += 1;
    }
    assert!(turns >= 4, "{turns}");
    assert!(seen_inside > 0, "no drop has met a host function");
    assert!(call(&host, "guest_work", json!({})).await.result.is_ok());
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_for_a_place_leaves_the_place_to_the_next() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    let host = host(&engine, GUEST, EffectClass::Reads, &LimitSettings::default()).with_limits(HostLimits {
        max_parallel: 1,
        max_waiting: 2,
        ..HostLimits::default()
    });
    let waiting = || host.call(Call::new("guest_work", json!({})));
    {
        let mut running = pin!(host.call(Call::new("guest_wait", json!({}))));
        assert!(polled(&mut running, 1).await.is_none());
        for polls in 1..4 {
            let mut dropped = pin!(waiting());
            assert!(polled(&mut dropped, polls).await.is_none());
            assert_eq!((host.in_use(), engine.live_instances()), ((1, 1), Some(1)));
        }
        assert_eq!(host.in_use(), (1, 0));
        // The place is handed to a call that goes away before it looks.
        let mut dropped = Box::pin(waiting());
        assert!(polled(&mut dropped.as_mut(), 1).await.is_none());
        let mut next = Box::pin(waiting());
        assert!(polled(&mut next.as_mut(), 1).await.is_none());
        drop(dropped);
        assert_eq!(host.in_use(), (1, 1));
    }
    check_empty(&engine, &host, "the queue is gone");
    assert!(waiting().await.result.is_ok());
}

#[tokio::test]
async fn a_call_that_is_dropped_while_its_guest_sleeps_leaves_nothing() {
    let engine = engine(&Arc::default());
    let nap = engine.load_file("nap", &prebuilt_file("nap")).unwrap();
    let host = common::host_of([&nap], &LimitSettings::default());
    let mut sleeping = Box::pin(call(&host, "nap_nap", json!({"ms": 600_000})));
    assert!(timeout(Duration::from_millis(20), sleeping.as_mut()).await.is_err());
    assert_eq!((engine.live_instances(), host.in_use()), (Some(1), (1, 0)));
    drop(sleeping);
    check_empty(&engine, &host, "it slept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_aborted_from_another_thread_leave_nothing() {
    let engine = engine(&Arc::default());
    for (tool, guest) in [("guest_spin", GUEST), ("guest_act", GUEST), ("guest_work", &guest_that_starts_with(WORK))] {
        let host = Arc::new(host(&engine, guest, EffectClass::Reads, &time("30s")));
        for micros in (0..40).map(|step| step * 250) {
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let host = host.clone();
                    tokio::spawn(async move { call(&host, tool, json!({})).await })
                })
                .collect();
            sleep(Duration::from_micros(micros)).await;
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
            for task in tasks {
                // `work` may have come to its end; nothing else has one.
                assert!(
                    task.await.map_or_else(|error| error.is_cancelled(), |outcome| outcome.result.is_ok()),
                    "{tool}"
                );
            }
        }
        assert_empty(&engine, &host).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_drops_the_store_before_the_result_is_returned_wherever_the_guest_was() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    let start = guest_that_starts_with(ENDLESS);
    let cases = [("guest_spin", GUEST), ("guest_wait", GUEST), ("guest_act", GUEST), ("guest_work", start.as_str())];
    for (tool, guest) in cases {
        for effect in [EffectClass::Reads, EffectClass::Open] {
            let host = host(&engine, guest, effect, &time("20ms"));
            let (outcome, time) = timed(call(&host, tool, json!({}))).await;
            // What it has done by then, it has done, whatever the operator says of it.
            let ended = if tool == "guest_act" { ErrorKind::OutcomeUnknown } else { ErrorKind::TimedOut };
            assert_eq!(kind(&outcome), Some(ended), "{tool}: {:?}", outcome.result);
            assert!(time < Duration::from_secs(1), "{tool} ended after {time:?}");
            assert_eq!(engine.live_instances(), Some(0), "{tool}: the tool is gone before the outcome is told");
            assert_empty(&engine, &host).await;
        }
    }
    assert_eq!(door.inside.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_of_a_tool_that_may_change_something_goes_on_and_leaves_nothing() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    // What an embedder links is `open` unless the operator says otherwise.
    let guest = common::load(&engine, GUEST).unwrap();
    assert_eq!(guest.effect(&Grants::default()), EffectClass::Open);
    let host = common::host_of([&guest], &time("9500ms"));
    let dropped = timeout(Duration::from_millis(3_500), call(&host, "guest_act_and_nap", json!({}))).await;
    assert!(dropped.is_err());
    assert_eq!((door.acts.load(SeqCst), engine.live_instances(), host.in_use()), (4, Some(1), (1, 0)));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(door.acts.load(SeqCst), 10, "it went on to its limit, and not beyond it");
    check_empty(&engine, &host, "it is over");
}

#[tokio::test(start_paused = true)]
async fn no_host_function_of_a_call_acts_after_its_end() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    for effect in [EffectClass::Reads, EffectClass::Open] {
        door.acts.store(0, SeqCst);
        let host = host(&engine, GUEST, effect, &time("9500ms"));
        let outcome = call(&host, "guest_act_and_nap", json!({})).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::OutcomeUnknown));
        assert_eq!((door.acts.load(SeqCst), outcome.report.effects.len()), (10, 10));
        sleep(Duration::from_secs(60)).await;
        assert_eq!((door.acts.load(SeqCst), door.refused.load(SeqCst)), (10, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_acts_without_pause_has_acted_for_the_last_time_when_its_end_is_told() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    for effect in [EffectClass::Reads, EffectClass::Open] {
        door.acts.store(0, SeqCst);
        let host = host(&engine, GUEST, effect, &time("50ms"));
        let outcome = call(&host, "guest_act", json!({})).await;
        let acts = door.acts.load(SeqCst);
        let told = outcome.report.effects.len() as u64 + outcome.report.effects_unlisted;
        assert_eq!(kind(&outcome), Some(ErrorKind::OutcomeUnknown));
        assert!(acts > 0 && acts as u64 <= told && told <= acts as u64 + 1, "{acts} acts, {told} told");
        sleep(Duration::from_millis(50)).await;
        assert_eq!(door.acts.load(SeqCst), acts);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_host_function_left_running_is_refused_at_the_gate_after_every_kind_of_end() {
    let ends = [
        ("guest_leave", None),
        ("guest_leave_and_trap", Some(ErrorKind::Trapped)),
        ("guest_leave_and_spin", Some(ErrorKind::OutOfFuel)),
        ("guest_leave_and_hog", Some(ErrorKind::OutOfMemory)),
        ("guest_leave_and_wait", Some(ErrorKind::TimedOut)),
    ];
    for (tool, wanted) in ends {
        for effect in [EffectClass::Reads, EffectClass::Open] {
            let door = Arc::new(Door::default());
            let engine = engine(&door);
            let limits = LimitSettings { time: span("10s"), ..LimitSettings::default() };
            let host = host(&engine, GUEST, effect, &limits);
            let outcome = call(&host, tool, json!({})).await;
            assert_eq!(kind(&outcome), wanted, "{tool}: {:?}", outcome.result);
            sleep(Duration::from_secs(60)).await;
            assert_eq!((door.acts.load(SeqCst), door.refused.load(SeqCst)), (0, 1), "{tool} {effect:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_host_function_left_running_is_refused_at_the_gate_after_a_drop() {
    let door = Arc::new(Door::default());
    let engine = engine(&door);
    let host = host(&engine, GUEST, EffectClass::Reads, &time("10s"));
    let dropped = timeout(Duration::from_secs(1), call(&host, "guest_leave_and_wait", json!({}))).await;
    assert!(dropped.is_err());
    sleep(Duration::from_secs(60)).await;
    assert_eq!((door.acts.load(SeqCst), door.refused.load(SeqCst)), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_drops_leave_no_memory_behind() {
    const DROPS: usize = 2_000;
    let engine = engine(&Arc::default());
    let mut catalog = Catalog::default();
    let start = guest_that_starts_with(WORK);
    for (name, guest) in [("guest", GUEST), ("start", &start)] {
        let guest = engine.load(name, &wat::parse_str(guest).unwrap(), None).unwrap();
        let settings =
            ToolSettings { effect: Some(EffectClass::Reads), limits: time("30s"), ..ToolSettings::default() };
        for function in &guest.functions {
            catalog.add(guest.tool(function, &common::strict(), &settings).unwrap()).unwrap();
        }
    }
    let host = Host::new(catalog);
    let phases = [("guest_wait", 0), ("guest_wait", 1), ("guest_act_and_nap", 1), ("guest_spin", 1), ("start_work", 1)];
    let mut after_some = 0;
    for number in 0..DROPS {
        let (tool, polls) = phases[number % phases.len()];
        assert!(polled(&mut pin!(host.call(Call::new(tool, json!({})))), polls).await.is_none());
        check_empty(&engine, &host, tool);
        if number == DROPS / 5 {
            after_some = common::resident_kib();
        }
    }
    // A pool that lost a stack or an instance with each drop would be used up by far.
    assert!(call(&host, "guest_work", json!({})).await.result.is_ok());
    let grown = common::resident_kib().saturating_sub(after_some);
    figure(&format!("{after_some} KiB after {} drops, {grown} KiB more after {DROPS}", DROPS / 5));
    assert!(grown < 8 << 10, "{grown} KiB");
}
