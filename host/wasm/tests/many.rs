//! Very many calls at once, each asleep in a guest of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{assert_idle, call, figure, host_of, kind, prebuilt_file, resident_kib, span, timed};
use serde_json::json;
use tokio::task::JoinSet;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{ErrorKind, HostLimits};
use toolpost_wasm::{Engine, EngineOptions};

const CALLS: usize = 10_000;

fn memory_maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Makes the calls at once on a host with so many places, and says how they ended.
async fn sleep_at_once(engine: &Engine, max_parallel: usize) -> BTreeMap<&'static str, usize> {
    let nap = engine.load_file("nap", &prebuilt_file("nap")).unwrap();
    let limits = LimitSettings { time: span("5m"), call_time: span("10m"), ..LimitSettings::default() };
    let limits_of_host = HostLimits { max_parallel, max_waiting: CALLS, ..HostLimits::default() };
    let host = Arc::new(host_of([&nap], &limits).with_limits(limits_of_host));
    let before = resident_kib();
    let naps = async {
        let mut naps = JoinSet::new();
        for _ in 0..CALLS {
            let host = host.clone();
            naps.spawn(async move { call(&host, "nap_nap", json!({"ms": 1_000})).await });
        }
        // How many sleep at the same time depends on how fast the machine can begin them.
        let (mut most, mut each, mut maps) = (0, 0.0, 0);
        while host.in_use() != (0, 0) || most == 0 {
            let asleep = engine.live_instances().unwrap();
            if asleep > most {
                let held = resident_kib().saturating_sub(before) as f64;
                (most, each, maps) = (asleep, held / asleep as f64, memory_maps());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        figure(&format!("{most} asleep at once, {each:.1} KiB resident each, {maps} memory maps"));
        naps.join_all().await
    };
    let (outcomes, time) = timed(naps).await;
    let mut ends = BTreeMap::new();
    for outcome in &outcomes {
        *ends.entry(kind(outcome).map_or("ok", ErrorKind::name)).or_insert(0) += 1;
        if let Err(error) = &outcome.result {
            assert!(error.message.contains("vm.max_map_count") && error.retry_after.is_some(), "{error}");
        }
    }
    figure(&format!("{ends:?} after {time:?}"));
    assert_idle(&host).await;
    assert_eq!(engine.live_instances(), Some(0));
    let after = call(&host, "nap_nap", json!({"ms": 1})).await;
    assert_eq!(after.result.unwrap().value, json!(1), "it serves as before");
    ends
}

fn engine(max_parallel: usize) -> Engine {
    Engine::new(&EngineOptions { max_parallel, ..EngineOptions::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_sleep_at_once_and_all_finish() {
    let engine = engine(CALLS);
    let ends = sleep_at_once(&engine, engine.max_parallel()).await;
    assert_eq!(ends, [("ok", CALLS)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_for_which_the_engine_has_no_room_are_told_so_and_the_others_finish() {
    let ends = sleep_at_once(&engine(1_000), CALLS).await;
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), ["busy", "ok"]);
    assert!(ends["ok"] >= 1_000, "{ends:?}");
}
