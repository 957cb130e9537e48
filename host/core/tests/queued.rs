//! A hundred thousand calls that wait: what each holds, what it takes to serve them, and what is left of them.
//!
//! One test alone in its process, because it looks at the memory of all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::{Call, Caller, Catalog, EffectClass, Host, HostLimits, Native};

const CALLS: usize = 100_000;

/// What a call may hold that waits, all of it: its arguments, its task, what it will need when it runs, its place in the line.
const KIB_MAX: usize = 8;

fn host() -> Host {
    let tool = Native::new("work", "").parameter("number", Shape::Integer(Integer::U64)).effect(EffectClass::Reads);
    let tool = tool.run(|attempt| async move {
        sleep(Duration::from_millis(10)).await;
        Ok(attempt.call.arguments["number"].clone())
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog).with_limits(HostLimits { max_parallel: 64, max_waiting: CALLS, ..HostLimits::default() })
}

/// So many calls by 1,000 callers, all but those that run of them in the line.
async fn waiting(host: &Host, calls: usize) -> Vec<JoinHandle<bool>> {
    let spawn = |number: usize| {
        let caller = Caller::named(format!("caller {}", number % 1_000));
        let (host, call) = (host.clone(), Call::new("work", json!({"number": number})).by(caller));
        tokio::spawn(async move { host.call(call).await.result.is_ok() })
    };
    let calls: Vec<_> = (0..calls).map(spawn).collect();
    // All of them come before the first of them ends.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(host.in_use(), (64, calls.len() - 64));
    calls
}

async fn served(calls: Vec<JoinHandle<bool>>) {
    for call in calls {
        assert!(call.await.unwrap());
    }
}

/// What this process holds in memory.
fn resident_kib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor's time that this thread has used, in nanoseconds: others of the machine do not count.
fn worked() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_calls_wait_in_bounded_memory_and_are_served_in_work_that_grows_with_their_number() {
    let host = host();
    served(waiting(&host, 1_000).await).await;
    let small = work_of(&host, CALLS / 10).await;

    let before = resident_kib();
    let calls = waiting(&host, CALLS).await;
    let held = resident_kib().zip(before).map(|(now, before)| now.saturating_sub(before));
    let begun = worked();
    served(calls).await;
    let large = worked().zip(begun).map(|(now, begun)| now - begun);
    assert_eq!(host.in_use(), (0, 0));
    if let Some(held) = held {
        assert!(held <= CALLS * KIB_MAX, "{held} KiB");
    }
    if let (Some(small), Some(large)) = (small, large) {
        // Ten times as many take a hundred times as much where each looks at all others.
        assert!(large <= small * 25, "{large} and {small}");
    }

    // Those that go away leave nothing: as many more find room.
    for _ in 0..2 {
        let calls: Vec<_> = waiting(&host, CALLS).await;
        calls.iter().for_each(JoinHandle::abort);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(host.in_use(), (0, 0));
    }
    let grown = resident_kib().zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
    assert!(grown <= CALLS * KIB_MAX, "{grown} KiB");
    assert!(timeout(Duration::from_secs(1), host.call(Call::new("work", json!({"number": 1})))).await.is_ok());
}

async fn work_of(host: &Host, calls: usize) -> Option<u64> {
    let calls = waiting(host, calls).await;
    let begun = worked();
    served(calls).await;
    worked().zip(begun).map(|(now, begun)| now - begun)
}
