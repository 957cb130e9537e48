//! What is known of a task, and what may follow it: one table, as pure functions of a record and the store's time.
//!
//! | state | is taken up | its run ends | its run gives it back | is cancelled |
//! |---|---|---|---|---|
//! | queued, due | **running**, by a new fence | lost | lost | **cancelled**; something may have changed, **unknown** |
//! | queued, not due | no | lost | lost | the same |
//! | running | no | as it says | **queued** | noted for its run |
//! | running, host gone, nothing changed | **running**, by a new fence; too often, **failed** | as it says | **queued** | **cancelled** |
//! | running, host gone, something may have changed | **unknown**; where its call can tell by its key, or may be made twice, **running** | as it says | **queued** | **unknown** |
//! | unknown | no | as it says | lost | no |
//! | done, failed, cancelled | no | lost | lost | no |
//!
//! A run that can hold its task no longer gives it back as if its host were gone. What may have had an effect never ends as
//! cancelled: who cancels wants to hear that nothing was done.
//!
//! Its run is who names the record's fence: so one that comes too late changes nothing, and learns that it has lost the task.
//! An effect is put on the list by a run that has the task, and by no other; the record is another one then. So whoever decides that
//! nothing may have changed decides it on the latest record, or not at all.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ending::{Ended, How};
use super::id::TaskId;
use super::verdict::Verdict;
use crate::call::{CallId, Caller};
use crate::guard::replay::record::UNKNOWN_KEPT;
use crate::tell::{CallError, ErrorKind, Stage};

/// What helps where it is not known what a task did.
const LOOK_FIRST: &str = "what it may have done is listed; look before you call again";

/// What is known of a task. Times are milliseconds since 1970, by the store's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Changes with every write, and is never the same again.
    pub version: u64,
    /// The run that may write to it; 0 before the first.
    pub fence: u64,
    /// What was asked.
    pub request: Arc<Request>,
    /// How far it is.
    pub state: State,
    /// How often it was begun.
    pub runs: u32,
    /// How many of these runs were lost with their host.
    pub lost: u32,
    /// Effects that were let through and may have changed something, of all runs.
    pub effects: u32,
    /// Whether the call may be made again all the same: its key tells what is true, or it may be made twice.
    pub again: bool,
    /// Who wants it to end.
    pub cancel: Option<CancelAsked>,
    /// Since when it is turned away, time and again.
    pub refused_ms: Option<u64>,
    /// The version of the settings under which it was last begun.
    pub under: Option<Arc<str>>,
    /// When it was last begun.
    pub started_ms: Option<u64>,
    /// When it was last written to, but for what its run says meanwhile.
    pub changed_ms: u64,
    /// When it is forgotten; never before it has ended.
    pub expires_ms: Option<u64>,
}

/// What was asked: the call, but for what only its tool may see. It does not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The task.
    pub id: TaskId,
    /// The tool.
    pub tool: String,
    /// Who calls.
    pub caller: Caller,
    /// The call's id, in every run.
    pub call: CallId,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The arguments as they may be shown, as JSON, cut where they are long.
    pub shown: String,
    /// Who may take it up: hosts that were made in the same way.
    pub scope: Arc<str>,
    /// The version of the settings under which it was filed.
    pub under: Arc<str>,
    /// When it was filed.
    pub created_ms: u64,
}

/// One host, in one life: another process, or one that has lost its lease, has another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct HostId(Arc<str>);

impl HostId {
    /// An id as text, from where it was kept.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        HostId(text.into())
    }

    /// An id that no other host has.
    #[must_use]
    pub(super) fn fresh() -> Self {
        HostId(format!("{}-{:016x}", std::process::id(), fastrand::u64(..)).into())
    }

    /// The id as text: it can be the name of a file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It waits to be begun.
    Queued {
        /// Not before then.
        due_ms: u64,
    },
    /// A host runs it.
    Running {
        /// The host.
        host: HostId,
    },
    /// It has ended.
    Ended(Ended),
}

/// Somebody wants a task to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAsked {
    /// Who.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A record's state as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It waits to be begun.
    Queued,
    /// It runs.
    Running,
    /// It runs, and somebody is asked.
    Waiting,
    /// Its host is gone; the next one takes it over.
    Left,
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Whether it had its effect is not known.
    Unknown,
}

impl Standing {
    /// Every standing there is.
    pub const ALL: [Standing; 8] = [
        Standing::Queued,
        Standing::Running,
        Standing::Waiting,
        Standing::Left,
        Standing::Done,
        Standing::Failed,
        Standing::Cancelled,
        Standing::Unknown,
    ];

    /// The standing as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Queued => "queued",
            Standing::Running => "running",
            Standing::Waiting => "waiting",
            Standing::Left => "left",
            Standing::Done => "done",
            Standing::Failed => "failed",
            Standing::Cancelled => "cancelled",
            Standing::Unknown => "unknown",
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Standing::Done | Standing::Failed | Standing::Cancelled | Standing::Unknown)
    }
}

/// Who takes a task up.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    pub(super) host: HostId,
    pub(super) fence: u64,
    pub(super) under: Arc<str>,
    pub(super) rules: Rules,
}

/// A run of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) fence: u64,
    /// Whether something may have been changed before it.
    pub(super) changed_before: bool,
}

/// What of the settings decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) reruns: u32,
    pub(super) keep: Duration,
    pub(super) wait: Duration,
}

/// What came of taking a task up.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Take {
    /// It is the taker's to run.
    Run,
    /// It was over, and now it is written down.
    Ended,
    /// It is somebody else's, or not due, or has ended.
    Not,
}

impl Record {
    /// A task that nobody has begun.
    pub(super) fn filed(request: Request) -> Self {
        let now = request.created_ms;
        Record {
            version: 0,
            fence: 0,
            request: Arc::new(request),
            state: State::Queued { due_ms: now },
            runs: 0,
            lost: 0,
            effects: 0,
            again: true,
            cancel: None,
            refused_ms: None,
            under: None,
            started_ms: None,
            changed_ms: now,
            expires_ms: None,
        }
    }

    /// The state as one word.
    #[must_use]
    pub fn standing(&self, is_gone: bool, is_asking: bool) -> Standing {
        match &self.state {
            State::Queued { .. } => Standing::Queued,
            State::Running { .. } if is_gone => Standing::Left,
            State::Running { .. } if is_asking => Standing::Waiting,
            State::Running { .. } => Standing::Running,
            State::Ended(ended) => match ended.how() {
                How::Done => Standing::Done,
                How::Failed => Standing::Failed,
                How::Cancelled => Standing::Cancelled,
                How::Unknown => Standing::Unknown,
            },
        }
    }

    /// What came of it, once it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            State::Queued { .. } | State::Running { .. } => None,
        }
    }

    fn to(&self, state: State, now: u64) -> Record {
        Record { state, changed_ms: now, ..self.clone() }
    }

    fn queued(&self, after: Duration, now: u64) -> Record {
        Record { refused_ms: None, ..self.to(State::Queued { due_ms: later(now, after) }, now) }
    }

    fn end(&self, ended: Ended, keep: Duration, now: u64) -> Record {
        let is_late = ended.how() == How::Cancelled && self.effects > 0;
        let ended = if is_late { ended.told_as(&cancelled_late(self.cancel.as_ref())) } else { ended };
        let keep = if ended.how() == How::Unknown { keep.max(UNKNOWN_KEPT) } else { keep };
        Record { expires_ms: Some(later(now, keep)), ..self.to(State::Ended(ended), now) }
    }

    /// What becomes of it when nobody runs it any more, where it is not begun again.
    fn over(&self, rules: &Rules, now: u64) -> Option<Record> {
        let end = |error: CallError| Some(self.end(Ended::without_run(&error), rules.keep, now));
        if let Some(cancel) = &self.cancel {
            return end(cancelled(&cancel.by));
        }
        let State::Running { .. } = &self.state else { return None };
        let lost = self.lost + 1;
        match self.effects > 0 {
            true if !self.again || lost > rules.reruns => end(unknown()),
            false if lost > rules.reruns => end(killer(lost)),
            _ => None,
        }
    }
}

/// Somebody takes it up.
pub(super) fn take(record: &Record, is_gone: bool, taker: &Taker, now: u64) -> (Take, Option<Record>) {
    let lost = match &record.state {
        // It was written, and nobody heard.
        State::Running { host } if *host == taker.host && record.fence == taker.fence => return (Take::Run, None),
        State::Running { .. } if is_gone => 1,
        State::Queued { due_ms } if *due_ms <= now => 0,
        State::Queued { .. } | State::Running { .. } | State::Ended(_) => return (Take::Not, None),
    };
    if let Some(over) = record.over(&taker.rules, now) {
        return (Take::Ended, Some(over));
    }
    let running = Record {
        refused_ms: record.refused_ms.filter(|_| lost == 0),
        fence: taker.fence,
        runs: record.runs.saturating_add(1),
        lost: record.lost + lost,
        under: Some(taker.under.clone()),
        started_ms: Some(now),
        ..record.to(State::Running { host: taker.host.clone() }, now)
    };
    (Take::Run, Some(running))
}

/// Its run is over. Nothing where it is not its run any more.
pub(super) fn end(record: &Record, run: &Run, verdict: &Verdict, rules: &Rules, now: u64) -> Option<Record> {
    let is_open = match &record.state {
        State::Running { .. } => true,
        // Whoever comes late may still know.
        State::Ended(ended) => ended.how() == How::Unknown && matches!(verdict, Verdict::Ended { .. }),
        State::Queued { .. } => false,
    };
    if !is_open || record.fence != run.fence {
        return None;
    }
    let has_changed = record.effects > 0;
    let may_run = record.cancel.is_none() && (record.again || !has_changed);
    let refused_ms = record.refused_ms.unwrap_or(now);
    let ended = match verdict {
        Verdict::Ended { ended, is_final } if *is_final || !run.changed_before => ended.clone(),
        // What an earlier run may have done is not known any better.
        Verdict::Ended { .. } => Ended::without_run(&unknown()),
        Verdict::Lost => {
            let again = || Record { lost: record.lost + 1, ..record.queued(Duration::ZERO, now) };
            return Some(record.over(rules, now).unwrap_or_else(again));
        }
        Verdict::Again { after, .. } if may_run && later(refused_ms, rules.wait) > now => {
            return Some(Record { refused_ms: Some(refused_ms), ..record.queued(*after, now) });
        }
        Verdict::Interrupted { .. } if may_run => return Some(record.queued(Duration::ZERO, now)),
        Verdict::Again { refused: ended, .. } | Verdict::Interrupted { ended } => match &record.cancel {
            Some(cancel) => ended.told_as(&cancelled(&cancel.by)),
            None if has_changed => ended.told_as(&unknown()),
            None => ended.clone(),
        },
    };
    Some(record.end(ended, rules.keep, now))
}

/// Somebody wants it to end. Nothing where that is written already.
pub(super) fn cancel(record: &Record, is_gone: bool, by: &str, rules: &Rules, now: u64) -> Option<Record> {
    let asked = CancelAsked { by: by.to_owned(), at_ms: now };
    match &record.state {
        State::Ended(_) => None,
        State::Running { .. } if !is_gone && record.cancel.is_some() => None,
        State::Running { .. } if !is_gone => {
            Some(Record { cancel: Some(asked), ..record.to(record.state.clone(), now) })
        }
        State::Queued { .. } | State::Running { .. } => {
            Record { cancel: record.cancel.clone().or(Some(asked)), ..record.clone() }.over(rules, now)
        }
    }
}

fn unknown() -> CallError {
    let why = "its host went away after it may have had an effect, so it is not run again";
    CallError::new(ErrorKind::OutcomeUnknown, Stage::Run, why).with_help(LOOK_FIRST)
}

fn killer(lost: u32) -> CallError {
    let why = format!("its host went away {lost} times while it ran, so it is not begun again");
    CallError::new(ErrorKind::Internal, Stage::Run, why)
        .with_help("it had no effect; raise `tasks.reruns` to try again")
}

fn cancelled(by: &str) -> CallError {
    CallError::new(ErrorKind::Cancelled, Stage::Run, format!("{by} has cancelled it before it had an effect"))
}

fn cancelled_late(cancel: Option<&CancelAsked>) -> CallError {
    let why = match cancel {
        Some(cancel) => format!("{} has cancelled it after it may have had an effect", cancel.by),
        None => "it was cancelled after it may have had an effect".to_owned(),
    };
    CallError::new(ErrorKind::OutcomeUnknown, Stage::Run, why).with_help(LOOK_FIRST)
}

pub(super) fn later(now_ms: u64, span: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).min(i64::MAX as u64)
}

#[cfg(test)]
mod tests;
