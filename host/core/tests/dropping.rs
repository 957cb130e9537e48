//! Going away: a call that is dropped gives everything back, and stops only what may be stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::check::approve::Approval;
use toolpost_core::effect::Fate;
use toolpost_core::{
    AcceptedCall, Attempt, Call, CallError, CallId, Catalog, Check, Effect, EffectClass, ErrorKind, Event, Host,
    HostLimits, Native, Sink, Told, Tool,
};

const CLASSES: [EffectClass; 4] = [EffectClass::Pure, EffectClass::Reads, EffectClass::Writes, EffectClass::Destroys];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Counts what was begun, what came to its end, and what was dropped on the way.
#[derive(Default)]
struct Count {
    begun: AtomicUsize,
    finished: AtomicUsize,
    dropped: AtomicUsize,
}

impl Count {
    fn now(&self) -> (usize, usize, usize) {
        let [begun, finished, dropped] =
            [&self.begun, &self.finished, &self.dropped].map(|count| count.load(Ordering::SeqCst));
        (begun, finished, dropped)
    }
}

/// A tool that works for ten seconds, one at a time.
fn work(class: EffectClass, count: Arc<Count>) -> Tool {
    struct Left(Arc<Count>, bool);
    impl Drop for Left {
        fn drop(&mut self) {
            if !self.1 {
                self.0.dropped.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    Native::new("work", "").effect(class).run(move |_| {
        let count = count.clone();
        async move {
            count.begun.fetch_add(1, Ordering::SeqCst);
            let mut left = Left(count.clone(), false);
            for _ in 0..10 {
                sleep(seconds(1)).await;
            }
            left.1 = true;
            count.finished.fetch_add(1, Ordering::SeqCst);
            Ok(json!("done"))
        }
    })
}

/// The ends of calls that were told.
#[derive(Default)]
struct Ends(Mutex<Vec<(String, Option<ErrorKind>)>>);

impl Sink for Ends {
    fn tell(&self, told: &Told<'_>) {
        if let Event::CallEnded { outcome } = told.event {
            self.0.lock().unwrap().push((outcome.call.to_string(), outcome.failed()));
        }
    }
}

/// A host with one place.
fn host(tool: Tool) -> (Host, Arc<Ends>) {
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let ends = Arc::new(Ends::default());
    let limits = HostLimits { max_parallel: 1, max_waiting: 4, ..HostLimits::default() };
    let allow_all = serde_json::from_value(json!({"allow": [{}]})).unwrap();
    let host = Host::new(catalog).with_approval(Approval::new(allow_all));
    (host.with_limits(limits).with_sink(ends.clone()), ends)
}

fn named(id: &str) -> Call {
    Call { id: CallId::given(id), ..Call::new("work", json!({})) }
}

/// Calls, and goes away after that time.
async fn dropped(host: &Host, id: &str, after: Duration) {
    assert!(timeout(after, host.call(named(id))).await.is_err(), "it was over before it was dropped");
}

impl Ends {
    /// Each of these calls was told to be cancelled, exactly once, and no other call has ended.
    fn check_cancelled(&self, ids: &[&str]) {
        let cancelled: Vec<_> = ids.iter().map(|id| ((*id).to_owned(), Some(ErrorKind::Cancelled))).collect();
        assert_eq!(*self.0.lock().unwrap(), cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_is_checked_leaves_nothing_behind() {
    struct Thinking;
    impl Check for Thinking {
        fn check<'a>(&'a self, _: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
            std::future::pending().boxed()
        }
    }
    for class in CLASSES {
        let count = Arc::new(Count::default());
        let (host, ends) = host(work(class, count.clone()));
        let host = host.with_check(Arc::new(Thinking));
        dropped(&host, "one", seconds(5)).await;
        assert_eq!(host.in_use(), (0, 0), "{class:?}");
        ends.check_cancelled(&["one"]);
        sleep(seconds(60)).await;
        assert_eq!(count.now(), (0, 0, 0), "{class:?}: it never ran");
        ends.check_cancelled(&["one"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_gives_up_its_place_in_the_queue() {
    for class in CLASSES {
        let count = Arc::new(Count::default());
        let (host, ends) = host(work(class, count.clone()));
        let (running, (), last) = tokio::join!(
            host.call(named("running")),
            async {
                dropped(&host, "waiting", seconds(3)).await;
                assert_eq!(host.in_use(), (1, 1), "{class:?}");
                ends.check_cancelled(&["waiting"]);
            },
            async {
                sleep(seconds(1)).await;
                host.call(named("last")).await
            },
        );
        assert!(running.result.is_ok() && last.result.is_ok(), "{class:?}");
        assert_eq!(last.report.waited, seconds(9), "{class:?}: the queue moves up");
        assert_eq!((count.now(), host.in_use()), ((2, 2, 0), (0, 0)), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_of_a_tool_that_only_reads_stops_at_once() {
    for class in [EffectClass::Pure, EffectClass::Reads] {
        let count = Arc::new(Count::default());
        let (host, ends) = host(work(class, count.clone()));
        dropped(&host, "one", Duration::from_millis(3_500)).await;
        assert_eq!((count.now(), host.in_use()), ((1, 0, 1), (0, 0)), "{class:?}");
        ends.check_cancelled(&["one"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_of_a_tool_that_writes_runs_to_its_end_and_keeps_its_place_until_then() {
    for class in [EffectClass::Writes, EffectClass::Open, EffectClass::Destroys] {
        let count = Arc::new(Count::default());
        let (host, ends) = host(work(class, count.clone()));
        dropped(&host, "one", Duration::from_millis(3_500)).await;
        assert_eq!((count.now(), host.in_use()), ((1, 0, 0), (1, 0)), "{class:?}");
        assert_eq!(*ends.0.lock().unwrap(), [], "it goes on, so its last word is not spoken yet");

        let started = Instant::now();
        let next = host.call(named("next")).await;
        assert!(next.result.is_ok());
        assert_eq!(next.report.waited, Duration::from_millis(6_500), "{class:?}");
        assert_eq!(started.elapsed(), Duration::from_millis(16_500));
        assert_eq!((count.now(), host.in_use()), ((2, 2, 0), (0, 0)), "{class:?}");
        let ended = [("one".to_owned(), None), ("next".to_owned(), None)];
        assert_eq!(*ends.0.lock().unwrap(), ended, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_of_a_tool_that_writes_still_ends_at_its_limit() {
    let kept: Arc<Mutex<Option<Attempt>>> = Arc::default();
    let keep = kept.clone();
    let tool = Native::new("work", "").effect(EffectClass::Writes).run(move |attempt| {
        *keep.lock().unwrap() = Some(attempt);
        std::future::pending()
    });
    let (host, _) = host(tool);
    dropped(&host, "one", seconds(1)).await;
    let attempt = kept.lock().unwrap().take().unwrap();
    let effect =
        || Effect { class: EffectClass::Writes, action: "files.write".into(), target: "a".into(), detail: None };
    sleep(seconds(28)).await;
    assert_eq!(host.in_use(), (1, 0));
    assert!(attempt.pass(effect()).await.is_ok());
    sleep(seconds(2)).await;
    assert_eq!(host.in_use(), (0, 0));
    assert_eq!(attempt.pass(effect()).await.unwrap_err().kind, ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn nothing_passes_the_gate_of_a_reading_tool_that_was_dropped() {
    /// Tries to do something while it is dropped.
    struct Last(Attempt, Arc<Mutex<Vec<Result<(), ErrorKind>>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let effect =
                Effect { class: EffectClass::Reads, action: "files.read".into(), target: "a".into(), detail: None };
            let passed = self.0.pass(effect).now_or_never().unwrap();
            self.1.lock().unwrap().push(passed.map(drop).map_err(|error| error.kind));
        }
    }
    let tries = Arc::new(Mutex::new(Vec::new()));
    let log = tries.clone();
    let tool = Native::new("work", "").effect(EffectClass::Reads).run(move |attempt| {
        let last = Last(attempt, log.clone());
        async move {
            let _last = last;
            std::future::pending().await
        }
    });
    let (host, _) = host(tool);
    dropped(&host, "one", seconds(1)).await;
    assert_eq!(*tries.lock().unwrap(), [Err(ErrorKind::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_be_dropped_after_any_number_of_polls() {
    for class in CLASSES {
        for polls in 0..19 {
            let (host, ends) = host(work(class, Arc::default()));
            let host = Arc::new(host);
            // It waits ten seconds for the place of another call, is given the place behind its back, and runs.
            let ahead = tokio::spawn({
                let host = host.clone();
                async move { host.call(named("ahead")).await }
            });
            sleep(Duration::from_millis(1)).await;
            let mut call = Box::pin(host.call(named("one")));
            for _ in 0..polls {
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                sleep(seconds(1)).await;
            }
            drop(call);
            assert!(ahead.await.unwrap().result.is_ok());
            sleep(seconds(10)).await;
            assert_eq!(host.in_use(), (0, 0), "{class:?}, {polls} polls");
            let mut told = ends.0.lock().unwrap().clone();
            told.retain(|(id, _)| id == "one");
            // The other call frees the place at the tenth poll; the eleventh finds it, and the tool begins.
            let goes_on = class.may_change() && polls > 10;
            let ended = ("one".to_owned(), if goes_on { None } else { Some(ErrorKind::Cancelled) });
            let wanted = if polls == 0 { vec![] } else { vec![ended] };
            assert_eq!(told, wanted, "{class:?}, {polls} polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_was_cut_off_in_flight_is_told_as_indeterminate() {
    let tool = Native::new("work", "").effect(EffectClass::Writes).run(|attempt| async move {
        let effect =
            Effect { class: EffectClass::Writes, action: "files.write".into(), target: "a".into(), detail: None };
        let _passage = attempt.pass(effect).await?;
        std::future::pending().await
    });
    let (host, _) = host(tool);
    let outcome = host.call(named("one")).await;
    assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::OutcomeUnknown);
    assert_eq!(outcome.report.effects[0].fate, Fate::Indeterminate);
}
