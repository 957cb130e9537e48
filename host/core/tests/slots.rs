//! Room of a tool and of a component: how many calls run beside one another, who waits for whom, and that all is given back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{Call, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage, Tool};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// Who waits and who runs now, by tool, each in the order of coming.
#[derive(Default)]
struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    waiting: Vec<(usize, &'static str)>,
    running: Vec<(usize, &'static str)>,
    began: Vec<(usize, Instant)>,
}

/// One that runs, as its tool sees it.
struct Running(Arc<Watch>, usize);

impl Running {
    fn begin(watch: Arc<Watch>, id: usize, tool: &'static str) -> Self {
        let mut seen = watch.0.lock().unwrap();
        seen.waiting.retain(|(other, _)| *other != id);
        seen.running.push((id, tool));
        seen.began.push((id, Instant::now()));
        drop(seen);
        Running(watch, id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().running.retain(|(id, _)| *id != self.1);
    }
}

/// A tool that runs for `time` milliseconds, in a component if its name has one.
fn work(name: &'static str, guard: Value, watch: &Arc<Watch>) -> Tool {
    let number = |bits: Integer| Shape::Integer(bits);
    let mut guard = guard;
    guard["breaker"] = json!({"kind": "none"});
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let watch = watch.clone();
    let tool = Native::new(name, "").effect(EffectClass::Reads).guard(guard);
    let tool = tool.parameter("id", number(Integer::U64)).parameter("time", number(Integer::U64));
    let mut tool = tool.run(move |attempt| {
        let [id, time] = ["id", "time"].map(|key| attempt.call.arguments[key].as_u64().unwrap());
        let watch = watch.clone();
        async move {
            let _running = Running::begin(watch, usize::try_from(id).unwrap(), name);
            sleep(ms(time)).await;
            Ok(json!(id))
        }
    });
    if let Some((component, function)) = name.split_once('_') {
        let (component, function) = (component.into(), function.into());
        tool.origin = Origin::Component { component, digest: String::new(), function };
    }
    tool
}

/// `plain` has no limit, `two` runs twice at once; of the component `c`, `c_alone` runs alone, the others do not mind.
fn host(max_parallel: usize, max_waiting: usize) -> (Host, Arc<Watch>) {
    let watch = Arc::default();
    let mut catalog = Catalog::default();
    for (name, guard) in [
        ("plain", json!({})),
        ("two", json!({"parallel": 2, "waiting": 3})),
        ("c_alone", json!({"exclusive": true})),
        ("c_any", json!({})),
        ("c_one", json!({"parallel": 1})),
        ("d_any", json!({})),
    ] {
        catalog.add(work(name, guard, &watch)).unwrap();
    }
    let limits = HostLimits { max_parallel, max_waiting, ..HostLimits::default() };
    (Host::new(catalog).with_limits(limits), watch)
}

async fn call(host: &Host, tool: &str, id: usize, time: u64) -> Outcome {
    host.call(Call::new(tool, json!({"id": id, "time": time}))).await
}

fn waited(outcome: &Outcome) -> u128 {
    outcome.report.waited.as_millis()
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_of_a_tool_run_at_once_than_may_and_they_go_in_the_order_of_asking() {
    let (host, _) = host(64, 64);
    let outcomes = join_all((0..5).map(|id| call(&host, "two", id, 10))).await;
    assert_eq!(outcomes.iter().map(waited).collect::<Vec<_>>(), [0, 0, 10, 10, 20]);
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_tool_holds_no_place_of_the_host() {
    let (host, _) = host(3, 64);
    let twos = join_all((0..4).map(|id| call(&host, "two", id, 10)));
    let plain = async {
        sleep(ms(1)).await;
        assert_eq!(host.in_use(), (2, 2));
        call(&host, "plain", 9, 1).await
    };
    let (_, plain) = tokio::join!(twos, plain);
    assert_eq!(waited(&plain), 0);
}

#[tokio::test(start_paused = true)]
async fn one_call_more_than_may_wait_for_its_tool_is_told_to_come_back() {
    let (host, _) = host(64, 64);
    let outcomes = join_all((0..6).map(|id| call(&host, "two", id, 10))).await;
    let error = outcomes[5].result.as_ref().unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::Busy, Stage::Guard));
    assert_eq!(
        error.message,
        "2 calls of `two` run and 3 wait already; call again later, or raise `guard.parallel` or `guard.waiting`"
    );
    assert!(error.retry_after.is_some_and(|after| (1_000..=1_250).contains(&after.as_millis())), "{error:?}");
    assert!(outcomes[..5].iter().all(|outcome| outcome.result.is_ok()));
    assert!(call(&host, "two", 6, 1).await.result.is_ok(), "busy is not for ever");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_tool_too_long_is_told_the_limit_and_not_what_was_left_of_it() {
    let mut catalog = Catalog::default();
    let watch = Arc::default();
    let mut slow = work("slow", json!({"parallel": 1, "retry": {"max_attempts": 1}}), &watch);
    slow.limits.call_time_max = Duration::from_secs(10);
    catalog.add(slow).unwrap();
    let slow = Host::new(catalog);
    let (_, late) = tokio::join!(call(&slow, "slow", 0, 60_000), async {
        sleep(ms(5_000)).await;
        tokio::join!(call(&slow, "slow", 1, 60_000), call(&slow, "slow", 2, 1))
    });
    assert_eq!(
        late.1.result.unwrap_err().message,
        "no place of `slow` came free within 10s; call again later, raise `guard.parallel`, or raise `limits.call_time`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_runs_alone_runs_beside_no_other_of_its_component() {
    let (host, _) = host(64, 64);
    let (first, alone, behind, other, plain) = tokio::join!(
        call(&host, "c_any", 0, 10),
        call(&host, "c_alone", 1, 10),
        call(&host, "c_any", 2, 10),
        call(&host, "d_any", 3, 10),
        call(&host, "plain", 4, 10),
    );
    let waits = [&first, &alone, &behind, &other, &plain].map(waited);
    assert_eq!(waits, [0, 10, 20, 0, 0], "it is let in before those who came after it");
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_leaves_it_to_those_behind() {
    let (host, _) = host(64, 64);
    let (_, gone, behind) = tokio::join!(
        call(&host, "c_any", 0, 100),
        timeout(ms(10), call(&host, "c_alone", 1, 10)),
        call(&host, "c_any", 2, 10),
    );
    assert!(gone.is_err());
    assert_eq!(waited(&behind), 10, "it waited only for the one that waited to be alone");
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_of_a_tool_makes_room_there_for_another() {
    let (host, _) = host(64, 64);
    let running = join_all((0..2).map(|id| call(&host, "two", id, 100)));
    let others = async {
        for _ in 0..2 {
            let gone = join_all((2..5).map(|id| timeout(ms(10), call(&host, "two", id, 1)))).await;
            assert!(gone.iter().all(Result::is_err), "they waited, and went away");
            assert_eq!(host.in_use(), (2, 0));
        }
        join_all((5..8).map(|id| call(&host, "two", id, 1))).await
    };
    let (_, others) = tokio::join!(running, others);
    assert!(others.iter().all(|outcome| outcome.result.is_ok()), "as many wait as may");
    assert_eq!(host.in_use(), (0, 0));
}

#[test]
fn what_no_host_can_run_is_refused_when_settings_are_read() {
    let wrong = |guard: Value| serde_json::from_value::<GuardSettings>(guard).unwrap_err().to_string();
    assert_eq!(wrong(json!({"parallel": 0})), "expected a whole number from 1 to 1000000");
    assert_eq!(wrong(json!({"waiting": -1})), "expected a whole number from 0 to 1000000");
    assert!(wrong(json!({"exclusive": "yes"})).starts_with("invalid type"));
}

/// What may run beside what, and who is next, in the fewest words: every waiting call in order, from scratch.
fn is_next(seen: &Seen, max_parallel: usize) -> Option<usize> {
    let running = |wanted: &str| seen.running.iter().filter(|(_, tool)| tool.starts_with(wanted)).count();
    for (at, (id, tool)) in seen.waiting.iter().enumerate() {
        let ahead = |wanted: &str| seen.waiting[..at].iter().any(|(_, tool)| *tool == wanted);
        let fits = match *tool {
            "two" => running("two") < 2,
            "c_alone" => running("c_") == 0,
            "c_any" => running("c_alone") == 0 && !ahead("c_alone"),
            "c_one" => running("c_alone") == 0 && !ahead("c_alone") && running("c_one") == 0,
            _ => true,
        };
        if fits && !ahead(tool) && seen.running.len() < max_parallel {
            return Some(*id);
        }
    }
    None
}

fn check_limits(seen: &Seen, max_parallel: usize) {
    let running = |wanted: &str| seen.running.iter().filter(|(_, tool)| tool.starts_with(wanted)).count();
    assert!(seen.running.len() <= max_parallel && running("two") <= 2 && running("c_one") <= 1);
    assert!(running("c_alone") == 0 || running("c_") == 1);
}

const TOOLS: [&str; 6] = ["plain", "two", "c_alone", "c_any", "c_one", "d_any"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each caller comes, asks for so much time of a tool, and perhaps goes away.
    #[test]
    fn whoever_comes_and_goes_nobody_waits_who_could_run_and_nobody_gets_ahead(
        callers in prop::collection::vec((0_u64..60, 0..TOOLS.len(), 0_u64..30, prop::option::of(0_u64..60)), 1..30),
        max_parallel in 1_usize..6,
    ) {
        let (host, watch) = host(max_parallel, 64);
        let came = Mutex::new(Vec::new());
        let one = async |id: usize, (comes, tool, time, goes): (u64, usize, u64, Option<u64>)| {
            sleep(ms(comes)).await;
            let tool = TOOLS[tool];
            watch.0.lock().unwrap().waiting.push((id, tool));
            came.lock().unwrap().push((id, tool));
            let outcome = timeout(goes.map_or(Duration::MAX, ms), call(&host, tool, id, time)).await;
            watch.0.lock().unwrap().waiting.retain(|(other, _)| *other != id);
            if let Ok(Err(error)) = outcome.map(|outcome| outcome.result) {
                assert!(error.kind == ErrorKind::Busy && tool == "two", "{tool}: {error}");
                came.lock().unwrap().retain(|(other, _)| *other != id);
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let watching = tokio::spawn({
                let watch = watch.clone();
                async move {
                    loop {
                        sleep(ms(1)).await;
                        for _ in 0..20 {
                            yield_now().await;
                        }
                        let seen = watch.0.lock().unwrap();
                        check_limits(&seen, max_parallel);
                        assert_eq!(is_next(&seen, max_parallel), None, "{:?} {:?}", seen.running, seen.waiting);
                    }
                }
            });
            join_all(callers.iter().enumerate().map(|(id, caller)| one(id, *caller))).await;
            assert!(!watching.is_finished(), "{:?}", watching.await.err().map(|error| error.to_string()));
            assert_eq!(host.in_use(), (0, 0));
        });
        let (came, seen) = (came.into_inner().unwrap(), watch.0.lock().unwrap());
        for tool in TOOLS {
            let began = |id: usize| seen.began.iter().find(|(other, _)| *other == id).map(|(_, at)| *at);
            let of_tool = came.iter().filter(|(_, name)| *name == tool);
            let began: Vec<Instant> = of_tool.filter_map(|(id, _)| began(*id)).collect();
            prop_assert!(began.is_sorted(), "{}: {:?}", tool, began);
        }
    }

    #[test]
    fn a_call_may_be_dropped_at_any_moment_of_its_wait(polls in 0_u64..25, tool in 0..TOOLS.len(), full in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (host, _) = host(if full { 2 } else { 64 }, 64);
            let ahead = join_all(TOOLS.iter().enumerate().map(|(id, tool)| call(&host, tool, id, 5)));
            let dropped = timeout(ms(polls), call(&host, TOOLS[tool], 9, 5));
            let began = Instant::now();
            let (ahead, dropped) = tokio::join!(ahead, dropped);
            assert!(ahead.iter().all(|outcome| outcome.result.is_ok()));
            assert!(dropped.is_err() || began.elapsed() >= ms(5));
            assert_eq!(host.in_use(), (0, 0));
            assert!(call(&host, TOOLS[tool], 10, 1).await.result.is_ok());
        });
    }
}
