//! Instances that outlive a call: whose they are, when they go, and what of a call is never there in the next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::Duration;

use common::keep::{Said, call_by, call_in, instance, message, notes, value};
use common::{call, kind, prebuilt_file, soon, span};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::{advance, timeout};
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::{Caller, Catalog, ErrorKind, Host, HostLimits, Lifetime};
use toolpost_wasm::{Component, Engine, EngineOptions};

const PAGE: u64 = 64 << 10;

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// An engine of the test's own, whose instances can be counted.
fn engine(max_kept: usize) -> Engine {
    Engine::new(&EngineOptions { max_kept, max_parallel: 8, ..EngineOptions::default() }).unwrap()
}

/// `f: func(n: u32) -> u32` counts its calls; it grows by `n` pages before it does, and of 100 and 101 it traps and spins.
fn counter(engine: &Engine) -> Component {
    let wat = r#"(component
      (core module $m
        (memory 1)
        (global $count (mut i32) (i32.const 0))
        (func (export "f") (param i32) (result i32)
          (if (i32.eq (local.get 0) (i32.const 100)) (then (unreachable)))
          (if (i32.eq (local.get 0) (i32.const 101)) (then (loop (br 0))))
          (drop (memory.grow (local.get 0)))
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (global.get $count)))
      (core instance $i (instantiate $m))
      (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
      (export "f" (func $f)))"#;
    common::load(engine, wat).unwrap()
}

/// The number of the call among those of its instance.
async fn count(host: &Host, session: &str) -> u64 {
    value(&call_in(host, session, "guest_f", json!({"n": 0})).await).as_u64().unwrap()
}

#[tokio::test]
async fn an_instance_is_fresh_where_nothing_else_is_said() {
    let engine = engine(8);
    let host = Said::default().host(&counter(&engine));
    for _ in 0..3 {
        let outcome = call_in(&host, "a", "guest_f", json!({"n": 0})).await;
        assert_eq!((value(&outcome), outcome.report.attempts[0].instance), (json!(1), None));
    }
    assert_eq!((engine.kept_instances(), engine.live_instances()), (0, Some(0)));
}

#[tokio::test]
async fn a_session_of_a_caller_has_an_instance_of_its_own() {
    let engine = engine(8);
    let host = Said::keeping(json!("session")).host(&counter(&engine));
    for number in 1..=3 {
        let outcome = call_in(&host, "a", "guest_f", json!({"n": 0})).await;
        assert_eq!((value(&outcome), notes(&outcome)), (json!(number), Vec::new()));
        let report = instance(&outcome);
        assert_eq!((report.lifetime, report.calls_before, report.retired), (Lifetime::Session, number - 1, None));
    }
    assert_eq!(count(&host, "b").await, 1);
    let other = call_by(&host, "bob", "a", "guest_f", json!({"n": 0})).await;
    assert_eq!(value(&other), json!(1));
    assert_eq!(count(&host, "a").await, 4);
    assert_eq!(engine.kept_instances(), 3);
}

#[tokio::test]
async fn a_warm_instance_serves_whoever_calls_next_and_no_two_at_once() {
    let engine = engine(8);
    let host = Said::keeping(json!("warm")).host(&counter(&engine));
    for (number, who) in ["ann", "bob", "eve"].into_iter().enumerate() {
        let outcome = call_by(&host, who, who, "guest_f", json!({"n": 0})).await;
        assert_eq!(value(&outcome), json!(number + 1));
        assert_eq!((instance(&outcome).lifetime, instance(&outcome).calls_before), (Lifetime::Warm, number as u64));
    }
    assert_eq!(engine.kept_instances(), 1);
    let holder = holder(&engine);
    let host = Said::keeping(json!("warm")).host(&holder);
    let sleeping = (0..4).map(|_| call(&host, "holder_sleep", json!({"ms": 50})));
    assert!(join_all(sleeping).await.iter().all(|outcome| instance(outcome).calls_before == 0));
    assert_eq!(engine.kept_instances(), 1 + 4);
}

#[tokio::test]
async fn warm_instances_are_those_of_one_component_with_the_same_grants() {
    let engine = engine(8);
    let (one, other) = (holder(&engine), holder(&engine));
    let warm = Said::keeping(json!("warm"));
    let env = |word: &str| json!({"env": {"WORD": word}});
    let hosts = [
        warm.clone().granted(env("a")).host(&one),
        warm.clone().granted(env("b")).host(&one),
        warm.clone().granted(env("a")).host(&other),
        warm.clone().granted(env("a")).host(&one),
    ];
    let mut counts = Vec::new();
    for host in &hosts {
        counts.push(value(&call(host, "holder_count", json!({})).await));
    }
    assert_eq!(counts, [json!(1), json!(1), json!(1), json!(2)]);
}

#[tokio::test]
async fn calls_of_one_session_wait_for_one_another_and_come_to_one_instance() {
    let engine = engine(8);
    let holder = holder(&engine);
    let host = Said::keeping(json!("session")).host(&holder);
    let calls = (0..5).map(|_| async {
        call_in(&host, "a", "holder_sleep", json!({"ms": 10})).await;
        value(&call_in(&host, "a", "holder_count", json!({})).await)
    });
    let mut counts = join_all(calls).await;
    counts.sort_by_key(|count| count.as_u64());
    assert_eq!(counts, [1, 2, 3, 4, 5].map(|count| json!(count)));
    // Two hosts of the same tools do not know of each other's turns.
    let mut catalog = Catalog::default();
    Said::keeping(json!("session")).tools(&holder).into_iter().for_each(|tool| catalog.add(tool).unwrap());
    let [one, other] = [Host::new(catalog.clone()), Host::new(catalog)];
    let sleep = |host| call_in(host, "b", "holder_sleep", json!({"ms": 50}));
    let (one, other) = join(sleep(&one), sleep(&other)).await;
    assert!(one.result.is_ok());
    assert_eq!(kind(&other), Some(ErrorKind::Busy));
    assert_eq!(message(&other), "what the tool keeps for this session is at work for another call; call again later");
}

/// What ends an instance: the call that does it, and the kind of its failure.
async fn ends(host: &Host, n: u32) -> Option<ErrorKind> {
    let outcome = call_in(host, "a", "guest_f", json!({"n": n})).await;
    let report = instance(&outcome);
    assert_eq!(report.retired, Some("an attempt failed"), "{outcome:?}");
    kind(&outcome)
}

#[tokio::test]
async fn what_did_not_end_well_is_not_used_again_and_the_session_is_told_what_it_has_lost() {
    for keep in ["session", "warm"] {
        let engine = engine(8);
        let limits = LimitSettings { time: span("300ms"), memory: Some(Bytes(10 * PAGE)), ..LimitSettings::default() };
        let slow = Said::keeping(json!(keep)).limited(LimitSettings { fuel: Some(u64::MAX / 2), ..limits.clone() });
        let host = slow.host(&counter(&engine));
        for (n, expected) in [(100, ErrorKind::Trapped), (101, ErrorKind::TimedOut), (10, ErrorKind::OutOfMemory)] {
            assert_eq!(count(&host, "a").await, 1);
            assert_eq!(count(&host, "a").await, 2);
            assert_eq!(ends(&host, n).await, Some(expected));
            soon("the instance to be gone", || engine.live_instances() == Some(0)).await;
            let next = call_in(&host, "a", "guest_f", json!({"n": 0})).await;
            let told = "the tool began anew: what it kept for the session before is gone (an attempt failed)";
            let told = if keep == "session" { vec![told.to_owned()] } else { Vec::new() };
            assert_eq!((value(&next), notes(&next)), (json!(1), told));
            assert_eq!(notes(&call_in(&host, "a", "guest_f", json!({"n": 0})).await), Vec::<String>::new());
            assert_eq!(ends(&host, 100).await, Some(ErrorKind::Trapped));
        }
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_takes_its_instance_with_it() {
    let engine = engine(8);
    let host = Said::keeping(json!("session")).host(&holder(&engine));
    assert_eq!(holds(&host, "count", json!({})).await, json!(1));
    let dropped = timeout(ms(50), call_in(&host, "s", "holder_sleep", json!({"ms": 60_000}))).await;
    assert!(dropped.is_err());
    soon("the instance to be gone", || engine.live_instances() == Some(0)).await;
    let next = call_in(&host, "s", "holder_count", json!({})).await;
    assert_eq!((value(&next), notes(&next).len()), (json!(1), 1));
}

#[tokio::test]
async fn each_call_has_its_own_fuel_and_what_it_used_is_reported() {
    let engine = engine(8);
    for keep in ["session", "warm"] {
        let generous = Said::keeping(json!(keep)).host(&counter(&engine));
        let fuel = |outcome: &toolpost_core::Outcome| outcome.report.attempts[0].fuel;
        let first = fuel(&call_in(&generous, "a", "guest_f", json!({"n": 0})).await);
        let next = fuel(&call_in(&generous, "a", "guest_f", json!({"n": 0})).await);
        assert!(next > 0 && next <= first, "{next} of {first}");
        // Enough for one call, and not for two.
        let limits = LimitSettings { fuel: Some(first + 1), ..LimitSettings::default() };
        let host = Said::keeping(json!(keep)).limited(limits).host(&counter(&engine));
        for number in 1..20 {
            assert_eq!(count(&host, "a").await, number, "{keep}");
        }
    }
}

#[tokio::test]
async fn what_an_instance_holds_counts_for_each_of_its_calls() {
    let engine = engine(8);
    let limits = LimitSettings { memory: Some(Bytes(4 * PAGE)), ..LimitSettings::default() };
    let host = Said::keeping(json!("session")).limited(limits).host(&counter(&engine));
    let grow = || call_in(&host, "a", "guest_f", json!({"n": 1}));
    for pages in 2..=4 {
        let outcome = grow().await;
        assert_eq!((value(&outcome), outcome.report.attempts[0].memory_bytes_peak), (json!(pages - 1), pages * PAGE));
    }
    assert_eq!(kind(&grow().await), Some(ErrorKind::OutOfMemory));
    assert_eq!(value(&grow().await), json!(1));
    // A tool that may hold less does not come to it.
    let less = LimitSettings { memory: Some(Bytes(PAGE)), ..LimitSettings::default() };
    let less = Said::keeping(json!("session")).limited(less);
    let guest = counter(&engine);
    let more = Said::keeping(json!("session")).host(&guest);
    let less = less.host(&guest);
    assert_eq!(value(&call_in(&more, "a", "guest_f", json!({"n": 1})).await), json!(1));
    let outcome = call_in(&less, "a", "guest_f", json!({"n": 0})).await;
    assert_eq!(
        (value(&outcome), notes(&outcome)),
        (json!(1), vec!["the tool began anew: what it kept for the session before is gone (it held more memory than the tool may)".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_goes_when_nobody_calls_it_for_long_and_after_some_time_in_any_case() {
    let engine = engine(8);
    let keep = json!({"kind": "session", "idle": "10s", "total": "25s"});
    let host = Said::keeping(keep).host(&counter(&engine));
    let gone = |why: &str| vec![format!("the tool began anew: what it kept for the session before is gone ({why})")];
    assert_eq!(count(&host, "a").await, 1);
    for number in 2..=3 {
        advance(ms(9_000)).await;
        assert_eq!(count(&host, "a").await, number);
    }
    // Nobody asks for it, and it goes all the same.
    tokio::time::sleep(ms(7_001)).await;
    assert_eq!((engine.kept_instances(), engine.live_instances()), (0, Some(0)));
    let outcome = call_in(&host, "a", "guest_f", json!({"n": 0})).await;
    assert_eq!((value(&outcome), notes(&outcome)), (json!(1), gone("it had lived as long as it may")));
    tokio::time::sleep(ms(10_001)).await;
    assert_eq!((engine.kept_instances(), engine.live_instances()), (0, Some(0)));
    let outcome = call_in(&host, "a", "guest_f", json!({"n": 0})).await;
    assert_eq!((value(&outcome), notes(&outcome)), (json!(1), gone("it was not called for too long")));
}

#[tokio::test(start_paused = true)]
async fn what_ends_before_what_stood_there_before_it_goes_in_time() {
    let engine = engine(8);
    let (long, short) = (counter(&engine), counter(&engine));
    let [long, short] = [(&long, "10m"), (&short, "10s")]
        .map(|(guest, idle)| Said::keeping(json!({"kind": "session", "idle": idle})).host(guest));
    assert_eq!((count(&long, "a").await, count(&short, "a").await), (1, 1));
    tokio::time::sleep(ms(10_001)).await;
    assert_eq!((engine.kept_instances(), engine.live_instances()), (1, Some(1)));
    assert_eq!((count(&short, "b").await, count(&long, "a").await), (1, 2));
    tokio::time::sleep(ms(10_001)).await;
    assert_eq!(engine.kept_instances(), 1);
}

#[tokio::test]
async fn an_instance_goes_after_so_many_calls() {
    let engine = engine(8);
    for keep in ["session", "warm"] {
        let host = Said::keeping(json!({"kind": keep, "max_calls": 3})).host(&counter(&engine));
        let mut counts = Vec::new();
        let mut retired = Vec::new();
        for _ in 0..7 {
            let outcome = call_in(&host, "a", "guest_f", json!({"n": 0})).await;
            counts.push(value(&outcome).as_u64().unwrap());
            retired.push(instance(&outcome).retired.is_some());
        }
        assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(retired, [false, false, true, false, false, true, false]);
    }
}

#[tokio::test]
async fn where_there_are_too_many_those_go_that_were_not_used_for_longest() {
    let engine = engine(4);
    let of_component = Said::keeping(json!({"kind": "session", "max_instances": 2})).host(&counter(&engine));
    for session in ["a", "b", "a", "c"] {
        count(&of_component, session).await;
    }
    assert_eq!(engine.kept_instances(), 2);
    let outcome = call_in(&of_component, "b", "guest_f", json!({"n": 0})).await;
    let told = "the tool began anew: what it kept for the session before is gone (others needed the room)";
    assert_eq!((value(&outcome), notes(&outcome)), (json!(1), vec![told.to_owned()]));
    // All components together.
    let of_host = Said::keeping(json!("session")).host(&counter(&engine));
    for session in ["a", "b", "c", "d"] {
        count(&of_host, session).await;
        assert!(engine.kept_instances() <= 4);
    }
    assert_eq!(count(&of_component, "c").await, 1, "the four of the other one are younger");
}

#[tokio::test]
async fn a_host_that_keeps_nothing_makes_each_instance_anew() {
    let engine = engine(0);
    for keep in ["session", "warm"] {
        let host = Said::keeping(json!(keep)).host(&counter(&engine));
        for _ in 0..3 {
            assert_eq!(count(&host, "a").await, 1);
        }
        assert_eq!((engine.kept_instances(), engine.live_instances()), (0, Some(0)));
    }
}

#[tokio::test]
async fn when_its_tools_go_so_does_what_was_kept_of_them_and_not_before() {
    let engine = engine(8);
    let guest = counter(&engine);
    let said = Said::keeping(json!("session"));
    let host = said.host(&guest);
    assert_eq!((count(&host, "a").await, count(&host, "b").await), (1, 1));
    // Other settings in its place, of which this component's are the same.
    let again = said.host(&guest);
    host.replace(&again);
    drop(again);
    assert_eq!(count(&host, "a").await, 2);
    let other = Said::keeping(json!({"kind": "session", "idle": "1m"})).host(&guest);
    host.replace(&other);
    assert_eq!(engine.kept_instances(), 0);
    assert_eq!(count(&host, "a").await, 1);
    drop((host, other));
    assert_eq!((engine.kept_instances(), engine.live_instances()), (0, Some(0)));
}

#[tokio::test]
async fn kept_instances_take_no_room_from_calls() {
    let engine = Engine::new(&EngineOptions { max_kept: 6, max_parallel: 2, ..EngineOptions::default() }).unwrap();
    let host = Said::keeping(json!("session")).host(&counter(&engine));
    let host = host.with_limits(HostLimits { max_parallel: 2, ..HostLimits::default() });
    for session in 0..6 {
        count(&host, &session.to_string()).await;
    }
    let fresh = Said::default().host(&holder(&engine));
    let fresh = fresh.with_limits(HostLimits { max_parallel: 2, ..HostLimits::default() });
    let calls = (0..8).map(|_| call(&fresh, "holder_sleep", json!({"ms": 20})));
    assert!(join_all(calls).await.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(engine.kept_instances(), 6);
}

#[tokio::test]
async fn a_call_that_hangs_holds_up_its_own_session_and_no_other() {
    let engine = engine(8);
    let holder = holder(&engine);
    for keep in ["session", "warm"] {
        let host = Said::keeping(json!(keep)).host(&holder);
        assert_eq!(holds(&host, "count", json!({})).await, json!(1));
        let mut hanging = Box::pin(call_in(&host, "s", "holder_sleep", json!({"ms": 60_000})));
        assert!(timeout(ms(50), &mut hanging).await.is_err());
        for number in 1..=2 {
            assert_eq!(value(&call_in(&host, "other", "holder_count", json!({})).await), json!(number), "{keep}");
        }
        let own = timeout(ms(50), call_in(&host, "s", "holder_count", json!({}))).await;
        assert_eq!(own.is_err(), keep == "session", "{keep}");
        drop(hanging);
        let own = call_in(&host, "s", "holder_count", json!({})).await;
        assert_eq!(value(&own), if keep == "session" { json!(1) } else { json!(4) }, "what hung is gone");
    }
}

#[test]
fn no_more_is_kept_than_the_operating_system_has_memory_maps_for() {
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse::<usize>().unwrap();
    let options = EngineOptions { max_kept: 1_000_000, max_parallel: 1_000_000, ..EngineOptions::default() };
    let engine = Engine::new(&options).unwrap();
    assert!((engine.max_kept() + engine.max_parallel()) * 8 < most, "{} {}", engine.max_kept(), engine.max_parallel());
}

#[tokio::test]
async fn a_failure_in_the_words_of_the_tool_leaves_a_session_as_it_is_and_a_warm_instance_unused() {
    let engine = engine(8);
    let holder = holder(&engine);
    for (keep, expected, retired) in [("session", 2, None), ("warm", 1, Some("an attempt failed"))] {
        let host = Said::keeping(json!(keep)).host(&holder);
        assert_eq!(holds(&host, "count", json!({})).await, json!(1));
        let outcome = call_in(&host, "s", "holder_fail", json!({"text": "no"})).await;
        assert_eq!((message(&outcome), instance(&outcome).retired), ("no", retired));
        assert_eq!(holds(&host, "count", json!({})).await, json!(expected), "{keep}");
    }
}

#[tokio::test]
async fn standard_output_is_that_of_the_call_in_which_it_is_written() {
    let engine = engine(8);
    let holder = holder(&engine);
    for keep in ["session", "warm"] {
        let host = Said::keeping(json!(keep)).host(&holder);
        for text in ["one", "two", "three"] {
            let outcome = call_in(&host, "s", "holder_say", json!({"text": text})).await;
            let report = &outcome.report.attempts[0];
            assert_eq!(report.stdout.text, format!("out: {text}\n"));
            assert_eq!(report.stderr.text, format!("err: {text}\n"));
            assert_eq!(instance(&outcome).retired, None, "{keep}: what a library keeps of it is no matter");
        }
        assert_eq!(engine.kept_instances(), 1);
        drop(host);
    }
}

#[test]
fn tools_that_share_an_instance_are_granted_the_same() {
    let engine = engine(8);
    let guest = holder(&engine);
    let own = serde_json::from_value(json!({"grants": {"secrets": [{"name": "A"}]}})).unwrap();
    let count = guest.functions.iter().find(|function| function.name == "count").unwrap();
    let tool = |keep: &str| guest.tool(count, &Said::keeping(json!(keep)).base(), &own).map(|tool| tool.lifetime);
    assert_eq!(tool("warm"), Ok(Lifetime::Warm));
    assert_eq!(
        tool("session"),
        Err("the tools of its component share one instance for each session, so all of them are granted the same: take its \
             own `grants` out, or `lifetime = \"session\"`"
            .to_owned())
    );
    let powers = |keep: &str| Said::keeping(json!(keep)).tools(&guest)[0].powers.last().cloned().unwrap();
    assert_eq!(powers("warm"), "memory that calls of other callers have used");
    assert_eq!(powers("session"), "memory that is kept from call to call of one session");
}

#[tokio::test]
async fn a_caller_without_a_name_has_sessions_too_and_nobody_elses() {
    let engine = engine(8);
    let host = Said::keeping(json!("session")).host(&counter(&engine));
    assert_eq!(value(&call_by(&host, "", "a", "guest_f", json!({"n": 0})).await), json!(1));
    assert_eq!(value(&call_by(&host, "ann", "a", "guest_f", json!({"n": 0})).await), json!(1));
    assert_eq!(value(&call_by(&host, "", "a", "guest_f", json!({"n": 0})).await), json!(2));
    let outcome = host.call(toolpost_core::Call::new("guest_f", json!({"n": 0})).by(Caller::named("ann"))).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::InvalidArguments));
}

fn holder(engine: &Engine) -> Component {
    engine.load_file("holder", &prebuilt_file("holder")).unwrap()
}

async fn holds(host: &Host, tool: &str, arguments: Value) -> Value {
    value(&call_in(host, "s", &format!("holder_{tool}"), arguments).await)
}
