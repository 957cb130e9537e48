//! What is shown of a task: as a row, as a page, and as JSON.

use std::time::{Duration, UNIX_EPOCH};

use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use toolpost::core::task::store::EFFECTS_MAX;
use toolpost::core::task::{Filed, Listed, Progress, Record, Sheet, Standing};

use super::launch::Launch;
use crate::exit::Stop;
use crate::log::took;
use crate::print::{self, DIM, styled};

/// As much of an id as tells one task from the others.
pub(super) const ID_SHOWN: usize = 8;

/// Effects that are shown on a page; `--json` has all that are listed.
const EFFECTS_SHOWN: usize = 20;

pub(super) fn table(listed: &Listed) -> Result<(), Stop> {
    let has_callers = listed.tasks.iter().any(|filed| !filed.record.request.caller.id.is_empty());
    let mut head = vec!["task", "tool", "state", "filed", "took", "progress"];
    if has_callers {
        head.insert(3, "caller");
    }
    let mut table = print::table(&head);
    for filed in &listed.tasks {
        let Filed { record, progress, .. } = filed;
        let request = &record.request;
        let mut row = vec![
            Cell::new(request.id.digits().get(..ID_SHOWN).unwrap_or_default()),
            Cell::new(print::words(&request.tool)),
            coloured(filed.standing()),
            Cell::new(format!("{} ago", span(listed.now_ms.saturating_sub(request.created_ms)))),
            Cell::new(ran(record, listed.now_ms).map(took).unwrap_or_default()),
            Cell::new(progress.as_ref().map(line).unwrap_or_default()),
        ];
        if has_callers {
            row.insert(3, Cell::new(print::words(&request.caller.id)));
        }
        table.add_row(row);
    }
    print::out(print::rows(&table))
}

fn coloured(standing: Standing) -> Cell {
    let cell = Cell::new(standing.name());
    if styled(DIM) != DIM {
        return cell;
    }
    match standing {
        Standing::Queued | Standing::Left => cell.fg(Color::DarkGrey),
        Standing::Running => cell.fg(Color::Cyan),
        Standing::Waiting | Standing::Unknown => cell.fg(Color::Yellow),
        Standing::Done => cell.fg(Color::Green),
        Standing::Failed | Standing::Cancelled => cell.fg(Color::Red),
    }
}

/// How long its last run took, or takes.
fn ran(record: &Record, now_ms: u64) -> Option<Duration> {
    let until = if record.ended().is_some() { record.changed_ms } else { now_ms };
    Some(Duration::from_millis(until.saturating_sub(record.started_ms?)))
}

/// How far it is, on a line.
pub(super) fn line(progress: &Progress) -> String {
    let total = progress.total.map_or_else(String::new, |total| format!(" of {total}"));
    let message = progress.message.as_ref().map_or_else(String::new, |message| format!(", {message}"));
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    print::words(&format!("{}{total}{message}", progress.done)).chars().map(plain).collect()
}

/// All about a task, for a person.
pub(super) fn page(sheet: &Sheet, launch: Option<&Launch>) -> Result<(), Stop> {
    let Sheet { record, notes, now_ms, .. } = sheet;
    let (request, standing) = (&record.request, sheet.standing());
    let line = |name: &str, text: &str| print::out(format!("{name:<11}{text}"));
    let since = |at: u64| format!("{} ({} ago)", instant(at), span(now_ms.saturating_sub(at)));
    line("task", request.id.as_str())?;
    line("state", &format!("{}: {}", standing.name(), meaning(standing)))?;
    if let Some(question) = sheet.question() {
        line("", &format!("toolpost approvals show {}", print::words(question)))?;
    }
    if let (Some(cancel), false) = (&record.cancel, standing == Standing::Cancelled) {
        line("", &format!("{} has asked it to end, at {}", print::words(&cancel.by), instant(cancel.at_ms)))?;
    }
    line("tool", &print::words(&request.tool))?;
    line("arguments", &print::brief(&request.shown))?;
    line("call", &print::words(request.call.as_str()))?;
    if !request.caller.id.is_empty() {
        line("caller", &print::words(&request.caller.id))?;
    }
    line("filed", &since(request.created_ms))?;
    if let Some(at) = record.started_ms {
        let lost =
            if record.lost > 0 { format!(", {} of them lost with their host", record.lost) } else { String::new() };
        line("begun", &format!("{}, {}{lost}", since(at), print::many(record.runs, "run")))?;
    }
    if record.ended().is_some() {
        let took = ran(record, *now_ms).map_or_else(String::new, |span| format!(", took {}", took(span)));
        line("ended", &format!("{}{took}", since(record.changed_ms)))?;
    }
    if let Some(at) = record.expires_ms {
        line("forgotten", &format!("{} (in {})", instant(at), span(at.saturating_sub(*now_ms))))?;
    }
    if let Some(words) = settings(record, launch) {
        line("settings", words)?;
    }
    if let Some(progress) = &notes.progress {
        line("progress", &self::line(progress))?;
    }
    effects(sheet)?;
    partial(sheet)?;
    if let Some(Ok(Err(error))) = record.ended().map(|ended| ended.result()) {
        line("failure", &print::words(&format!("{}: {error}", error.kind.name())))?;
    }
    Ok(())
}

/// What it did, or may have done.
fn effects(sheet: &Sheet) -> Result<(), Stop> {
    let Sheet { record, notes, .. } = sheet;
    for (at, (run, effect)) in notes.effects.iter().take(EFFECTS_SHOWN).enumerate() {
        let name = if at == 0 { "effects" } else { "" };
        let run = if record.runs > 1 { format!(" (run {run})") } else { String::new() };
        print::out(format!("{name:<11}{}{run}", print::words(&effect.words())))?;
    }
    let shown = notes.effects.len().min(EFFECTS_SHOWN);
    let more = (record.effects as usize).saturating_sub(shown);
    // Those beyond the list are not counted.
    let least = if notes.effects.len() >= EFFECTS_MAX { "at least " } else { "" };
    if more > 0 {
        print::out(format!("{:<11}and {least}{more} more", ""))?;
    }
    Ok(())
}

fn partial(sheet: &Sheet) -> Result<(), Stop> {
    let notes = &sheet.notes;
    if notes.partial.is_empty() {
        return Ok(());
    }
    let dropped = match notes.dropped_bytes {
        0 => String::new(),
        bytes => format!(", and {} more that were not kept", print::bytes(bytes)),
    };
    print::out(format!("{:<11}{}{dropped}", "partial", print::bytes(notes.partial.len() as u64)))?;
    print::out(print::brief(notes.partial.trim_end()))
}

/// What has become of the settings since.
fn settings(record: &Record, launch: Option<&Launch>) -> Option<&'static str> {
    let (filed, ran) = (&*record.request.under, record.under.as_deref());
    match ran {
        Some(ran) if ran != filed => Some("it ran under other settings than those under which it was filed"),
        Some(_) => None,
        None => {
            let now = launch?.version();
            (now != filed).then_some("they have changed since it was filed; it runs under those that are there then")
        }
    }
}

pub(super) fn meaning(standing: Standing) -> &'static str {
    match standing {
        Standing::Queued => "it waits to be begun",
        Standing::Running => "it runs",
        Standing::Waiting => "it runs, and waits for an answer",
        Standing::Left => "its host is gone; the next one takes it over",
        Standing::Done => "it has succeeded; `toolpost task result` has what came of it",
        Standing::Failed => "it has failed",
        Standing::Cancelled => "it was cancelled",
        Standing::Unknown => "it may have had the effects that are listed; look before you call again",
    }
}

/// The same in a list, for a program.
pub(super) fn of_list(filed: &Filed) -> Value {
    let mut sheet = of_record(&filed.record, filed.standing());
    if let Some(sheet) = sheet.as_object_mut() {
        sheet.insert("progress".into(), json!(filed.progress));
        sheet.insert(
            "question".into(),
            json!(filed.question.as_ref().filter(|_| filed.standing() == Standing::Waiting)),
        );
    }
    sheet
}

/// All about a task but what came of it, for a program.
pub(super) fn of_sheet(sheet: &Sheet, launch: Option<&Launch>) -> Value {
    let Sheet { record, notes, .. } = sheet;
    let mut shown = of_record(record, sheet.standing());
    let effects: Vec<Value> = notes.effects.iter().map(|(run, effect)| json!({"run": run, "effect": effect})).collect();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("progress".into(), json!(notes.progress));
        shown.insert("question".into(), json!(sheet.question()));
        shown.insert("effects".into(), json!(effects));
        shown.insert("effects_unlisted".into(), json!((record.effects as usize).saturating_sub(notes.effects.len())));
        shown.insert("partial".into(), json!(notes.partial));
        shown.insert("partial_dropped_bytes".into(), json!(notes.dropped_bytes));
        shown.insert("settings".into(), json!(settings(record, launch)));
    }
    shown
}

fn of_record(record: &Record, standing: Standing) -> Value {
    let request = &record.request;
    // What was cut is no JSON any more.
    let arguments: Value = serde_json::from_str(&request.shown).unwrap_or_else(|_| json!(request.shown));
    let when = |at: Option<u64>| at.map(instant);
    json!({
        "task": request.id,
        "state": standing,
        "tool": request.tool,
        "call": request.call,
        "caller": request.caller,
        "arguments": arguments,
        "filed": instant(request.created_ms),
        "begun": when(record.started_ms),
        "ended": when(record.ended().map(|_| record.changed_ms)),
        "forgotten": when(record.expires_ms),
        "runs": record.runs,
        "runs_lost": record.lost,
        "cancel": record.cancel.as_ref().map(|cancel| json!({"by": cancel.by, "at": instant(cancel.at_ms)})),
    })
}

fn instant(ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A span in its two largest units.
fn span(ms: u64) -> String {
    let span = humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string();
    span.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
