//! The contract under concurrency. One lock is taken once by each operation, so whatever threads do is some sequence of
//! operations: sequences are tried here at random against a model, in `orders` all short ones, and threads prove the lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{
    Breaker, Key, Listener, News, Outcome, Permit, Rate, Refusal, Settings, StandardSettings, TicketKind, classify,
};

use super::model::{Model, State, Ticket};
use super::{ATTEMPT, Bench, FAILURE, pass, plain};

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    End(usize, Outcome),
    Pass(u64),
    Isolate(Option<u64>),
    Disable,
    Reset,
    Release,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let throttled = (0_u64..90).prop_map(|seconds| Outcome::Throttled { retry_after: Duration::from_secs(seconds) });
    prop_oneof![
        4 => Just(Outcome::Success),
        8 => Just(FAILURE),
        1 => throttled,
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::Abandoned),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let span = prop_oneof![4 => 0_u64..2_000, 3 => 5_000_u64..40_000, 1 => 40_000_u64..400_000];
    prop_oneof![
        40 => Just(Step::Acquire),
        40 => (any::<prop::sample::Index>(), outcome()).prop_map(|(at, outcome)| Step::End(at.index(1_000), outcome)),
        20 => span.prop_map(Step::Pass),
        1 => prop::option::of(0_u64..60_000).prop_map(Step::Isolate),
        1 => Just(Step::Disable),
        1 => Just(Step::Reset),
        2 => Just(Step::Release),
    ]
}

fn settings() -> impl Strategy<Value = StandardSettings> {
    let slow = prop::option::of((500_u64..5_000, 0.1_f64..=1.0));
    (1_u32..6, 2_u32..12, 0.1_f64..=1.0, slow, 1_u32..5, 1_u32..5, 1_u32..5).prop_map(
        |(consecutive, min_throughput, failure_rate, slow, probes, at_once, good)| StandardSettings {
            consecutive,
            min_throughput,
            failure_rate: Rate(failure_rate),
            slow_call: slow.map(|(span, _)| Span(Duration::from_millis(span))),
            slow_rate: slow.map(|(_, rate)| Rate(rate)),
            probes,
            probes_at_once: at_once.min(probes),
            successes_to_close: good.min(probes),
            ..plain()
        },
    )
}

/// The real breaker and the model side by side.
struct Pair {
    bench: Bench,
    model: Model,
    running: Vec<(Permit, Ticket)>,
    stale: u64,
}

impl Pair {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Acquire => self.acquire(),
            Step::End(_, _) if self.running.is_empty() => {}
            Step::End(at, outcome) => {
                let (permit, ticket) = self.running.swap_remove(at % self.running.len());
                self.end(permit, ticket, *outcome);
            }
            Step::Pass(span) => {
                pass(*span).await;
                self.model.now += span;
            }
            Step::Isolate(span) => {
                self.bench.breaker.isolate("", "", span.map(Duration::from_millis));
                self.model.force(State::Isolated(span.map(|span| self.model.now + span)));
            }
            Step::Disable => {
                self.bench.breaker.disable("", "");
                self.model.force(State::Disabled);
            }
            Step::Reset => {
                self.bench.breaker.reset("", "");
                self.model.force(State::Closed(self.model.now));
            }
            Step::Release => {
                let is_forced = matches!(self.model.state, State::Isolated(_) | State::Disabled);
                assert_eq!(self.bench.breaker.release("", ""), is_forced);
                if is_forced {
                    self.model.force(State::Closed(self.model.now));
                }
            }
        }
        self.compare();
    }

    fn acquire(&mut self) {
        match (self.bench.breaker.acquire(), self.model.acquire()) {
            (Ok(permit), Ok(ticket)) => {
                assert_eq!(permit.kind(), ticket.kind);
                self.running.push((permit, ticket));
            }
            (Err(rejection), Err((refusal, wait))) => {
                assert_eq!((rejection.refusal, rejection.retry_after), (refusal, wait.map(Duration::from_millis)));
                self.check_wait(refusal, wait);
            }
            (real, model) => panic!("{real:?}, but {model:?}"),
        }
    }

    /// (f) A call that comes back a moment earlier than it was told is refused; one that is told a time by the clock and
    /// keeps to it is not.
    fn check_wait(&self, refusal: Refusal, wait: Option<u64>) {
        let after = |wait: u64| {
            let mut later = self.model.clone();
            later.now += wait;
            later.acquire().is_ok()
        };
        let Some(wait) = wait else { return };
        assert!(!after(wait - 1), "{refusal:?} for {wait} ms is too long");
        assert!(refusal == Refusal::HalfOpen || after(wait), "{refusal:?} for {wait} ms is too short");
    }

    /// (c) What ends late leaves everything as it is.
    fn end(&mut self, permit: Permit, ticket: Ticket, outcome: Outcome) {
        let before = self.bench.show();
        let counts = self.model.end(ticket, outcome);
        match outcome {
            Outcome::Abandoned => drop(permit),
            outcome => permit.finish(outcome),
        }
        if !counts {
            self.stale += 1;
            let mut after = self.bench.show();
            assert_eq!((after.stale, after.running), (before.stale + 1, before.running - 1));
            (after.stale, after.running) = (before.stale, before.running);
            assert_eq!(after, before);
        }
    }

    fn compare(&self) {
        let (show, model) = (self.bench.show(), &self.model);
        assert_eq!((show.status, show.generation), (model.status(), model.generation));
        assert_eq!((show.consecutive, show.reopened), (model.row, model.reopened));
        assert_eq!((show.counts, show.stale), (model.counts(), self.stale));
        // (d) Each place is somebody's.
        assert_eq!(show.running as usize, self.running.len());
        // (b) No generation has more probes at once than it may.
        let is_probe = |ticket: &Ticket| ticket.kind == TicketKind::Probe && ticket.generation == model.generation;
        let probes = self.running.iter().filter(|(_, ticket)| is_probe(ticket)).count();
        assert!(probes <= model.settings.probes_at_once as usize, "{probes} probes");
        // (e) Changes are told in order, each once.
        let told: Vec<u64> = self.bench.heard.transitions().iter().map(|told| told.seq).collect();
        assert_eq!(told, (1..=model.generation).collect::<Vec<u64>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_the_breaker_does_as_the_table_says(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bench = Bench::standard(settings.clone());
            let mut pair = Pair { bench, model: Model::new(settings), running: Vec::new(), stale: 0 };
            for step in &steps {
                pair.step(step).await;
            }
            // (d) When all permits are gone, so are all places.
            pair.running.clear();
            assert_eq!(pair.bench.show().running, 0);
        });
    }
}

const THREADS: u64 = 8;
const ROUNDS: u64 = 1_000;

fn in_threads(rounds: u64, work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let work = &work;
            scope.spawn(move || (0..rounds).for_each(|round| work(number + round)));
        }
    });
}

#[test]
fn no_result_of_one_generation_is_lost() {
    let never = StandardSettings { consecutive: 0, min_throughput: 1_000_000, ..plain() };
    let window = Span(Duration::from_secs(86_400));
    let bench = Bench::standard(StandardSettings {
        window: toolpost_core::guard::breaker::WindowSettings::Time(window),
        ..never
    });
    in_threads(ROUNDS, |turn| bench.call(if turn % 2 == 0 { FAILURE } else { Outcome::Success }));
    let show = bench.show();
    assert_eq!((show.counts.total, show.counts.failed), (THREADS * ROUNDS, THREADS * ROUNDS / 2));
    assert_eq!((show.admitted, show.running, show.stale), (THREADS * ROUNDS, 0, 0));
}

/// Counts probes of each generation while they run.
#[test]
fn threads_never_run_more_probes_at_once_than_may_run_and_leak_none() {
    let at_once = 2;
    let settings = StandardSettings {
        consecutive: 1,
        open: Span(Duration::ZERO),
        open_max: Span(Duration::ZERO),
        probes: 3,
        probes_at_once: at_once,
        ..plain()
    };
    let bench = Bench::standard(settings);
    bench.call(FAILURE);
    let running = Mutex::new(std::collections::HashMap::<u64, u32>::new());
    in_threads(ROUNDS, |turn| {
        let Ok(permit) = bench.breaker.acquire() else { return };
        let generation = permit.generation();
        if permit.kind() == TicketKind::Probe {
            let mut running = running.lock().unwrap();
            let probes = running.entry(generation).or_default();
            *probes += 1;
            assert!(*probes <= at_once, "{probes} probes");
        }
        thread::yield_now();
        if permit.kind() == TicketKind::Probe {
            *running.lock().unwrap().get_mut(&generation).unwrap() -= 1;
        }
        match turn % 3 {
            0 => drop(permit),
            1 => permit.finish(FAILURE),
            _ => permit.finish(Outcome::Success),
        }
    });
    assert_eq!(bench.show().running, 0);
    bench.breaker.reset("", "");
    bench.acquire().finish(Outcome::Success);
}

/// Fails when two tell at once, or when a number is left out.
#[derive(Default)]
struct Strict {
    is_hearing: AtomicBool,
    last: AtomicU64,
}

impl Listener for Strict {
    fn hear(&self, _: &Key, news: &News) {
        assert!(!self.is_hearing.swap(true, Ordering::SeqCst), "two tell at once");
        if let News::Changed(transition) = news {
            assert_eq!(transition.seq, self.last.fetch_add(1, Ordering::SeqCst) + 1);
        }
        thread::yield_now();
        self.is_hearing.store(false, Ordering::SeqCst);
    }
}

#[test]
fn threads_hear_of_every_change_in_order_and_outside_of_the_lock() {
    let listener = Arc::new(Strict::default());
    let settings = Settings::Standard(StandardSettings { consecutive: 2, ..plain() });
    let breaker = Breaker::new(Key::tool("tool"), settings, ATTEMPT, listener.clone(), classify, 7);
    // Fewer than may wait to be told, so that none is left out.
    in_threads(100, |turn| match turn % 5 {
        0 => breaker.isolate("", "", None),
        1 => breaker.reset("", ""),
        _ => {
            if let Ok(permit) = breaker.acquire() {
                permit.finish(FAILURE);
            }
        }
    });
    assert_eq!(listener.last.load(Ordering::SeqCst), breaker.snapshot().generation);
    assert_eq!(breaker.snapshot().running, 0);
}

/// Comes back to the breaker that it listens to.
struct Nosy(Mutex<Option<Arc<Breaker>>>, AtomicU64);

impl Listener for Nosy {
    fn hear(&self, _: &Key, _: &News) {
        let breaker = self.0.lock().unwrap().take();
        if let Some(breaker) = breaker {
            breaker.reset("listener", "it may");
        }
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_may_act_on_the_breaker_it_listens_to() {
    let listener = Arc::new(Nosy(Mutex::default(), AtomicU64::new(0)));
    let breaker = Breaker::new(Key::tool("tool"), Settings::None, ATTEMPT, listener.clone(), classify, 7);
    *listener.0.lock().unwrap() = Some(breaker.clone());
    breaker.isolate("ann", "", None);
    assert_eq!((breaker.snapshot().generation, listener.1.load(Ordering::SeqCst)), (2, 2));
}

/// Panics at the first news, and counts the others.
struct Clumsy(AtomicU64);

impl Listener for Clumsy {
    fn hear(&self, _: &Key, _: &News) {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "as asked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_does_not_silence_the_breaker() {
    let listener = Arc::new(Clumsy(AtomicU64::new(0)));
    let breaker = Breaker::new(Key::tool("tool"), Settings::None, ATTEMPT, listener.clone(), classify, 7);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| breaker.isolate("ann", "", None)));
    assert!(caught.is_err());
    breaker.reset("ann", "");
    assert_eq!((breaker.snapshot().generation, listener.0.load(Ordering::SeqCst)), (2, 2));
}

/// Holds up the telling until much has happened, and writes down what is told.
struct Slow(Mutex<Option<Arc<Breaker>>>, Mutex<Vec<u64>>);

impl Listener for Slow {
    fn hear(&self, _: &Key, news: &News) {
        if let News::Changed(transition) = news {
            self.1.lock().unwrap().push(transition.seq);
        }
        let breaker = self.0.lock().unwrap().take();
        for _ in 0..2_000 {
            breaker.iter().for_each(|breaker| breaker.reset("", ""));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_the_news_that_wait_for_a_slow_listener_the_oldest_are_left_out() {
    let listener = Arc::new(Slow(Mutex::default(), Mutex::default()));
    let breaker = Breaker::new(Key::tool("tool"), Settings::None, ATTEMPT, listener.clone(), classify, 7);
    *listener.0.lock().unwrap() = Some(breaker.clone());
    breaker.reset("", "");
    let told: Vec<u64> = std::iter::once(1).chain(2_001 - 1_023..=2_001).collect();
    assert_eq!(*listener.1.lock().unwrap(), told);
}
