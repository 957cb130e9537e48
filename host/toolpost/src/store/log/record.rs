//! The story of one call while it is under way: what is kept of each event, masked and cut.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use toolpost_core::catalog::CastReport;
use toolpost_core::effect::Fate;
use toolpost_core::tell::{AttemptReport, Captured};
use toolpost_core::{AcceptedCall, Arguments, Call, CallError, CallId, Event, Outcome};

use super::writer::Row;
use crate::mask::{MASKED, cut};
use crate::settings::LogSettings;

/// What is kept of the arguments, of the result, and of a message, in bytes.
const ARGUMENTS_BYTES_MAX: usize = 16 << 10;
const RESULT_BYTES_MAX: usize = 4 << 10;
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// What is kept of an event, and of one stream that an attempt wrote, in bytes.
const EVENT_BYTES_MAX: usize = 4 << 10;
const STREAM_BYTES_MAX: usize = 2 << 10;

/// Events that are kept of a call, their bytes, and how many of them may be a tool's own words: lines of log, progress,
/// parts of a result. The rest is counted.
const EVENTS_MAX: usize = 500;
const EVENTS_BYTES_MAX: usize = 64 << 10;
const WORDS_MAX: usize = 100;

/// Effects that did not happen, calls inside, and changes to arguments, that are listed.
const LISTED_MAX: usize = 50;

/// A call under way.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    id: CallId,
    tool: String,
    caller: String,
    session: Option<String>,
    parent: Option<CallId>,
    started: Instant,
    started_ms: i64,
    /// What it was called with, before anybody read it.
    asked: Option<String>,
    arguments: Option<String>,
    is_accepted: bool,
    events: Vec<String>,
    bytes: usize,
    words: usize,
    unlisted: u64,
    written: Instant,
    may_change: bool,
    attempts: u32,
    effects: u64,
}

impl Record {
    pub(super) fn new(seq: u64, call: &Call, settings: &LogSettings, now: Instant) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let asked = match &call.arguments {
            Arguments::Text(text) if settings.arguments && text.len() <= ARGUMENTS_BYTES_MAX => Some(text.clone()),
            _ => None,
        };
        let arguments = match &call.arguments {
            Arguments::Value(value) => arguments(value, settings),
            Arguments::Text(_) => None,
        };
        Record {
            seq,
            id: call.id.clone(),
            // Names of tools that are not there come from callers.
            tool: cut(&call.tool, MESSAGE_BYTES_MAX).into_owned(),
            caller: call.caller.id.clone(),
            session: call.caller.session.clone(),
            parent: call.parent.clone(),
            started: now,
            started_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            asked,
            arguments,
            is_accepted: false,
            events: Vec::new(),
            bytes: 0,
            words: 0,
            unlisted: 0,
            written: now,
            may_change: false,
            attempts: 0,
            effects: 0,
        }
    }

    pub(super) fn accepted(&mut self, call: &AcceptedCall, arguments: Option<String>, cast: String, now: Instant) {
        self.asked = None;
        let before = std::mem::replace(&mut self.arguments, arguments);
        let is_edited = std::mem::replace(&mut self.is_accepted, true) && before != self.arguments;
        self.may_change = call.tool.effect.may_change();
        match (before.filter(|_| is_edited), cast.strip_suffix('}')) {
            (Some(before), Some(open)) => {
                let before = Value::from(cut(&before, EVENT_BYTES_MAX));
                self.push(&format!("{open},\"before\":{before}}}"), now);
            }
            _ => self.push(&cast, now),
        }
    }

    pub(super) fn told(&mut self, event: &Event<'_>, text: String, now: Instant) {
        match event {
            Event::AttemptStarted { number } => self.attempts = *number,
            Event::Effect { .. } => self.effects += 1,
            _ => {}
        }
        let is_words = matches!(event, Event::Progress { .. } | Event::Partial { .. } | Event::Log { .. });
        self.words += usize::from(is_words);
        // A tool that talks does not drown what it does.
        let bytes_max = if is_words { EVENTS_BYTES_MAX / 2 } else { EVENTS_BYTES_MAX };
        let has_room = self.events.len() < EVENTS_MAX && self.bytes + text.len() <= bytes_max;
        if has_room && !(is_words && self.words > WORDS_MAX) {
            self.push(&text, now);
        } else {
            self.unlisted += 1;
        }
    }

    /// Whether it is to be written while it runs: when something may begin to change, and every so often.
    pub(super) fn is_due(&mut self, now: Instant, every: Duration) -> bool {
        let begins = self.may_change && self.attempts == 1 && self.written == self.started;
        let is_due = begins || now.duration_since(self.written) >= every;
        if is_due {
            self.written = now;
        }
        is_due
    }

    /// The call as far as it is known.
    pub(super) fn row(&self) -> Row {
        Row {
            seq: number(self.seq),
            id: self.id.to_string(),
            tool: self.tool.clone(),
            caller: self.caller.clone(),
            session: self.session.clone(),
            parent: self.parent.as_ref().map(CallId::to_string),
            started_ms: self.started_ms,
            arguments: self.arguments.clone(),
            outcome: None,
            message: None,
            result: None,
            time_us: micros(self.written.duration_since(self.started)),
            attempts: self.attempts.into(),
            fuel: 0,
            effects: number(self.effects),
            events: format!("[{}]", self.events.join(",")),
        }
    }

    /// The whole call.
    pub(super) fn ended(mut self, outcome: &Outcome, settings: &LogSettings, now: Instant) -> Row {
        if let Some(text) = self.asked.take() {
            // Nobody could say what is in it, so nobody could mask it: it is kept only if it is JSON.
            let value = serde_json::from_str(&text).ok();
            self.arguments = value.and_then(|value| arguments(&value, settings));
        }
        let last = self.last(outcome, settings);
        self.push(&last, now);
        let report = &outcome.report;
        let result = outcome.result.as_ref().ok().filter(|_| settings.results);
        Row {
            outcome: Some(outcome.name()),
            message: outcome.result.as_ref().err().map(|error| message(error, settings)),
            result: result.map(|output| settings.mask.show(&output.value, RESULT_BYTES_MAX)),
            time_us: micros(report.time),
            attempts: number(report.attempts.len() as u64),
            fuel: number(report.fuel()),
            effects: number(report.effects.len() as u64 + report.effects_unlisted),
            ..self.row()
        }
    }

    /// What is only known at the end.
    fn last(&self, outcome: &Outcome, settings: &LogSettings) -> String {
        let report = &outcome.report;
        let mut last = Map::new();
        let mut add = |key: &str, value: Value| last.insert(key.into(), value);
        add("event", "ended".into());
        if !report.turn.is_zero() {
            add("turn_ms", json!(milliseconds(report.turn)));
        }
        if !report.waited.is_zero() {
            add("waited_ms", json!(milliseconds(report.waited)));
        }
        let other = |effect: &&toolpost_core::effect::EffectRecord| effect.fate != Fate::Done;
        let effects: Vec<_> = report.effects.iter().filter(other).take(LISTED_MAX).collect();
        if !effects.is_empty() {
            add("effects", json!(effects));
        }
        let calls: Vec<_> = report.inside.iter().take(LISTED_MAX).collect();
        if !calls.is_empty() {
            add("inside", json!(calls));
        }
        if report.cached {
            add("cached", true.into());
        }
        if let Some(truncated) = &report.truncated {
            add("truncated", json!(truncated));
        }
        if let Some(ledger) = &report.idempotency {
            add("idempotency", ledger.how.name().into());
        }
        if report.usage.cost > 0.0 {
            add("cost", report.usage.cost.into());
        }
        if let Some(why) = report.not_retried {
            add("not_retried", why.into());
        }
        match &outcome.result {
            Ok(output) if !output.notes.is_empty() => drop(add("notes", json!(output.notes))),
            Ok(_) => {}
            Err(error) => {
                add("stage", json!(error.stage));
                if let Some(after) = error.retry_after {
                    add("retry_after_ms", json!(milliseconds(after)));
                }
                if let Some(source) = &error.source {
                    add("source", cut(&source.to_string(), MESSAGE_BYTES_MAX).into());
                }
            }
        }
        if self.unlisted > 0 {
            add("unlisted", self.unlisted.into());
        }
        settings.mask.show(&Value::Object(last), EVENT_BYTES_MAX)
    }

    fn push(&mut self, text: &str, now: Instant) {
        let at = milliseconds(now.duration_since(self.started));
        let rest = text.strip_prefix('{').unwrap_or("}");
        let event = format!("{{\"at_ms\":{at},{rest}");
        self.bytes += event.len();
        self.events.push(event);
    }
}

/// The arguments as they are kept.
pub(super) fn arguments(value: &Value, settings: &LogSettings) -> Option<String> {
    settings.arguments.then(|| settings.mask.show(value, ARGUMENTS_BYTES_MAX))
}

/// What was done to the arguments until they fitted.
pub(super) fn cast(cast: &CastReport, settings: &LogSettings) -> String {
    let changes = cast.changes.iter().take(LISTED_MAX).map(|change| {
        let hidden = !settings.arguments || settings.mask.hides(&change.pointer);
        json!({
            "pointer": change.pointer,
            "from": if hidden { MASKED } else { &change.from },
            "to": if hidden { MASKED } else { &change.to },
        })
    });
    let changes: Vec<Value> = changes.collect();
    let mut accepted = json!({"event": "accepted"});
    if let Some(accepted) = accepted.as_object_mut() {
        if !cast.repairs.is_empty() {
            accepted.insert("repairs".into(), json!(cast.repairs));
        }
        if !changes.is_empty() {
            accepted.insert("cast".into(), changes.into());
        }
    }
    settings.mask.show(&accepted, EVENT_BYTES_MAX)
}

/// An event as it is kept. Kinds that nothing is said of here are kept whole, as far as they are not too long.
pub(super) fn text(event: &Event<'_>, settings: &LogSettings) -> String {
    let value = match event {
        Event::Partial { text } => json!({"event": "partial", "bytes": text.len()}),
        Event::Log { level, message } => {
            json!({"event": "log", "level": level, "message": cut(message, STREAM_BYTES_MAX)})
        }
        Event::AttemptEnded { report } => attempt(report, settings),
        // The arguments stand in the row already, and the rule that is offered may repeat them.
        Event::Question { question } => json!({
            "event": "question",
            "id": question.id,
            "why": cut(&question.why, MESSAGE_BYTES_MAX),
            "doing": question.doing.as_ref().map(|doing| cut(&doing.words(), MESSAGE_BYTES_MAX).to_string()),
            "risk": question.risk,
            "powers": question.powers,
            "inside": question.inside,
            "expires_after_ms": question.expires_at_ms.saturating_sub(question.asked_at_ms),
            "fault": question.fault,
        }),
        event => json!(event),
    };
    settings.mask.show(&value, EVENT_BYTES_MAX)
}

fn attempt(report: &AttemptReport, settings: &LogSettings) -> Value {
    let mut event = json!({
        "event": "attempt_ended",
        "number": report.number,
        "time_ms": milliseconds(report.time),
        "fuel": report.fuel,
        "memory_bytes_peak": report.memory_bytes_peak,
    });
    let Some(members) = event.as_object_mut() else { return event };
    if let Some(error) = &report.error {
        members.insert("error".into(), json!({"kind": error.kind.name(), "message": message(error, settings)}));
    }
    if report.hedge {
        members.insert("hedge".into(), true.into());
    }
    // What a tool logged was told line by line.
    for (name, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if !captured.is_empty() {
            members.insert(name.into(), stream(captured));
        }
    }
    event
}

fn stream(captured: &Captured) -> Value {
    let kept = captured.text.get(..captured.text.floor_char_boundary(STREAM_BYTES_MAX)).unwrap_or_default();
    let dropped = captured.dropped_bytes + (captured.text.len() - kept.len()) as u64;
    json!({"text": kept, "dropped_bytes": dropped})
}

/// Why it failed, without the values of arguments that are masked.
fn message(error: &CallError, settings: &LogSettings) -> String {
    let message = settings.mask.message(error, settings.arguments);
    cut(&message, MESSAGE_BYTES_MAX).into_owned()
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Milliseconds, to the microsecond.
pub(super) fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
