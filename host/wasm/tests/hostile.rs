//! Each misdeed of `hostile.wasm` ends as it should, within its limit, and the calls beside it notice nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{assert_idle, assert_serves, call, figure, kind, span, timed};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::{CallError, ErrorKind, Host, Outcome};

const MIB: u64 = 1 << 20;

/// How much later than its limit a call may end on a loaded machine.
const GRACE: Duration = Duration::from_millis(500);

fn host(limits: &LimitSettings) -> Arc<Host> {
    Arc::new(common::host_with(&["hostile", "text"], limits))
}

/// More fuel than can be burnt, and 300 ms.
fn short() -> LimitSettings {
    LimitSettings { fuel: Some(u64::MAX / 2), time: span("300ms"), ..LimitSettings::default() }
}

/// Does the misdeed, with well-behaved calls beside it on the same host for as long as it takes.
async fn beside(host: &Arc<Host>, misdeed: &str, arguments: Value) -> Outcome {
    let misdeed = format!("hostile_{misdeed}");
    let hostile = tokio::spawn({
        let host = host.clone();
        async move { call(&host, &misdeed, arguments).await }
    });
    let mut beside = 0;
    while beside < 3 || !hostile.is_finished() {
        tokio::time::timeout(Duration::from_secs(10), assert_serves(host)).await.expect("the calls beside it go on");
        beside += 1;
    }
    let outcome = hostile.await.unwrap();
    assert_serves(host).await;
    assert_idle(host).await;
    outcome
}

async fn error_of(limits: &LimitSettings, misdeed: &str, arguments: Value) -> CallError {
    let outcome = beside(&host(limits), misdeed, arguments).await;
    outcome.result.expect_err(misdeed)
}

async fn assert_out_of_fuel(misdeed: &str) {
    let outcome = beside(&host(&LimitSettings::default()), misdeed, json!({})).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::OutOfFuel), "{:?}", outcome.result);
    assert!(outcome.report.attempts[0].fuel >= 1_000_000_000);
}

async fn assert_timed_out(misdeed: &str, arguments: Value) {
    let host = host(&short());
    let (outcome, time) = timed(call(&host, &format!("hostile_{misdeed}"), arguments)).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::TimedOut), "{:?}", outcome.result);
    figure(&format!("{misdeed} was ended after {time:?}, with a limit of 300 ms"));
    assert!(time >= Duration::from_millis(300) && time < Duration::from_millis(300) + GRACE, "{time:?}");
    assert_serves(&host).await;
    assert_idle(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_computes_for_ever_runs_out_of_fuel() {
    assert_out_of_fuel("spin").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_fills_memory_for_ever_runs_out_of_fuel() {
    assert_out_of_fuel("fill_loop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_allocates_and_frees_for_ever_runs_out_of_fuel() {
    assert_out_of_fuel("allocate_loop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_with_much_fuel_that_never_ends_is_ended_in_time() {
    for misdeed in ["spin", "fill_loop", "allocate_loop"] {
        assert_timed_out(misdeed, json!({})).await;
        let outcome = beside(&host(&short()), misdeed, json!({})).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::TimedOut), "{:?}", outcome.result);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_sleeps_too_long_is_ended_in_time() {
    assert_timed_out("sleep", json!({"ms": 10_000})).await;
    let outcome = beside(&host(&short()), "sleep", json!({"ms": u64::MAX.to_string()})).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::TimedOut), "{:?}", outcome.result);
}

#[tokio::test]
async fn a_guest_that_never_ends_is_ended_in_time_also_where_there_is_one_thread() {
    let host = host(&short());
    let both = async { tokio::join!(call(&host, "hostile_spin", json!({})), timed(assert_serves(&host))) };
    let ((outcome, ((), beside)), time) = timed(both).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::TimedOut));
    figure(&format!("on one thread spin was ended after {time:?}; the call beside it took {beside:?}"));
    assert!(time < Duration::from_millis(300) + GRACE, "{time:?}");
    assert!(beside < Duration::from_millis(250), "{beside:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_recurses_for_ever_traps() {
    let error = error_of(&LimitSettings::default(), "recurse", json!({})).await;
    assert_eq!(error.kind, ErrorKind::Trapped);
    assert_eq!(error.message, "the tool trapped: its stack is used up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_hogs_memory_runs_out_of_it() {
    let outcome = beside(&host(&LimitSettings::default()), "hog", json!({})).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.message.contains("64.0 MiB are allowed") && error.message.contains("`limits.memory`"), "{error}");
    let peak = outcome.report.attempts[0].memory_bytes_peak;
    assert!(peak <= 64 * MIB && peak > 60 * MIB, "{peak}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_beyond_the_limit_is_refused_and_one_below_it_is_not() {
    for misdeed in ["huge_result", "huge_string"] {
        for bytes in [8 * MIB + 1, 20 * MIB] {
            let error = error_of(&LimitSettings::default(), misdeed, json!({"bytes": bytes})).await;
            assert_eq!(error.kind, ErrorKind::OutputTooLarge, "{error}");
            assert!(error.message.contains("8.0 MiB") && error.message.contains("`limits.result`"), "{error}");
        }
        let outcome = beside(&host(&LimitSettings::default()), misdeed, json!({"bytes": 8 * MIB})).await;
        let length = outcome.result.unwrap().value.as_str().unwrap().len() as u64;
        let expected = if misdeed == "huge_string" { 8 * MIB } else { (8 * MIB).div_ceil(3) * 4 };
        assert_eq!(length, expected, "{misdeed}");
        // So much that the guest itself cannot hold it.
        let error = error_of(&LimitSettings::default(), misdeed, json!({"bytes": 500 * MIB})).await;
        assert_eq!(error.kind, ErrorKind::OutOfMemory, "{error}");
        let error = error_of(&LimitSettings::default(), misdeed, json!({"bytes": u64::MAX.to_string()})).await;
        assert_eq!(error.kind, ErrorKind::Trapped, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_standard_error_is_cut_off_and_harms_nothing() {
    let outcome = beside(&host(&LimitSettings::default()), "flood", json!({"bytes": 20 * MIB})).await;
    assert_eq!(outcome.result.unwrap().value, Value::Null);
    let stderr = &outcome.report.attempts[0].stderr;
    assert_eq!((stderr.text.len(), stderr.dropped_bytes), (64 << 10, 20 * MIB - (64 << 10)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_traps_with_the_words_of_the_guest() {
    let message = "the é of it all";
    let error = error_of(&LimitSettings::default(), "panic", json!({"message": message})).await;
    assert_eq!(error.kind, ErrorKind::Trapped);
    assert!(error.message.contains(message), "{error}");
    assert!(error.message.starts_with("the tool trapped: it gave up (`unreachable`), as a panic does; it wrote: "));
    // The last of long last words, cut between two characters.
    let error = error_of(&LimitSettings::default(), "panic", json!({"message": "é".repeat(5_000)})).await;
    assert!(error.message.contains("éééé") && error.message.len() < 1_200, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_ends_itself_traps_whatever_its_status() {
    for (code, shown) in [(0, "0"), (1, "1"), (255, "1")] {
        let error = error_of(&LimitSettings::default(), "exit", json!({"code": code})).await;
        assert_eq!(error.kind, ErrorKind::Trapped);
        assert_eq!(error.message, format!("the tool ended itself with exit status {shown}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_line_of_log_is_cut_and_one_beyond_the_limit_traps() {
    let outcome = beside(&host(&LimitSettings::default()), "huge_log", json!({"bytes": MIB})).await;
    assert!(outcome.result.is_ok());
    let log = &outcome.report.attempts[0].log;
    assert_eq!((log.text.len(), log.dropped_bytes), (64 << 10, MIB + "info: \n".len() as u64 - (64 << 10)));
    let error = error_of(&LimitSettings::default(), "huge_log", json!({"bytes": 9 * MIB})).await;
    assert_eq!(error.kind, ErrorKind::Trapped);
    assert!(error.message.contains("handed more than 8.0 MiB to the host at once"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_too_many_random_bytes_is_refused() {
    let outcome = beside(&host(&LimitSettings::default()), "huge_random", json!({"bytes": MIB})).await;
    assert_eq!(outcome.result.unwrap().value, json!(MIB));
    for bytes in [json!(MIB + 1), json!(1_024 * MIB), json!(u64::MAX.to_string())] {
        let error = error_of(&LimitSettings::default(), "huge_random", json!({"bytes": bytes})).await;
        assert_eq!(error.kind, ErrorKind::Trapped, "{error}");
    }
}

/// While as many calls as there are workers never end: how long a well-behaved call takes, and how late a timer comes. A
/// timer stands for all that the runtime waits for: a request from the network is noticed by the same driver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_endless_calls_as_there_are_workers_leave_other_calls_and_timers_alone() {
    const PAUSE: Duration = Duration::from_millis(5);
    let host = host(&LimitSettings { time: span("2s"), ..short() });
    let mut endless = JoinSet::new();
    for misdeed in ["hostile_spin", "hostile_fill_loop"] {
        let host = host.clone();
        endless.spawn(async move { call(&host, misdeed, json!({})).await });
    }
    let (mut latencies, mut delays) = (Vec::new(), Vec::new());
    while endless.try_join_next().is_none() {
        // From a task of its own, as in a server, and not from the thread of the test.
        let host = host.clone();
        let serve = async move { (timed(tokio::time::sleep(PAUSE)).await.1, timed(assert_serves(&host)).await.1) };
        let (slept, served) = tokio::spawn(serve).await.unwrap();
        latencies.push(served);
        delays.push(slept - PAUSE);
    }
    figure(&format!("{} calls beside 2 endless ones on 2 workers", latencies.len()));
    for (what, mut times) in [("a call takes", latencies), ("a timer is late by", delays)] {
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let (median, p99, most) = (at(50), at(99), at(100));
        figure(&format!("{what}: median {median:?}, p99 {p99:?}, most {most:?}"));
        assert!(
            median < Duration::from_millis(30) && most < Duration::from_millis(500),
            "{what}: {median:?}, {most:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_hostile_calls_leave_no_memory_behind() {
    let limits = LimitSettings {
        fuel: Some(3_000_000),
        memory: Some(Bytes(4 * MIB)),
        time: span("20ms"),
        result: Some(Bytes(64 << 10)),
        ..LimitSettings::default()
    };
    let host = host(&limits);
    let misdeeds = [
        ("spin", json!({})),
        ("allocate_loop", json!({})),
        ("recurse", json!({})),
        ("hog", json!({})),
        ("huge_result", json!({"bytes": MIB})),
        ("huge_string", json!({"bytes": MIB})),
        ("flood", json!({"bytes": MIB})),
        ("huge_log", json!({"bytes": MIB})),
        ("huge_random", json!({"bytes": 1 << 30})),
        ("panic", json!({"message": "x".repeat(1_000)})),
        ("exit", json!({"code": 1})),
        ("sleep", json!({"ms": 1_000})),
    ];
    let mut after_some = 0;
    let mut ended = std::collections::BTreeMap::new();
    for round in 0..63 {
        let mut calls = JoinSet::new();
        for at in 0..16 {
            let (host, (misdeed, arguments)) = (host.clone(), misdeeds[(round * 16 + at) % misdeeds.len()].clone());
            calls.spawn(async move { call(&host, &format!("hostile_{misdeed}"), arguments).await });
        }
        for outcome in calls.join_all().await {
            *ended.entry(kind(&outcome).map_or("ok", ErrorKind::name)).or_insert(0) += 1;
        }
        if round == 12 {
            after_some = common::resident_kib();
        }
    }
    assert_idle(&host).await;
    assert_serves(&host).await;
    let after_all = common::resident_kib();
    let grown = after_all.saturating_sub(after_some) / 1_024;
    figure(&format!("{ended:?}; {} MiB after 208 calls, {grown} MiB more after 1,008", after_some / 1_024));
    assert!(grown < 64, "{grown} MiB");
}
