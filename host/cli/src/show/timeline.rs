//! What happened, line by line: when, what, and what there is to say of it. Events of kinds that are not known here are
//! shown as they are written down.

use std::time::Duration;

use anstyle::Style;
use serde_json::{Map, Value};
use toolpost::store::log::Logged;

use crate::log::took;
use crate::print::{self, BOLD, DIM, GREEN, RED, YELLOW, brief, styled};

/// One line of the timeline.
struct Line {
    style: Style,
    what: String,
    more: String,
    /// What belongs to it, below.
    below: Vec<String>,
}

/// The widths of the first two columns.
const WHEN: usize = 10;
const WHAT: usize = 18;

/// The timeline of a call.
pub(super) fn lines(call: &Logged, events: &[Value]) -> Vec<String> {
    let mut within = false;
    let mut lines = print_line(0.0, false, &line("called"));
    for event in events {
        let at = event.get("at_ms").and_then(Value::as_f64).unwrap_or(0.0);
        let kind = text(event, "event");
        within &= kind != "attempt_ended";
        lines.extend(print_line(at, within, &told(kind, event, call)));
        within |= kind == "attempt_started";
    }
    if call.outcome.is_none() {
        let line = Line { style: YELLOW, ..line("no end") };
        lines.extend(print_line(call.time.as_secs_f64() * 1e3, false, &line));
    }
    lines
}

fn print_line(at_ms: f64, within: bool, line: &Line) -> Vec<String> {
    let (dim, style) = (styled(DIM), styled(line.style));
    let what = format!("{}{}", if within { "  " } else { "" }, line.what);
    let when = format!("+{}", took(Duration::from_secs_f64(at_ms.max(0.0) / 1e3)));
    let first = format!("{dim}{when:>WHEN$}{dim:#}  {style}{what:<WHAT$}{style:#}  {}", line.more);
    let below = line.below.iter().flat_map(|text| text.lines()).filter(|text| !text.trim().is_empty());
    let below = below.map(|text| format!("{:WHEN$}  {:WHAT$}  {dim}{text}{dim:#}", "", ""));
    std::iter::once(first.trim_end().to_owned()).chain(below).collect()
}

fn line(what: impl Into<String>) -> Line {
    Line { style: Style::new(), what: what.into(), more: String::new(), below: Vec::new() }
}

fn told(kind: &str, event: &Value, call: &Logged) -> Line {
    let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or(0);
    match kind {
        "accepted" => Line { below: edits(event, call).chain(cast(event)).collect(), ..line("accepted") },
        "question" => {
            let doing = Some(text(event, "doing")).filter(|doing| !doing.is_empty());
            let doing = doing.map(|doing| format!("about to do: {}", print::words(doing)));
            let below = vec![
                format!("question {}, risk {}", text(event, "id"), text(event, "risk")),
                format!("expires after {}", milliseconds(event, "expires_after_ms")),
            ];
            let below = doing.into_iter().chain(below).collect();
            Line { style: YELLOW, more: print::words(text(event, "why")), below, ..line("asks") }
        }
        "decision" => decision(event.get("decision").unwrap_or(&Value::Null)),
        "attempt_started" => Line { style: BOLD, ..line(format!("attempt {}", number("number"))) },
        "attempt_ended" => attempt(event, call),
        "effect" => {
            let effect = event.get("effect").unwrap_or(&Value::Null);
            let words = ["action", "target", "detail"].map(|key| text(effect, key)).join(" ");
            Line { style: YELLOW, more: brief(words.trim()), ..line("effect") }
        }
        "retry" => {
            let left = format!("{} tokens left for retries", number("budget_left"));
            Line {
                style: YELLOW,
                more: format!("for {}, then again ({left})", milliseconds(event, "after_ms")),
                ..line("waits")
            }
        }
        "log" => Line { more: print::words(text(event, "message")), ..line(format!("log {}", text(event, "level"))) },
        "progress" => {
            let total =
                event.get("total").and_then(Value::as_u64).map_or_else(String::new, |total| format!(" of {total}"));
            let message = print::words(text(event, "message"));
            Line { more: format!("{}{total} {message}", number("done")).trim_end().to_owned(), ..line("progress") }
        }
        "partial" => Line { more: print::bytes(number("bytes")), ..line("partial result") },
        "ended" => ended(event, call),
        other => Line { more: rest(event), ..line(other.replace('_', " ")) },
    }
}

/// What somebody has made of the arguments, member by member.
fn edits(event: &Value, call: &Logged) -> impl Iterator<Item = String> {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let before = event.get("before").and_then(Value::as_str);
    let (was, is) = (before.and_then(read), call.arguments.as_deref().and_then(read));
    let changes = match (before, was, is) {
        (None, ..) => Vec::new(),
        (_, Some(was), Some(is)) => {
            let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
            let shown =
                |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), |value| brief(&value.to_string()));
            let changed = names.filter(|name| was.get(*name) != is.get(*name));
            changed
                .map(|name| format!("{}: {} to {}", print::words(name), shown(was.get(name)), shown(is.get(name))))
                .collect()
        }
        // Long ones are not kept whole.
        (Some(before), ..) => vec![format!("before: {}", brief(before))],
    };
    changes.into_iter()
}

/// What was done to the arguments until they fitted.
fn cast(event: &Value) -> Vec<String> {
    let change = |change: &Value| {
        let [pointer, from, to] = ["pointer", "from", "to"].map(|key| print::words(text(change, key)));
        format!("cast {pointer}: {from} to {to}")
    };
    let repairs = list(event, "repairs").map(|repair| print::words(&format!("repaired: {}", plain(repair))));
    repairs.chain(list(event, "cast").map(change)).collect()
}

fn decision(decision: &Value) -> Line {
    let said = text(decision, "what");
    let style = if ["denied", "expired", "unasked"].contains(&said) { RED } else { GREEN };
    let is_shadow = decision.get("shadow").and_then(Value::as_bool) == Some(true);
    let words = said.replace('_', " ");
    let what = if is_shadow { format!("would be {words}") } else { words };
    let rule = Some(text(decision, "rule")).filter(|rule| !rule.is_empty()).map(|rule| format!(", rule `{rule}`"));
    let more = print::words(&format!("by {}{}", text(decision, "by"), rule.unwrap_or_default()));
    let below = ["effect", "why"].map(|key| text(decision, key)).into_iter().filter(|words| !words.is_empty());
    Line { style, more, below: below.map(print::words).collect(), ..line(what) }
}

fn attempt(event: &Value, call: &Logged) -> Line {
    let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut more = format!(
        "{}, fuel {}, memory {}",
        milliseconds(event, "time_ms"),
        number("fuel"),
        print::bytes(number("memory_bytes_peak"))
    );
    if event.get("hedge").is_some() {
        more.push_str(", begun beside a slow one");
    }
    if let Some(instance) = event.get("instance") {
        let before = instance.get("calls_before").and_then(Value::as_u64).unwrap_or(0);
        let kept = if before > 0 { format!(" of {} before", print::many(before, "call")) } else { ", new".into() };
        more.push_str(&format!(", {} instance{kept}", text(instance, "lifetime")));
        let retired = text(instance, "retired");
        if !retired.is_empty() {
            more.push_str(&format!(", retired: {retired}"));
        }
    }
    let mut below = Vec::new();
    let (style, what) = match event.get("error") {
        Some(error) => {
            more = format!("{}; {more}", text(error, "kind"));
            // Why the last one failed stands at the top.
            let message = Some(text(error, "message")).filter(|message| call.message.as_deref() != Some(message));
            below.extend(message.map(print::words));
            (RED, "failed")
        }
        None => (GREEN, "worked"),
    };
    for name in ["stdout", "stderr"] {
        let Some(stream) = event.get(name) else { continue };
        let lines = text(stream, "text").lines().filter(|line| !line.trim().is_empty());
        below.extend(lines.map(|line| format!("{name} {}", print::words(line))));
        let dropped = stream.get("dropped_bytes").and_then(Value::as_u64).unwrap_or(0);
        if dropped > 0 {
            below.push(format!("{name}: {} more", print::bytes(dropped)));
        }
    }
    Line { style, more, below, ..line(format!("attempt {} {what}", number("number"))) }
}

fn ended(event: &Value, call: &Logged) -> Line {
    let mut below = Vec::new();
    for (key, what) in [("turn_ms", "its turn in the batch"), ("waited_ms", "a place")] {
        if event.get(key).and_then(Value::as_f64).is_some_and(|waited| waited >= 1.0) {
            below.push(format!("waited {} for {what}", milliseconds(event, key)));
        }
    }
    for effect in list(event, "effects") {
        let [fate, action, target] = ["fate", "action", "target"].map(|key| print::words(text(effect, key)));
        below.push(format!("{fate}: {action} {target}"));
    }
    for call in list(event, "inside") {
        let effects = print::many(call.get("effects").and_then(Value::as_u64).unwrap_or(0), "effect");
        let [tool, id, reach] = ["tool", "call", "reach"].map(|key| print::words(text(call, key)));
        below.push(format!("called {tool} ({id}): {effects}, as far as {reach}"));
    }
    for note in list(event, "notes") {
        below.push(print::words(&format!("note: {}", plain(note))));
    }
    for (key, words) in [("not_retried", "not tried again"), ("source", "because")] {
        if event.get(key).is_some() {
            let why = text(event, key);
            // Reasons of the host's own are one word.
            let why = if why.contains(' ') { why.to_owned() } else { why.replace('_', " ") };
            below.push(print::words(&format!("{words}: {why}")));
        }
    }
    if event.get("retry_after_ms").is_some() {
        below.push(format!("worth another try after {}", milliseconds(event, "retry_after_ms")));
    }
    if event.get("cached").is_some() {
        below.push("answered from what was kept of an equal call".into());
    }
    if let Some(truncated) = event.get("truncated") {
        let number = |key: &str| truncated.get(key).and_then(Value::as_u64).unwrap_or(0);
        let (shown, all) = (print::bytes(number("shown_bytes")), print::bytes(number("bytes")));
        let whole = match text(truncated, "artifact") {
            "" => String::new(),
            name => format!("; `toolpost artifact {name}` prints all of it"),
        };
        below.push(print::words(&format!("cut for its reader: {shown} of {all}{whole}")));
    }
    let key = text(event, "idempotency");
    if !key.is_empty() {
        below.push(format!("idempotency key: {key}"));
    }
    if let Some(cost) = event.get("cost") {
        below.push(format!("cost {cost}"));
    }
    if let Some(more) = event.get("unlisted").and_then(Value::as_u64) {
        below.push(format!("{more} more events were not kept"));
    }
    let outcome = call.outcome.as_deref().unwrap_or_default();
    let style = if outcome == "ok" { GREEN } else { RED };
    let stage = Some(text(event, "stage")).filter(|stage| !stage.is_empty());
    Line { style, more: stage.map_or_else(String::new, |stage| format!("at {stage}")), below, ..line(outcome) }
}

/// All that an event says beside its kind and its time.
fn rest(event: &Value) -> String {
    let members = event.as_object().into_iter().flatten().filter(|(key, _)| *key != "event" && *key != "at_ms");
    let words = members.map(|(key, value)| format!("{key}={}", plain(value)));
    print::words(&words.collect::<Vec<_>>().join(" "))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A text as it is, all else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn milliseconds(event: &Value, key: &str) -> String {
    let span = event.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    took(Duration::from_secs_f64(span.max(0.0) / 1e3))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    fn call(outcome: Option<&str>) -> Logged {
        Logged {
            call: "one".into(),
            tool: "echo".into(),
            caller: String::new(),
            session: None,
            parent: None,
            started: SystemTime::UNIX_EPOCH,
            arguments: None,
            outcome: outcome.map(str::to_owned),
            message: None,
            result: None,
            time: Duration::from_secs(2),
            attempts: 1,
            fuel: 0,
            effects: 0,
            written: 0,
        }
    }

    fn check(outcome: Option<&str>, events: &[Value], expected: &[&str]) {
        let shown = lines(&call(outcome), events);
        let shown: Vec<String> = shown.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_event_of_a_kind_that_is_not_known_is_shown_as_it_is_written_down() {
        let asked = json!({"at_ms": 3, "event": "question_asked", "who": "ann", "grants": ["a", 1]});
        check(
            Some("ok"),
            &[asked, json!("no event at all")],
            &["  +0.00 ms  called", "  +3.00 ms  question asked      who=ann grants=[\"a\",1]", "  +0.00 ms"],
        );
    }

    #[test]
    fn effects_and_waits_stand_where_they_happened_and_what_became_of_them_at_the_end() {
        let effect = json!({"action": "files.write", "target": "notes/a.txt", "class": "writes"});
        check(
            Some("timed_out"),
            &[
                json!({"at_ms": 1.0, "event": "attempt_started", "number": 1}),
                json!({"at_ms": 2.0, "event": "effect", "effect": effect}),
                json!({"at_ms": 3.0, "event": "retry", "after_ms": 1500.0, "budget_left": 486}),
                json!({"at_ms": 4.0, "event": "ended", "stage": "run", "unlisted": 7, "turn_ms": 200.0, "waited_ms": 0.1,
                    "inside": [{"call": "call_1", "tool": "files_write", "effects": 1, "reach": "writes"}],
                    "effects": [{"action": "files.write", "target": "notes/a.txt", "fate": "indeterminate"}]}),
            ],
            &[
                "  +0.00 ms  called",
                "  +1.00 ms  attempt 1",
                "  +2.00 ms    effect            files.write notes/a.txt",
                "  +3.00 ms    waits             for 1.5 s, then again (486 tokens left for retries)",
                "  +4.00 ms    timed_out         at run",
                "                                waited 200 ms for its turn in the batch",
                "                                indeterminate: files.write notes/a.txt",
                "                                called files_write (call_1): 1 effect, as far as writes",
                "                                7 more events were not kept",
            ],
        );
    }

    #[test]
    fn questions_and_decisions_say_who_and_why() {
        let decided = json!({"what": "allowed_for_session", "by": "ann", "why": "she knows it", "rule": "ask-first"});
        check(
            Some("ok"),
            &[
                json!({"at_ms": 1, "event": "decision", "decision": {"what": "denied", "by": "rules", "shadow": true}}),
                json!({"at_ms": 2, "event": "question", "id": "q1", "why": "it destroys", "risk": "high",
                    "expires_after_ms": 300_000}),
                json!({"at_ms": 3000, "event": "decision", "decision": decided}),
            ],
            &[
                "  +0.00 ms  called",
                "  +1.00 ms  would be denied     by rules",
                "  +2.00 ms  asks                it destroys",
                "                                question q1, risk high",
                "                                expires after 5m",
                "    +3.0 s  allowed for session  by ann, rule `ask-first`",
                "                                she knows it",
            ],
        );
    }

    #[test]
    fn a_call_without_an_end_says_so() {
        check(None, &[], &["  +0.00 ms  called", "    +2.0 s  no end"]);
    }
}
