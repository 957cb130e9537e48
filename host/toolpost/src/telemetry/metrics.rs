//! What is counted: the calls of a host, as counters, gauges and histograms.
//!
//! The labels are few: the tool, the outcome, the class of effects. Names that only callers know, of tools that are not
//! there or of the callers themselves, are never labels, and names of servers only so many, so nobody can fill the recorder.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use metrics::{
    Counter, Gauge, Histogram, Label, Recorder, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use toolpost_core::guard::breaker::{Key, News, Scope, Status};
use toolpost_core::{ErrorKind, Event, Outcome, Sink, Told, Tool};

/// Calls under way whose tool is kept in mind.
const OPEN_MAX: usize = 100_000;

/// Servers whose breakers are shown, for as long as the recorder lives. A grant may leave it to the guest what they are
/// called.
const SERVERS_MAX: usize = 1_000;

/// Series of ended calls whose handles are kept: one for each tool and outcome. Beyond that they are asked for anew.
const SERIES_MAX: usize = 10_000;

/// Counts into a recorder.
pub struct Metrics {
    recorder: Arc<dyn Recorder + Send + Sync>,
    inflight: Gauge,
    open: Mutex<HashMap<u64, Arc<Tool>>>,
    series: RwLock<HashMap<&'static str, HashMap<String, Arc<Series>>>>,
    pub(super) watched: Arc<Watched>,
}

/// What is counted of the calls of one tool with one outcome. To ask a recorder for it takes longer than to count.
struct Series {
    class: &'static str,
    calls: Counter,
    seconds: Histogram,
    genai_seconds: Histogram,
    succeeded: Counter,
    fuel: Counter,
    queue_seconds: Histogram,
}

impl Metrics {
    /// Counts into that recorder, whatever recorder the program has.
    pub fn new(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        with_local_recorder(&*recorder, describe);
        let inflight = with_local_recorder(&*recorder, || gauge!("toolpost_inflight"));
        Metrics { recorder, inflight, open: Mutex::default(), series: RwLock::default(), watched: Arc::default() }
    }

    fn count(&self, told: &Told<'_>) {
        match told.event {
            Event::CallStarted { .. } => self.inflight.increment(1.0),
            Event::CallAccepted { call } => {
                let mut open = self.open();
                if open.len() < OPEN_MAX {
                    open.insert(told.begun, call.tool.clone());
                }
            }
            Event::Retry { tokens_left, .. } => {
                let tool = self.open().get(&told.begun).map(|tool| tool.name.clone());
                if let Some(tool) = tool {
                    let left = self.with(|| gauge!("toolpost_retry_budget_tokens", "tool" => tool));
                    left.set(f64::from(*tokens_left));
                }
            }
            Event::CallEnded { outcome } => {
                self.inflight.decrement(1.0);
                let tool = self.open().remove(&told.begun);
                self.ended(outcome, tool.map_or("", |tool| tool.effect.name()));
            }
            Event::Breaker { key, news: News::Changed(change) } => self.with(|| {
                let Some(mut labels) = self.watched.labels(key) else { return };
                gauge!("toolpost_breaker_state", labels.clone()).set(level(change.to));
                labels.push(Label::from_static_parts("to", change.to.name()));
                counter!("toolpost_breaker_transitions_total", labels).increment(1);
            }),
            _ => {}
        }
    }

    fn ended(&self, outcome: &Outcome, class: &'static str) {
        let report = &outcome.report;
        // Names that only callers know are no labels.
        let tool = if outcome.failed() == Some(ErrorKind::UnknownTool) { "" } else { &outcome.tool };
        let series = self.series_of(tool, class, outcome);
        let seconds = report.time.as_secs_f64();
        series.calls.increment(1);
        series.seconds.record(seconds);
        series.genai_seconds.record(seconds);
        for attempt in &report.attempts {
            match &attempt.error {
                None => series.succeeded.increment(1),
                Some(error) => self.with(|| attempts(tool, error.kind.name())).increment(1),
            }
        }
        if !report.attempts.is_empty() {
            series.fuel.increment(report.fuel());
            series.queue_seconds.record(report.waited.as_secs_f64());
        }
        if let Some(ledger) = &report.idempotency {
            let (tool, how) = (tool.to_owned(), ledger.how.name());
            self.with(|| counter!("toolpost_idem_total", "tool" => tool, "result" => how)).increment(1);
        }
        if outcome.failed() == Some(ErrorKind::RateLimited) {
            let tool = tool.to_owned();
            self.with(|| counter!("toolpost_rate_limited_total", "tool" => tool)).increment(1);
        }
    }

    fn series_of(&self, tool: &str, class: &'static str, outcome: &Outcome) -> Arc<Series> {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        // A tool that was loaded again may have another class.
        let fits = |series: &&Arc<Series>| series.class == class;
        if let Some(series) = known.get(outcome.name()).and_then(|tools| tools.get(tool)).filter(fits) {
            return series.clone();
        }
        drop(known);
        let series = Arc::new(self.with(|| Series::new(tool, class, outcome)));
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(HashMap::len).sum::<usize>() < SERIES_MAX {
            known.entry(outcome.name()).or_default().insert(tool.to_owned(), series.clone());
        }
        series
    }

    fn with<T>(&self, ask: impl FnOnce() -> T) -> T {
        with_local_recorder(&*self.recorder, ask)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Tool>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    fn new(tool: &str, class: &'static str, outcome: &Outcome) -> Self {
        let (tool, came_of_it) = (tool.to_owned(), outcome.name());
        Series {
            class,
            calls: counter!(
                "toolpost_calls_total",
                "tool" => tool.clone(), "outcome" => came_of_it, "class" => class
            ),
            seconds: histogram!("toolpost_call_seconds", "tool" => tool.clone(), "outcome" => came_of_it),
            genai_seconds: match outcome.failed() {
                Some(kind) => histogram!(
                    "gen_ai.execute_tool.duration",
                    "gen_ai.operation.name" => "execute_tool", "gen_ai.tool.name" => tool.clone(), "error.type" => kind.name()
                ),
                None => histogram!(
                    "gen_ai.execute_tool.duration",
                    "gen_ai.operation.name" => "execute_tool", "gen_ai.tool.name" => tool.clone()
                ),
            },
            succeeded: attempts(&tool, "ok"),
            fuel: counter!("toolpost_fuel_total", "tool" => tool.clone()),
            queue_seconds: histogram!("toolpost_queue_seconds", "tool" => tool),
        }
    }
}

fn attempts(tool: &str, came_of_it: &'static str) -> Counter {
    counter!("toolpost_attempts_total", "tool" => tool.to_owned(), "outcome" => came_of_it)
}

impl Sink for Metrics {
    fn tell(&self, told: &Told<'_>) {
        self.count(told);
    }
}

/// What breakers watch, as labels.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashSet<Key>>);

impl Watched {
    /// The labels of a breaker; none for a server that came when enough were shown. Whose it is is nobody's business.
    pub(super) fn labels(&self, key: &Key) -> Option<Vec<Label>> {
        let kind = Label::new("kind", key.scope.kind());
        let Scope::Egress { tool, authority } = &key.scope else {
            return Some(vec![kind, Label::new("name", key.scope.name().to_owned())]);
        };
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers.contains(key) {
            if servers.len() >= SERVERS_MAX {
                return None;
            }
            servers.insert(key.clone());
        }
        Some(vec![kind, Label::new("name", tool.to_string()), Label::new("authority", authority.to_string())])
    }
}

fn level(status: Status) -> f64 {
    match status {
        Status::Closed => 0.0,
        Status::HalfOpen => 1.0,
        Status::Open => 2.0,
        Status::Isolated => 3.0,
        Status::Disabled => 4.0,
    }
}

fn describe() {
    describe_counter!("toolpost_calls_total", "Calls that ended");
    describe_histogram!("toolpost_call_seconds", Unit::Seconds, "Time from a call to its outcome");
    describe_histogram!(
        "gen_ai.execute_tool.duration",
        Unit::Seconds,
        "The same, by the name of OpenTelemetry's conventions"
    );
    describe_counter!("toolpost_attempts_total", "Attempts that ended");
    describe_gauge!("toolpost_retry_budget_tokens", "What was left for retries at the last one");
    describe_gauge!("toolpost_breaker_state", "0 closed, 1 half open, 2 open, 3 isolated, 4 disabled");
    describe_counter!("toolpost_breaker_transitions_total", "Changes of breakers");
    describe_counter!(
        "toolpost_breaker_stale_results_total",
        "Ends of calls that came too late to count for a breaker"
    );
    describe_counter!("toolpost_rate_limited_total", "Calls that came too often");
    describe_counter!("toolpost_idem_total", "Calls with an idempotency key, by how they came to their outcome");
    describe_gauge!("toolpost_inflight", "Calls under way");
    describe_histogram!("toolpost_queue_seconds", Unit::Seconds, "Time that calls waited for a place");
    describe_gauge!("toolpost_waiting", "Calls that wait for a place now");
    describe_counter!("toolpost_fuel_total", "Fuel that was used");
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
