//! What does the end of a call say about the one that was called?

use std::time::Duration;

use crate::tell::{CallError, ErrorKind, Stage};

/// What the end of a call says about the one that was called. That a call was slow is seen from its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is well: it answered, be it with an answer that nobody hoped for.
    Success,
    /// It is not well, in one word, such as `timed_out` or `http_503`.
    Failure(&'static str),
    /// It asks to be left alone for a while. At most a minute of it is believed.
    Throttled {
        /// For how long.
        retry_after: Duration,
    },
    /// The end says nothing about it: the host stopped the call.
    Ignored,
    /// Nobody waited for the end.
    Abandoned,
}

/// How errors are read; what reads them by default is [`classify`].
pub type Classify = fn(&CallError) -> Outcome;

/// What an error says about the tool.
///
/// | error | outcome |
/// |---|---|
/// | the tool ran and failed, in a way that feeds the breaker by [`ErrorKind::rule`] | failure |
/// | `ToolFailed` with `retry_after` | throttled |
/// | `ToolFailed` that is not retryable: not found, conflict | success: it is an answer |
/// | `Cancelled` | abandoned |
/// | everything else: the host, its rules or the caller are the cause | ignored |
#[must_use]
pub fn classify(error: &CallError) -> Outcome {
    match (error.kind, error.retry_after) {
        (ErrorKind::Cancelled, _) => Outcome::Abandoned,
        (ErrorKind::ToolFailed { .. }, Some(retry_after)) => Outcome::Throttled { retry_after },
        (ErrorKind::ToolFailed { retryable: false }, None) => Outcome::Success,
        // A call whose time was over before it had a place says nothing about the tool.
        (kind, _) if kind.rule().feeds_breaker && error.stage == Stage::Run => Outcome::Failure(kind.name()),
        _ => Outcome::Ignored,
    }
}
