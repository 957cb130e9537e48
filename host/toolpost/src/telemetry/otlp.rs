//! Traces for an OpenTelemetry collector: a span for each call, one inside of it for each attempt, and events for what the
//! tool does to the world and for waits.
//!
//! The spans are made of what the host tells, and not by a subscriber of `tracing`: so settings alone turn them on,
//! whatever the program has installed, and two hosts of one program may send to two collectors.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceId, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, Span};
use toolpost_core::run::span_id;
use toolpost_core::tell::AttemptReport;
use toolpost_core::{AcceptedCall, Call, CallError, CallId, Event, Outcome, Sink, Told};

use crate::mask::{Masks, cut};

/// Calls under way that have a span.
const OPEN_MAX: usize = 10_000;

/// The longest name of a tool that a span bears, and the longest arguments or result, in bytes.
const NAME_BYTES_MAX: usize = 64;
const CONTENT_BYTES_MAX: usize = 8 << 10;

/// The longest that one request to the collector takes, and the longest wait for a flush.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);

/// Sends a span for each call. Dropping it sends what is left.
pub struct Otlp {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    content: Option<Masks>,
    open: Mutex<HashMap<u64, Open>>,
}

/// Spans have any ids but those of attempts: what an attempt sends out names it as the parent, before anybody collects it.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

thread_local! {
    /// The id of the span that this thread begins next.
    static NEXT: Cell<Option<u64>> = const { Cell::new(None) };
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        self.0.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.take().map_or_else(|| self.0.new_span_id(), SpanId::from)
    }
}

/// The spans of a call under way.
struct Open {
    id: CallId,
    call: Span,
    /// Those of its attempts; of two at once the second is beside one that is slow.
    attempts: Vec<(u32, Span)>,
    waited: Duration,
}

impl Otlp {
    /// Sends to the collector at that address, which may be away for a while. With `content`, arguments, results
    /// and the words of failures are sent too, masked.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(endpoint: &str, content: Option<Masks>) -> Result<Self, String> {
        // Only the first provider of a program counts; if there is one, it is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        // A client that blocks cannot be made on a thread that serves others.
        let made = std::thread::spawn(move || {
            let client = reqwest::blocking::Client::builder().timeout(REQUEST_TIME_MAX).build();
            let client = client.map_err(|error| error.to_string())?;
            let exporter = SpanExporter::builder().with_http().with_http_client(client).with_endpoint(endpoint).build();
            exporter.map_err(|error| error.to_string())
        });
        let exporter = made.join().map_err(|_| "the client of the collector cannot be made")??;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name("toolpost").with_attribute(version).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .with_id_generator(Ids::default())
            .build();
        Ok(Otlp { tracer: provider.tracer("toolpost"), provider, content, open: Mutex::default() })
    }

    fn start(&self, begun: u64, call: &Call) {
        let mut open = self.open();
        if open.len() >= OPEN_MAX {
            return;
        }
        let name = call.tool.get(..call.tool.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default().to_owned();
        let parent = match (&call.traceparent, &call.parent) {
            (Some(text), _) => incoming(text),
            (None, Some(parent)) => {
                let within = open.values().find(|other| other.id == *parent).map(Open::context);
                within.map_or_else(Context::current, |within| Context::new().with_remote_span_context(within))
            }
            (None, None) => Context::current(),
        };
        let attributes = [
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", name.clone()),
            KeyValue::new("gen_ai.tool.call.id", call.id.to_string()),
        ];
        let span = self.tracer.span_builder(format!("execute_tool {name}")).with_attributes(attributes);
        let span = span.start_with_context(&self.tracer, &parent);
        open.insert(begun, Open { id: call.id.clone(), call: span, attempts: Vec::new(), waited: Duration::ZERO });
    }

    fn with(&self, begun: u64, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.open().get_mut(&begun) {
            change(open);
        }
    }

    fn attempt(&self, begun: u64, number: u32) {
        self.with(begun, |open| {
            let within = Context::new().with_remote_span_context(open.call.span_context().clone());
            let span = self.tracer.span_builder(format!("attempt {number}"));
            let span = span.with_attributes([KeyValue::new("toolpost.attempt", i64::from(number))]);
            NEXT.set(Some(span_id(open.id.as_str(), number)));
            let span = span.start_with_context(&self.tracer, &within);
            NEXT.set(None);
            open.attempts.push((number, span));
        });
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Where what happens now belongs.
    fn context(&self) -> SpanContext {
        self.attempts.last().map_or(&self.call, |(_, attempt)| attempt).span_context().clone()
    }

    fn accepted(&mut self, call: &AcceptedCall, content: Option<&Masks>) {
        self.call.set_attribute(KeyValue::new("gen_ai.tool.description", call.tool.description.clone()));
        self.call.set_attribute(KeyValue::new("toolpost.effect", call.tool.effect.name()));
        self.call.set_attribute(KeyValue::new("toolpost.cast_count", count(call.cast.changes.len() as u64)));
        if let Some(masks) = content {
            let arguments = masks.show(&call.arguments, CONTENT_BYTES_MAX);
            self.call.set_attribute(KeyValue::new("gen_ai.tool.call.arguments", arguments));
        }
    }

    fn attempted(&mut self, report: &AttemptReport, content: Option<&Masks>) {
        let Some(at) = self.attempts.iter().position(|(number, _)| *number == report.number) else { return };
        let (_, mut span) = self.attempts.remove(at);
        span.set_attribute(KeyValue::new("toolpost.fuel_used", count(report.fuel)));
        span.set_attribute(KeyValue::new("toolpost.mem_peak", count(report.memory_bytes_peak)));
        if let Some(error) = &report.error {
            span.set_attribute(KeyValue::new("error.type", error.kind.name()));
            span.set_status(status(error, content));
        }
        span.end();
    }

    fn event(&mut self, name: &'static str, attributes: Vec<KeyValue>) {
        self.attempts.last_mut().map_or(&mut self.call, |(_, attempt)| attempt).add_event(name, attributes);
    }

    fn ended(mut self, outcome: &Outcome, content: Option<&Masks>) {
        let report = &outcome.report;
        self.call.set_attributes([
            KeyValue::new("toolpost.outcome", outcome.name()),
            KeyValue::new("toolpost.attempts", count(report.attempts.len() as u64)),
            KeyValue::new("toolpost.waited_ms", report.waited.as_secs_f64() * 1e3),
            KeyValue::new("toolpost.retry_wait_ms", self.waited.as_secs_f64() * 1e3),
            KeyValue::new("toolpost.fuel_used", count(report.fuel())),
            KeyValue::new("toolpost.mem_peak", count(report.memory_bytes_peak())),
            KeyValue::new("toolpost.effects", count(report.effects.len() as u64 + report.effects_unlisted)),
        ]);
        if report.cached {
            self.call.set_attribute(KeyValue::new("toolpost.cache", "hit"));
        }
        if let Some(ledger) = &report.idempotency {
            self.call.set_attribute(KeyValue::new("toolpost.idem", ledger.how.name()));
        }
        match (&outcome.result, content) {
            (Ok(output), Some(masks)) => {
                let result = masks.show(&output.value, CONTENT_BYTES_MAX);
                self.call.set_attribute(KeyValue::new("gen_ai.tool.call.result", result));
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                self.call.set_attribute(KeyValue::new("error.type", error.kind.name()));
                self.call.set_status(status(error, content));
            }
        }
        self.call.end();
    }
}

impl Sink for Otlp {
    fn tell(&self, told: &Told<'_>) {
        let content = self.content.as_ref();
        match told.event {
            Event::CallStarted { call } => self.start(told.begun, call),
            Event::CallAccepted { call } => self.with(told.begun, |open| open.accepted(call, content)),
            Event::AttemptStarted { number } => self.attempt(told.begun, *number),
            Event::AttemptEnded { report } => self.with(told.begun, |open| open.attempted(report, content)),
            Event::Effect { effect } => self.with(told.begun, |open| {
                let action = KeyValue::new("toolpost.effect.action", effect.action.clone());
                open.event(
                    "toolpost.effect",
                    vec![action, KeyValue::new("toolpost.effect.target", effect.target.clone())],
                );
            }),
            Event::Retry { after, .. } => self.with(told.begun, |open| {
                open.waited += *after;
                open.event("toolpost.retry", vec![KeyValue::new("toolpost.retry_wait_ms", after.as_secs_f64() * 1e3)]);
            }),
            Event::CallEnded { outcome } => {
                let ended = self.open().remove(&told.begun);
                if let Some(open) = ended {
                    open.ended(outcome, content);
                }
            }
            _ => {}
        }
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        let provider = self.provider.clone();
        Box::pin(async move {
            let flush = tokio::task::spawn_blocking(move || provider.force_flush());
            if let Ok(Ok(Err(error))) = tokio::time::timeout(FLUSH_TIME_MAX, flush).await {
                tracing::warn!(%error, "traces are missing at the collector");
            }
        })
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        // It waits for the collector: not on a thread that serves others.
        let provider = self.provider.clone();
        std::thread::spawn(move || provider.shutdown_with_timeout(FLUSH_TIME_MAX));
    }
}

/// How it failed. The words for it may repeat arguments, or be the tool's own: they are content like these.
fn status(error: &CallError, content: Option<&Masks>) -> Status {
    let Some(masks) = content else { return Status::error(error.kind.name()) };
    Status::error(cut(&masks.message(error, true), CONTENT_BYTES_MAX).into_owned())
}

/// The trace that a call says it belongs to; what is no `traceparent` begins a trace of its own.
fn incoming(traceparent: &str) -> Context {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for Otlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otlp").finish_non_exhaustive()
    }
}
