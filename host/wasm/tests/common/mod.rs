//! What the tests share: one engine, the guests, a host of some of them, and a call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests; each of them uses a part of this"
)]

pub mod asks;
pub mod disk;
pub mod door;
pub mod echo;
pub mod guest;
pub mod keep;
pub mod line;
pub mod server;
pub mod shapes;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use toolpost_core::catalog::Base;
use toolpost_core::catalog::settings::{Bytes, LimitSettings, Span, ToolSettings};
use toolpost_core::guard::Guards;
use toolpost_core::{Call, CallError, Cast, Catalog, ErrorKind, Host, HostLimits, Outcome};
use toolpost_wasm::{Component, Engine, EngineOptions};

/// The engine of all tests that need no other one.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineOptions::default()).unwrap())
}

pub fn prebuilt_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../guest-examples/prebuilt/{name}.wasm"))
}

/// A guest from `guest-examples`, compiled once for a test program.
pub fn prebuilt(name: &str) -> Arc<Component> {
    static LOADED: OnceLock<Mutex<HashMap<String, Arc<Component>>>> = OnceLock::new();
    let mut loaded = LOADED.get_or_init(Mutex::default).lock().unwrap();
    let load = || Arc::new(engine().load_file(name, &prebuilt_file(name)).unwrap());
    loaded.entry(name.to_owned()).or_insert_with(load).clone()
}

/// A guest from WAT text; its function `f` is the tool `guest_f`.
pub fn component(wat: &str) -> Component {
    load(engine(), wat).unwrap_or_else(|error| panic!("{error}\n{wat}"))
}

pub fn load(engine: &Engine, wat: &str) -> Result<Component, toolpost_wasm::LoadError> {
    engine.load("guest", &wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}")), None)
}

/// Arguments are taken as they are, each call is one attempt, and no breaker gets in the way of a test's next call.
pub fn strict() -> Base {
    Base { cast: Cast::Strict, guards: Guards::none(), ..Base::default() }
}

/// A host of these prebuilt guests, with the default limits.
pub fn host(names: &[&str]) -> Host {
    host_with(names, &LimitSettings::default())
}

pub fn host_with(names: &[&str], limits: &LimitSettings) -> Host {
    let components: Vec<_> = names.iter().map(|name| prebuilt(name)).collect();
    host_of(components.iter().map(|component| &**component), limits)
}

/// A host of these components, each function with the same limits; unless they say otherwise, a result is not cut.
pub fn host_of<'a>(components: impl IntoIterator<Item = &'a Component>, limits: &LimitSettings) -> Host {
    let components: Vec<&Component> = components.into_iter().collect();
    for component in &components {
        assert_eq!(component.refused, [], "`{}` is to be taken as a whole", component.name);
    }
    let limits = LimitSettings { reader: limits.reader.or(Some(Bytes(u64::MAX))), ..limits.clone() };
    let settings = ToolSettings { limits, ..ToolSettings::default() };
    let mut catalog = Catalog::default();
    for component in components {
        for function in &component.functions {
            catalog.add(component.tool(function, &strict(), &settings).unwrap()).unwrap();
        }
    }
    Host::new(catalog)
}

/// The same host with so many places.
pub fn places(host: Host, max_parallel: usize) -> Host {
    host.with_limits(HostLimits { max_parallel, ..HostLimits::default() })
}

pub async fn call(host: &Host, tool: &str, arguments: Value) -> Outcome {
    host.call(Call::new(tool, arguments)).await
}

/// Calls `guest_f`, and gives the error with which it ends.
pub async fn fails(host: &Host, arguments: Value) -> CallError {
    let outcome = call(host, "guest_f", arguments).await;
    outcome.result.expect_err("the call is to fail")
}

/// The host serves: a well-behaved call gets its answer.
pub async fn assert_serves(host: &Host) {
    let outcome = call(host, "text_word_count", json!({"text": "one two\nthree"})).await;
    assert_eq!(outcome.result.unwrap().value, json!({"words": 3, "lines": 2, "characters": 13}));
}

/// Every place of the host is free. The task of an attempt gives its own back a moment after the call has ended.
pub async fn assert_idle(host: &Host) {
    soon("the host to be idle", || host.in_use() == (0, 0)).await;
}

/// Every instance of the engine is returned, and every place of the host. Only for a test with an engine of its own.
pub async fn assert_empty(engine: &Engine, host: &Host) {
    soon("the engine to be empty", || engine.live_instances() == Some(0)).await;
    assert_idle(host).await;
}

/// Waits until it is so; fails when that takes longer than any machine needs.
pub async fn soon(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..5_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain for {what}");
}

/// `30s`, `300ms` as settings say it.
pub fn span(text: &str) -> Option<Span> {
    Some(text.parse().unwrap())
}

pub fn blocking<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    outcome.result.as_ref().err().map(|error| error.kind)
}

/// Runs it and takes the time.
pub async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let value = future.await;
    (value, start.elapsed())
}

/// The memory that this process holds, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[expect(clippy::print_stdout, reason = "figures for the reader of `--nocapture`")]
pub fn figure(text: &str) {
    println!("{text}");
}
