//! What does the outcome of a call say of its task? Mostly that it has ended; sometimes that it has to wait.

use std::time::Duration;

use super::ending::Ended;
use super::hold::Hold;
use crate::guard::replay::How;
use crate::tell::{ErrorKind, Outcome};

/// The least wait before a task is tried again that was turned away.
const AGAIN_LEAST: Duration = Duration::from_millis(500);

/// What a run says of its task.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It has ended.
    Ended {
        /// With this.
        ended: Ended,
        /// Whether that is true of all its runs: it succeeded, or failed for good.
        is_final: bool,
    },
    /// It was turned away before it began, and may come again.
    Again {
        /// After so long.
        after: Duration,
        /// What it ends with, where it may not.
        refused: Ended,
    },
    /// It could hold its task no longer, as if its host were gone.
    Lost,
    /// Nobody waits for it any more: it was cancelled, or its host ends.
    Interrupted {
        /// What it ends with, where it was cancelled.
        ended: Ended,
    },
}

impl Verdict {
    pub(super) fn of(outcome: &Outcome, hold: &Hold) -> Self {
        let ended = Ended::of(outcome);
        let Err(error) = &outcome.result else { return Verdict::Ended { ended, is_final: true } };
        let after = error.retry_after.unwrap_or_default().max(AGAIN_LEAST);
        let again = |refused| Verdict::Again { after, refused };
        let has_begun = !outcome.report.attempts.is_empty();
        let how = outcome.report.idempotency.as_ref().map(|ledger| ledger.how);
        match error.kind {
            // Somebody ended it, and not its tool.
            ErrorKind::Cancelled | ErrorKind::KeyInUse if hold.is_lost() => Verdict::Lost,
            ErrorKind::Cancelled if hold.is_interrupted() => Verdict::Interrupted { ended },
            ErrorKind::Busy | ErrorKind::RateLimited | ErrorKind::CircuitOpen if !has_begun => again(ended),
            // Also where another call has taken its key over: that one will have an answer.
            ErrorKind::KeyInUse => again(ended),
            ErrorKind::ToolFailed { retryable: false } | ErrorKind::OutcomeUnknown => {
                Verdict::Ended { ended, is_final: true }
            }
            _ => Verdict::Ended { ended, is_final: matches!(how, Some(How::Replayed | How::Waited)) },
        }
    }
}
