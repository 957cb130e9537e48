//! What came of a task? What is kept of the outcome of its call, as text: it is written once, and mostly read by another
//! process.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::store::TaskFailure;
use crate::effect::EffectRecord;
use crate::guard::replay::{self, Kept};
use crate::tell::{AttemptReport, CallError, Captured, ErrorKind, Outcome, Output, Report, Stage};

/// The longest report that is kept whole, in bytes, and what of a longer one: so many of its effects.
const REPORT_BYTES_MAX: usize = 1 << 20;
const EFFECTS_MAX: usize = 1_000;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// It may have had an effect; more is not known.
    Unknown,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    how: How,
    /// The output, or the error.
    result: Arc<str>,
    /// What its last run took; empty where that is not known.
    report: Arc<str>,
}

impl Ended {
    /// What is kept of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let (how, result) = match &outcome.result {
            Ok(output) => (How::Done, Kept::ok(Some(output)).text().into()),
            Err(error) => (how(error), json(error)),
        };
        Ended { how, result, report: report(&outcome.report) }
    }

    /// A task that no run has ended.
    #[must_use]
    pub fn without_run(error: &CallError) -> Self {
        Ended { how: how(error), result: json(error), report: "".into() }
    }

    /// The same run, told in another way.
    pub(super) fn told_as(&self, error: &CallError) -> Self {
        Ended { how: how(error), result: json(error), report: self.report.clone() }
    }

    /// The same texts, from where they were kept.
    #[must_use]
    pub fn of_texts(how: How, result: &str, report: &str) -> Self {
        Ended { how, result: result.into(), report: report.into() }
    }

    /// How it ended.
    #[must_use]
    pub fn how(&self) -> How {
        self.how
    }

    /// The result and the report as text, for a store.
    #[must_use]
    pub fn texts(&self) -> (&str, &str) {
        (&self.result, &self.report)
    }

    /// What the call would have come to.
    ///
    /// # Errors
    /// The inner one is the call's; the outer one says that somebody has changed what was kept.
    pub fn result(&self) -> Result<Result<Output, CallError>, TaskFailure> {
        if self.how == How::Done {
            let ending = Kept::of_text(true, &self.result).ending().map_err(TaskFailure::new)?;
            return Ok(ending.answer());
        }
        let written: Written = serde_json::from_str(&self.result).map_err(TaskFailure::new)?;
        Ok(Err(written.error()))
    }

    /// What its last run took, as JSON; null where that is not known.
    #[must_use]
    pub fn report(&self) -> Value {
        // What was changed where it was kept is not told.
        serde_json::from_str(&self.report).unwrap_or_default()
    }
}

/// An error as [`CallError`] is written.
#[derive(Deserialize)]
struct Written {
    kind: String,
    stage: Stage,
    message: String,
    #[serde(default)]
    retryable: bool,
    retry_after_ms: Option<u64>,
    detail: Option<Value>,
}

impl Written {
    fn error(self) -> CallError {
        let kind = match self.kind.as_str() {
            "tool_failed" => ErrorKind::ToolFailed { retryable: self.retryable },
            name => ErrorKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(ErrorKind::Internal),
        };
        let retry_after = self.retry_after_ms.map(Duration::from_millis);
        CallError { detail: self.detail, retry_after, ..CallError::new(kind, self.stage, self.message) }
    }
}

fn how(error: &CallError) -> How {
    match error.kind {
        ErrorKind::OutcomeUnknown => How::Unknown,
        ErrorKind::Cancelled => How::Cancelled,
        _ => How::Failed,
    }
}

/// What is written into memory cannot fail; where a detail nests too deeply to be read back, it is left out.
fn json(error: &CallError) -> Arc<str> {
    let text = |error: &CallError| serde_json::to_string(error).unwrap_or_default();
    let whole = text(error);
    let text = if replay::is_readable(&whole) { whole } else { text(&CallError { detail: None, ..error.clone() }) };
    text.into()
}

fn report(report: &Report) -> Arc<str> {
    let text = |report: &Report| serde_json::to_string(report).unwrap_or_default();
    let whole = text(report);
    if whole.len() <= REPORT_BYTES_MAX && replay::is_readable(&whole) {
        return whole.into();
    }
    // What it did is worth more than what it wrote.
    let silent = |attempt: &AttemptReport| {
        let (stdout, stderr, log) = (Captured::default(), Captured::default(), Captured::default());
        AttemptReport { stdout, stderr, log, error: None, ..attempt.clone() }
    };
    let listed: Vec<EffectRecord> = report.effects.iter().take(EFFECTS_MAX).cloned().collect();
    let unlisted = report.effects_unlisted + (report.effects.len() - listed.len()) as u64;
    let attempts = report.attempts.iter().map(silent).collect();
    let short = Report {
        effects: listed,
        effects_unlisted: unlisted,
        attempts,
        cast: Default::default(),
        decisions: Vec::new(),
        narrowed: Vec::new(),
        ..report.clone()
    };
    match text(&short) {
        text if text.len() <= REPORT_BYTES_MAX => text.into(),
        _ => json!({"left_out": "the report was too long to be kept"}).to_string().into(),
    }
}
