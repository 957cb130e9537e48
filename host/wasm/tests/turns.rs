//! A guest takes turns with everything else, also one that does nothing but call the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{assert_idle, assert_serves, call, figure, host_of, kind, prebuilt, span, timed};
use serde_json::json;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{CallError, ErrorKind, Host, Stage};
use toolpost_wasm::{Component, Engine, EngineOptions, State};
use wasmtime::StoreContextMut;

/// A guest whose `f` calls `name` of `instance`, for ever where `repeat` is `br 0`.
fn caller(instance: &str, name: &str, (wit, core): (&str, &str), repeat: &str) -> String {
    format!(
        r#"(component
  (import "{instance}" (instance $host (export "{name}" (func (result {wit})))))
  (core func $call (canon lower (func $host "{name}")))
  (core module $m
    (import "host" "call" (func $call (result {core})))
    (func (export "f") (loop (drop (call $call)) ({repeat}))))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
  (func (export "f") (canon lift (core func $i "f"))))"#
    )
}

/// Calls the cheapest function of the host for ever.
fn clock_reader() -> String {
    caller("wasi:clocks/monotonic-clock@0.2.6", "now", ("u64", "i64"), "br 0")
}

/// Its function `busy.work` computes for that long and does nothing else; `busy.refuse` fails.
fn busy_engine(time: Duration) -> Engine {
    let link = move |linker: &mut wasmtime::component::Linker<State>| {
        let mut busy = linker.instance("busy")?;
        busy.func_wrap("work", move |store: StoreContextMut<'_, State>, (): ()| {
            let _ = store.data().attempt();
            let start = std::time::SystemTime::now();
            while start.elapsed().is_ok_and(|passed| passed < time) {
                std::hint::spin_loop();
            }
            Ok((1_u32,))
        })?;
        busy.func_wrap("refuse", |_: StoreContextMut<'_, State>, (): ()| -> wasmtime::Result<(u32,)> {
            Err(CallError::new(ErrorKind::QuotaExceeded, Stage::Run, "no more today").into())
        })
    };
    Engine::with_links(&EngineOptions::default(), link).unwrap()
}

fn busy_guest(engine: &Engine, name: &str, repeat: &str) -> Component {
    common::load(engine, &caller("busy", name, ("u32", "i32"), repeat)).unwrap()
}

fn with_text(component: &Component, limits: &LimitSettings) -> Arc<Host> {
    Arc::new(host_of([component, &prebuilt("text")], limits))
}

fn limits(time: &str) -> LimitSettings {
    LimitSettings { fuel: Some(u64::MAX / 2), time: span(time), ..LimitSettings::default() }
}

#[tokio::test]
async fn a_guest_that_only_calls_the_host_is_ended_in_time_and_leaves_the_calls_beside_it_alone() {
    let guest = common::component(&clock_reader());
    let host = with_text(&guest, &limits("500ms"));
    let reader = tokio::spawn({
        let host = host.clone();
        async move { timed(call(&host, "guest_f", json!({}))).await }
    });
    let mut beside = Vec::new();
    while !reader.is_finished() {
        let host = host.clone();
        beside.push(tokio::spawn(async move { timed(assert_serves(&host)).await.1 }).await.unwrap());
    }
    let (outcome, time) = reader.await.unwrap();
    beside.sort();
    let (calls, median, most) = (beside.len(), beside[beside.len() / 2], *beside.last().unwrap());
    figure(&format!("ended after {time:?}; on the same thread {calls} calls: median {median:?}, most {most:?}"));
    assert_eq!(kind(&outcome), Some(ErrorKind::TimedOut), "{:?}", outcome.result);
    assert!(time < Duration::from_secs(1), "{time:?}");
    assert!(median < Duration::from_millis(150) && calls >= 3, "{calls} calls, {median:?}");
    assert_idle(&host).await;
}

#[tokio::test]
async fn a_guest_that_fills_its_turn_with_slow_host_functions_traps_long_before_its_deadline() {
    let engine = busy_engine(Duration::from_millis(20));
    let host = with_text(&busy_guest(&engine, "work", "br 0"), &limits("1m"));
    let (outcome, time) = timed(call(&host, "guest_f", json!({}))).await;
    let error = outcome.result.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::Trapped, Stage::Run), "{error}");
    assert_eq!(error.message, "the tool called the host without a pause for longer than 100 ms");
    assert!(time < Duration::from_secs(10), "{time:?}");
    assert_serves(&host).await;
    assert_idle(&host).await;
}

#[tokio::test]
async fn one_slow_host_function_is_no_fault_of_the_guests() {
    let engine = busy_engine(Duration::from_millis(250));
    let host = with_text(&busy_guest(&engine, "work", "nop"), &limits("1m"));
    assert!(call(&host, "guest_f", json!({})).await.result.is_ok());
}

#[tokio::test]
async fn an_error_of_a_host_function_is_the_error_of_the_call() {
    let engine = busy_engine(Duration::ZERO);
    let host = with_text(&busy_guest(&engine, "refuse", "nop"), &limits("1m"));
    let error = call(&host, "guest_f", json!({})).await.result.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::QuotaExceeded, "no more today"));
}
