//! What is counted: the calls of a host, as counters, gauges and histograms.
//!
//! The labels are few: the tool, the outcome, the class of effects. Names that only callers know, of tools that are not
//! there or of the callers themselves, are never labels, and names of servers only so many, so nobody can fill the recorder.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Label, Recorder, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use toolpost_core::guard::breaker::{Key, News, Scope, Status};
use toolpost_core::{ErrorKind, Event, Outcome, Sink, Told};

/// Calls under way whose tool is kept in mind.
const OPEN_MAX: usize = 100_000;

/// Servers whose breakers are shown, for as long as the recorder lives. A grant may leave it to the guest what they are
/// called.
const SERVERS_MAX: usize = 1_000;

/// Counts into a recorder.
pub struct Metrics {
    recorder: Arc<dyn Recorder + Send + Sync>,
    open: Mutex<HashMap<u64, Running>>,
    pub(super) watched: Arc<Watched>,
}

/// The tool of a call under way.
#[derive(Clone)]
struct Running {
    tool: Arc<str>,
    class: &'static str,
}

impl Metrics {
    /// Counts into that recorder, whatever recorder the program has.
    pub fn new(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        with_local_recorder(&*recorder, describe);
        Metrics { recorder, open: Mutex::default(), watched: Arc::default() }
    }

    fn count(&self, told: &Told<'_>) {
        match told.event {
            Event::CallStarted { .. } => gauge!("toolpost_inflight").increment(1.0),
            Event::CallAccepted { call } => {
                let mut open = self.open();
                if open.len() < OPEN_MAX {
                    let running = Running { tool: call.tool.name.as_str().into(), class: call.tool.effect.name() };
                    open.insert(told.begun, running);
                }
            }
            Event::Retry { tokens_left, .. } => {
                let tool = self.open().get(&told.begun).map(|running| running.tool.to_string());
                if let Some(tool) = tool {
                    gauge!("toolpost_retry_budget_tokens", "tool" => tool).set(f64::from(*tokens_left));
                }
            }
            Event::CallEnded { outcome } => {
                gauge!("toolpost_inflight").decrement(1.0);
                let running = self.open().remove(&told.begun);
                ended(outcome, running.map_or("", |running| running.class));
            }
            Event::Breaker { key, news: News::Changed(change) } => {
                let Some(mut labels) = self.watched.labels(key) else { return };
                gauge!("toolpost_breaker_state", labels.clone()).set(level(change.to));
                labels.push(Label::from_static_parts("to", change.to.name()));
                counter!("toolpost_breaker_transitions_total", labels).increment(1);
            }
            _ => {}
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Metrics {
    fn tell(&self, told: &Told<'_>) {
        with_local_recorder(&*self.recorder, || self.count(told));
    }
}

fn ended(outcome: &Outcome, class: &'static str) {
    let (report, came_of_it) = (&outcome.report, outcome.name());
    let tool = match outcome.failed() {
        Some(ErrorKind::UnknownTool) => String::new(),
        _ => outcome.tool.clone(),
    };
    let seconds = report.time.as_secs_f64();
    counter!("toolpost_calls_total", "tool" => tool.clone(), "outcome" => came_of_it, "class" => class).increment(1);
    histogram!("toolpost_call_seconds", "tool" => tool.clone(), "outcome" => came_of_it).record(seconds);
    match outcome.failed() {
        Some(kind) => histogram!(
            "gen_ai.execute_tool.duration",
            "gen_ai.operation.name" => "execute_tool", "gen_ai.tool.name" => tool.clone(), "error.type" => kind.name()
        ),
        None => histogram!(
            "gen_ai.execute_tool.duration",
            "gen_ai.operation.name" => "execute_tool", "gen_ai.tool.name" => tool.clone()
        ),
    }
    .record(seconds);
    for attempt in &report.attempts {
        let came_of_it = attempt.error.as_ref().map_or("ok", |error| error.kind.name());
        counter!("toolpost_attempts_total", "tool" => tool.clone(), "outcome" => came_of_it).increment(1);
    }
    if !report.attempts.is_empty() {
        counter!("toolpost_fuel_total", "tool" => tool.clone()).increment(report.fuel());
        histogram!("toolpost_queue_seconds", "tool" => tool.clone()).record(report.waited.as_secs_f64());
    }
    if let Some(ledger) = &report.idempotency {
        counter!("toolpost_idem_total", "tool" => tool.clone(), "result" => ledger.how.name()).increment(1);
    }
    if outcome.failed() == Some(ErrorKind::RateLimited) {
        counter!("toolpost_rate_limited_total", "tool" => tool).increment(1);
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
    describe_counter!("toolpost_fuel_total", "Fuel that was used");
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
