//! Overload: more calls come than can run. Those that are let in are served soon, the others are told when to come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::{Call, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

fn seconds(span: u64) -> Duration {
    Duration::from_secs(span)
}

/// The numbers of the calls that have begun, in order.
type Began = Arc<Mutex<Vec<u64>>>;

/// A host with a tool that works for `time` milliseconds.
fn host(guard: Value, limits: HostLimits) -> (Host, Began) {
    let mut guard = guard;
    (guard["breaker"], guard["retry"]) = (json!({"kind": "none"}), json!({"max_attempts": 1}));
    let began = Began::default();
    let seen = began.clone();
    let tool = Native::new("work", "").effect(EffectClass::Reads).guard(serde_json::from_value(guard).unwrap());
    let number = || Shape::Integer(Integer::U64);
    let tool = tool.parameter("time", number()).parameter("number", number()).run(move |attempt| {
        let [time, number] = ["time", "number"].map(|key| attempt.call.arguments[key].as_u64().unwrap());
        seen.lock().unwrap().push(number);
        async move {
            sleep(ms(time)).await;
            Ok(json!(number))
        }
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    (Host::new(catalog).with_limits(limits), began)
}

fn places(max_parallel: usize) -> HostLimits {
    HostLimits { max_parallel, ..HostLimits::default() }
}

async fn call(host: &Host, number: u64, time: u64) -> Outcome {
    host.call(Call::new("work", json!({"time": time, "number": number}))).await
}

/// What became of a load: how long those took that were served, and how many were told to come back.
#[derive(Debug, Default)]
struct Became {
    times: Vec<Duration>,
    refused: usize,
    most_waiting: usize,
}

impl Became {
    fn add(&mut self, outcome: &Outcome) {
        match &outcome.result {
            Ok(_) => self.times.push(outcome.report.time),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Busy, "{error}");
                let after = error.retry_after.expect("it is told when to come back");
                assert!((ms(1_000)..=seconds(60)).contains(&after), "{after:?}");
                self.refused += 1;
            }
        }
    }

    fn p99(&mut self) -> Duration {
        self.times.sort_unstable();
        self.times[self.times.len() * 99 / 100]
    }
}

/// So many calls, one in each such span.
async fn offer(host: &Host, calls: u64, each: Duration, time: impl Fn(u64) -> u64) -> Became {
    let (begins, became) = (Instant::now(), Arc::new(Mutex::new(Became::default())));
    let mut all = Vec::new();
    for number in 0..calls {
        sleep_until(begins + each * u32::try_from(number).unwrap()).await;
        let (host, became, time) = (host.clone(), became.clone(), time(number));
        let waiting = host.in_use().1;
        {
            let mut became = became.lock().unwrap();
            became.most_waiting = became.most_waiting.max(waiting);
        }
        all.push(tokio::spawn(async move {
            let outcome = call(&host, number, time).await;
            became.lock().unwrap().add(&outcome);
        }));
    }
    for call in all {
        call.await.unwrap();
    }
    assert_eq!(host.in_use(), (0, 0));
    Arc::into_inner(became).unwrap().into_inner().unwrap()
}

/// Times around that one; the same in every run.
fn about(time: u64, number: u64) -> u64 {
    time / 2 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (time + 1)
}

#[tokio::test(start_paused = true)]
async fn at_ten_times_the_capacity_those_who_are_let_in_take_three_times_as_long_at_most() {
    let short_line = HostLimits { max_waiting: 400, ..places(64) };
    for (guard, limits, time) in [
        (json!({}), places(8), 200),
        (json!({}), places(64), 1_600),
        (json!({}), places(2), 50),
        (json!({}), short_line, 1_600),
        (json!({"waiting": 100}), places(8), 200),
        (json!({"parallel": 4}), places(64), 100),
        (json!({"parallel": 64}), places(8), 200),
    ] {
        let parallel = guard["parallel"].as_u64().unwrap_or(1_000).min(limits.max_parallel as u64);
        let at_capacity = seconds(60).as_millis() as u64 * parallel / time;
        let each = seconds(60) / u32::try_from(at_capacity).unwrap();
        let what = format!("{guard}, {limits:?}, {time} ms");
        let mut normal = offer(&host(guard.clone(), limits).0, at_capacity, each, |number| about(time, number)).await;
        assert_eq!(normal.refused, 0, "{what}");
        let mut over = offer(&host(guard, limits).0, at_capacity * 10, each / 10, |number| about(time, number)).await;
        let (normal, ratio) = (normal.p99(), over.p99().as_secs_f64() / normal.p99().as_secs_f64());
        assert!(ratio <= 3.0, "{what}: {ratio:.2} of {normal:?}");
        assert!(over.most_waiting <= limits.max_waiting, "{what}");
        let served = over.times.len();
        assert!(served >= at_capacity as usize * 97 / 100, "{what}: {served} of {at_capacity}, as if it were idle");
        assert_eq!(served + over.refused, at_capacity as usize * 10, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_at_once_as_may_wait_are_all_served_and_in_the_order_of_asking() {
    let (host, began) = host(json!({}), places(64));
    let outcomes = join_all((0..1_088).map(|number| call(&host, number, 100))).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert!(began.lock().unwrap().is_sorted());
}

#[tokio::test(start_paused = true)]
async fn callers_who_wait_for_their_answers_are_not_told_to_come_back_and_none_is_passed_by() {
    // Eight agents for each place, who ask again as soon as they are answered.
    let (host, began) = host(json!({}), places(16));
    let agents = (0..128).map(async |agent| {
        for number in 0..20 {
            let outcome = call(&host, number * 128 + agent, 50).await;
            assert!(outcome.result.is_ok() && outcome.report.waited <= ms(400), "{outcome:?}");
        }
    });
    join_all(agents).await;
    assert!(
        began.lock().unwrap().is_sorted_by_key(|number| number / 128),
        "all have had a turn before any has the next"
    );
}

#[tokio::test(start_paused = true)]
async fn those_that_a_flood_has_set_aside_go_when_it_is_over() {
    let limits = HostLimits { max_waiting: 1_000, ..places(4) };
    let (host, began) = host(json!({}), limits);
    // 400 calls in a second, while 2,000 come: ten times as many as that in the first tenth of it.
    let became = offer(&host, 500, ms(1) / 2, |_| 10).await;
    assert_eq!((became.times.len(), became.refused), (500, 0), "nobody has to be told to come back");
    let began = began.lock().unwrap();
    let behind: Vec<u64> = began[150..].to_vec();
    assert!(!began.is_sorted(), "the new ones go first");
    assert!(behind.is_sorted(), "those that are late go in the order of asking: {behind:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_place_longer_than_the_host_lets_it() {
    let (host, _) = host(json!({}), HostLimits { max_wait: seconds(2), ..places(1) });
    let (_, waited) = tokio::join!(call(&host, 0, 20_000), async {
        sleep(ms(1)).await;
        call(&host, 1, 1).await
    });
    let error = waited.result.unwrap_err();
    let told = "no place came free within 2s; call again later, or raise `host.max_parallel` or `host.max_wait`";
    assert_eq!((error.kind, error.message.as_str(), waited.report.waited), (ErrorKind::Busy, told, seconds(2)));
    assert!(error.retry_after.is_some());
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_in_its_own_tool_waits_as_long_as_its_call_lets_it() {
    let (host, _) = host(json!({"parallel": 1}), HostLimits { max_wait: seconds(2), ..places(8) });
    let outcomes = join_all((0..6).map(|number| call(&host, number, 15_000))).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_clearly_wait_in_vain_is_told_so_at_once() {
    let (host, _) = host(json!({}), HostLimits { max_wait: seconds(8), ..places(2) });
    // One in a second is served; the pace is known after some of them.
    let flood = (0..12).map(async |number| {
        sleep(ms(number * 400)).await;
        call(&host, number, 2_000).await
    });
    let late = async {
        sleep(seconds(5)).await;
        let begins = host.in_use().1;
        (begins, join_all((20..40).map(|number| call(&host, number, 2_000))).await)
    };
    let (flood, (waiting, late)) = tokio::join!(join_all(flood), late);
    assert!(flood.iter().all(|outcome| outcome.result.is_ok()));
    let (refused, in_time): (Vec<&Outcome>, Vec<&Outcome>) =
        late.iter().partition(|outcome| outcome.report.time.is_zero() && outcome.result.is_err());
    // Nothing is refused that might be served, and what is refused, at once.
    assert!((14..=18).contains(&(waiting + in_time.len())), "{waiting} {}", in_time.len());
    let error = refused[0].result.as_ref().unwrap_err();
    let told = "it would be its turn in about 17s, and it waits for 8s at most; call again later, or raise \
                `host.max_parallel` or `host.max_wait`";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Busy, told));
    let after = error.retry_after.unwrap();
    assert!((seconds(16)..=seconds(22)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_when_it_was_told_to_finds_room() {
    // Four in a second are served.
    let (host, _) = host(json!({}), HostLimits { max_waiting: 32, ..places(4) });
    let load = (0..60).map(async |number| {
        sleep(ms(number * 100)).await;
        call(&host, number, 1_000).await
    });
    let comes_back = async {
        sleep(seconds(6)).await;
        let refused = call(&host, 100, 1_000).await.result.unwrap_err();
        let after = refused.retry_after.unwrap();
        assert!((seconds(7)..=seconds(11)).contains(&after), "32 wait: {after:?}");
        sleep(after).await;
        call(&host, 101, 1_000).await
    };
    let (_, back) = tokio::join!(join_all(load), comes_back);
    assert!(back.result.is_ok() && back.report.waited <= seconds(1), "{back:?}");
}
