//! What does a subscriber of `tracing` see? A span for each call and, inside of it, one for each attempt, by the names of
//! OpenTelemetry's conventions for generative AI; what is our own begins with `toolpost.`.
//!
//! A span is made only where somebody listens; without, a call pays for a look at a number. Arguments and results are never
//! in a span: a subscriber cannot know what has to be masked.

use tracing::field::Empty;
use tracing::instrument::{Instrument, Instrumented};
use tracing::{Level, Span, info_span, span_enabled};

use crate::call::{AcceptedCall, Call, CallId};
use crate::tell::{AttemptReport, Outcome};

/// The longest name of a tool that a span bears: names of tools that are not there come from callers.
const NAME_BYTES_MAX: usize = 64;

/// The span of a call, or of one of its attempts. Without a subscriber it is nothing.
#[derive(Clone)]
pub(crate) struct CallSpan(Span);

impl CallSpan {
    /// The span of a call that comes in.
    pub(crate) fn start(call: &Call) -> Self {
        if !is_heard() {
            return CallSpan(Span::none());
        }
        CallSpan(info_span!(
            target: "toolpost::span",
            "execute_tool",
            otel.name = format!("execute_tool {}", short(&call.tool)),
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = short(&call.tool),
            gen_ai.tool.call.id = call.id.as_str(),
            gen_ai.tool.description = Empty,
            error.type = Empty,
            toolpost.parent = call.parent.as_ref().map(CallId::as_str),
            toolpost.effect = Empty,
            toolpost.outcome = Empty,
            toolpost.attempts = Empty,
            toolpost.waited_ms = Empty,
            toolpost.fuel_used = Empty,
            toolpost.mem_peak = Empty,
            toolpost.effects = Empty,
            toolpost.cast_count = Empty,
            toolpost.idem = Empty,
            toolpost.cache = Empty,
        ))
    }

    /// The call's tool is known.
    pub(crate) fn accepted(&self, call: &AcceptedCall) {
        if !self.0.is_disabled() {
            self.0.record("gen_ai.tool.description", call.tool.description.as_str());
            self.0.record("toolpost.effect", call.tool.effect.name());
            self.0.record("toolpost.cast_count", call.cast.changes.len());
        }
    }

    /// The call is over.
    pub(crate) fn ended(&self, outcome: &Outcome) {
        if self.0.is_disabled() {
            return;
        }
        let report = &outcome.report;
        if let Some(kind) = outcome.failed() {
            self.0.record("error.type", kind.name());
        }
        self.0.record("toolpost.outcome", outcome.name());
        self.0.record("toolpost.idem", report.idempotency.as_ref().map(|ledger| ledger.how.name()));
        self.0.record("toolpost.cache", report.cached.then_some("hit"));
        self.0.record("toolpost.attempts", report.attempts.len());
        self.0.record("toolpost.waited_ms", report.waited.as_secs_f64() * 1e3);
        self.0.record("toolpost.fuel_used", report.fuel());
        self.0.record("toolpost.mem_peak", report.memory_bytes_peak());
        self.0.record("toolpost.effects", report.effects.len() as u64 + report.effects_unlisted);
    }

    /// A span inside of this one, for an attempt.
    pub(crate) fn attempt(&self, number: u32) -> Self {
        if !is_heard() {
            return CallSpan(Span::none());
        }
        CallSpan(info_span!(
            target: "toolpost::span",
            parent: &self.0,
            "attempt",
            otel.name = format!("attempt {number}"),
            error.type = Empty,
            toolpost.attempt = number,
            toolpost.fuel_used = Empty,
            toolpost.mem_peak = Empty,
        ))
    }

    /// The attempt is over.
    pub(crate) fn attempted(&self, report: &AttemptReport) {
        if self.0.is_disabled() {
            return;
        }
        if let Some(error) = &report.error {
            self.0.record("error.type", error.kind.name());
        }
        self.0.record("toolpost.fuel_used", report.fuel);
        self.0.record("toolpost.mem_peak", report.memory_bytes_peak);
    }

    /// Does it inside of the span.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.in_scope(work)
    }

    /// The same work, inside of the span whenever it goes on.
    pub(crate) fn around<F: Future>(&self, work: F) -> Instrumented<F> {
        work.instrument(self.0.clone())
    }
}

/// Whether a subscriber wants spans. Asked first, because a crate that turns on `tracing`'s bridge to `log` has every span written
/// out where nobody listens.
fn is_heard() -> bool {
    span_enabled!(target: "toolpost::span", Level::INFO)
}

fn short(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default()
}
