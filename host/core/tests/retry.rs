//! Retries: what is tried again, when, and how often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use toolpost_core::effect::{EffectRecord, Fate};
use toolpost_core::guard::retry::fence::{Verdict, may_try_again};
use toolpost_core::guard::retry::{
    AttemptInfo, Backoff, Budget, CallRetries, Decision, ErrorClass, Exponential, Fence, Fixed, Hedge, Jitter,
    RetryPolicy, RetrySettings, Stop,
};
use toolpost_core::{CallError, Effect, EffectClass, ErrorKind, Stage};

const KEYED: Fence = Fence::Effect { idempotent: true };
const UNKEYED: Fence = Fence::Effect { idempotent: false };
const FENCES: [Fence; 4] = [Fence::Nothing, Fence::ReadOnly, KEYED, UNKEYED];

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

fn failed(kind: ErrorKind) -> CallError {
    CallError::new(kind, Stage::Run, "it failed")
}

fn transient() -> CallError {
    failed(ErrorKind::ToolFailed { retryable: true })
}

/// What is decided with everything else at its best; `change` says what is not.
fn decide(
    policy: &RetryPolicy,
    error: &CallError,
    change: impl FnOnce(&mut AttemptInfo<'_>),
) -> Result<Duration, Stop> {
    let now = Instant::now();
    let mut info = AttemptInfo {
        number: 1,
        error,
        fence: Fence::Nothing,
        waited_before: None,
        now,
        deadline: now + Duration::from_secs(120),
        floor: ms(50),
    };
    change(&mut info);
    match policy.decide(&info, &CallRetries::default(), &Budget::full(), &mut Rng::with_seed(7)) {
        Decision::Retry { after, .. } => Ok(after),
        Decision::Stop { why } => Err(why),
    }
}

fn fixed(delay: Duration) -> RetryPolicy {
    RetryPolicy { backoff: Backoff::Fixed(Fixed { delay }), ..RetryPolicy::default() }
}

fn everything() -> RetryPolicy {
    use ErrorClass::{CircuitOpen, NotStarted, Throttled, TimedOut, Transient};
    RetryPolicy {
        retry_on: BTreeSet::from([CircuitOpen, NotStarted, Throttled, TimedOut, Transient]),
        ..RetryPolicy::default()
    }
}

#[test]
fn every_row_of_the_table_says_what_may_be_tried_again() {
    let no = Err(Stop::NotRetryable);
    let unknown = Err(Stop::MayHaveHappened);
    let yes = Ok(());
    let soon = |kind| failed(kind).retry_after(ms(10));
    let rows = [
        ("transient", transient(), [yes, yes, yes, unknown]),
        ("throttled", soon(ErrorKind::ToolFailed { retryable: true }), [yes, yes, yes, unknown]),
        ("attempt timed out", failed(ErrorKind::TimedOut), [yes, yes, yes, unknown]),
        ("no instance", soon(ErrorKind::Busy), [yes, no, no, unknown]),
        ("breaker open, opted in", soon(ErrorKind::CircuitOpen), [yes, yes, yes, unknown]),
        ("trap", failed(ErrorKind::Trapped), [no; 4]),
        ("fuel", failed(ErrorKind::OutOfFuel), [no; 4]),
        ("memory", failed(ErrorKind::OutOfMemory), [no; 4]),
        ("bad output", failed(ErrorKind::OutputTooLarge), [no; 4]),
        ("domain error", failed(ErrorKind::ToolFailed { retryable: false }), [no; 4]),
        ("domain error with a hint", soon(ErrorKind::ToolFailed { retryable: false }), [no; 4]),
        ("denied", failed(ErrorKind::CapabilityDenied), [no; 4]),
        ("over quota", failed(ErrorKind::QuotaExceeded), [no; 4]),
        ("cancelled", failed(ErrorKind::Cancelled), [no; 4]),
        ("the host's fault", failed(ErrorKind::Internal), [no; 4]),
        ("no place in the host", CallError::new(ErrorKind::Busy, Stage::Guard, ""), [no; 4]),
        ("no place in time", CallError::new(ErrorKind::TimedOut, Stage::Guard, ""), [no; 4]),
        ("too often", CallError::new(ErrorKind::RateLimited, Stage::Guard, "").retry_after(ms(10)), [no; 4]),
    ];
    for (row, error, wanted) in rows {
        for (fence, wanted) in FENCES.into_iter().zip(wanted) {
            let decided = decide(&everything(), &error, |info| info.fence = fence).map(drop);
            assert_eq!(decided, wanted, "{row}, {fence:?}");
        }
    }
}

#[test]
fn four_kinds_of_failure_may_be_tried_again_and_no_other() {
    for kind in ErrorKind::ALL {
        let wanted = match kind {
            ErrorKind::ToolFailed { retryable: true } => Some(ErrorClass::Transient),
            ErrorKind::TimedOut => Some(ErrorClass::TimedOut),
            ErrorKind::Busy => Some(ErrorClass::NotStarted),
            ErrorKind::CircuitOpen => Some(ErrorClass::CircuitOpen),
            _ => None,
        };
        assert_eq!(ErrorClass::of(&failed(kind)), wanted, "{}", kind.name());
    }
}

#[test]
fn an_open_breaker_ends_the_loop_unless_settings_say_otherwise() {
    let open = failed(ErrorKind::CircuitOpen);
    let told = open.clone().retry_after(ms(10));
    assert_eq!(decide(&RetryPolicy::default(), &told, |_| {}), Err(Stop::NotWanted));
    assert_eq!(decide(&everything(), &open, |_| {}), Err(Stop::NotRetryable), "it does not say when");
    let hasty = RetryPolicy { respect_retry_after: false, ..everything() };
    let late = open.retry_after(Duration::from_secs(50));
    assert!(decide(&hasty, &late, |_| {}).unwrap() >= Duration::from_secs(50));
}

#[test]
fn a_destructive_tool_is_never_retried_without_a_key() {
    let effect =
        Effect { class: EffectClass::Destroys, action: "kv.delete".into(), target: "all".into(), detail: None };
    let records = [EffectRecord { effect, attempt: 1, fate: Fate::Done }];
    let fence = Fence::of(&records, 0, false);
    assert_eq!(decide(&RetryPolicy::default(), &transient(), |info| info.fence = fence), Err(Stop::MayHaveHappened));
}

#[test]
fn a_retry_after_an_unclear_outcome_is_told_as_unknown() {
    let last = failed(ErrorKind::TimedOut).retry_after(ms(5));
    let told = Stop::MayHaveHappened.tell(last.clone());
    assert_eq!(told.kind, ErrorKind::OutcomeUnknown);
    assert_eq!(
        told.message,
        "it failed; its effect may have happened, so it is not tried again; look before you call again"
    );
    assert_eq!(std::error::Error::source(&told).unwrap().to_string(), "it failed");
    assert_eq!(told.retry_after, None, "nobody is invited to repeat it");

    let other = Stop::HintTooLong.tell(last);
    assert_eq!((other.kind, other.retry_after), (ErrorKind::TimedOut, Some(ms(5))));
}

#[test]
fn the_fence_is_the_farthest_that_an_attempt_may_have_gone() {
    let record = |class, fate| {
        let effect = Effect { class, action: "a.b".into(), target: "c".into(), detail: None };
        EffectRecord { effect, attempt: 1, fate }
    };
    let check = |records: &[(EffectClass, Fate)], unlisted, wanted| {
        let records: Vec<_> = records.iter().map(|(class, fate)| record(*class, *fate)).collect();
        assert_eq!(Fence::of(&records, unlisted, false), wanted, "{records:?}");
        let keyed = if wanted == UNKEYED { KEYED } else { wanted };
        assert_eq!(Fence::of(&records, unlisted, true), keyed, "{records:?}");
    };
    use EffectClass::{Destroys, Open, Pure, Reads, Writes};
    use Fate::{Done, Failed, Indeterminate, Refused};
    check(&[], 0, Fence::Nothing);
    check(&[], 1, UNKEYED);
    check(&[(Pure, Done)], 0, Fence::Nothing);
    check(&[(Reads, Done), (Pure, Done)], 0, Fence::ReadOnly);
    check(&[(Reads, Indeterminate)], 0, Fence::ReadOnly);
    for class in [Writes, Open, Destroys] {
        check(&[(Reads, Done), (class, Done), (Reads, Done)], 0, UNKEYED);
        check(&[(class, Indeterminate)], 0, UNKEYED);
        check(&[(class, Failed), (class, Refused)], 0, Fence::Nothing);
    }
}

#[test]
fn there_are_no_more_attempts_than_settings_allow_and_never_more_than_ten() {
    for (max_attempts, retries) in [(0, 0), (1, 0), (2, 1), (3, 2), (10, 9), (11, 9), (u32::MAX, 9)] {
        let policy = RetryPolicy { max_attempts, ..RetryPolicy::default() };
        let made = (1..50).take_while(|number| decide(&policy, &transient(), |info| info.number = *number).is_ok());
        assert_eq!(made.count(), retries, "{max_attempts}");
    }
    let policy = RetryPolicy::default();
    assert_eq!(decide(&policy, &transient(), |info| info.number = 3), Err(Stop::NoAttemptLeft));
}

#[test]
fn nested_retry_loops_do_not_multiply() {
    let (policy, error, budget) = (fixed(ms(1)), transient(), Budget::full());
    let retries = CallRetries::default();
    let now = Instant::now();
    let mut rng = Rng::with_seed(1);
    let mut attempts = 0;
    let mut again = |number, retries: &CallRetries| {
        let deadline = now + Duration::from_secs(9);
        let fence = Fence::ReadOnly;
        let info = AttemptInfo { number, error: &error, fence, waited_before: None, now, deadline, floor: ms(50) };
        matches!(policy.decide(&info, retries, &budget, &mut rng), Decision::Retry { .. })
    };
    for outer in 1.. {
        let inside = retries.clone();
        for inner in 1.. {
            attempts += 1;
            if !again(inner, &inside) {
                break;
            }
        }
        if !again(outer, &retries) {
            break;
        }
    }
    assert_eq!((attempts, retries.made()), (3, 2));
}

#[test]
fn a_stop_takes_nothing_from_the_counts() {
    let (error, retries, budget) = (transient(), CallRetries::default(), Budget::full());
    let now = Instant::now();
    let decide = |policy: &RetryPolicy, deadline, budget: &Budget| {
        let fence = Fence::Nothing;
        let info = AttemptInfo { number: 1, error: &error, fence, waited_before: None, now, deadline, floor: ms(50) };
        match policy.decide(&info, &retries, budget, &mut Rng::with_seed(1)) {
            Decision::Retry { .. } => None,
            Decision::Stop { why } => Some(why),
        }
    };
    let late = now + Duration::from_secs(9);
    assert_eq!(decide(&fixed(ms(1)), now, &budget), Some(Stop::DeadlineWouldPass));
    let none = RetryPolicy { backoff: Backoff::None, ..RetryPolicy::default() };
    assert_eq!(decide(&none, late, &budget), Some(Stop::NotWanted));
    let one = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    assert_eq!(decide(&one, late, &budget), Some(Stop::NoAttemptLeft));
    assert_eq!((retries.made(), budget.tokens()), (0, 500));

    let poor = Budget::full();
    while poor.spend(toolpost_core::guard::retry::Cost::Retry).is_some() {}
    assert_eq!(decide(&fixed(ms(1)), late, &poor), Some(Stop::BudgetEmpty));
    assert_eq!((retries.made(), poor.tokens()), (0, 500 % 14));
}

#[test]
fn a_retry_waits_at_least_as_long_as_the_other_side_asks_and_a_tenth_longer_at_most() {
    let error = transient().retry_after(Duration::from_secs(7));
    let after = decide(&fixed(ms(10)), &error, |_| {}).unwrap();
    assert!((7_000..=7_700).contains(&after.as_millis()), "{after:?}");
    // The policy's own wait is longer.
    assert_eq!(decide(&fixed(Duration::from_secs(30)), &error, |_| {}), Ok(Duration::from_secs(30)));
    let hasty = RetryPolicy { respect_retry_after: false, ..fixed(ms(10)) };
    assert_eq!(decide(&hasty, &error, |_| {}), Ok(ms(10)));
}

#[test]
fn a_retry_of_what_was_throttled_is_cheaper() {
    let now = Instant::now();
    let (fence, deadline) = (Fence::Nothing, now + Duration::from_secs(9));
    for (error, tokens) in [(transient(), 14), (transient().retry_after(ms(1)), 5), (failed(ErrorKind::TimedOut), 14)] {
        let info = AttemptInfo { number: 1, error: &error, fence, waited_before: None, now, deadline, floor: ms(50) };
        let (retries, budget) = (CallRetries::default(), Budget::full());
        let decision = fixed(ms(1)).decide(&info, &retries, &budget, &mut Rng::with_seed(1));
        assert!(matches!(decision, Decision::Retry { .. }));
        assert_eq!(500 - budget.tokens(), tokens, "{error:?}");
    }
}

#[test]
fn a_wait_that_is_too_long_ends_the_call_at_once() {
    let error = |hint| transient().retry_after(hint);
    let policy = fixed(ms(10));
    assert!(decide(&policy, &error(Duration::from_secs(60)), |_| {}).is_ok());
    assert_eq!(decide(&policy, &error(Duration::from_millis(60_001)), |_| {}), Err(Stop::HintTooLong));
    assert_eq!(decide(&policy, &error(Duration::MAX), |_| {}), Err(Stop::HintTooLong));
    let short = decide(&policy, &error(ms(501)), |info| info.deadline = info.now + ms(500));
    assert_eq!(short, Err(Stop::HintTooLong));
}

#[test]
fn a_retry_starts_only_if_the_usual_time_of_a_success_is_left() {
    let check = |deadline, floor, wanted| {
        let decided = decide(&fixed(ms(100)), &transient(), |info| {
            info.deadline = info.now + deadline;
            info.floor = floor;
        });
        assert_eq!(decided, wanted, "{deadline:?} {floor:?}");
    };
    check(ms(150), ms(50), Ok(ms(100)));
    check(ms(149), ms(50), Err(Stop::DeadlineWouldPass));
    check(ms(149), ms(0), Err(Stop::DeadlineWouldPass));
    check(ms(900), ms(800), Ok(ms(100)));
    check(ms(899), ms(800), Err(Stop::DeadlineWouldPass));
    check(ms(899), Duration::MAX, Err(Stop::DeadlineWouldPass));
    check(ms(0), ms(50), Err(Stop::DeadlineWouldPass));
}

#[tokio::test(start_paused = true)]
async fn a_loop_never_sleeps_beyond_its_deadline() {
    for seed in 0..200 {
        let (policy, error, mut rng) = (everything(), transient(), Rng::with_seed(seed));
        let policy = RetryPolicy { max_attempts: 10, ..policy };
        let (retries, budget) = (CallRetries::default(), Budget::full());
        let deadline = Instant::now() + ms(rng.u64(0..5_000));
        let mut waited_before = None;
        for number in 1.. {
            let (fence, now) = (Fence::Nothing, Instant::now());
            let info = AttemptInfo { number, error: &error, fence, waited_before, now, deadline, floor: ms(50) };
            let Decision::Retry { after, .. } = policy.decide(&info, &retries, &budget, &mut rng) else { break };
            sleep(after).await;
            assert!(Instant::now() + ms(49) <= deadline, "with the millisecond of the timer");
            waited_before = Some(after);
        }
    }
}

#[test]
fn an_embedders_own_backoff_goes_round_no_rule() {
    let own = |wait: Option<Duration>| {
        let custom = Backoff::Custom(Arc::new(move |info: &AttemptInfo<'_>| wait.map(|wait| wait * info.number)));
        RetryPolicy { backoff: custom, max_attempts: 99, ..everything() }
    };
    assert_eq!(decide(&own(Some(ms(3))), &transient(), |info| info.number = 4), Ok(ms(12)));
    assert_eq!(decide(&own(None), &transient(), |_| {}), Err(Stop::NotWanted));
    let check = |change: fn(&mut AttemptInfo<'_>), why| {
        assert_eq!(decide(&own(Some(ms(1))), &transient(), change), Err(why));
    };
    check(|info| info.number = 10, Stop::NoAttemptLeft);
    check(|info| info.fence = UNKEYED, Stop::MayHaveHappened);
    check(|info| info.deadline = info.now, Stop::DeadlineWouldPass);
    let hinted = transient().retry_after(Duration::from_secs(2));
    assert!(decide(&own(Some(ms(1))), &hinted, |_| {}).unwrap() >= Duration::from_secs(2));
}

#[test]
fn what_was_throttled_waits_from_a_second_on() {
    let exponential = Exponential { jitter: Jitter::None, ..Exponential::default() };
    let policy = RetryPolicy { backoff: Backoff::Exponential(exponential), ..everything() };
    let after = |error: &CallError, number| decide(&policy, error, |info| info.number = number).unwrap();
    let throttled = transient().retry_after(Duration::ZERO);
    assert_eq!([1, 2].map(|number| after(&throttled, number)), [1, 2].map(Duration::from_secs));
    assert_eq!([1, 2].map(|number| after(&transient(), number)), [ms(100), ms(200)]);
}

fn check(settings: Value, wanted: Result<RetryPolicy, &str>) {
    let read = serde_json::from_value::<RetrySettings>(settings.clone());
    let policy = read.map(|settings| RetryPolicy::default().with(&settings)).map_err(|error| error.to_string());
    assert_eq!(policy, wanted.map_err(str::to_owned), "{settings}");
}

#[test]
fn settings_say_how_it_is_tried_again() {
    let default = RetryPolicy::default;
    let backoff = |backoff| Ok(RetryPolicy { backoff, ..default() });
    check(json!({}), Ok(default()));
    check(json!({"backoff": "none"}), backoff(Backoff::None));
    check(json!({"backoff": "exponential"}), backoff(Backoff::default()));
    check(json!({"backoff": "fixed"}), backoff(Backoff::Fixed(Fixed { delay: ms(1_000) })));
    check(json!({"backoff": {"fixed": {"delay": "5ms"}}}), backoff(Backoff::Fixed(Fixed { delay: ms(5) })));
    let [base, cap] = [ms(200), Duration::from_secs(9)];
    check(
        json!({"backoff": {"exponential": {"base": "200ms", "factor": 1.5, "cap": "9s", "jitter": "decorrelated"}}}),
        backoff(Backoff::Exponential(Exponential { base, factor: 1.5, cap, jitter: Jitter::Decorrelated })),
    );
    let hedge = json!({"after": "p95"});
    let settings = json!({"max_attempts": 10, "respect_retry_after": false, "retry_on": ["timed_out"], "hedge": hedge});
    let retry_on = BTreeSet::from([ErrorClass::TimedOut]);
    check(
        settings,
        Ok(RetryPolicy { max_attempts: 10, respect_retry_after: false, retry_on, hedge: Hedge::P95, ..default() }),
    );
}

#[test]
fn an_attempt_is_slow_after_a_share_of_the_others_or_after_a_time_that_is_not_too_short() {
    let hedge =
        |after: &str| serde_json::from_value::<Hedge>(json!({"after": after})).map_err(|error| error.to_string());
    assert_eq!(hedge("p95"), Ok(Hedge::P95));
    assert_eq!(hedge("50ms"), Ok(Hedge::After(ms(50))));
    assert_eq!(hedge("never"), Ok(Hedge::Never));
    for wrong in ["49ms", "p99", ""] {
        let words = "expected `after` to be \"p95\", \"never\", or a time of at least \"50ms\"";
        assert_eq!(hedge(wrong), Err(format!("{words}, got \"{wrong}\"")));
    }
    check(json!({"hedge": {"when": "p95"}}), Err("unknown field `when`, expected `after`"));
}

#[test]
fn settings_of_a_tool_leave_alone_what_they_do_not_name() {
    let read = |value| serde_json::from_value::<RetrySettings>(value).unwrap();
    let host = RetryPolicy::default().with(&read(json!({"max_attempts": 5, "backoff": "fixed"})));
    let tool = host.clone().with(&read(json!({"max_attempts": 2})));
    assert_eq!(tool, RetryPolicy { max_attempts: 2, ..host });
}

#[test]
fn wrong_settings_of_retries_are_refused_with_what_is_allowed() {
    for attempts in [json!(0), json!(11), json!(-1), json!("3")] {
        check(json!({"max_attempts": attempts}), Err("expected a whole number from 1 to 10"));
    }
    let names = "expected one of `none`, `fixed`, `exponential`";
    check(json!({"backoff": "linear"}), Err(&format!("unknown variant `linear`, {names}")));
    let both = json!({"backoff": {"fixed": {}, "exponential": {}}});
    check(both, Err("expected one of `fixed` and `exponential`, got several; keep one"));
    check(json!({"backoff": {"linear": {}}}), Err("unknown variant `linear`, expected `fixed` or `exponential`"));
    check(json!({"backoff": {"fixed": {"base": "1s"}}}), Err("unknown field `base`, expected `delay`"));
    let what = "a backoff, for example \"exponential\" or { fixed = { delay = \"1s\" } }";
    check(json!({"backoff": 3}), Err(&format!("invalid type: integer `3`, expected {what}")));
    for factor in [0.5, 10.5] {
        let settings = json!({"backoff": {"exponential": {"factor": factor}}});
        check(settings, Err("expected a number from 1 to 10"));
    }
    let span = "`0s` is no span of time above zero; write for example \"30s\" or \"500ms\"";
    check(json!({"backoff": {"fixed": {"delay": "0s"}}}), Err(span));
    let keys = "`backoff`, `max_attempts`, `respect_retry_after`, `retry_on`, `hedge`";
    check(json!({"attempts": 3}), Err(&format!("unknown field `attempts`, expected one of {keys}")));
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop::sample::select(vec![Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated])
}

proptest! {
    #[test]
    fn jitter_stays_within_its_bounds(
        base in 1..5_000_u64, factor in 1.0..10.0_f64, cap in 1..30_000_u64, jitter in jitter(),
        number in 1..10_u32, before in 0..30_000_u64, seed: u64,
    ) {
        let (base, cap, before) = (ms(base), ms(cap), ms(before));
        let backoff = Backoff::Exponential(Exponential { base, factor, cap, jitter });
        let policy = RetryPolicy { backoff, max_attempts: 10, ..RetryPolicy::default() };
        let (error, now) = (transient(), Instant::now());
        let (fence, deadline) = (Fence::Nothing, now + Duration::from_secs(120));
        let waited_before = Some(before);
        let info = AttemptInfo { number, error: &error, fence, waited_before, now, deadline, floor: ms(50) };
        let (retries, budget) = (CallRetries::default(), Budget::full());
        let decided = policy.decide(&info, &retries, &budget, &mut Rng::with_seed(seed));
        let Decision::Retry { after, .. } = decided else { panic!("{decided:?}") };
        let grown = (base.as_secs_f64() * factor.powi(number as i32 - 1)).min(cap.as_secs_f64());
        let nearly = Duration::from_secs_f64(grown) + Duration::from_nanos(2);
        let (least, most) = match jitter {
            Jitter::None => (nearly - ms(1).min(nearly), nearly),
            Jitter::Full => (Duration::ZERO, nearly),
            Jitter::Equal => ((nearly / 2).saturating_sub(Duration::from_nanos(3)), nearly),
            Jitter::Decorrelated => (base.min(cap), (before * 3).max(base).min(cap)),
        };
        prop_assert!(least <= after && after <= most.min(cap), "{:?} <= {:?} <= {:?}", least, after, most);
    }

    #[test]
    fn whatever_is_decided_keeps_every_promise(
        number in 1..14_u32, max_attempts in 0..14_u32, hint in prop::option::of(0..90_000_u64),
        left in 0..130_000_u64, floor in 0..3_000_u64, delay in 1..90_000_u64,
        kind in prop::sample::select(ErrorKind::ALL.to_vec()), fence in prop::sample::select(FENCES.to_vec()),
        tokens in 0..40_u32, seed: u64,
    ) {
        let policy = RetryPolicy { max_attempts, ..fixed(ms(delay)) };
        let mut error = failed(kind);
        error.retry_after = hint.map(ms);
        let (now, budget) = (Instant::now(), Budget::full());
        for _ in 0..tokens {
            let _ = budget.spend(toolpost_core::guard::retry::Cost::Retry);
        }
        let (deadline, floor) = (now + ms(left), ms(floor));
        let info = AttemptInfo { number, error: &error, fence, waited_before: None, now, deadline, floor };
        let (retries, before) = (CallRetries::default(), budget.tokens());
        match policy.decide(&info, &retries, &budget, &mut Rng::with_seed(seed)) {
            Decision::Retry { after, spent } => {
                prop_assert!(number < max_attempts.min(10));
                prop_assert!(may_try_again(ErrorClass::of(&error), fence) == Verdict::Again);
                prop_assert!(after >= ms(delay).max(hint.map(ms).unwrap_or_default()));
                prop_assert!(hint.is_none_or(|hint| hint <= 60_000));
                prop_assert!(now + after + floor.max(ms(50)) <= deadline);
                prop_assert_eq!(retries.made(), 1);
                prop_assert!(budget.tokens() < before);
                spent.give_back();
                prop_assert_eq!(budget.tokens(), before);
            }
            Decision::Stop { why } => {
                prop_assert_eq!((retries.made(), budget.tokens()), (0, before));
                let is_effect = fence == UNKEYED && ErrorClass::of(&error).is_some();
                prop_assert_eq!(why == Stop::MayHaveHappened, is_effect);
            }
        }
    }
}
