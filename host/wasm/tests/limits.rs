//! Each limit holds to the unit, is reported, and is the one that was set for the tool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{asks, blocking, call, component, engine, kind, load, span};
use serde_json::{Value, json};
use toolpost_core::catalog::Base;
use toolpost_core::catalog::settings::{Bytes, LimitSettings, ToolSettings};
use toolpost_core::{Call, Catalog, ErrorKind, Host, Limits, Outcome};
use toolpost_wasm::{Component, Engine, EngineOptions};

const KIB: u64 = 1 << 10;
const PAGE: u64 = 64 * KIB;

/// `f: func(n: u32) -> u32` around a core function body with one more local.
fn guest(beside: &str, body: &str) -> String {
    format!(
        r#"(component
      (core module $m {beside} (func $f (export "f") (param i32) (result i32) (local i32) {body}))
      (core instance $i (instantiate $m))
      (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
      (export "f" (func $f)))"#
    )
}

/// Counts down from `n`.
const COUNT: &str = "(loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 7)";

/// Grows by `n`, and gives the size before, or -1.
const GROW: &str = "(memory.grow (local.get 0))";

fn run(guest: &Component, limits: &LimitSettings, n: u64) -> Outcome {
    blocking(call(&common::host_of([guest], limits), "guest_f", json!({"n": n})))
}

fn fuel(fuel: u64) -> LimitSettings {
    LimitSettings { fuel: Some(fuel), ..LimitSettings::default() }
}

fn memory(bytes: u64) -> LimitSettings {
    LimitSettings { memory: Some(Bytes(bytes)), ..LimitSettings::default() }
}

/// The value, and the most memory that was held.
fn value(outcome: &Outcome) -> (Value, u64) {
    let value = outcome.result.as_ref().unwrap_or_else(|error| panic!("{error}")).value.clone();
    (value, outcome.report.attempts[0].memory_bytes_peak)
}

fn check_out_of_memory(outcome: &Outcome, wanted: &str, allowed: &str) {
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory, "{error}");
    let words = format!("the tool wanted {wanted} of memory; {allowed} are allowed");
    assert!(error.message.starts_with(&words), "{error}");
}

#[test]
fn fuel_is_counted_to_the_unit_and_the_same_each_time() {
    let guest = component(&guest("", COUNT));
    let used = |n| {
        let outcome = run(&guest, &LimitSettings::default(), n);
        assert_eq!(value(&outcome).0, json!(7));
        outcome.report.attempts[0].fuel
    };
    let (ten, eleven) = (used(10), used(11));
    assert_eq!(used(10), ten);
    let turn = eleven - ten;
    assert_eq!(turn, 5, "an operator is a unit");
    // Far beyond a slice between two yields: a yield loses nothing.
    assert_eq!(used(5_000_010), ten + 5_000_000 * turn);
}

#[test]
fn a_tool_has_the_fuel_that_was_set_and_no_more() {
    let guest = component(&guest("", COUNT));
    for n in [10, 5_000_000] {
        let needed = run(&guest, &LimitSettings::default(), n).report.attempts[0].fuel;
        // Fuel is looked at where a loop turns and where a function is entered.
        let enough = run(&guest, &fuel(needed + 1), n);
        assert_eq!((value(&enough).0, enough.report.attempts[0].fuel), (json!(7), needed));
        for less in [0, 1, needed / 2, needed - 10] {
            let outcome = run(&guest, &fuel(less), n);
            let error = outcome.result.as_ref().unwrap_err();
            assert_eq!(error.kind, ErrorKind::OutOfFuel, "{less} of {needed}: {error}");
            assert!(error.message.starts_with(&format!("the tool used up its fuel of {less}")), "{error}");
            assert!(error.message.contains("`limits.fuel`"), "{error}");
            let used = outcome.report.attempts[0].fuel;
            assert!(used >= less && used < less + 20, "{used} of {less}");
        }
    }
}

#[test]
fn fuel_is_reported_however_an_attempt_ends() {
    let limits = LimitSettings { time: span("50ms"), ..fuel(u64::MAX / 2) };
    let cases = [("(loop (br 0)) (unreachable)", ErrorKind::TimedOut), ("(unreachable)", ErrorKind::Trapped)];
    for (after, wanted) in cases {
        let work = COUNT.replace("(i32.const 7)", "");
        let outcome = run(&component(&guest("", &format!("{work} {after}"))), &limits, 1_000);
        assert_eq!(kind(&outcome), Some(wanted));
        assert!(outcome.report.attempts[0].fuel >= 5_000, "{wanted:?}: {}", outcome.report.attempts[0].fuel);
    }
}

#[test]
fn an_engine_without_fuel_counts_none_and_still_bounds_memory() {
    let options = EngineOptions { fuel: false, max_parallel: 1, ..EngineOptions::default() };
    let engine = Engine::new(&options).unwrap();
    let counting = load(&engine, &guest("", COUNT)).unwrap();
    let outcome = run(&counting, &fuel(1), 100_000);
    assert_eq!((value(&outcome).0, outcome.report.attempts[0].fuel), (json!(7), 0));
    let growing = load(&engine, &guest("(memory 1)", GROW)).unwrap();
    check_out_of_memory(&run(&growing, &memory(2 * PAGE), 2), "192.0 KiB", "128.0 KiB");
}

#[test]
fn memory_is_bounded_to_the_byte_and_its_peak_is_reported() {
    let guest = component(&guest("(memory 1)", GROW));
    for more in [0, 1, 9] {
        assert_eq!(value(&run(&guest, &memory(10 * PAGE), more)), (json!(1), (1 + more) * PAGE));
    }
    check_out_of_memory(&run(&guest, &memory(10 * PAGE), 10), "704.0 KiB", "640.0 KiB");
    check_out_of_memory(&run(&guest, &memory(10 * PAGE - 1), 9), "640.0 KiB", "640.0 KiB");
    check_out_of_memory(&run(&guest, &memory(PAGE - 1), 0), "64.0 KiB", "64.0 KiB");
    // What a module rules out itself is no limit of the host's: the guest gets its -1.
    let own = component(&self::guest("(memory 1 4)", GROW));
    assert_eq!(value(&run(&own, &memory(10 * PAGE), 4)), (json!(u32::MAX), PAGE));
}

#[test]
fn memory_is_summed_over_all_memories_and_tables() {
    // A memory of its own, two of another module, and a table: each far below the limit.
    let wat = r#"(component
      (core module $other
        (memory $one 1) (memory $two 1) (table $t 1000 funcref)
        (func (export "one") (param i32) (drop (memory.grow $one (local.get 0))))
        (func (export "two") (param i32) (drop (memory.grow $two (local.get 0))))
        (func (export "table") (param i32)
          (drop (table.grow $t (ref.null func) (i32.mul (local.get 0) (i32.const 1000))))))
      (core instance $other (instantiate $other))
      (core module $m
        (import "other" "one" (func $one (param i32)))
        (import "other" "two" (func $two (param i32)))
        (import "other" "table" (func $table (param i32)))
        (memory 1)
        (func (export "f") (param i32) (result i32)
          (call $one (local.get 0)) (call $two (local.get 0)) (call $table (local.get 0))
          (memory.grow (local.get 0))))
      (core instance $i (instantiate $m (with "other" (instance $other))))
      (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
      (export "f" (func $f)))"#;
    let guest = component(wat);
    let held = |n: u64| 3 * (1 + n) * PAGE + (1 + n) * 8_000;
    for n in [0, 1, 5] {
        assert_eq!(value(&run(&guest, &memory(held(5)), n)), (json!(1), held(n)));
    }
    assert_eq!(kind(&run(&guest, &memory(held(5) - 1), 5)), Some(ErrorKind::OutOfMemory));
    assert_eq!(kind(&run(&guest, &memory(held(0) - 1), 0)), Some(ErrorKind::OutOfMemory));
}

#[test]
fn a_table_that_grows_for_ever_ends() {
    let body = "(loop (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 100)) (i32.const -1)))) (table.size)";
    let guest = component(&guest("(table 0 funcref)", body));
    check_out_of_memory(&run(&guest, &memory(100_000), 0), "98.4 KiB", "97.7 KiB");
    // A slot of the pool holds no more elements than these; the guest gets its -1.
    assert_eq!(value(&run(&guest, &LimitSettings::default(), 0)), (json!(50_000), 400_000));
}

#[test]
fn one_attempt_leaves_no_memory_to_the_next() {
    let body = "(local.set 1 (i32.load (i32.const 65532))) (i32.store (i32.const 65532) (local.get 0)) (local.get 1)";
    let guest = component(&guest("(memory 1)", body));
    for n in 1..50 {
        assert_eq!(value(&run(&guest, &LimitSettings::default(), n)), (json!(0), PAGE));
    }
}

fn check_out_of_handles(outcome: &Outcome, allowed: u32) {
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Trapped, "{error}");
    let words = format!("the tool wanted more than the {allowed} handles that are allowed");
    assert!(error.message.starts_with(&words) && error.message.contains("`limits.handles`"), "{error}");
}

#[test]
fn handles_to_what_the_host_holds_are_bounded() {
    let imports = r#"(import "wasi:io/poll@0.2.6" (instance $poll (export "pollable" (type (sub resource)))))
      (alias export $poll "pollable" (type $pollable))
      (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
        (export "pollable" (type $it (eq $pollable)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $it))))))"#;
    let core = r#"(func (export "f") (param i32) (result i32)
      (loop
        (drop (call $new (i64.const 1000000000)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (i32.const 7))"#;
    let asked = [("new", "clock", "subscribe-duration", "(param i64) (result i32)")];
    let guest = component(&asks::component(imports, &asked, "(param \"n\" u32) (result u32)", core));
    let limits = |handles| LimitSettings { handles: Some(handles), ..LimitSettings::default() };
    // For each handle the host holds two things: the clock's deadline, and what waits for it.
    assert_eq!(value(&run(&guest, &limits(100), 50)).0, json!(7));
    check_out_of_handles(&run(&guest, &limits(100), 51), 100);
    check_out_of_handles(&run(&guest, &LimitSettings::default(), 1_000_000_000), 10_000);
}

#[test]
fn handles_to_what_the_guest_holds_itself_are_bounded() {
    let wat = r#"(component
      (type $thing (resource (rep i32)))
      (core func $new (canon resource.new $thing))
      (core module $m
        (import "host" "new" (func $new (param i32) (result i32)))
        (func (export "f") (param i32) (result i32)
          (loop
            (drop (call $new (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
          (i32.const 7)))
      (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
      (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
      (export "f" (func $f)))"#;
    let guest = component(wat);
    let limits = LimitSettings { handles: Some(100), ..LimitSettings::default() };
    assert_eq!(value(&run(&guest, &limits, 95)).0, json!(7));
    check_out_of_handles(&run(&guest, &limits, 101), 100);
}

#[test]
fn the_stack_of_a_guest_is_as_large_as_was_set() {
    // Calls itself `n` times.
    let body = "(if (i32.eqz (local.get 0)) (then (return (i32.const 7))))
      (i32.add (i32.const 0) (call $f (i32.sub (local.get 0) (i32.const 1))))";
    let depth = |stack_bytes_max| {
        let options = EngineOptions { stack_bytes_max, max_parallel: 1, ..EngineOptions::default() };
        let engine = Engine::new(&options).unwrap();
        let guest = load(&engine, &guest("", body)).unwrap();
        let deeper = |n| {
            let outcome = run(&guest, &LimitSettings::default(), n);
            match outcome.result {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.message, "the tool trapped: its stack is used up");
                    false
                }
            }
        };
        let (mut fits, mut too_deep) = (0, 1_000_000);
        assert!(deeper(fits) && !deeper(too_deep));
        while too_deep - fits > 100 {
            let middle = (fits + too_deep) / 2;
            if deeper(middle) { fits = middle } else { too_deep = middle }
        }
        fits
    };
    let (small, large) = (depth(64 << 10), depth(1 << 20));
    assert!(large > small * 12 && large < small * 24, "{small}, {large}");
}

#[test]
fn the_time_of_a_call_and_of_an_attempt_are_told_apart() {
    let guest = component(&guest("", "(loop (br 0)) (unreachable)"));
    let limits = |time, call_time| LimitSettings { time: span(time), call_time: span(call_time), ..fuel(u64::MAX / 2) };
    let cases = [
        (limits("30ms", "10s"), "the tool did not answer within 30ms", "`limits.time`"),
        (limits("10s", "30ms"), "the call did not end within 30ms", "`limits.call_time`"),
    ];
    for (limits, words, setting) in cases {
        let error = run(&guest, &limits, 0).result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
        assert!(error.message.starts_with(words) && error.message.contains(setting), "{error}");
    }
}

#[test]
fn arguments_and_results_beyond_their_limits_are_refused() {
    let text = common::prebuilt("text");
    let echo = |limits: LimitSettings, length: usize| {
        let host = common::host_of([&*text], &limits);
        let arguments = format!("{{\"text\":\"{}\"}}", "x".repeat(length));
        kind(&blocking(host.call(Call::new("text_echo", arguments))))
    };
    let arguments = LimitSettings { arguments: Some(Bytes(100)), ..LimitSettings::default() };
    // Eleven bytes stand around the text.
    assert_eq!(echo(arguments.clone(), 89), None);
    assert_eq!(echo(arguments, 90), Some(ErrorKind::InvalidArguments));
    let result = LimitSettings { result: Some(Bytes(100)), ..LimitSettings::default() };
    assert_eq!(echo(result.clone(), 100), None);
    assert_eq!(echo(result, 101), Some(ErrorKind::OutputTooLarge));
}

#[test]
fn what_is_said_of_a_tool_stands_above_its_component_and_that_above_the_host() {
    let guest = component(&guest("", COUNT));
    // Fuel for some 1,000 turns, or for none.
    let (much, little) = (fuel(6_000), fuel(600));
    let unsaid = LimitSettings::default();
    let cases = [
        (&unsaid, &unsaid, &unsaid, None),
        (&little, &unsaid, &unsaid, Some(ErrorKind::OutOfFuel)),
        (&little, &much, &unsaid, None),
        (&much, &little, &unsaid, Some(ErrorKind::OutOfFuel)),
        (&little, &little, &much, None),
        (&much, &much, &little, Some(ErrorKind::OutOfFuel)),
    ];
    for (at, (host, component, tool, wanted)) in cases.into_iter().enumerate() {
        let limits = Limits::default().with(host).with(component);
        let settings = ToolSettings { limits: tool.clone(), ..ToolSettings::default() };
        let mut catalog = Catalog::default();
        catalog.add(guest.tool(&guest.functions[0], &Base { limits, ..common::strict() }, &settings).unwrap()).unwrap();
        let outcome = blocking(call(&Host::new(catalog), "guest_f", json!({"n": 1_000})));
        assert_eq!(kind(&outcome), wanted, "case {at}");
    }
}

#[test]
fn two_tools_of_a_component_each_have_their_own_limits() {
    let guest = component(&guest("", COUNT));
    let mut catalog = Catalog::default();
    for (name, limits) in [("rich", fuel(6_000)), ("poor", fuel(600))] {
        let settings = ToolSettings { name: Some(name.into()), limits, ..ToolSettings::default() };
        catalog.add(guest.tool(&guest.functions[0], &common::strict(), &settings).unwrap()).unwrap();
    }
    let host = Host::new(catalog);
    for (tool, wanted) in [("rich", None), ("poor", Some(ErrorKind::OutOfFuel)), ("rich", None)] {
        assert_eq!(kind(&blocking(call(&host, tool, json!({"n": 1_000})))), wanted, "{tool}");
    }
}

#[test]
fn a_component_that_no_slot_of_the_pool_can_hold_is_refused_at_load() {
    for beside in ["(table 50001 funcref)", "(memory 1) (memory 1) (memory 1) (memory 1) (memory 1)"] {
        let error = load(engine(), &guest(beside, "(i32.const 7)")).unwrap_err();
        assert!(error.message.starts_with("it is too large for this host: "), "{error}");
    }
}
