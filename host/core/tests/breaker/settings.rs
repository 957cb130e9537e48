//! What settings may say, and what they say when they say nothing.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{
    AdaptiveSettings, Custom, CustomJudge, Judge, Key, Moment, Outcome, Rate, Refusal, Settings, StandardSettings,
    Status, WindowSettings,
};

use super::{Bench, FAILURE, pass};

fn read(value: Value) -> Result<Settings, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn check_fault(value: Value, expected: &str) {
    let shown = value.to_string();
    assert_eq!(read(value).unwrap_err(), expected, "{shown}");
}

#[test]
fn a_kind_alone_means_all_defaults() {
    assert_eq!(read(json!({"kind": "none"})), Ok(Settings::None));
    assert_eq!(read(json!({"kind": "standard"})), Ok(Settings::Standard(StandardSettings::default())));
    assert_eq!(read(json!({"kind": "adaptive"})), Ok(Settings::Adaptive(AdaptiveSettings::default())));
    assert_eq!(Settings::default().kind(), "standard");
}

#[test]
fn every_setting_of_the_standard_breaker_can_be_written() {
    let written = json!({
        "kind": "standard", "consecutive": 0, "failure_rate": 0.25, "min_throughput": 20, "window": 50, "slow_call": "2s",
        "slow_rate": 1, "open": "1s", "open_max": "1m", "jitter": 0, "probes": 4, "probes_at_once": 2,
        "successes_to_close": 3, "judge": "rate", "probe_time": "90s",
    });
    let span = |seconds| Span(Duration::from_secs(seconds));
    let expected = StandardSettings {
        consecutive: 0,
        failure_rate: Rate(0.25),
        min_throughput: 20,
        window: WindowSettings::Calls(50),
        slow_call: Some(span(2)),
        slow_rate: Some(Rate(1.0)),
        open: span(1),
        open_max: span(60),
        jitter: 0.0,
        probes: 4,
        probes_at_once: 2,
        successes_to_close: 3,
        judge: Judge::Rate,
        probe_time: Some(span(90)),
    };
    assert_eq!(read(written), Ok(Settings::Standard(expected)));
}

#[test]
fn every_setting_of_the_adaptive_breaker_can_be_written() {
    let written = json!({
        "kind": "adaptive", "window": "60s", "multiplier": 1.5, "pad": 0, "refuse_max": 0.9, "at_once": 2, "at_once_min": 2,
        "at_once_max": 3, "consecutive": 0,
    });
    let expected = AdaptiveSettings {
        window: Span(Duration::from_secs(60)),
        multiplier: 1.5,
        pad: 0,
        refuse_max: 0.9,
        at_once: 2,
        at_once_min: 2,
        at_once_max: 3,
        consecutive: 0,
    };
    assert_eq!(read(written), Ok(Settings::Adaptive(expected)));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let standard = |key: &str, value: Value| json!({"kind": "standard", key: value});
    let rate = "expected a number above 0 and up to 1, for example 0.5";
    check_fault(standard("failure_rate", json!(0)), rate);
    check_fault(standard("failure_rate", json!(1.1)), rate);
    check_fault(standard("probes", json!(0)), "expected a whole number from 1 to 1000");
    check_fault(standard("consecutive", json!(-1)), "expected a whole number from 0 to 1000000");
    check_fault(standard("jitter", json!(2)), "expected a number from 0 to 1, for example 0.5");
    check_fault(standard("open_max", json!("2d")), "expected a span of time up to a day, for example \"30s\"");
    check_fault(standard("open", json!("6m")), "`open` is longer than `open_max`");
    let window = "expected a span of time up to a day, for example \"60s\", or a number of calls from 1 to 10000";
    for wrong in [json!(0), json!(10_001), json!("0s"), json!("often"), json!(true)] {
        check_fault(standard("window", wrong), window);
    }
    let never = "it could never close: `successes_to_close` is 4, `probes` 3";
    check_fault(standard("successes_to_close", json!(4)), never);
    check_fault(standard("probes_at_once", json!(4)), "`probes_at_once` is 4, which is more than `probes`, 3");
    let mute = "no rate could ever speak: `min_throughput` is 10, the window has 9 calls";
    check_fault(standard("window", json!(9)), mute);
    let limits = "`at_once` does not lie between `at_once_min` and `at_once_max`";
    check_fault(json!({"kind": "adaptive", "at_once": 65}), limits);
    check_fault(json!({"kind": "adaptive", "multiplier": 0.5}), "expected a number from 1 to 100, for example 2.0");
}

#[test]
fn an_unknown_key_is_an_error_in_every_kind() {
    for kind in ["none", "standard", "adaptive"] {
        let fault = read(json!({"kind": kind, "probs": 3})).unwrap_err();
        assert!(fault.starts_with("unknown field `probs`"), "{fault}");
    }
    assert!(read(json!({"kind": "custom"})).unwrap_err().starts_with("unknown variant `custom`"));
}

/// Refuses every second call, and writes down all it is told.
#[derive(Default)]
struct Every(Mutex<Vec<Moment>>);

impl Custom for Every {
    fn judge(&self, _: &Key, moment: Moment, _: Instant) -> Option<Duration> {
        let mut moments = self.0.lock().unwrap();
        moments.push(moment);
        let asked = moments.iter().filter(|moment| **moment == Moment::Asked).count();
        (moment == Moment::Asked && asked % 2 == 0).then_some(Duration::from_secs(3))
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_breaker_judges_and_hears_of_every_end_once() {
    let custom = Arc::new(Every::default());
    let bench = Bench::new(Settings::Custom(CustomJudge(custom.clone())));
    let permit = bench.acquire();
    bench.check_refused(Refusal::Custom, 3_000);
    pass(5).await;
    permit.finish(FAILURE);
    let late = bench.acquire();
    bench.breaker.isolate("ann", "", None);
    assert_eq!(bench.refused().refusal, Refusal::Isolated);
    drop(late);
    let ended =
        |outcome, milliseconds, stale| Moment::Ended { outcome, took: Duration::from_millis(milliseconds), stale };
    let expected =
        [Moment::Asked, Moment::Asked, ended(FAILURE, 5, false), Moment::Asked, ended(Outcome::Abandoned, 0, true)];
    assert_eq!(*custom.0.lock().unwrap(), expected);
    let show = bench.show();
    assert_eq!((show.status, show.admitted, show.refused, show.running), (Status::Isolated, 2, 2, 0));
}
