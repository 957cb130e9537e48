//! Shares: what each caller gets of the places while more is asked for than there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::slot::Shares;
use toolpost_core::{Call, Caller, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Tool};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// Who has begun, in order.
type Began = Arc<Mutex<Vec<String>>>;

/// A tool that works for `time` milliseconds, in a component if its name has one.
fn work(name: &str, mut guard: Value, began: &Began) -> Tool {
    guard["breaker"] = json!({"kind": "none"});
    guard["retry"] = json!({"max_attempts": 1});
    let began = began.clone();
    let tool = Native::new(name, "").effect(EffectClass::Reads).guard(serde_json::from_value(guard).unwrap());
    let mut tool = tool.parameter("time", Shape::Integer(Integer::U64)).run(move |attempt| {
        began.lock().unwrap().push(attempt.call.call.caller.id.clone());
        let time = attempt.call.arguments["time"].as_u64().unwrap();
        async move {
            sleep(ms(time)).await;
            Ok(json!(time))
        }
    });
    if let Some((component, function)) = name.split_once('_') {
        let (component, function) = (component.into(), function.into());
        tool.origin = Origin::Component { component, digest: String::new(), function };
    }
    tool
}

const TOOLS: [(&str, &str); 8] = [
    ("plain", "{}"),
    ("one", r#"{"parallel": 1}"#),
    ("few", r#"{"parallel": 1, "waiting": 10}"#),
    ("wide0", r#"{"parallel": 4}"#),
    ("wide1", r#"{"parallel": 4}"#),
    ("wide2", r#"{"parallel": 4}"#),
    ("c_alone", r#"{"exclusive": true}"#),
    ("c_any", "{}"),
];

fn host(max_parallel: usize, max_waiting: usize) -> (Host, Began) {
    let began = Began::default();
    let mut catalog = Catalog::default();
    TOOLS.iter().for_each(|(name, guard)| {
        catalog.add(work(name, serde_json::from_str(guard).unwrap(), &began)).unwrap();
    });
    let limits = HostLimits { max_parallel, max_waiting, ..HostLimits::default() };
    (Host::new(catalog).with_limits(limits), began)
}

async fn call(host: &Host, who: &str, tool: &str, time: u64) -> Outcome {
    host.call(Call::new(tool, json!({"time": time})).by(Caller::named(who))).await
}

/// What of a caller's calls was served, and how long these waited at most.
#[derive(Clone, Debug, Default)]
struct Got {
    served: usize,
    refused: usize,
    waited: Duration,
}

/// So many calls of a caller in a second, whatever becomes of them; what was served by then.
async fn offer(host: &Host, who: &str, tools: &'static [&str], per_second: u64, seconds: u64, time: u64) -> Got {
    let (begins, got) = (Instant::now(), Arc::new(Mutex::new(Got::default())));
    for number in 0..per_second * seconds {
        sleep_until(begins + Duration::from_micros(number * 1_000_000 / per_second)).await;
        let (host, who, got) = (host.clone(), who.to_owned(), got.clone());
        tokio::spawn(async move {
            let outcome = call(&host, &who, tools[number as usize % tools.len()], time).await;
            let mut got = got.lock().unwrap();
            match outcome.result {
                Ok(_) => {
                    got.served += 1;
                    got.waited = got.waited.max(outcome.report.waited);
                }
                Err(error) => {
                    assert!(error.kind == ErrorKind::Busy && error.retry_after.is_some(), "{error:?}");
                    got.refused += 1;
                }
            }
        });
    }
    sleep_until(begins + Duration::from_secs(seconds)).await;
    got.lock().unwrap().clone()
}

fn is_near(got: usize, wanted: usize) -> bool {
    got.abs_diff(wanted) * 100 <= wanted * 5
}

#[tokio::test(start_paused = true)]
async fn two_callers_whose_loads_are_a_hundred_to_one_get_the_same() {
    // 400 calls of 10 ms in a second.
    let (host, _) = host(4, 1_024);
    let (ann, bob) =
        tokio::join!(offer(&host, "ann", &["plain"], 22_000, 3, 10), offer(&host, "bob", &["plain"], 220, 3, 10));
    assert!(is_near(bob.served, 600) && is_near(ann.served, 600), "{ann:?} {bob:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_less_than_its_part_gets_all_of_it_at_once_in_spite_of_a_flood() {
    let (host, _) = host(4, 1_024);
    let (ann, bob) =
        tokio::join!(offer(&host, "ann", &["plain"], 5_000, 3, 10), offer(&host, "bob", &["plain"], 50, 3, 10));
    assert_eq!((bob.served, bob.refused), (150, 0), "{bob:?}");
    assert!(bob.waited <= ms(11), "it waits for one of those that run: {bob:?}");
    assert!(is_near(ann.served, 1_050), "all the rest: {ann:?}");
}

#[tokio::test(start_paused = true)]
async fn weights_say_how_many_calls_go_for_one_of_another() {
    let shares = json!([{"callers": ["ann"], "weight": 3}, {"callers": ["group:staff"], "weight": 2}]);
    let shares: Shares = serde_json::from_value(shares).unwrap();
    let (host, began) = host(4, 1_024);
    let host = host.with_shares(shares);
    let staff = Caller { groups: vec!["staff".into()], ..Caller::named("bob") };
    let flood = async |caller: Caller| {
        let calls = (0..300).map(|_| host.call(Call::new("plain", json!({"time": 10})).by(caller.clone())));
        assert!(join_all(calls).await.iter().all(|outcome| outcome.result.is_ok()));
    };
    tokio::join!(flood(Caller::named("ann")), flood(staff), flood(Caller::named("cid")));
    let began = began.lock().unwrap();
    // The first four found places that were free.
    for part in [4..124, 124..244, 244..484] {
        let mut count = BTreeMap::new();
        began[part.clone()].iter().for_each(|who| *count.entry(who.as_str()).or_insert(0_usize) += 1);
        let sixth = part.len() / 6;
        for (who, wanted) in [("ann", 3 * sixth), ("bob", 2 * sixth), ("cid", sixth)] {
            assert!(count[who].abs_diff(wanted) <= 2, "{part:?}: {count:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_each_get_their_turn_before_anybody_gets_a_second_one() {
    let (host, began) = host(8, 100_000);
    // Those that come first have the most calls.
    let calls = (0..1_000).flat_map(|who| vec![who; if who < 10 { 200 } else { 2 }]);
    let calls: Vec<String> = calls.map(|who| format!("caller {who}")).collect();
    let outcomes = join_all(calls.iter().map(|who| call(&host, who, "plain", 1))).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    let began = began.lock().unwrap();
    let mut turns = BTreeMap::new();
    for (at, who) in began[8..].iter().enumerate() {
        let turn = turns.entry(who).or_insert(0_usize);
        *turn += 1;
        assert!(*turn <= at / 990 + 2 || at >= 2_000, "{who} had {turn} turns of {at}");
    }
    assert_eq!(turns.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_many_tools_that_have_room_gets_no_more_than_who_calls_one() {
    let (host, _) = host(4, 1_024);
    let (ann, bob) = tokio::join!(
        offer(&host, "ann", &["plain", "wide0", "wide1", "wide2"], 4_000, 3, 10),
        offer(&host, "bob", &["wide0"], 4_000, 3, 10)
    );
    assert!(is_near(bob.served, 600) && is_near(ann.served, 600), "{ann:?} {bob:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_tool_without_room_is_not_held_up_elsewhere_and_gets_its_part_there() {
    let (host, _) = host(4, 1_024);
    // `one` is full of calls by both, and its room is given in turns, too.
    let (slow_ann, slow_bob) = (offer(&host, "ann", &["one"], 400, 3, 100), offer(&host, "bob", &["one"], 40, 3, 100));
    let (ann, bob) = (offer(&host, "ann", &["plain"], 400, 3, 10), offer(&host, "bob", &["plain"], 4_000, 3, 10));
    let (slow_ann, slow_bob, ann, bob) = tokio::join!(slow_ann, slow_bob, ann, bob);
    assert!(slow_ann.served.abs_diff(15) <= 2 && slow_bob.served.abs_diff(15) <= 2, "{slow_ann:?} {slow_bob:?}");
    // Three places are left for 300 calls in a second.
    assert!(is_near(ann.served, 450) && is_near(bob.served, 450), "{ann:?} {bob:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_does_nothing_else_does_not_keep_a_busy_one_from_a_tool_with_little_room() {
    let (host, _) = host(4, 100_000);
    let busy = join_all((0..1_000).map(|_| call(&host, "ann", "plain", 10)));
    let asks = async {
        sleep(ms(500)).await;
        call(&host, "ann", "one", 10).await
    };
    let (_, asked, _) = tokio::join!(busy, asks, offer(&host, "bob", &["one"], 200, 3, 10));
    asked.result.unwrap();
    assert!(asked.report.waited <= ms(40), "{:?}", asked.report.waited);
}

#[tokio::test(start_paused = true)]
async fn who_runs_alone_in_a_component_again_and_again_lets_others_in_between() {
    let (host, began) = host(8, 1_024);
    let alone = join_all((0..50).map(|_| call(&host, "ann", "c_alone", 10)));
    let others = async {
        sleep(ms(5)).await;
        join_all((0..4).map(|_| call(&host, "bob", "c_any", 10))).await
    };
    let (alone, others) = tokio::join!(alone, others);
    assert!(alone.iter().chain(&others).all(|outcome| outcome.result.is_ok()));
    let began = began.lock().unwrap();
    let turns: Vec<usize> = (0..began.len()).filter(|at| began[*at] == "bob").collect();
    assert!(turns[3] <= 10, "{turns:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_are_no_callers() {
    let (host, began) = host(1, 1_024);
    let ann = (0..50).map(|session| Caller { session: Some(format!("s{session}")), ..Caller::named("ann") });
    let bob = (0..50).map(|_| Caller { session: Some("s".into()), ..Caller::named("bob") });
    join_all(ann.chain(bob).map(|caller| host.call(Call::new("plain", json!({"time": 1})).by(caller)))).await;
    let began = began.lock().unwrap();
    let of_ann = began[1..41].iter().filter(|who| *who == "ann").count();
    assert!((19..=21).contains(&of_ann), "{of_ann}");
}

#[tokio::test(start_paused = true)]
async fn where_the_line_is_full_the_last_of_whoever_has_most_makes_way() {
    for (tool, places, waiting, words) in [
        ("plain", 1, 10, "or raise `host.max_waiting`"),
        ("few", 8, 1_024, "or raise `guard.waiting` or `host.max_waiting`"),
    ] {
        let (host, _) = host(places, waiting);
        let flood = join_all((0..12).map(|_| call(&host, "ann", tool, 10)));
        let others = async {
            sleep(ms(1)).await;
            assert_eq!(host.in_use(), (1, 10), "{tool}");
            let others = ["bob", "bob", "cid", "bob", "bob", "bob", "bob", "bob"];
            let others = join_all(others.map(|who| call(&host, who, tool, 10))).await;
            others.iter().map(|outcome| outcome.failed()).collect::<Vec<_>>()
        };
        let (flood, others) = tokio::join!(flood, others);
        // Ten wait: when `ann` has five of them and `bob` four, no more of `bob` come in.
        let busy = Some(ErrorKind::Busy);
        assert_eq!(others, [None, None, None, None, None, busy, busy, busy], "{tool}");
        let served = flood.iter().map(|outcome| outcome.result.is_ok()).collect::<Vec<_>>();
        assert_eq!(served, [[true; 6], [false; 6]].concat(), "{tool}: the last of them");
        let error = flood[10].result.as_ref().unwrap_err();
        let told =
            "more calls come than may wait, and this one made way for another; call again later, with fewer at once, ";
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Busy, format!("{told}{words}").as_str()));
        assert!(error.retry_after.is_some_and(|after| after >= Duration::from_secs(1)));
        assert_eq!(host.in_use(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_of_another_does_not_fail_because_others_wait() {
    let mut catalog = Catalog::default();
    catalog.add(work("plain", json!({}), &Began::default())).unwrap();
    let outer = Native::new("outer", "").effect(EffectClass::Reads).run(|attempt| async move {
        sleep(ms(5)).await;
        // Only one of them runs in the place of the call around them.
        let inside = join_all((0..3).map(|_| attempt.call("plain", json!({"time": 10})))).await;
        Ok(json!(inside.iter().filter(|outcome| outcome.result.is_ok()).count()))
    });
    catalog.add(outer).unwrap();
    let limits = HostLimits { max_parallel: 1, max_waiting: 2, ..HostLimits::default() };
    let host = Host::new(catalog).with_limits(limits);
    let (outer, waiting) = tokio::join!(
        host.call(Call::new("outer", json!({})).by(Caller::named("ann"))),
        join_all((0..2).map(|_| call(&host, "bob", "plain", 10)))
    );
    assert_eq!(outer.result.unwrap().value, json!(3));
    assert!(waiting.iter().all(|outcome| outcome.failed() == Some(ErrorKind::Busy)), "{waiting:?}");
}
